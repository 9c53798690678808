//! A value of a recipe with the place it stands at: what both syntaxes are read into.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// Line and column, both from 1; a column counts characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Position {
    /// The start of the file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// From a line counted from 1 and a column counted from 0, as parsers have them.
    pub(super) fn new(line: usize, column: usize) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: number(line.max(1)),
            column: number(column).saturating_add(1),
        }
    }
}

/// How deep values may nest.
pub(super) const MAX_DEPTH: usize = 100;
/// How many values a recipe may hold, aliases counted in full.
pub(super) const MAX_NODES: usize = 200_000;

/// A value and where it starts.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it starts.
    pub at: Position,
    /// What it is.
    pub kind: NodeKind,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum NodeKind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with the text it was written as: `1.10` is not `1.1` where a version is wanted.
    Number(Number, String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The key, as written.
    pub key: String,
    /// Where the key stands.
    pub key_at: Position,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The value without its places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(b) => Value::Bool(*b),
            NodeKind::Number(n, _) => Value::Number(n.clone()),
            NodeKind::Text(t) => Value::String(t.clone()),
            NodeKind::List(items) => items.iter().map(Node::to_value).collect(),
            NodeKind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|e| (e.key.clone(), e.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Nothing, or a mapping or list without content.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            NodeKind::Null => true,
            NodeKind::Map(entries) => entries.is_empty(),
            NodeKind::List(items) => items.is_empty(),
            _ => false,
        }
    }

    /// The entry of a mapping under a key, in any case.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            NodeKind::Map(entries) => entries.iter().find(|e| e.key.eq_ignore_ascii_case(key)),
            _ => None,
        }
    }

    /// The values of a list or a mapping, the latter with their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Option<&Entry>, &Node)> {
        let (items, entries): (&[Node], &[Entry]) = match &self.kind {
            NodeKind::List(items) => (items, &[]),
            NodeKind::Map(entries) => (&[], entries),
            _ => (&[], &[]),
        };
        items
            .iter()
            .map(|i| (None, i))
            .chain(entries.iter().map(|e| (Some(e), &e.value)))
    }

    /// The values of a list or a mapping.
    pub(super) fn children(&self) -> impl Iterator<Item = &Node> {
        self.entries().map(|(_, child)| child)
    }

    /// Its kind, for a complaint: "a text", "a list"...
    pub fn describe(&self) -> &'static str {
        match self.kind {
            NodeKind::Null => "nothing",
            NodeKind::Bool(_) => "true or false",
            NodeKind::Number(..) => "a number",
            NodeKind::Text(_) => "a text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}
