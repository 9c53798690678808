//! The operations that change a tree, and their rules.

use crate::{
    TreeError, bounds,
    node::{Children, Content, Node, fold, put},
    pointer::parse_pointer,
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// Milliseconds since 1970.
pub type Timestamp = u64;

/// The timestamp of a recipe's default values.
pub const DEFAULT_AT: Timestamp = 1;

/// One change of the tree. Keys match in any case; the case first written stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Writes each leaf of `value` that is not older than what it meets. Lists are leaves and are replaced whole, null is a
    /// value, a leaf and a container replace each other. An equal value is left alone, except that a default which is
    /// confirmed becomes a set value.
    Merge {
        /// Where.
        path: Vec<String>,
        /// What; an object merges key by key.
        value: Value,
        /// When it was said.
        at: Timestamp,
    },
    /// Merges a recipe's default values, at [`DEFAULT_AT`]: what was set later stays, older defaults give way.
    Defaults {
        /// Where.
        path: Vec<String>,
        /// The defaults.
        value: Value,
    },
    /// Sets what each pointer names back to its default, or removes it when there is none. Timestamps are forgotten.
    Reset {
        /// What the pointers start from.
        path: Vec<String>,
        /// JSON pointers; `""` resets all.
        pointers: Vec<String>,
        /// The defaults of all at `path`; null when there are none.
        defaults: Value,
    },
    /// Makes the value at `path` exactly this, whatever was there and however new. Equal leaves keep their timestamp.
    Replace {
        /// Where.
        path: Vec<String>,
        /// What.
        value: Value,
        /// The timestamp of leaves that change.
        at: Timestamp,
    },
    /// Removes what is at `path` and not newer than `at`. Nothing remembers it: what comes later there starts anew.
    Remove {
        /// Where.
        path: Vec<String>,
        /// `Timestamp::MAX` removes all.
        at: Timestamp,
    },
}

impl Operation {
    /// The root after this operation. What is not changed is shared with the old one.
    pub(crate) fn apply(&self, root: &Arc<Node>) -> Result<Arc<Node>, TreeError> {
        let changed = match self {
            Self::Merge { path, value, at } => merge_at(root, path, value, *at)?,
            Self::Defaults { path, value } => merge_at(root, path, value, DEFAULT_AT)?,
            Self::Reset {
                path,
                pointers,
                defaults,
            } => reset(root, path, pointers, defaults)?,
            Self::Replace { path, value, at } => {
                bounds::check(path, value)?;
                edit(Some(root), path, *at, &mut |current| {
                    Some(replace(current, value, *at))
                })
            }
            Self::Remove { path, at } => {
                edit(Some(root), path, *at, &mut |current| remove(current?, *at))
            }
        };
        let changed = changed.unwrap_or_else(|| Node::container(0, Children::new()));
        if changed.children().is_none() {
            return Err(TreeError::RootIsNoObject);
        }
        if changed.weight > bounds::MAX_TREE && changed.weight > root.weight {
            return Err(TreeError::TooLarge {
                path: Vec::new(),
                limit: bounds::MAX_TREE,
            });
        }
        Ok(changed)
    }
}

fn merge_at(
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

fn merge(current: Option<&Arc<Node>>, value: &Value, at: Timestamp) -> Arc<Node> {
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
fn build(value: &Value, at: Timestamp) -> Arc<Node> {
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

fn replace(current: Option<&Arc<Node>>, value: &Value, at: Timestamp) -> Arc<Node> {
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

fn remove(node: &Arc<Node>, at: Timestamp) -> Option<Arc<Node>> {
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
                crate::node::Child {
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

fn reset(
    root: &Arc<Node>,
    path: &[String],
    pointers: &[String],
    defaults: &Value,
) -> Result<Option<Arc<Node>>, TreeError> {
    bounds::check(path, defaults)?;
    let empty = Value::Object(serde_json::Map::new());
    let mut root = Some(root.clone());
    for pointer in pointers {
        let keys = parse_pointer(pointer).ok_or_else(|| TreeError::Pointer {
            pointer: pointer.clone(),
        })?;
        let list = |above: usize| TreeError::ListElement {
            pointer: pointer.clone(),
            list: path.iter().chain(&keys[..above]).cloned().collect(),
        };
        let default = match find(defaults, &keys).map_err(list)? {
            // Reset as a whole, without any default: empty, not gone.
            None | Some(Value::Null) if keys.is_empty() => Some(&empty),
            found => found,
        };
        let whole: Vec<String> = path.iter().chain(&keys).cloned().collect();
        if let Some(root) = &root
            && let Some(above) = list_on_the_way(root, &whole)
            && default.is_none()
        {
            return Err(list(above.saturating_sub(path.len())));
        }
        root = edit(root.as_ref(), &whole, DEFAULT_AT, &mut |current| {
            default.map(|default| restart(current, default))
        });
    }
    Ok(root)
}

/// A member of a value by keys in any case; an error when the way leads into a list, whose path has that many keys.
fn find<'a>(value: &'a Value, keys: &[String]) -> Result<Option<&'a Value>, usize> {
    let mut value = value;
    for (above, key) in keys.iter().enumerate() {
        let members = match value {
            Value::Object(members) => members,
            Value::Array(_) => return Err(above),
            _ => return Ok(None),
        };
        let key = fold(key);
        let Some((_, member)) = members.iter().find(|(name, _)| fold(name) == key) else {
            return Ok(None);
        };
        value = member;
    }
    Ok(Some(value))
}

/// How many keys lead to a list that `path` goes through.
fn list_on_the_way(root: &Arc<Node>, path: &[String]) -> Option<usize> {
    let mut node = root;
    for (above, key) in path.iter().enumerate() {
        match &node.content {
            Content::Leaf(Value::Array(_)) => return Some(above),
            Content::Leaf(_) => return None,
            Content::Container(children) => node = &children.get(&*fold(key))?.node,
        }
    }
    None
}

/// The default value with the timestamp of defaults all over. What is the same already is kept.
fn restart(current: Option<&Arc<Node>>, default: &Value) -> Arc<Node> {
    match current {
        Some(node) if node.newest <= DEFAULT_AT => replace(Some(node), default, DEFAULT_AT),
        Some(node) => match (&node.content, default) {
            (Content::Container(children), Value::Object(members)) => {
                let mut result = Children::new();
                for (key, member) in members {
                    let folded = fold(key);
                    let present = children.get(&*folded);
                    // The case first written stays, here too.
                    let name = present.map_or(key.as_str(), |child| child.name(&folded));
                    let before = result
                        .get(&*folded)
                        .map(|child: &crate::node::Child| child.node.clone());
                    let node = match before {
                        Some(before) => merge(Some(&before), member, DEFAULT_AT),
                        None => restart(present.map(|child| &child.node), member),
                    };
                    put(&mut result, name, node);
                }
                Node::container(DEFAULT_AT, result)
            }
            _ => build(default, DEFAULT_AT),
        },
        None => build(default, DEFAULT_AT),
    }
}

/// Changes what is at `path`, making the containers above it when something comes to be there.
fn edit(
    current: Option<&Arc<Node>>,
    path: &[String],
    at: Timestamp,
    change: &mut dyn FnMut(Option<&Arc<Node>>) -> Option<Arc<Node>>,
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
