//! The state of one component.

use super::{Errors, Moment, Origin};
use crate::launcher::StepKind;
use model::{ComponentSpec, ComponentStatus, State, StatusCode, component::Action};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// All there is to know of one component.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// What runs, or ran last. Its scripts are used until everything is down.
    pub spec: Arc<ComponentSpec>,
    /// Takes the place of `spec` once everything is down.
    pub next: Option<Arc<ComponentSpec>>,
    /// Where it should be.
    pub goal: Goal,
    /// What to do once everything is down, beyond what the phase says.
    pub redo: Action,
    /// Where it is.
    pub phase: Phase,
    /// Its errors.
    pub errors: Errors,
    /// What went wrong last; empty when all is well.
    pub failure: Failure,
    /// `spec` has been installed with success.
    pub installed: bool,
    /// The startup or run step of `spec` that was launched last, until everything is down.
    pub launched: Option<Launched>,
    /// Frozen or not.
    pub pause: Pause,
    /// Counts launches, so that answers find the launch they belong to.
    pub attempts: u64,
}

/// Where a component should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Running, or finished by itself.
    Up,
    /// Stopped by request.
    Down,
    /// Uninstalled.
    Gone,
}

/// Where a component is, with what belongs to that.
#[derive(Clone, PartialEq, Debug)]
pub enum Phase {
    /// Not installed; nothing runs.
    New,
    /// The install step runs.
    Installing(Process),
    /// Waits for its dependencies; nothing runs.
    Installed {
        /// SOFT dependencies are waited for until then.
        soft_until: Option<Moment>,
    },
    /// The startup step runs, or the run step is being launched.
    Starting(Process),
    /// Up.
    Running {
        /// What keeps it up; `None` once its startup step has ended.
        process: Option<Process>,
    },
    /// On its way down.
    Leaving {
        /// Why.
        why: Why,
        /// It had been started, so its shutdown step is to run.
        started: bool,
        /// How far it is.
        stage: Stage,
    },
    /// Down after an error; tried again at `until`.
    Waiting {
        /// Where the error was.
        origin: Origin,
        /// When the pause ends.
        until: Moment,
    },
    /// Down with success, or by request.
    Finished,
    /// Down after too many errors.
    Broken {
        /// When it is tried again by itself, if the policy says so.
        retry_at: Option<Moment>,
    },
    /// Down; being uninstalled.
    Uninstalling(Removal),
    /// Uninstalled.
    Gone,
}

/// What a restarted runtime needs to know of a main process to recognise it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launched {
    /// Startup or run.
    pub step: StepKind,
    /// Its launch.
    pub attempt: u64,
    /// It had been up.
    pub up: bool,
}

/// A process, from the wish for it to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its step.
    pub step: StepKind,
    /// Its launch.
    pub attempt: u64,
    /// Its pid, once it is known.
    pub pid: Option<u32>,
    /// When it must have ended (startup: be up).
    pub deadline: Option<Moment>,
}

/// Why a component goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It was asked to.
    Stop,
    /// Its run step ended with success.
    Finish,
    /// It failed.
    Failure {
        /// In which state.
        origin: Origin,
        /// For the last time.
        broken: bool,
    },
}

/// How far down it is, in this order; a failure begins with `Cut`, the others do not have `Cut` and `Recover`.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// Waits until its dependers are down.
    Held,
    /// What still runs is being ended.
    Cut {
        /// The kill under way.
        kill: Kill,
        /// The recover step has had its turn.
        recovered: bool,
    },
    /// The recover step runs.
    Recover(Process),
    /// The shutdown step runs.
    Shutdown(Process),
    /// All that is left is being ended.
    Sweep(Kill),
}

/// An [`Effect::Kill`](super::Effect::Kill) under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kill {
    /// Times it has failed.
    pub failures: u32,
    /// When to try again; `None` while one is under way.
    pub retry_at: Option<Moment>,
}

/// How far an uninstallation is.
#[derive(Clone, PartialEq, Debug)]
pub enum Removal {
    /// The uninstall step runs.
    Script(Process),
    /// What it left is being ended.
    Sweep(Kill),
}

/// Frozen or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pause {
    /// It goes on.
    #[default]
    No,
    /// It is being frozen.
    Freezing,
    /// It is frozen.
    Yes,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// The code.
    pub code: StatusCode,
    /// For a person.
    pub reason: String,
}

impl Machine {
    /// A component nobody has seen before.
    pub fn new(spec: Arc<ComponentSpec>) -> Self {
        Self {
            spec,
            next: None,
            goal: Goal::Up,
            redo: Action::Keep,
            phase: Phase::New,
            errors: Errors::default(),
            failure: Failure::default(),
            installed: false,
            launched: None,
            pause: Pause::No,
            attempts: 0,
        }
    }

    /// The state Greengrass would report. A component that failed stays ERRORED until it is tried again, also while
    /// its recover and shutdown steps run, so that a listener sees one ERRORED for each error.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::New | Phase::Installing(_) => State::New,
            Phase::Installed { .. } => State::Installed,
            Phase::Starting(_) => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Leaving {
                why: Why::Failure { broken: true, .. },
                ..
            }
            | Phase::Broken { .. } => State::Broken,
            Phase::Leaving {
                why: Why::Failure { .. },
                ..
            }
            | Phase::Waiting { .. } => State::Errored,
            Phase::Leaving { .. } => State::Stopping,
            Phase::Finished => State::Finished,
            Phase::Uninstalling(_) => State::Uninstalling,
            Phase::Gone => State::Uninstalled,
        }
    }

    /// What is known of it; the sequence number is the board's.
    pub fn status(&self) -> ComponentStatus {
        let main = match &self.phase {
            Phase::Starting(process)
            | Phase::Running {
                process: Some(process),
            } => process.pid,
            _ => None,
        };
        let mut reason = self.failure.reason.clone();
        if self.is_stuck() {
            let gap = if reason.is_empty() { "" } else { "\n" };
            reason = reason + gap + "Its processes do not end, not even by SIGKILL.";
        }
        ComponentStatus {
            name: self.spec.name.clone(),
            version: self.spec.version.clone(),
            state: self.state(),
            code: self.failure.code,
            reason,
            pid: main,
            errors: self.errors.latest().map_or(0, |(_, count)| count),
            paused: self.pause == Pause::Yes,
            sequence: 0,
        }
    }

    /// When [`Event::Deadline`](super::Event::Deadline) is due.
    pub fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Installed { soft_until } => *soft_until,
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Broken { retry_at } => *retry_at,
            _ => match self.kill() {
                Some(kill) => kill.retry_at,
                None => self.process().and_then(|process| process.deadline),
            },
        }
    }

    /// The process whose end the phase waits for.
    pub fn process(&self) -> Option<&Process> {
        match &self.phase {
            Phase::Installing(process)
            | Phase::Starting(process)
            | Phase::Running {
                process: Some(process),
            }
            | Phase::Leaving {
                stage: Stage::Recover(process) | Stage::Shutdown(process),
                ..
            }
            | Phase::Uninstalling(Removal::Script(process)) => Some(process),
            _ => None,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.phase {
            Phase::Installing(process)
            | Phase::Starting(process)
            | Phase::Running {
                process: Some(process),
            }
            | Phase::Leaving {
                stage: Stage::Recover(process) | Stage::Shutdown(process),
                ..
            }
            | Phase::Uninstalling(Removal::Script(process)) => Some(process),
            _ => None,
        }
    }

    /// The kill the phase waits for.
    pub fn kill(&self) -> Option<&Kill> {
        match &self.phase {
            Phase::Leaving {
                stage: Stage::Cut { kill, .. } | Stage::Sweep(kill),
                ..
            }
            | Phase::Uninstalling(Removal::Sweep(kill)) => Some(kill),
            _ => None,
        }
    }

    /// Whether a component that needs it (HARD) may run: it is up, has finished, or is being stopped by request or
    /// after success; not when it will be started anew or goes for good.
    pub fn is_ready(&self) -> bool {
        let stays = self.redo == Action::Keep && self.goal != Goal::Gone;
        match &self.phase {
            Phase::Running { .. } | Phase::Finished => stays,
            Phase::Leaving {
                why: Why::Finish, ..
            } => stays,
            Phase::Leaving { why: Why::Stop, .. } => stays && self.goal == Goal::Down,
            _ => false,
        }
    }

    /// On its way up, with nothing wrong so far: worth a wait also for those that need it less (SOFT).
    pub fn is_coming(&self) -> bool {
        self.goal == Goal::Up
            && self.failure.code == StatusCode::None
            && matches!(
                self.phase,
                Phase::Installing(_) | Phase::Installed { .. } | Phase::Starting(_)
            )
    }

    /// Up or on its way down, so that what it needs must not go yet. What cannot be killed holds nobody.
    pub fn holds_dependencies(&self) -> bool {
        match &self.phase {
            Phase::Starting(_) | Phase::Running { .. } => true,
            Phase::Leaving { .. } => !self.is_stuck(),
            _ => false,
        }
    }

    /// A kill has failed: something of it outlives SIGKILL.
    pub fn is_stuck(&self) -> bool {
        self.kill().is_some_and(|kill| kill.failures > 0)
    }

    /// Nothing of it runs.
    pub fn is_down(&self) -> bool {
        matches!(
            self.phase,
            Phase::New
                | Phase::Installed { .. }
                | Phase::Waiting { .. }
                | Phase::Finished
                | Phase::Broken { .. }
                | Phase::Gone
        )
    }

    /// The spec it was told to run last is the one it runs, or goes to run.
    pub fn is_settled(&self) -> bool {
        let gone = self.goal == Goal::Gone;
        match self.phase {
            Phase::Gone => true,
            Phase::Uninstalling(_) => false,
            _ => !gone && self.next.is_none() && self.redo == Action::Keep,
        }
    }

    /// How long a step may run. On the way down every step has a limit, so that every stop has an end.
    pub(super) fn limit(&self, step: StepKind) -> Option<Duration> {
        let lifecycle = &self.spec.lifecycle;
        let (own, at_most) = match step {
            StepKind::Bootstrap => (&lifecycle.bootstrap, Some(120)),
            StepKind::Install => (&lifecycle.install, None),
            StepKind::Startup => (&lifecycle.startup, None),
            StepKind::Run => (&lifecycle.run, None),
            StepKind::Shutdown => (&lifecycle.shutdown, Some(15)),
            StepKind::Recover => (&lifecycle.recover, Some(60)),
            StepKind::Uninstall => (&lifecycle.uninstall, Some(120)),
        };
        let own = own.as_ref().and_then(|step| step.timeout);
        own.or(at_most.map(Duration::from_secs))
    }
}

/// How long a component waits for its SOFT dependencies.
pub(super) const SOFT_PATIENCE: Duration = Duration::from_secs(10);
