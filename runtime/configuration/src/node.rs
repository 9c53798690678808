//! One node of the tree: immutable, shared between the trees that have it in common.

use crate::{
    bounds::{NODE, leaf_size},
    operation::Timestamp,
};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// The children of a container by folded key.
pub(crate) type Children = BTreeMap<Box<str>, Child>;

#[derive(Debug)]
pub(crate) struct Node {
    /// When it was written; of a container, when it came to be.
    pub at: Timestamp,
    /// The latest of this and all below.
    pub newest: Timestamp,
    /// The bytes held here and below, about.
    pub weight: usize,
    pub content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// Anything but an object; objects inside a list belong to the list.
    Leaf(Value),
    Container(Children),
}

#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// The key as first written, where that is not the folded one.
    pub written: Option<Box<str>>,
    pub node: Arc<Node>,
}

impl Child {
    pub fn name<'a>(&'a self, folded: &'a str) -> &'a str {
        self.written.as_deref().unwrap_or(folded)
    }
}

/// The key under which all ways of writing it meet.
pub(crate) fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(key.to_lowercase())
    }
}

impl Node {
    pub fn leaf(at: Timestamp, value: Value) -> Arc<Self> {
        Arc::new(Self {
            at,
            newest: at,
            weight: NODE + leaf_size(&value),
            content: Content::Leaf(value),
        })
    }

    pub fn container(at: Timestamp, children: Children) -> Arc<Self> {
        let newest = children
            .values()
            .map(|child| child.node.newest)
            .fold(at, Timestamp::max);
        let weight = children
            .iter()
            .map(|(key, child)| {
                key.len() + child.written.as_ref().map_or(0, |w| w.len()) + child.node.weight
            })
            .sum::<usize>();
        Arc::new(Self {
            at,
            newest,
            weight: NODE + weight,
            content: Content::Container(children),
        })
    }

    pub fn children(&self) -> Option<&Children> {
        match &self.content {
            Content::Container(children) => Some(children),
            Content::Leaf(_) => None,
        }
    }

    pub fn value(&self) -> Value {
        match &self.content {
            Content::Leaf(value) => value.clone(),
            Content::Container(children) => children
                .iter()
                .map(|(key, child)| (child.name(key).to_owned(), child.node.value()))
                .collect(),
        }
    }
}

/// Puts a child in, keeping the case of a key that is there.
pub(crate) fn put(children: &mut Children, written: &str, node: Arc<Node>) {
    let key = fold(written);
    if let Some(child) = children.get_mut(&*key) {
        child.node = node;
        return;
    }
    let written = (key != written).then(|| written.into());
    children.insert(key.into(), Child { written, node });
}
