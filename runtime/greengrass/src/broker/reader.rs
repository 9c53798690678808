//! Typed reading of a configuration file: every complaint names file, line and key, and what was expected; all are told at once.

use model::recipe::{Node, NodeKind, Position, Problem, RecipeErrors};
use std::{
    cell::RefCell,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes one.
    pub fn add(&self, position: Position, key: &str, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            position,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Ok when there are none.
    pub fn finish(self, file: &Path) -> Result<(), RecipeErrors> {
        let mut errors = self.0.into_inner();
        errors.sort_by_key(|problem| problem.position);
        if errors.is_empty() {
            return Ok(());
        }
        Err(RecipeErrors {
            source_name: file.display().to_string(),
            errors,
            warnings: Vec::new(),
        })
    }
}

/// A value and the keys that lead to it.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    node: &'a Node,
    key: String,
    problems: &'a Problems,
}

impl<'a> Field<'a> {
    /// The whole file.
    pub fn root(node: &'a Node, problems: &'a Problems) -> Self {
        Self {
            node,
            key: String::new(),
            problems,
        }
    }

    /// Complains about this value.
    pub fn wrong(&self, message: impl Into<String>) {
        self.problems.add(self.node.at, &self.key, message);
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.wrong(format!("expected {what}, found {}", found(&self.node.kind)));
        None
    }

    /// A text. Numbers are taken as they are written.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            NodeKind::Text(text) | NodeKind::Number(_, text) => Some(text),
            _ => self.expected("a text"),
        }
    }

    /// A text with something in it.
    pub fn some_text(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            return self.expected("a text that is not empty");
        }
        Some(text)
    }

    /// A path, relative ones from `folder`.
    pub fn path(&self, folder: &Path) -> Option<PathBuf> {
        self.some_text().map(|text| folder.join(text))
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.node.kind {
            NodeKind::Bool(value) => Some(value),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number within bounds.
    pub fn number<T>(&self, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<u64> + PartialOrd + std::fmt::Display,
    {
        let number = match &self.node.kind {
            NodeKind::Number(number, _) => number.as_u64().and_then(|n| T::try_from(n).ok()),
            _ => None,
        };
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => self.expected(&format!(
                "a number from {} to {}",
                bounds.start(),
                bounds.end()
            )),
        }
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = match &self.node.kind {
            NodeKind::Text(text) | NodeKind::Number(_, text) => Some(text.as_str()),
            _ => None,
        };
        match words.iter().find(|(word, _)| Some(*word) == text) {
            Some((_, value)) => Some(*value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.expected(&words.join(" or "))
            }
        }
    }

    /// A list; a single value counts as a list of one.
    pub fn list(&self) -> Vec<Self> {
        let items = match &self.node.kind {
            NodeKind::List(items) => items.as_slice(),
            NodeKind::Null => &[],
            _ => std::slice::from_ref(self.node),
        };
        let field = |(at, node)| Field {
            node,
            key: format!("{}[{at}]", self.key),
            problems: self.problems,
        };
        items.iter().enumerate().map(field).collect()
    }

    /// A mapping, read by its keys.
    pub fn map(&self) -> Option<Keys<'a>> {
        match &self.node.kind {
            NodeKind::Map(_) => Some(Keys {
                of: self.clone(),
                known: Vec::new(),
            }),
            _ => self.expected("a mapping"),
        }
    }
}

fn found(kind: &NodeKind) -> String {
    match kind {
        NodeKind::Null => "nothing".into(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Number(_, text) => text.clone(),
        // Whatever it is, it may be a secret in the wrong place, so only short words are repeated.
        NodeKind::Text(text) if text.len() <= 20 => format!("'{text}'"),
        NodeKind::Text(_) => "a text".into(),
        NodeKind::List(_) => "a list".into(),
        NodeKind::Map(_) => "a mapping".into(),
    }
}

/// A mapping that is being read; in the end, keys nobody asked for are complained about.
#[derive(Debug)]
pub struct Keys<'a> {
    of: Field<'a>,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    /// The value under a key; a key without a value counts as absent.
    pub fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let NodeKind::Map(entries) = &self.of.node.kind else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        if entry.value.kind == NodeKind::Null {
            return None;
        }
        let key = match self.of.key.as_str() {
            "" => key.to_owned(),
            above => format!("{above}.{key}"),
        };
        Some(Field {
            node: &entry.value,
            key,
            problems: self.of.problems,
        })
    }

    /// As [`Keys::get`], complaining when it is missing.
    pub fn need(&mut self, key: &'static str, what: &str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            self.of.wrong(format!("'{key}' is missing: {what}"));
        }
        field
    }

    /// Complains about the mapping as such.
    pub fn wrong(&self, message: impl Into<String>) {
        self.of.wrong(message);
    }

    /// Complains about keys that mean nothing.
    pub fn finish(self) {
        let NodeKind::Map(entries) = &self.of.node.kind else {
            return;
        };
        for entry in entries {
            if !self.known.contains(&entry.key.as_str()) {
                let known = self.known.join(", ");
                let message = format!("unknown key '{}'; there are {known}", entry.key);
                (self.of.problems).add(entry.key_at, &self.of.key, message);
            }
        }
    }
}
