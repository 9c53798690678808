//! Configuration put aside for a rollback: the leaves, with their timestamps, of just those parts of the tree that a
//! deployment changes. What other components write meanwhile is theirs and stays.

use configuration::{Operation, Timestamp, Tree};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parts of a tree, leaf by leaf.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The tops of the parts, whether anything was there or not.
    tops: Vec<Vec<String>>,
    leaves: Vec<Leaf>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Leaf {
    path: Vec<String>,
    /// An empty object where a container without keys was.
    value: Value,
    at: Timestamp,
}

impl Saved {
    /// Puts parts of a tree aside.
    pub(crate) fn of(tree: &Tree, tops: impl IntoIterator<Item = Vec<String>>) -> Self {
        let mut saved = Self::default();
        for top in tops {
            if let Some(entry) = tree.entry(&top) {
                collect(tree, entry, &mut saved.leaves);
            }
            saved.tops.push(top);
        }
        saved
    }

    /// What makes those parts again what they were.
    pub(crate) fn restore(&self) -> Vec<Operation> {
        let remove = self.tops.iter().map(|path| Operation::Remove {
            path: path.clone(),
            at: Timestamp::MAX,
        });
        let write = self.leaves.iter().map(|leaf| Operation::Merge {
            path: leaf.path.clone(),
            value: leaf.value.clone(),
            at: leaf.at,
        });
        remove.chain(write).collect()
    }
}

fn collect(tree: &Tree, entry: configuration::Entry, leaves: &mut Vec<Leaf>) {
    let keys = if entry.is_leaf {
        Vec::new()
    } else {
        tree.keys(&entry.path)
    };
    if keys.is_empty() {
        leaves.push(Leaf {
            path: entry.path,
            value: entry.value,
            at: entry.at,
        });
        return;
    }
    for key in keys {
        let mut path = entry.path.clone();
        path.push(key);
        if let Some(child) = tree.entry(&path) {
            collect(tree, child, leaves);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_part_comes_back_with_its_timestamps_and_the_rest_is_left_alone() {
        let merge = |p: &str, value, at| Operation::Merge {
            path: path(p),
            value,
            at,
        };
        let (before, _) = Tree::empty()
            .apply_all(&[
                merge(
                    "services/a",
                    json!({"configuration": {"x": 1, "empty": {}, "list": [1, 2]}}),
                    5,
                ),
                merge("services/a/configuration/x", json!(2), 9),
                merge("services/b/configuration/y", json!(1), 5),
            ])
            .unwrap();
        let saved = Saved::of(&before, [path("services/a"), path("services/c")]);
        let (after, _) = before
            .apply_all(&[
                merge(
                    "services/a/configuration",
                    json!({"x": 3, "new": true, "empty": {"k": 1}}),
                    20,
                ),
                merge("services/b/configuration/y", json!(2), 20),
                merge("services/c/version", json!("1"), 20),
            ])
            .unwrap();
        let (back, _) = after.apply_all(&saved.restore()).unwrap();
        assert_eq!(
            back.get(&path("services/a")),
            before.get(&path("services/a"))
        );
        assert_eq!(
            back.entry(&path("services/a/configuration/x")).unwrap().at,
            9
        );
        assert_eq!(
            back.entry(&path("services/a/configuration/list"))
                .unwrap()
                .at,
            5
        );
        assert_eq!(
            back.get(&path("services/b/configuration/y")),
            Some(json!(2))
        );
        assert!(!back.contains(&path("services/c")));
    }
}
