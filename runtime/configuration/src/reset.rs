//! Back to the defaults: the reset part of a deployment's configuration update.

use crate::{
    TreeError, bounds,
    merge::{build, edit, merge, replace},
    node::{Child, Children, Content, Node, fold, put},
    operation::DEFAULT_AT,
    pointer::parse_pointer,
};
use serde_json::Value;
use std::sync::Arc;

pub(crate) fn reset(
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
        let whole: Vec<String> = path.iter().chain(&keys).cloned().collect();
        let default = match find(defaults, &keys) {
            // Reset as a whole, without any default: empty, not gone.
            Found::None | Found::Value(Value::Null) if keys.is_empty() => Some(&empty),
            Found::Value(default) => Some(default),
            Found::None
                if !root
                    .as_ref()
                    .is_some_and(|root| leads_into_list(root, &whole)) =>
            {
                None
            }
            Found::None | Found::ListElement => {
                log::warn!(
                    "not reset: {pointer:?} names an element of a list; a list is reset as a whole"
                );
                continue;
            }
        };
        root = edit(root.as_ref(), &whole, DEFAULT_AT, &mut |current| {
            default.map(|default| restart(current, default))
        });
    }
    Ok(root)
}

/// What a way of keys finds in a value.
enum Found<'a> {
    Value(&'a Value),
    ListElement,
    None,
}

fn find<'a>(value: &'a Value, keys: &[String]) -> Found<'a> {
    let mut value = value;
    for key in keys {
        let members = match value {
            Value::Object(members) => members,
            Value::Array(_) => return Found::ListElement,
            _ => return Found::None,
        };
        let key = fold(key);
        // Of two spellings the later one wins, as in a merge.
        let Some((_, member)) = members.iter().rev().find(|(name, _)| fold(name) == key) else {
            return Found::None;
        };
        value = member;
    }
    Found::Value(value)
}

fn leads_into_list(root: &Arc<Node>, path: &[String]) -> bool {
    let mut node = root;
    for key in path {
        match &node.content {
            Content::Leaf(value) => return value.is_array(),
            Content::Container(children) => match children.get(&*fold(key)) {
                Some(child) => node = &child.node,
                None => return false,
            },
        }
    }
    false
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
                    let before = result.get(&*folded).map(|child: &Child| child.node.clone());
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
