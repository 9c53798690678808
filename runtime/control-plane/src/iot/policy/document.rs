//! A policy document, read and checked.

use super::{Facts, condition::Condition, pattern::Pattern};
use serde_json::{Map, Value};

/// The longest document, not counting white space outside of strings.
pub const MAX_BYTES: usize = 2048;

/// A policy document that can be evaluated.
#[derive(Clone, Debug)]
pub struct Document {
    statements: Vec<Statement>,
}

/// Why a text is no policy; the words are for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    deny: bool,
    actions: Vec<Pattern>,
    not_actions: bool,
    resources: Vec<Pattern>,
    not_resources: bool,
    conditions: Vec<Condition>,
}

impl Document {
    /// Reads and checks a document.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Malformed(format!("The policy is not JSON: {error}")))?;
        let bytes = value.to_string().len();
        if bytes > MAX_BYTES {
            return Err(Malformed(format!(
                "The policy has {bytes} bytes, at most {MAX_BYTES} are allowed"
            )));
        }
        let Value::Object(document) = value else {
            return malformed("The policy must be an object");
        };
        known(&document, &["Version", "Id", "Statement"], "the policy")?;
        match document.get("Version").and_then(Value::as_str) {
            Some("2012-10-17" | "2008-10-17") => {}
            Some(other) => return malformed(format!("Version '{other}' is not known")),
            None => return malformed("Version is missing"),
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) if !statements.is_empty() => statements
                .iter()
                .map(Statement::read)
                .collect::<Result<_, _>>()?,
            Some(one @ Value::Object(_)) => vec![Statement::read(one)?],
            _ => return malformed("The policy must have at least one Statement"),
        };
        Ok(Self { statements })
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter()
    }
}

impl Statement {
    fn read(value: &Value) -> Result<Self, Malformed> {
        let Value::Object(statement) = value else {
            return malformed("A Statement must be an object");
        };
        let names = [
            "Sid",
            "Effect",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        known(statement, &names, "a Statement")?;
        let deny = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => false,
            Some("Deny") => true,
            _ => return malformed("Effect must be 'Allow' or 'Deny'"),
        };
        let (actions, not_actions) = either(statement, "Action", "NotAction")?;
        let (resources, not_resources) = either(statement, "Resource", "NotResource")?;
        let conditions = match statement.get("Condition") {
            None => Vec::new(),
            Some(Value::Object(conditions)) => {
                Condition::read_all(conditions).map_err(Malformed)?
            }
            Some(_) => return malformed("Condition must be an object"),
        };
        // Actions do not mind case.
        let actions = actions
            .into_iter()
            .map(|action| action.to_ascii_lowercase());
        Ok(Self {
            deny,
            actions: patterns(actions)?,
            not_actions,
            resources: patterns(resources)?,
            not_resources,
            conditions,
        })
    }

    pub(super) fn denies(&self) -> bool {
        self.deny
    }

    pub(super) fn applies(&self, action: &str, resource: &str, facts: &Facts) -> bool {
        let action = action.to_ascii_lowercase();
        let any =
            |patterns: &[Pattern], text: &str| patterns.iter().any(|p| p.matches(text, facts));
        any(&self.actions, &action) != self.not_actions
            && any(&self.resources, resource) != self.not_resources
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(facts))
    }
}

fn either(
    statement: &Map<String, Value>,
    name: &str,
    not: &str,
) -> Result<(Vec<String>, bool), Malformed> {
    match (statement.get(name), statement.get(not)) {
        (Some(value), None) => Ok((texts(value, name)?, false)),
        (None, Some(value)) => Ok((texts(value, not)?, true)),
        (None, None) => malformed(format!("A Statement must have {name}")),
        (Some(_), Some(_)) => malformed(format!("A Statement may not have both {name} and {not}")),
    }
}

fn texts(value: &Value, name: &str) -> Result<Vec<String>, Malformed> {
    let texts = super::condition::texts(value);
    match texts {
        Some(texts) if !texts.is_empty() && texts.iter().all(|text| !text.is_empty()) => Ok(texts),
        _ => malformed(format!("{name} must be a text or a list of texts")),
    }
}

fn patterns(texts: impl IntoIterator<Item = String>) -> Result<Vec<Pattern>, Malformed> {
    let read = |text: String| Pattern::parse(&text).map_err(Malformed);
    texts.into_iter().map(read).collect()
}

fn known(object: &Map<String, Value>, names: &[&str], of: &str) -> Result<(), Malformed> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => malformed(format!("'{key}' is not known in {of}")),
        None => Ok(()),
    }
}

fn malformed<T>(text: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(text.into()))
}
