//! Why the launcher did not do what it was asked. Travels over the socket, so sources are kept as text.

use super::UnitId;
use serde::{Deserialize, Serialize};

/// Why a request failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum LaunchError {
    /// The request itself is wrong: a path outside the root, a name with a slash. The caller's fault.
    #[error("refused: {0}")]
    Refused(String),
    /// A unit of this name lives.
    #[error("{0} runs already")]
    Exists(UnitId),
    /// No unit of this name.
    #[error("{0} does not run")]
    NotFound(String),
    /// The user or group does not exist here, or the launcher may not become it.
    #[error("cannot run as {user:?}: {reason}")]
    User {
        /// As given.
        user: String,
        /// Why not.
        reason: String,
    },
    /// The process could not be started: no such shell, no work folder.
    #[error("cannot start {id}: {reason}")]
    Start {
        /// Which unit.
        id: UnitId,
        /// What failed.
        reason: String,
    },
    /// This machine has no means to do it.
    #[error("not possible here: {0}")]
    Unsupported(String),
    /// The system refused or failed.
    #[error("{doing}: {reason}")]
    System {
        /// What was being done, and on what.
        doing: String,
        /// What the system said.
        reason: String,
    },
    /// The launcher cannot be reached, or went away before it answered.
    #[error("the launcher does not answer: {0}")]
    Disconnected(String),
}
