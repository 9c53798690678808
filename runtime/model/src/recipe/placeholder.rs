//! What project templates write where a build fills something in: `{COMPONENT_NAME}`, `NEXT_PATCH`, `${VERSION}`.

use super::node::{Node, NodeKind};

/// A placeholder whose braces were not quoted, so that YAML reads a mapping: `ComponentVersion: {COMPONENT_VERSION}`.
pub(super) fn unquoted(node: &Node) -> Option<String> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    match entries.as_slice() {
        [only] => match &only.value.kind {
            NodeKind::Null => Some(format!("{{{}}}", only.key)),
            // {{ version }}
            NodeKind::Map(_) if only.key.is_empty() => {
                unquoted(&only.value).map(|inner| format!("{{{inner}}}"))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a text is a word that templates use, though it may be a valid name as well.
pub(super) fn is_word(text: &str) -> bool {
    matches!(
        text,
        "NEXT_PATCH"
            | "NEXT_MINOR"
            | "NEXT_MAJOR"
            | "COMPONENT_NAME"
            | "COMPONENT_VERSION"
            | "LATEST"
            | "VERSION"
    ) || has_marks(text)
}

pub(super) fn has_marks(text: &str) -> bool {
    let pairs = [
        ("{", "}"),
        ("<", ">"),
        ("@", "@"),
        ("[", "]"),
        ("__", "__"),
        ("%", "%"),
    ];
    let is_shouted =
        text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    is_shouted
        || pairs.iter().any(|(open, close)| {
            text.find(open)
                .is_some_and(|at| text[at + open.len()..].contains(close))
                && text.contains(|c: char| c.is_ascii_alphabetic())
        })
        || text.contains('$')
}

/// What to check with in place of a placeholder; `None` when a text that is no valid value is none either.
pub(super) fn stand_in(key: &str, text: &str) -> Option<&'static str> {
    (is_word(text) || has_marks(text)).then_some(if key == "ComponentVersion" {
        "0.0.0"
    } else {
        "COMPONENT_NAME"
    })
}
