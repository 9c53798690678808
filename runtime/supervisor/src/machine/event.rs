//! What happens to a component, and what is to be done about it.

use super::Moment;
use crate::launcher::{Outcome, StepKind};
use model::{ComponentSpec, State, SystemLimits, component::Action};
use std::sync::Arc;

/// Something happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// It should run, with this spec. Also takes it out of BROKEN and of a stop by request.
    Set {
        /// What to run.
        spec: Arc<ComponentSpec>,
        /// What that asks for; raised to the difference between the specs.
        action: Action,
    },
    /// Restart by request.
    Restart,
    /// A HARD dependency is not up any more.
    DependencyLost,
    /// Stop and stay down.
    Stop {
        /// Only after its dependers are down: the whole runtime stops.
        orderly: bool,
    },
    /// Stop and uninstall.
    Remove,
    /// What it waited for has come: its dependencies are up, or its dependers down.
    Go,
    /// It said with `UpdateState` that it is up.
    ReportRunning,
    /// It said with `UpdateState` that it failed.
    ReportErrored,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// The launcher did or did not freeze it.
    Frozen(bool),
    /// A process is under way.
    Spawned {
        /// Which launch.
        attempt: u64,
        /// Its process.
        pid: u32,
    },
    /// Its `Skipif` held.
    Skipped {
        /// Which launch.
        attempt: u64,
    },
    /// A process could not be started.
    NotSpawned {
        /// Which launch.
        attempt: u64,
        /// Why.
        fault: Fault,
    },
    /// A process ended.
    Exited {
        /// Which launch.
        attempt: u64,
        /// How.
        outcome: Outcome,
        /// The last lines it wrote to stderr.
        stderr: Vec<String>,
    },
    /// [`Effect::Kill`] is done: nothing lives (`true`), or something may.
    Down(bool),
    /// The time [`Machine::deadline`](super::Machine::deadline) gave has come.
    Deadline,
}

/// Why a process could not be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Neither the component nor the configuration names a user.
    MissingDefaultUser,
    /// The launcher found the request wrong: an unknown user, a bad path.
    Config(String),
    /// The system refused.
    Io(String),
}

/// To be carried out, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Run a step: [`Event::Spawned`], [`Event::Skipped`] or [`Event::NotSpawned`] answers.
    Launch {
        /// Which launch this is.
        attempt: u64,
        /// Which step.
        step: StepKind,
        /// Of what.
        spec: Arc<ComponentSpec>,
    },
    /// End every process of the component: [`Event::Down`] answers.
    Kill,
    /// Freeze it: [`Event::Frozen`] answers.
    Freeze,
    /// Thaw it.
    Thaw,
    /// New limits for what runs.
    Limit(SystemLimits),
}

/// The machine does not take this event now. A late answer to something that was given up is refused too; only a
/// caller's wish is worth an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Not in this state.
    #[error("not while {0}")]
    State(State),
    /// It belongs to a launch or kill that is over.
    #[error("too late")]
    Stale,
    /// The deadline is later.
    #[error("too early")]
    Early(Option<Moment>),
}
