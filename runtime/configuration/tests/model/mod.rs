//! A plain model of the configuration's rules and random operations for it: slow, obvious, written leaf by leaf.
//! It shares no code with the tree it is compared with.

#![allow(dead_code)] // each test takes its part

use configuration::{Operation, Tree};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// A node of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Leaf {
        value: Value,
        at: u64,
    },
    Container {
        children: Vec<(String, Model)>,
        at: u64,
    },
}

use Model::{Container, Leaf};

fn same_key(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

impl Model {
    pub fn empty() -> Self {
        Container {
            children: Vec::new(),
            at: 0,
        }
    }

    pub fn value(&self) -> Value {
        match self {
            Leaf { value, .. } => value.clone(),
            Container { children, .. } => Value::Object(
                children
                    .iter()
                    .map(|(key, child)| (key.clone(), child.value()))
                    .collect(),
            ),
        }
    }

    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Merge { path, value, at } => self.merge(path, value, *at),
            Operation::Defaults { path, value } => self.merge(path, value, 1),
            Operation::Replace { path, value, at } => {
                let kept = self.find(path).cloned();
                let mut fresh = fresh(value, *at);
                if let Some(kept) = kept {
                    keep_equal_leaves(&mut fresh, &kept);
                }
                self.put(path, fresh, *at);
            }
            Operation::Remove { path, at } => {
                if let Some(node) = self.find_mut(path)
                    && !prune(node, *at)
                {
                    if path.is_empty() {
                        *self = Self::empty();
                    } else {
                        self.cut(path);
                    }
                }
            }
            Operation::Reset {
                path,
                pointers,
                defaults,
            } => {
                for pointer in pointers {
                    let keys: Vec<String> = pointer.split('/').skip(1).map(str::to_owned).collect();
                    self.reset(path, &keys, defaults);
                }
            }
        }
    }

    /// Random pointers need no escapes; those have their own test.
    fn reset(&mut self, path: &[String], keys: &[String], defaults: &Value) {
        let whole: Vec<String> = path.iter().chain(keys).cloned().collect();
        let mut default = Some(defaults);
        for key in keys {
            default = match default {
                Some(Value::Array(_)) => return,
                Some(Value::Object(members)) => members
                    .iter()
                    .find(|(k, _)| same_key(k, key))
                    .map(|(_, v)| v),
                _ => None,
            };
        }
        if default.is_none()
            && (0..whole.len()).any(
                |n| matches!(self.find(&whole[..n]), Some(Leaf { value, .. }) if value.is_array()),
            )
        {
            return;
        }
        let Some(default) = default else {
            return self.cut(&whole);
        };
        let mut fresh = fresh(default, 1);
        if let Some(before) = self.find(&whole) {
            // The case first written stays.
            keep_names(&mut fresh, before);
        }
        self.put(&whole, fresh, 1);
    }

    /// Puts a node in place, by force.
    fn put(&mut self, path: &[String], node: Model, at: u64) {
        self.force_container(path, at);
        self.write(path, &Value::Object(Map::new()), at);
        *self.find_mut(path).expect("just written") = node;
    }

    /// Takes the value apart into leaves (and empty containers) and writes each.
    fn merge(&mut self, path: &[String], value: &Value, at: u64) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    let mut path = path.to_vec();
                    path.push(key.clone());
                    self.merge(&path, member, at);
                }
            }
            leaf_or_empty => self.write(path, leaf_or_empty, at),
        }
    }

    fn write(&mut self, path: &[String], proposed: &Value, at: u64) {
        let Some((key, rest)) = path.split_first() else {
            return self.write_here(proposed, at);
        };
        if let Leaf { at: present, .. } = self {
            if at < *present {
                return;
            }
            *self = Container {
                children: Vec::new(),
                at,
            };
        }
        let Container { children, .. } = self else {
            unreachable!("made one")
        };
        if let Some((_, child)) = children.iter_mut().find(|(k, _)| same_key(k, key)) {
            return child.write(rest, proposed, at);
        }
        let mut node = match (rest.is_empty(), proposed) {
            (true, Value::Object(_)) | (false, _) => Container {
                children: Vec::new(),
                at,
            },
            (true, leaf) => Leaf {
                value: leaf.clone(),
                at,
            },
        };
        if !rest.is_empty() {
            node.write(rest, proposed, at);
        }
        children.push((key.clone(), node));
    }

    fn write_here(&mut self, proposed: &Value, at: u64) {
        match (&mut *self, proposed) {
            (Container { .. }, Value::Object(_)) => {}
            (Leaf { value, at: present }, proposed) if value == proposed => {
                if *present <= 1 && at > 1 {
                    *present = at;
                }
            }
            (node, _) if at < newest(node) => {}
            (node, Value::Object(_)) => {
                *node = Container {
                    children: Vec::new(),
                    at,
                }
            }
            (node, leaf) => {
                *node = Leaf {
                    value: leaf.clone(),
                    at,
                }
            }
        }
    }

    /// Makes what is above the path containers, by force.
    fn force_container(&mut self, path: &[String], at: u64) {
        let mut node = self;
        for key in path {
            if matches!(node, Leaf { .. }) {
                *node = Container {
                    children: Vec::new(),
                    at,
                };
            }
            let Container { children, .. } = node else {
                unreachable!("made one")
            };
            match children.iter().position(|(k, _)| same_key(k, key)) {
                Some(place) => node = &mut children[place].1,
                None => return,
            }
        }
    }

    fn find(&self, path: &[String]) -> Option<&Model> {
        let Some((key, rest)) = path.split_first() else {
            return Some(self);
        };
        let Container { children, .. } = self else {
            return None;
        };
        children
            .iter()
            .find(|(k, _)| same_key(k, key))?
            .1
            .find(rest)
    }

    fn find_mut(&mut self, path: &[String]) -> Option<&mut Model> {
        let Some((key, rest)) = path.split_first() else {
            return Some(self);
        };
        let Container { children, .. } = self else {
            return None;
        };
        children
            .iter_mut()
            .find(|(k, _)| same_key(k, key))?
            .1
            .find_mut(rest)
    }

    /// Removes what is at the path.
    fn cut(&mut self, path: &[String]) {
        let Some((last, above)) = path.split_last() else {
            *self = Self::empty();
            return;
        };
        if let Some(Container { children, .. }) = self.find_mut(above) {
            children.retain(|(key, _)| !same_key(key, last));
        }
    }
}

fn fresh(value: &Value, at: u64) -> Model {
    match value {
        Value::Object(members) => Container {
            children: members
                .iter()
                .map(|(key, member)| (key.clone(), fresh(member, at)))
                .collect(),
            at,
        },
        leaf => Leaf {
            value: leaf.clone(),
            at,
        },
    }
}

fn newest(node: &Model) -> u64 {
    match node {
        Leaf { at, .. } => *at,
        Container { children, at } => children
            .iter()
            .map(|(_, child)| newest(child))
            .fold(*at, u64::max),
    }
}

/// Drops what is not newer; whether anything is left.
fn prune(node: &mut Model, at: u64) -> bool {
    if newest(node) <= at {
        return false;
    }
    if let Container { children, .. } = node {
        children.retain_mut(|(_, child)| prune(child, at));
    }
    true
}

fn keep_equal_leaves(fresh: &mut Model, kept: &Model) {
    match (fresh, kept) {
        (
            Leaf { value, at },
            Leaf {
                value: before,
                at: then,
            },
        ) if value == before => *at = *then,
        (
            Container { children, at },
            Container {
                children: before,
                at: then,
            },
        ) => {
            *at = *then;
            for (key, child) in children {
                if let Some((name, before)) = before.iter().find(|(k, _)| same_key(k, key)) {
                    *key = name.clone();
                    keep_equal_leaves(child, before);
                }
            }
        }
        _ => {}
    }
}

fn keep_names(after: &mut Model, before: &Model) {
    if let (
        Container { children, .. },
        Container {
            children: before, ..
        },
    ) = (after, before)
    {
        for (key, child) in children {
            if let Some((name, before)) = before.iter().find(|(k, _)| same_key(k, key)) {
                *key = name.clone();
                keep_names(child, before);
            }
        }
    }
}

/// What a reader can see: every value, the stored case, the newest timestamp of each place.
pub fn assert_same(tree: &Tree, model: &Model) {
    fn compare(tree: &Tree, model: &Model, path: &mut Vec<String>) {
        let entry = tree
            .entry(path)
            .unwrap_or_else(|| panic!("{path:?} is missing"));
        assert_eq!(entry.at, newest(model), "the time of {path:?}");
        assert_eq!(entry.is_leaf, matches!(model, Leaf { .. }), "{path:?}");
        if let Container { children, .. } = model {
            for (key, child) in children {
                path.push(key.clone());
                compare(tree, child, path);
                path.pop();
            }
        }
    }
    assert_eq!(tree.get::<String>(&[]).unwrap(), model.value());
    compare(tree, model, &mut Vec::new());
}

/// Few keys, so that operations meet; some differ in case only.
fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "A", "b", "B", "a-b", "c/d", "~", "", "é", "É"])
        .prop_map(str::to_owned)
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |f| f.is_finite())
            .prop_map(Value::from),
        "[a-zA-Z'\"/é\\x00]{0,4}".prop_map(Value::from),
        prop::collection::vec((0..3i64).prop_map(Value::from), 0..3).prop_map(Value::from),
        Just(serde_json::json!([{"a": 1, "A": {"x": [0.1]}}])),
    ]
}

/// One spelling of a key in an object; several spellings have their own test.
pub fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec((key(), inner), 0..4).prop_map(|members| {
            let mut object = Map::new();
            for (key, member) in members {
                if !object.keys().any(|present| same_key(present, &key)) {
                    object.insert(key, member);
                }
            }
            Value::Object(object)
        })
    })
}

fn path() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(key(), 1..4)
}

fn at() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 0..8u64, 1 => Just(u64::MAX), 1 => Just(1_700_000_000_000)]
}

fn pointer() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec!["a", "A", "b", "a-b", "", "é", "0"]);
    prop::collection::vec(plain, 0..3)
        .prop_map(|keys| keys.iter().map(|key| format!("/{key}")).collect())
}

pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => (path(), value(), at()).prop_map(|(path, value, at)| Operation::Merge { path, value, at }),
        2 => (path(), value()).prop_map(|(path, value)| Operation::Defaults {
            path,
            value: if value.is_null() { Value::Object(Map::new()) } else { value },
        }),
        2 => (path(), prop::collection::vec(pointer(), 0..3), object()).prop_map(|(path, pointers, defaults)| {
            Operation::Reset { path, pointers, defaults }
        }),
        2 => (path(), value(), at()).prop_map(|(path, value, at)| Operation::Replace { path, value, at }),
        1 => (path(), at()).prop_map(|(path, at)| Operation::Remove { path, at }),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    value().prop_map(|value| {
        if value.is_object() {
            value
        } else {
            Value::Object(Map::new())
        }
    })
}
