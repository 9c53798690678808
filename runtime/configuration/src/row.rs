//! The tree as rows, one a node: what the table and a snapshot hold.
//!
//! ```text
//! path   JSON pointer of folded keys, "/services/com.example.pump"; the root has no row
//! name   the last key as first written, where that differs from the folded one
//! value  a leaf's JSON text; none for a container
//! at     the node's timestamp in milliseconds
//! ```

use crate::{
    ConfigurationError, Timestamp, Tree,
    node::{Child, Children, Content, Node},
    pointer::{parse_pointer, push_key},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// One stored node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub at: Timestamp,
}

/// One step on the way from one stored tree to another, to be taken in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Delete the row of this path and all below it.
    Delete(String),
    /// Write this row.
    Put(Row),
}

/// The steps from `old` to `new`; what both share is not looked at.
pub(crate) fn steps(old: &Tree, new: &Tree) -> Vec<Step> {
    let mut steps = Vec::new();
    compare_children(
        old.root.children(),
        new.root.children(),
        &mut String::new(),
        &mut steps,
    );
    steps
}

/// All rows of a tree, parents before children.
pub(crate) fn rows(tree: &Tree) -> Vec<Row> {
    let put = |step| match step {
        Step::Put(row) => Some(row),
        Step::Delete(_) => None,
    };
    steps(&Tree::empty(), tree)
        .into_iter()
        .filter_map(put)
        .collect()
}

fn compare_children(
    old: Option<&Children>,
    new: Option<&Children>,
    path: &mut String,
    steps: &mut Vec<Step>,
) {
    let length = path.len();
    for key in old.into_iter().flat_map(|old| old.keys()) {
        if new.is_none_or(|new| !new.contains_key(key)) {
            push_key(path, key);
            steps.push(Step::Delete(path.clone()));
            path.truncate(length);
        }
    }
    for (key, child) in new.into_iter().flatten() {
        push_key(path, key);
        compare(old.and_then(|old| old.get(key)), child, path, steps);
        path.truncate(length);
    }
}

fn compare(old: Option<&Child>, new: &Child, path: &mut String, steps: &mut Vec<Step>) {
    let named = old.is_some_and(|old| old.written == new.written);
    if named && old.is_some_and(|old| Arc::ptr_eq(&old.node, &new.node)) {
        return;
    }
    if !named || old.is_none_or(|old| !same_row(&old.node, &new.node)) {
        let value = match &new.node.content {
            Content::Leaf(value) => Some(value.to_string()),
            Content::Container(_) => None,
        };
        steps.push(Step::Put(Row {
            path: path.clone(),
            name: new.written.as_deref().map(str::to_owned),
            value,
            at: new.node.at,
        }));
    }
    let before = old.and_then(|old| old.node.children());
    compare_children(before, new.node.children(), path, steps);
}

fn same_row(old: &Node, new: &Node) -> bool {
    let same_value = match (&old.content, &new.content) {
        (Content::Leaf(old), Content::Leaf(new)) => old == new,
        (Content::Container(_), Content::Container(_)) => true,
        _ => false,
    };
    same_value && old.at == new.at
}

/// A tree being read; rows may come in any order that has parents before children.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    at: Timestamp,
    value: Option<Value>,
    children: BTreeMap<String, Draft>,
}

/// The tree of these rows.
pub(crate) fn tree_of(rows: impl IntoIterator<Item = Row>) -> Result<Tree, ConfigurationError> {
    let mut root = Draft::default();
    for row in rows {
        insert(&mut root, row)?;
    }
    Ok(Tree { root: finish(root) })
}

fn insert(root: &mut Draft, row: Row) -> Result<(), ConfigurationError> {
    let Row {
        path,
        name,
        value,
        at,
    } = row;
    let damaged = |reason: &str| ConfigurationError::Damaged {
        path: path.clone(),
        reason: reason.into(),
    };
    let value = value.map(|text| serde_json::from_str(&text)).transpose();
    let value = value.map_err(|e| damaged(&e.to_string()))?;
    let mut keys = parse_pointer(&path).ok_or_else(|| damaged("no JSON pointer"))?;
    let last = keys.pop().ok_or_else(|| damaged("the root has no row"))?;
    let mut parent = root;
    for key in &keys {
        parent = parent
            .children
            .get_mut(key)
            .ok_or_else(|| damaged("no row above it"))?;
    }
    if parent.value.is_some() {
        return Err(damaged("the row above it is a leaf"));
    }
    if matches!(value, Some(Value::Object(_))) {
        return Err(damaged("a leaf holds no object"));
    }
    parent.children.insert(
        last,
        Draft {
            name,
            at,
            value,
            children: BTreeMap::new(),
        },
    );
    Ok(())
}

fn finish(draft: Draft) -> Arc<Node> {
    if let Some(value) = draft.value {
        return Node::leaf(draft.at, value);
    }
    let children = draft.children.into_iter().map(|(key, mut child)| {
        let written = child.name.take().map(String::into_boxed_str);
        (
            key.into_boxed_str(),
            Child {
                written,
                node: finish(child),
            },
        )
    });
    Node::container(draft.at, children.collect())
}
