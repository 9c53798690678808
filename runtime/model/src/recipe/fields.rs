//! Reading mappings key by key: known keys in any case, unknown and doubled ones noticed.

use super::{
    node::{Entry, Node, NodeKind, Position},
    problem::Problem,
};
use std::collections::{HashMap, HashSet};

/// Everything noticed while a recipe is read.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Notes {
    pub(super) fn error(&mut self, at: Position, key: &str, message: impl Into<String>) {
        push(&mut self.errors, at, key, message.into());
    }

    pub(super) fn warn(&mut self, at: Position, key: &str, message: impl Into<String>) {
        push(&mut self.warnings, at, key, message.into());
    }

    /// The entries of a mapping; null stands for an empty one. Anything else is an error.
    pub(super) fn map<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n [Entry]> {
        match &node.kind {
            NodeKind::Map(entries) => Some(entries),
            NodeKind::Null => Some(&[]),
            _ => {
                self.error(
                    node.at,
                    key,
                    format!("must be a mapping, not {}", node.describe()),
                );
                None
            }
        }
    }

    /// The items of a list; null stands for an empty one.
    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n [Node]> {
        match &node.kind {
            NodeKind::List(items) => Some(items),
            NodeKind::Null => Some(&[]),
            _ => {
                let hint = if matches!(node.kind, NodeKind::Map(_)) {
                    "; start each item with \"-\""
                } else {
                    ""
                };
                self.error(
                    node.at,
                    key,
                    format!("must be a list, not {}{hint}", node.describe()),
                );
                None
            }
        }
    }

    /// A single value as text, numbers and booleans as they are written; `None` for null and for what is no single value.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.kind {
            NodeKind::Text(text) | NodeKind::Number(_, text) => Some(text.clone()),
            NodeKind::Bool(value) => Some(value.to_string()),
            NodeKind::Null => None,
            NodeKind::List(_) | NodeKind::Map(_) => {
                let hint = match &node.kind {
                    NodeKind::Map(entries) if looks_like_variable(entries) => {
                        "; a text that starts with \"{\" must stand in quotes"
                    }
                    _ => "",
                };
                self.error(
                    node.at,
                    key,
                    format!("must be a text, not {}{hint}", node.describe()),
                );
                None
            }
        }
    }

    /// Takes a mapping apart by the keys it may have. Unknown keys are warned of, doubled ones refused.
    pub(super) fn fields<'n>(
        &mut self,
        entries: &'n [Entry],
        path: &str,
        known: &'static [&'static str],
    ) -> Fields<'n> {
        let mut found: Vec<(&'static str, &'n Entry)> = Vec::new();
        for entry in entries {
            let Some(name) = known
                .iter()
                .find(|k| k.eq_ignore_ascii_case(&entry.key))
                .copied()
            else {
                let is_attribute = ["os", "architecture", "architecture.detail", "runtime"]
                    .contains(&entry.key.as_str());
                let hint = match closest(&entry.key, known) {
                    _ if is_attribute && known.contains(&"Platform") => {
                        "it belongs below Platform".to_owned()
                    }
                    Some(meant) => format!("did you mean {meant}?"),
                    None => format!("there are {}", known.join(", ")),
                };
                self.warn(
                    entry.key_at,
                    &join(path, &entry.key),
                    format!("this key is unknown and ignored; {hint}"),
                );
                continue;
            };
            if let Some((_, first)) = found.iter().find(|(n, _)| *n == name) {
                // The same spelling twice has been reported for the file as a whole.
                if first.key != entry.key {
                    let message = format!(
                        "is given twice, first in line {} as {}",
                        first.key_at.line, first.key
                    );
                    self.error(entry.key_at, &join(path, &entry.key), message);
                }
                continue;
            }
            found.push((name, entry));
        }
        Fields {
            found,
            path: path.to_owned(),
        }
    }

    /// Keys of a configuration that differ in nothing but their case, which Greengrass's configuration takes for one.
    pub(super) fn keys_alike(&mut self, node: &Node, path: &str) {
        let mut seen = HashMap::new();
        for (key, child) in node.entries() {
            let path = join(path, key.map_or("", |k| k.key.as_str()));
            if let Some(entry) = key
                && let Some(first) = seen.insert(entry.key.to_lowercase(), entry.key.as_str())
                && first != entry.key
            {
                let message = format!(
                    "differs from {first} in nothing but its case: only one of them is kept"
                );
                self.warn(entry.key_at, &path, message);
            }
            self.keys_alike(child, &path);
        }
    }

    /// Keys that stand twice in one mapping, at any depth.
    pub(super) fn doubled_keys(&mut self, node: &Node, path: &str) {
        match &node.kind {
            NodeKind::Map(entries) => {
                let mut seen = HashSet::new();
                for entry in entries {
                    let path = join(path, &entry.key);
                    if !seen.insert(entry.key.as_str()) {
                        let first = entries
                            .iter()
                            .find(|e| e.key == entry.key)
                            .map_or(0, |e| e.key_at.line);
                        self.error(
                            entry.key_at,
                            &path,
                            format!("is given twice, first in line {first}"),
                        );
                    }
                    self.doubled_keys(&entry.value, &path);
                }
            }
            NodeKind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.doubled_keys(item, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }
}

/// The same thing said of the same place is said once: a global lifecycle is read once a manifest.
fn push(list: &mut Vec<Problem>, position: Position, key: &str, message: String) {
    let message = shortened(message);
    let problem = Problem {
        position,
        key: key.to_owned(),
        message,
    };
    // A file full of faults need not be listed to its end.
    if list.len() < 100 && !list.contains(&problem) {
        list.push(problem);
    }
}

/// A message may quote a text of any length; its start and its end tell enough.
fn shortened(message: String) -> String {
    let length = message.chars().count();
    if length <= 600 {
        return message;
    }
    let start: String = message.chars().take(300).collect();
    let end: String = message.chars().skip(length - 200).collect();
    format!("{start} ... {end}")
}

fn looks_like_variable(entries: &[Entry]) -> bool {
    matches!(entries, [only] if matches!(only.value.kind, NodeKind::Null | NodeKind::Text(_)))
}

/// `Manifests[0]` and `Name` give `Manifests[0].Name`. Keys without end are cut: paths are for people.
pub(super) fn join(path: &str, key: &str) -> String {
    let cut = key.char_indices().nth(64).map(|(at, _)| &key[..at]);
    let (key, dots) = cut.map_or((key, ""), |cut| (cut, "..."));
    if path.is_empty() {
        format!("{key}{dots}")
    } else {
        format!("{path}.{key}{dots}")
    }
}

/// The known keys of one mapping.
pub(super) struct Fields<'n> {
    found: Vec<(&'static str, &'n Entry)>,
    path: String,
}

impl<'n> Fields<'n> {
    /// A key's value and the path down to it; `None` when the key is missing.
    pub(super) fn get(&self, name: &str) -> Option<(&'n Node, String)> {
        let (_, entry) = self.found.iter().find(|(n, _)| *n == name)?;
        Some((&entry.value, join(&self.path, name)))
    }
}

/// The known word that a mistyped one is nearest to, if it is near at all.
pub(super) fn closest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    known
        .iter()
        .map(|k| (distance(&word, &k.to_ascii_lowercase()), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 5)
        .map(|(_, k)| k)
}

/// Insertions, deletions and changes from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_finds_the_one_that_was_meant() {
        let known = &["Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv"];
        assert_eq!(closest("Scirpt", known), Some("Script"));
        assert_eq!(closest("Scrpt", known), Some("Script"));
        assert_eq!(
            closest("requirePrivileges", known),
            Some("RequiresPrivilege")
        );
        assert_eq!(closest("SetEnvs", known), Some("Setenv"));
        assert_eq!(closest("Environment", known), None);
    }
}
