//! Merging a change into one side of a shadow, and the difference between the sides.

use super::{Timestamp, Tree};
use serde_json::{Map, Value, json};

/// Merges `change` into `state`: objects member by member, `null` removes, everything else replaces. `leaves` follows
/// with timestamps. Returns the timestamps of what `change` touched and left in place.
pub(super) fn merge(state: &mut Tree, leaves: &mut Tree, change: &Tree, now: Timestamp) -> Tree {
    let mut touched = Map::new();
    for (key, value) in change {
        match value {
            Value::Null => {
                state.remove(key);
                leaves.remove(key);
            }
            Value::Object(members) => {
                let mut below = take_object(state, key);
                let mut below_leaves = take_object(leaves, key);
                if below.is_empty() {
                    // It was a leaf, or nothing: its timestamp is no member's.
                    below_leaves.clear();
                }
                let below_touched = merge(&mut below, &mut below_leaves, members, now);
                // An object that holds nothing is nothing: AWS IoT keeps no empty objects.
                if below.is_empty() {
                    state.remove(key);
                    leaves.remove(key);
                } else {
                    state.insert(key.clone(), Value::Object(below));
                    leaves.insert(key.clone(), Value::Object(below_leaves));
                }
                if !below_touched.is_empty() {
                    touched.insert(key.clone(), Value::Object(below_touched));
                }
            }
            leaf => {
                let stamp = stamped(leaf, now);
                state.insert(key.clone(), leaf.clone());
                leaves.insert(key.clone(), stamp.clone());
                touched.insert(key.clone(), stamp);
            }
        }
    }
    touched
}

fn take_object(tree: &mut Tree, key: &str) -> Tree {
    match tree.get_mut(key) {
        Some(Value::Object(members)) => std::mem::take(members),
        _ => Map::new(),
    }
}

/// The timestamps of a leaf; a list has one for each element.
fn stamped(leaf: &Value, now: Timestamp) -> Value {
    match leaf {
        Value::Array(elements) => elements
            .iter()
            .map(|element| stamped(element, now))
            .collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), stamped(value, now)))
            .collect(),
        _ => json!({ "timestamp": now }),
    }
}

/// What `desired` has that `reported` has not, or has otherwise. Lists differ as a whole.
pub(super) fn difference(desired: &Tree, reported: &Tree, leaves: &Tree) -> (Tree, Tree) {
    let mut state = Map::new();
    let mut metadata = Map::new();
    for (key, wanted) in desired {
        let stamp = leaves.get(key);
        match (wanted, reported.get(key)) {
            (Value::Object(wanted), Some(Value::Object(has))) => {
                let below = stamp
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default();
                let (below_state, below_metadata) = difference(wanted, has, &below);
                if !below_state.is_empty() {
                    state.insert(key.clone(), Value::Object(below_state));
                    metadata.insert(key.clone(), Value::Object(below_metadata));
                }
            }
            (wanted, has) if has != Some(wanted) => {
                state.insert(key.clone(), wanted.clone());
                if let Some(stamp) = stamp {
                    metadata.insert(key.clone(), stamp.clone());
                }
            }
            _ => {}
        }
    }
    (state, metadata)
}
