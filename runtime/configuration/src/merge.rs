//! The rules by which values meet what is in the tree. Every function returns the node it was given where nothing changes.

use crate::{
    TreeError, bounds,
    node::{Child, Children, Content, Node, fold, put},
    operation::{DEFAULT_AT, Timestamp},
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// What becomes of one place, given what is there; `None`: nothing.
pub(crate) type Edit<'a> = dyn FnMut(Option<&Arc<Node>>) -> Option<Arc<Node>> + 'a;

pub(crate) fn merge_at(
    root: &Arc<Node>,
    path: &[String],
    value: &Value,
    at: Timestamp,
) -> Result<Option<Arc<Node>>, TreeError> {
    bounds::check(path, value)?;
    // Merging deep down is merging an object with the one key on each level above.
    let whole = path.iter().rev().fold(value.clone(), |value, key| {
        Value::Object([(key.clone(), value)].into_iter().collect())
    });
    if !whole.is_object() {
        return Err(TreeError::RootIsNoObject);
    }
    Ok(Some(merge(Some(root), &whole, at)))
}

pub(crate) fn merge(current: Option<&Arc<Node>>, value: &Value, at: Timestamp) -> Arc<Node> {
    let Some(node) = current else {
        return build(value, at);
    };
    match (&node.content, value) {
        (Content::Container(children), Value::Object(members)) => {
            let mut merged: Option<Children> = None;
            for (key, member) in members {
                let now = merged.as_ref().unwrap_or(children);
                let child = now.get(&*fold(key)).map(|child| &child.node);
                let result = merge(child, member, at);
                if child.is_none_or(|child| !Arc::ptr_eq(child, &result)) {
                    put(merged.get_or_insert_with(|| children.clone()), key, result);
                }
            }
            merged.map_or_else(|| node.clone(), |merged| Node::container(node.at, merged))
        }
        (Content::Leaf(present), _) if present == value => {
            if node.at <= DEFAULT_AT && at > DEFAULT_AT {
                Node::leaf(at, present.clone())
            } else {
                node.clone()
            }
        }
        _ if at < node.newest => node.clone(),
        _ => build(value, at),
    }
}

/// The nodes of a value where nothing was.
pub(crate) fn build(value: &Value, at: Timestamp) -> Arc<Node> {
    let Value::Object(members) = value else {
        return Node::leaf(at, value.clone());
    };
    let mut children = Children::new();
    for (key, member) in members {
        // Two spellings of one key: as if merged one after the other.
        let before = children.get(&*fold(key)).map(|child| child.node.clone());
        put(&mut children, key, merge(before.as_ref(), member, at));
    }
    Node::container(at, children)
}

pub(crate) fn replace(current: Option<&Arc<Node>>, value: &Value, at: Timestamp) -> Arc<Node> {
    let Some(node) = current else {
        return build(value, at);
    };
    match (&node.content, value) {
        (Content::Leaf(present), _) if present == value => node.clone(),
        (Content::Container(children), Value::Object(members)) => {
            let mut result = children.clone();
            let mut wanted = BTreeSet::new();
            for (key, member) in members {
                let folded = fold(key);
                let child = result.get(&*folded).map(|child| child.node.clone());
                // A second spelling adds to the first, as in a merge.
                let first = wanted.insert(folded.into_owned());
                let child = if first {
                    replace(child.as_ref(), member, at)
                } else {
                    merge(child.as_ref(), member, at)
                };
                put(&mut result, key, child);
            }
            result.retain(|key, _| wanted.contains(&**key));
            let same = result.len() == children.len()
                && result
                    .iter()
                    .zip(children)
                    .all(|(a, b)| Arc::ptr_eq(&a.1.node, &b.1.node));
            if same {
                node.clone()
            } else {
                Node::container(node.at, result)
            }
        }
        _ => build(value, at),
    }
}

pub(crate) fn remove(node: &Arc<Node>, at: Timestamp) -> Option<Arc<Node>> {
    if node.newest <= at {
        return None;
    }
    let Some(children) = node.children() else {
        return Some(node.clone());
    };
    let mut left = Children::new();
    for (key, child) in children {
        if let Some(node) = remove(&child.node, at) {
            left.insert(
                key.clone(),
                Child {
                    written: child.written.clone(),
                    node,
                },
            );
        }
    }
    let same = left.len() == children.len()
        && left
            .iter()
            .zip(children)
            .all(|(a, b)| Arc::ptr_eq(&a.1.node, &b.1.node));
    Some(if same {
        node.clone()
    } else {
        Node::container(node.at, left)
    })
}

/// Changes what is at `path`, making the containers above it when something comes to be there.
pub(crate) fn edit(
    current: Option<&Arc<Node>>,
    path: &[String],
    at: Timestamp,
    change: &mut Edit<'_>,
) -> Option<Arc<Node>> {
    let Some((key, rest)) = path.split_first() else {
        return change(current);
    };
    let children = current.and_then(|node| node.children());
    let folded = fold(key);
    let child = children
        .and_then(|children| children.get(&*folded))
        .map(|child| &child.node);
    let result = edit(child, rest, at, change);
    let mut edited = match (child, &result) {
        (None, None) => return current.cloned(),
        (Some(before), Some(after)) if Arc::ptr_eq(before, after) => return current.cloned(),
        _ => children.cloned().unwrap_or_default(),
    };
    match result {
        Some(node) => put(&mut edited, key, node),
        None => drop(edited.remove(&*folded)),
    }
    let at = current
        .filter(|node| node.children().is_some())
        .map_or(at, |node| node.at);
    Some(Node::container(at, edited))
}
