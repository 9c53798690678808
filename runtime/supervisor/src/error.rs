//! What can go wrong, by the call it answers.

use model::{ComponentName, State};

/// Why a request about one component was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such component. The caller's fault.
    #[error("component {0} is not on this device")]
    NotFound(ComponentName),
    /// It makes no sense in the component's present state. The caller's fault.
    #[error("cannot {doing} component {name} while it is {state}")]
    State {
        /// Which component.
        name: ComponentName,
        /// "restart", "pause", "report RUNNING for"...
        doing: &'static str,
        /// Its state.
        state: State,
    },
    /// The launcher could not do it, for example because there is no cgroup to freeze.
    #[error("cannot {doing} component {name}: {reason}")]
    Failed {
        /// Which component.
        name: ComponentName,
        /// What was asked.
        doing: &'static str,
        /// What the launcher said.
        reason: String,
    },
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    Closed,
}

/// Why a change was not carried through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A later change took its place before the old processes were down.
    #[error("another change took the place of this one")]
    Superseded,
    /// Processes that outlived SIGKILL: the kernel holds them. The change is carried on when they end.
    #[error("processes of {} do not end", .0.iter().map(ComponentName::as_str).collect::<Vec<_>>().join(", "))]
    Stuck(Vec<ComponentName>),
    /// What is to be remembered could not be read.
    #[error("cannot read the state of components: {0}")]
    Store(String),
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    Closed,
}

/// Why a bootstrap step did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// The script failed.
    #[error("the bootstrap script of {name} {how}{}", crate::machine::tail_text(.stderr))]
    Exit {
        /// Which component.
        name: ComponentName,
        /// "exited with code 3".
        how: String,
        /// Its code, unless a signal ended it.
        code: Option<i32>,
        /// The last lines it wrote to stderr.
        stderr: Vec<String>,
    },
    /// It ran longer than it may.
    #[error("the bootstrap script of {name} timed out after {} s", .after.as_secs())]
    Timeout {
        /// Which component.
        name: ComponentName,
        /// Its limit.
        after: std::time::Duration,
    },
    /// It could not be started.
    #[error("the bootstrap script of {name} could not be started: {reason}")]
    Launch {
        /// Which component.
        name: ComponentName,
        /// Why.
        reason: String,
    },
    /// No user to run it as.
    #[error("the bootstrap script of {0} has no user to run as: set runWithDefault.posixUser")]
    MissingDefaultUser(ComponentName),
    /// The supervisor is shutting down.
    #[error("the supervisor is shutting down")]
    Closed,
}
