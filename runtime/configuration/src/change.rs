//! What is different between two trees.

use crate::node::{Content, Node};
use std::sync::Arc;

/// One value that is different.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// From the root, in the keys' stored case.
    pub path: Vec<String>,
    /// What happened there.
    pub kind: ChangeKind,
}

/// What happened to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It has a new value: a leaf, or a container that came or became empty.
    Set,
    /// It and all below it are gone.
    Removed,
}

/// Leaves that differ, and the topmost of what is gone. Timestamps alone are no change.
pub(crate) fn between(old: &Arc<Node>, new: &Arc<Node>) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(Some(old), Some(new), &mut Vec::new(), &mut changes);
    changes
}

fn compare(
    old: Option<&Arc<Node>>,
    new: Option<&Arc<Node>>,
    path: &mut Vec<String>,
    changes: &mut Vec<Change>,
) {
    let mut push = |kind| {
        changes.push(Change {
            path: path.clone(),
            kind,
        })
    };
    let Some(new) = new else {
        if old.is_some() {
            push(ChangeKind::Removed);
        }
        return;
    };
    if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
        return;
    }
    let before = old.map(|old| &old.content);
    let children = match (&new.content, before) {
        (Content::Leaf(value), Some(Content::Leaf(before))) if value == before => return,
        (Content::Leaf(_), _) => return push(ChangeKind::Set),
        (Content::Container(children), Some(Content::Container(_))) => children,
        (Content::Container(children), _) if children.is_empty() => return push(ChangeKind::Set),
        (Content::Container(children), _) => children,
    };
    let old_children = old.and_then(|old| old.children());
    for (key, child) in children {
        path.push(child.name(key).to_owned());
        let before = old_children.and_then(|c| c.get(key)).map(|c| &c.node);
        compare(before, Some(&child.node), path, changes);
        path.pop();
    }
    for (key, child) in old_children
        .into_iter()
        .flatten()
        .filter(|(key, _)| !children.contains_key(*key))
    {
        path.push(child.name(key).to_owned());
        compare(Some(&child.node), None, path, changes);
        path.pop();
    }
}
