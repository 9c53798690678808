//! The tree as a value: pure, immutable, cheap to clone.

use crate::{
    Change, Operation, Timestamp, TreeError, change,
    node::{Children, Node, fold},
};
use serde_json::Value;
use std::{fmt, sync::Arc};

/// A configuration tree at one moment. Clones share everything.
#[derive(Clone)]
pub struct Tree {
    pub(crate) root: Arc<Node>,
}

/// What is at a place of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its path in the keys' stored case.
    pub path: Vec<String>,
    /// The value; of a container, the object of all below.
    pub value: Value,
    /// A leaf holds a value or a list, a container holds keys.
    pub is_leaf: bool,
    /// When it was written; of a container, the latest of all below.
    pub at: Timestamp,
}

impl Tree {
    /// The tree without any key.
    pub fn empty() -> Self {
        Self {
            root: Node::container(0, Children::new()),
        }
    }

    /// The value at a path of keys in any case; an object when there are keys below.
    pub fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<Value> {
        self.node(path).map(|node| node.value())
    }

    /// The value at a path with its timestamp and the path's stored case.
    pub fn entry<S: AsRef<str>>(&self, path: &[S]) -> Option<Entry> {
        let mut node = &self.root;
        let mut written = Vec::with_capacity(path.len());
        for key in path {
            let folded = fold(key.as_ref());
            let child = node.children()?.get(&*folded)?;
            written.push(child.name(&folded).to_owned());
            node = &child.node;
        }
        let is_leaf = node.children().is_none();
        Some(Entry {
            path: written,
            value: node.value(),
            is_leaf,
            at: node.newest,
        })
    }

    /// Whether anything is at the path.
    pub fn contains<S: AsRef<str>>(&self, path: &[S]) -> bool {
        self.node(path).is_some()
    }

    /// The keys below a path, in their stored case; empty for a leaf and where nothing is.
    pub fn keys<S: AsRef<str>>(&self, path: &[S]) -> Vec<String> {
        let children = self.node(path).and_then(|node| node.children());
        children
            .into_iter()
            .flatten()
            .map(|(key, child)| child.name(key).to_owned())
            .collect()
    }

    /// The tree after one operation, and what is different in it. `self` stays as it is.
    pub fn apply(&self, operation: &Operation) -> Result<(Self, Vec<Change>), TreeError> {
        self.apply_all(std::slice::from_ref(operation))
    }

    /// The tree after several operations, all or none, and what is different in the end.
    pub fn apply_all(&self, operations: &[Operation]) -> Result<(Self, Vec<Change>), TreeError> {
        let mut root = self.root.clone();
        for operation in operations {
            root = operation.apply(&root)?;
        }
        let changes = change::between(&self.root, &root);
        Ok((Self { root }, changes))
    }

    /// What is different in `later`, in the order of the tree.
    pub fn changes_to(&self, later: &Self) -> Vec<Change> {
        change::between(&self.root, &later.root)
    }

    pub(crate) fn node<S: AsRef<str>>(&self, path: &[S]) -> Option<&Arc<Node>> {
        let mut node = &self.root;
        for key in path {
            node = &node.children()?.get(&*fold(key.as_ref()))?.node;
        }
        Some(node)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.value())
    }
}
