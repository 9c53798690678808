//! Where a component's life goes on after a restart of the runtime, from what was remembered and what still runs.

use super::{
    Effect, Errors, Event, Failure, Kill, Launched, Machine, Moment, Origin, Pause, Phase, Process,
    Stage, Why, advance::Turn,
};
use crate::launcher::{Outcome, StepKind};
use model::{
    ComponentSpec,
    component::{Action, change_between},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What outlives a restart of the runtime.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// What ran, or ran last.
    pub spec: Arc<ComponentSpec>,
    /// It was installed.
    pub installed: bool,
    /// Its main process.
    pub launched: Option<Launched>,
    /// Launches so far.
    pub attempts: u64,
    /// Its errors; worth nothing after a boot.
    #[serde(default)]
    pub errors: Errors,
    /// It was BROKEN, for this reason.
    #[serde(default)]
    pub broken: Option<Failure>,
}

/// What the launcher still has of a component.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// The main process of [`Past::launched`].
    pub main: Option<Main>,
    /// It is frozen.
    pub frozen: bool,
    /// Something else that lives.
    pub strays: bool,
}

/// A main process that was found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Main {
    /// While it lives.
    pub pid: Option<u32>,
    /// How it ended, with the last lines it wrote to stderr.
    pub ended: Option<(Outcome, Vec<String>)>,
}

impl Machine {
    /// What is to be remembered.
    pub fn past(&self) -> Past {
        Past {
            spec: Arc::clone(&self.spec),
            installed: self.installed,
            launched: self.launched,
            attempts: self.attempts,
            errors: self.errors.clone(),
            broken: match self.phase {
                Phase::Broken { .. }
                | Phase::Leaving {
                    why: Why::Failure { broken: true, .. },
                    ..
                } => Some(self.failure.clone()),
                _ => None,
            },
        }
    }

    /// Goes on as `spec` from a past life. What runs is kept where `spec` is what it was started with; otherwise its
    /// old scripts take it down first.
    pub fn adopt(
        past: Past,
        found: Found,
        spec: Arc<ComponentSpec>,
        now: Moment,
    ) -> (Self, Vec<Effect>) {
        let mut machine = Self::resume(past, &found, now);
        let mut effects = Vec::new();
        if matches!(machine.phase, Phase::Leaving { .. }) {
            effects.push(Effect::Kill);
        }
        let mut follow = |machine: &mut Self, event| {
            if let Ok((next, more)) = machine.advance(event, now) {
                *machine = next;
                effects.extend(more);
            }
        };
        let stays_broken = matches!(machine.phase, Phase::Broken { .. })
            && change_between(&machine.spec, &spec) == Action::Keep;
        if stays_broken {
            machine.spec = spec;
        } else {
            follow(
                &mut machine,
                Event::Set {
                    spec,
                    action: Action::Keep,
                },
            );
        }
        let ended = found.main.and_then(|main| main.ended);
        if let (Some(launched), Some((outcome, stderr))) = (machine.launched, ended) {
            follow(
                &mut machine,
                Event::Exited {
                    attempt: launched.attempt,
                    outcome,
                    stderr,
                },
            );
        }
        (machine, effects)
    }

    /// The state it was left in.
    fn resume(past: Past, found: &Found, now: Moment) -> Self {
        let mut machine = Self::new(past.spec);
        (machine.installed, machine.attempts, machine.errors) =
            (past.installed, past.attempts, past.errors);
        let main = past.launched.zip(found.main.as_ref());
        if found.strays {
            // Whatever it was in the midst of is begun anew.
            machine.phase = Phase::Leaving {
                why: Why::Stop,
                started: false,
                stage: Stage::Sweep(Kill::default()),
            };
            return machine;
        }
        if let Some((launched, Main { pid, ended })) = main {
            machine.launched = past.launched;
            machine.pause = if found.frozen { Pause::Yes } else { Pause::No };
            let done = launched.step == StepKind::Startup
                && ended.as_ref().is_some_and(|(how, _)| how.is_success());
            let up = launched.up || launched.step == StepKind::Run;
            let timeout = machine.limit(launched.step);
            let process = Process {
                step: launched.step,
                attempt: launched.attempt,
                pid: *pid,
                deadline: timeout
                    .filter(|_| !launched.up || launched.step == StepKind::Run)
                    .map(|t| now + t),
            };
            machine.phase = match (done, up) {
                (true, _) => {
                    machine.errors.clear(Origin::Starting);
                    Phase::Running { process: None }
                }
                (false, true) => Phase::Running {
                    process: Some(process),
                },
                (false, false) => Phase::Starting(process),
            };
        } else if let Some(failure) = past.broken {
            machine.failure = failure;
            let retry_at = machine
                .spec
                .restart_policy
                .retry_broken
                .map(|after| now + after);
            machine.phase = Phase::Broken { retry_at };
        }
        machine
    }

    /// For a component that should not run: what is left of it is ended by its own scripts, and it stays installed.
    pub fn dismiss(past: Past, found: &Found, now: Moment) -> (Self, Vec<Effect>) {
        let machine = Self::resume(past, found, now);
        let mut turn = Turn {
            machine,
            now,
            effects: Vec::new(),
        };
        if matches!(turn.machine.phase, Phase::Leaving { .. }) {
            turn.effects.push(Effect::Kill);
        }
        // Every phase takes a stop.
        let _ = turn.stop(true);
        (turn.machine, turn.effects)
    }
}
