//! Why a deployment failed, in the words of fleet status: codes from the general to the particular, types, a cause for people.

use model::{
    ComponentName,
    error_code::{ErrorCode, ErrorType},
};
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

/// Why a deployment failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// `DEPLOYMENT_FAILURE` first, then ever closer to the cause: the words of [`ErrorCode`].
    pub stack: Vec<String>,
    /// What is at fault: the words of [`ErrorType`].
    pub types: Vec<String>,
    /// For a person: what failed, on what, and what would help.
    pub cause: String,
}

impl Failure {
    /// A failure with the codes under `DEPLOYMENT_FAILURE`; the types follow from them.
    pub fn new(codes: &[ErrorCode], cause: impl Into<String>) -> Self {
        let codes: Vec<_> = [ErrorCode::DeploymentFailure]
            .iter()
            .chain(codes)
            .copied()
            .collect();
        let (stack, types) = ErrorCode::stack(&codes);
        Self {
            stack,
            types,
            cause: cause.into(),
        }
    }

    /// Says that a component is at fault, and whose: Amazon's or the user's own.
    #[must_use]
    pub fn of_component(mut self, component: &ComponentName) -> Self {
        for add in [
            ErrorType::ComponentError,
            ErrorType::of_component(component),
        ] {
            if !self.types.iter().any(|present| present == add.as_str()) {
                self.types.push(add.as_str().to_owned());
            }
        }
        self
    }

    /// A failure to read or write on this device.
    pub fn io(action: &str, path: &Path, source: &io::Error) -> Self {
        let code = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ErrorCode::DiskSpaceCritical
            }
            _ if action.starts_with("read") => ErrorCode::IoReadError,
            _ => ErrorCode::IoWriteError,
        };
        Self::new(
            &[code],
            format!("cannot {action} {}: {source}", path.display()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_component_is_reported_in_the_words_of_fleet_status() {
        let name = ComponentName::new("com.example.A").unwrap();
        let codes = [ErrorCode::ComponentUpdateError, ErrorCode::ComponentBroken];
        let failure = Failure::new(&codes, "x").of_component(&name);
        assert_eq!(
            failure.stack,
            [
                "DEPLOYMENT_FAILURE",
                "COMPONENT_UPDATE_ERROR",
                "COMPONENT_BROKEN"
            ]
        );
        assert_eq!(failure.types, ["COMPONENT_ERROR", "USER_COMPONENT_ERROR"]);
    }
}
