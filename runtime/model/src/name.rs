//! Component names: `^[a-zA-Z0-9-_.]+$`, at most 128 characters, as the recipe schema asks.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The name of a component. Cheap to clone; ordered and compared byte by byte.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentName(Arc<str>);

/// Why a text is not a component name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a component name may not be empty")]
    Empty,
    /// Longer than 128 characters.
    #[error("a component name may have at most 128 characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the allowed set.
    #[error("a component name may hold letters, digits, '-', '_' and '.', not {0:?}")]
    Character(char),
    /// `.` or `..`, which would escape the folders named after the component.
    #[error("a component name may not be '.' or '..'")]
    Dots,
}

impl ComponentName {
    /// Checks a text against the recipe schema.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > 128 {
            return Err(NameError::TooLong(text.chars().count()));
        }
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
        {
            return Err(NameError::Character(bad));
        }
        if text == "." || text == ".." {
            return Err(NameError::Dots);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for ComponentName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for ComponentName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<ComponentName> for String {
    fn from(name: ComponentName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl AsRef<str> for ComponentName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ComponentName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_to_the_schema() {
        assert_eq!(
            ComponentName::new("com.example-A_1").unwrap().as_str(),
            "com.example-A_1"
        );
        assert_eq!(ComponentName::new(""), Err(NameError::Empty));
        assert_eq!(ComponentName::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(ComponentName::new(".."), Err(NameError::Dots));
        assert_eq!(
            ComponentName::new(&"a".repeat(129)),
            Err(NameError::TooLong(129))
        );
    }
}
