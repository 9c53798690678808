//! What is known about a connection, under the names that policies use.

use std::collections::BTreeMap;

/// Values of policy variables and condition keys. Names do not mind case.
#[derive(Clone, Debug, Default)]
pub struct Facts(BTreeMap<String, Vec<String>>);

impl Facts {
    /// Adds a value; a key may have several (`iot:ConnectAttributes`).
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.add(key, value);
        self
    }

    /// Adds a value in place.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        let values = self.0.entry(key.to_ascii_lowercase()).or_default();
        values.push(value.into());
    }

    /// Makes a key known that has no values: `iot:ConnectAttributes` of a plain connection.
    #[must_use]
    pub fn with_none(mut self, key: &str) -> Self {
        self.0.entry(key.to_ascii_lowercase()).or_default();
        self
    }

    /// The values of a key; `None` when it is not known.
    pub(super) fn values(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// The value for a variable: only where there is exactly one.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        match self.values(name)? {
            [one] => Some(one),
            _ => None,
        }
    }
}
