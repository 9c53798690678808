//! How deep and how large configuration may be: far above what recipes hold, low enough to stay alive on a small device.

use crate::TreeError;
use serde_json::Value;

/// Levels of keys and lists, counted from the root.
pub const MAX_DEPTH: usize = 64;
/// Bytes in one key.
pub const MAX_KEY: usize = 1024;
/// Bytes in one leaf, about.
pub const MAX_LEAF: usize = 128 * 1024;
/// Bytes in the whole tree, about.
pub const MAX_TREE: usize = 8 * 1024 * 1024;
/// Bytes one component may fill through its own updates, about.
pub const MAX_COMPONENT: usize = 512 * 1024;

/// What one node costs beside its key and value, about.
pub(crate) const NODE: usize = 48;

/// Refuses a value at a path that goes beyond a bound.
pub(crate) fn check(path: &[String], value: &Value) -> Result<(), TreeError> {
    if path.len() > MAX_DEPTH {
        return Err(TreeError::TooDeep {
            path: path.to_vec(),
        });
    }
    if path.iter().any(|key| key.len() > MAX_KEY) {
        return Err(TreeError::KeyTooLong {
            path: path.to_vec(),
        });
    }
    check_value(&mut path.to_vec(), value)
}

fn check_value(path: &mut Vec<String>, value: &Value) -> Result<(), TreeError> {
    let Value::Object(members) = value else {
        if size(value, MAX_DEPTH.saturating_sub(path.len())).is_none_or(|size| size > MAX_LEAF) {
            return Err(TreeError::TooLarge {
                path: path.clone(),
                limit: MAX_LEAF,
            });
        }
        return Ok(());
    };
    for (key, member) in members {
        path.push(key.clone());
        if path.len() > MAX_DEPTH {
            return Err(TreeError::TooDeep { path: path.clone() });
        }
        if key.len() > MAX_KEY {
            return Err(TreeError::KeyTooLong { path: path.clone() });
        }
        check_value(path, member)?;
        path.pop();
    }
    Ok(())
}

/// The bytes a leaf's value takes, about; `None` when it is nested deeper than `levels`.
fn size(value: &Value, levels: usize) -> Option<usize> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(16),
        Value::String(text) => Some(16 + text.len()),
        Value::Array(items) => {
            let levels = levels.checked_sub(1)?;
            items
                .iter()
                .try_fold(32, |sum, item| Some(sum + size(item, levels)?))
        }
        Value::Object(members) => {
            let levels = levels.checked_sub(1)?;
            members.iter().try_fold(32, |sum, (key, item)| {
                Some(sum + NODE + key.len() + size(item, levels)?)
            })
        }
    }
}

/// [`size`] of a value that was checked before.
pub(crate) fn leaf_size(value: &Value) -> usize {
    size(value, MAX_DEPTH + 1).unwrap_or(MAX_LEAF)
}
