//! What is wrong with a recipe, or odd about it, and where.

use super::Position;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing wrong or odd.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// The keys down to it, for example `Manifests[0].Lifecycle.Run.Timeout`; empty for the whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem of the file as such, under no key.
    pub(super) fn at(position: Position, message: String) -> Self {
        Self {
            position,
            key: String::new(),
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{line}:{column}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that makes a file no recipe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecipeErrors {
    /// The file, as its reader called it.
    pub source_name: String,
    /// At least one, in the order of the file.
    pub errors: Vec<Problem>,
    /// What else was noticed.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for RecipeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{error}", self.source_name)?;
        }
        Ok(())
    }
}

impl std::error::Error for RecipeErrors {}
