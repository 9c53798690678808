//! The operations that change a tree, and their rules.

use crate::{
    TreeError, bounds,
    merge::{edit, merge_at, remove, replace},
    node::{Children, Node},
    reset::reset,
};
use serde_json::Value;
use std::sync::Arc;

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
    /// A pointer to an element of a list is skipped with a warning, as Greengrass does; a malformed one is an error.
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
