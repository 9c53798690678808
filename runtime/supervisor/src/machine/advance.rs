//! The transition function, and what ends of processes mean.

use super::{
    Effect, Event, Failure, Fault, Launched, Machine, Moment, Origin, Pause, Phase, Process,
    Refused, Removal, Stage, Why, state::SOFT_PATIENCE,
};
use crate::launcher::{Outcome, StepKind};
use model::StatusCode;
use std::sync::Arc;

/// A machine being advanced: collects the effects.
pub(super) struct Turn {
    pub machine: Machine,
    pub now: Moment,
    pub effects: Vec<Effect>,
}

/// How a process ended, as far as the machine cares.
enum End {
    Success { skipped: bool },
    Failure(Failure),
}

impl Machine {
    /// What follows from an event at a time. What is not listed is refused and changes nothing.
    pub fn advance(&self, event: Event, now: Moment) -> Result<(Self, Vec<Effect>), Refused> {
        let mut turn = Turn {
            machine: self.clone(),
            now,
            effects: Vec::new(),
        };
        turn.take(event)?;
        Ok((turn.machine, turn.effects))
    }
}

impl Turn {
    fn take(&mut self, event: Event) -> Result<(), Refused> {
        match event {
            Event::Set { spec, action } => self.set(spec, action),
            Event::Restart => self.restart(),
            Event::DependencyLost => self.dependency_lost(),
            Event::Stop { orderly } => self.stop(orderly),
            Event::Remove => self.remove(),
            Event::ReportRunning => self.report_running(),
            Event::ReportErrored => self.report_errored(),
            Event::Pause => self.pause(),
            Event::Resume => self.resume(),
            Event::Go => self.go(),
            Event::Frozen(frozen) => self.frozen(frozen),
            Event::Spawned { attempt, pid } => self.spawned(attempt, pid),
            Event::Skipped { attempt } => self.ended(attempt, End::Success { skipped: true }),
            Event::NotSpawned { attempt, fault } => self.not_spawned(attempt, fault),
            Event::Exited {
                attempt,
                outcome,
                stderr,
            } => self.exited(attempt, outcome, &stderr),
            Event::Down(nothing_lives) => self.down(nothing_lives),
            Event::Deadline => self.deadline(),
        }
    }

    pub fn refuse(&self) -> Result<(), Refused> {
        Err(Refused::State(self.machine.state()))
    }

    fn go(&mut self) -> Result<(), Refused> {
        match &self.machine.phase {
            Phase::Installed { .. } => self.start(),
            Phase::Leaving {
                stage: Stage::Held, ..
            } => self.go_down(),
            _ => return self.refuse(),
        }
        Ok(())
    }

    fn frozen(&mut self, frozen: bool) -> Result<(), Refused> {
        if self.machine.pause != Pause::Freezing {
            return Err(Refused::Stale);
        }
        self.machine.pause = if frozen { Pause::Yes } else { Pause::No };
        Ok(())
    }

    /// Up, by the shortest way.
    pub fn rise(&mut self) {
        self.machine.failure = Failure::default();
        if self.machine.installed {
            self.machine.phase = Phase::Installed {
                soft_until: Some(self.now + SOFT_PATIENCE),
            };
        } else if self.machine.spec.lifecycle.install.is_some() {
            self.machine.phase = Phase::Installing(self.launch(StepKind::Install));
        } else {
            self.installed();
        }
    }

    fn installed(&mut self) {
        self.machine.installed = true;
        self.machine.errors.clear(Origin::New);
        self.machine.phase = Phase::Installed {
            soft_until: Some(self.now + SOFT_PATIENCE),
        };
    }

    fn start(&mut self) {
        let lifecycle = &self.machine.spec.lifecycle;
        self.machine.phase = if lifecycle.startup.is_some() {
            Phase::Starting(self.launch(StepKind::Startup))
        } else if lifecycle.run.is_some() {
            Phase::Starting(self.launch(StepKind::Run))
        } else {
            Phase::Finished
        };
    }

    pub fn launch(&mut self, step: StepKind) -> Process {
        self.machine.attempts += 1;
        let attempt = self.machine.attempts;
        if matches!(step, StepKind::Startup | StepKind::Run) {
            self.machine.launched = Some(Launched {
                step,
                attempt,
                up: false,
            });
        }
        self.effects.push(Effect::Launch {
            attempt,
            step,
            spec: Arc::clone(&self.machine.spec),
        });
        Process {
            step,
            attempt,
            pid: None,
            deadline: None,
        }
    }

    fn spawned(&mut self, attempt: u64, pid: u32) -> Result<(), Refused> {
        let now = self.now;
        let up = matches!(self.machine.phase, Phase::Running { .. });
        let process = self
            .machine
            .process()
            .filter(|process| process.attempt == attempt)
            .ok_or(Refused::Stale)?;
        let step = process.step;
        // A startup step that has reported RUNNING before its launch was confirmed has met its deadline.
        let timeout = self
            .machine
            .limit(step)
            .filter(|_| !up || step == StepKind::Run);
        let deadline = timeout.map(|timeout| now + timeout);
        if let Some(process) = self.machine.process_mut() {
            (process.pid, process.deadline) = (Some(pid), deadline);
        }
        match self.machine.phase {
            Phase::Starting(process) if step == StepKind::Run => self.up(Some(process)),
            _ => {}
        }
        Ok(())
    }

    pub fn up(&mut self, process: Option<Process>) {
        self.machine.errors.clear(Origin::Starting);
        if let Some(launched) = &mut self.machine.launched {
            launched.up = true;
        }
        self.machine.phase = Phase::Running { process };
    }

    fn not_spawned(&mut self, attempt: u64, fault: Fault) -> Result<(), Refused> {
        let process = self.machine.process().ok_or(Refused::Stale)?;
        let codes = Codes::of(process.step);
        let (code, why) = match fault {
            Fault::MissingDefaultUser => (
                codes.missing_user,
                "has no user to run as: set runWithDefault.posixUser".to_owned(),
            ),
            Fault::Config(why) => (codes.config, format!("could not be started: {why}")),
            Fault::Io(why) => (codes.io, format!("could not be started: {why}")),
        };
        let reason = format!("The {} script {why}.", process.step);
        self.ended(attempt, End::Failure(Failure { code, reason }))
    }

    fn exited(&mut self, attempt: u64, outcome: Outcome, stderr: &[String]) -> Result<(), Refused> {
        if outcome.is_success() {
            return self.ended(attempt, End::Success { skipped: false });
        }
        let step = self.machine.process().ok_or(Refused::Stale)?.step;
        let reason = format!("The {step} script {outcome}.{}", tail_text(stderr));
        self.ended(
            attempt,
            End::Failure(Failure {
                code: Codes::of(step).error,
                reason,
            }),
        )
    }

    /// The process of a launch has ended, or never was.
    fn ended(&mut self, attempt: u64, end: End) -> Result<(), Refused> {
        let process = *self
            .machine
            .process()
            .filter(|process| process.attempt == attempt)
            .ok_or(Refused::Stale)?;
        match (&self.machine.phase, end) {
            (Phase::Installing(_), End::Success { .. }) => self.installed(),
            (Phase::Installing(_), End::Failure(failure)) => self.fail(Origin::New, failure),
            (Phase::Starting(_), End::Success { skipped }) => self.started(process.step, skipped),
            (Phase::Starting(_), End::Failure(failure)) => self.fail(Origin::Starting, failure),
            (Phase::Running { .. }, End::Success { .. }) if process.step == StepKind::Startup => {
                self.machine.phase = Phase::Running { process: None };
            }
            (Phase::Running { .. }, End::Success { .. }) => {
                self.machine.errors.clear(Origin::Running);
                self.leave(Why::Finish, false);
            }
            (Phase::Running { .. }, End::Failure(failure)) => self.fail(Origin::Running, failure),
            (
                Phase::Leaving {
                    stage: Stage::Recover(_),
                    ..
                },
                _,
            ) => self.go_down(),
            (Phase::Leaving { .. } | Phase::Uninstalling(_), end) => {
                if let End::Failure(failure) = end {
                    self.note(failure);
                }
                self.sweep();
            }
            // No other phase has a process.
            _ => return Err(Refused::Stale),
        }
        Ok(())
    }

    /// The startup step has ended with success, or a step was skipped.
    fn started(&mut self, step: StepKind, skipped: bool) {
        let lifecycle = &self.machine.spec.lifecycle;
        match (step, skipped) {
            (StepKind::Startup, true) if lifecycle.run.is_some() => {
                self.machine.phase = Phase::Starting(self.launch(StepKind::Run));
            }
            (StepKind::Startup, _) => self.up(None),
            (_, true) => {
                self.machine.errors.clear(Origin::Starting);
                self.machine.launched = None;
                self.machine.phase = Phase::Finished;
            }
            // The run step ended before its launch was confirmed: up and finished in one.
            (_, false) => {
                self.up(None);
                self.leave(Why::Finish, false);
            }
        }
    }

    /// Counts an error and goes down.
    pub fn fail(&mut self, origin: Origin, failure: Failure) {
        let spec = Arc::clone(&self.machine.spec);
        let broken = self.machine.errors.add(
            origin,
            self.now,
            &spec.restart_policy,
            spec.lifecycle.error_reset,
        );
        self.machine.failure = failure;
        self.leave(Why::Failure { origin, broken }, false);
    }

    /// Keeps a failure on the way down, which changes nothing; the error that began it says more.
    fn note(&mut self, failure: Failure) {
        if self.machine.failure.code == StatusCode::None {
            self.machine.failure = failure;
        }
    }

    fn deadline(&mut self) -> Result<(), Refused> {
        match self.machine.deadline() {
            Some(deadline) if deadline <= self.now => {}
            other => return Err(Refused::Early(other)),
        }
        match &self.machine.phase {
            Phase::Installed { .. } => self.machine.phase = Phase::Installed { soft_until: None },
            Phase::Waiting { .. } | Phase::Broken { .. } => self.rise(),
            _ if self.machine.kill().is_some() => self.kill_again(),
            _ => self.timed_out(),
        }
        Ok(())
    }

    fn timed_out(&mut self) {
        let Some(step) = self.machine.process().map(|process| process.step) else {
            return;
        };
        let after = self.machine.limit(step).unwrap_or_default();
        let failure = Failure {
            code: Codes::of(step).timeout,
            reason: format!(
                "The {step} script timed out after {} s.",
                after.as_secs_f64()
            ),
        };
        match &self.machine.phase {
            Phase::Installing(_) => self.fail(Origin::New, failure),
            Phase::Starting(_) => self.fail(Origin::Starting, failure),
            Phase::Running { .. } => self.fail(Origin::Running, failure),
            Phase::Leaving {
                stage: Stage::Recover(_),
                ..
            } => self.cut(true),
            Phase::Leaving {
                stage: Stage::Shutdown(_),
                ..
            }
            | Phase::Uninstalling(Removal::Script(_)) => {
                self.note(failure);
                self.sweep();
            }
            _ => {}
        }
    }

    fn report_running(&mut self) -> Result<(), Refused> {
        match self.machine.phase {
            Phase::Starting(process) => {
                self.up(Some(Process {
                    deadline: None,
                    ..process
                }));
                Ok(())
            }
            Phase::Running { .. } => Ok(()),
            _ => self.refuse(),
        }
    }

    fn report_errored(&mut self) -> Result<(), Refused> {
        let (origin, code) = match &self.machine.phase {
            Phase::Installing(_) => (Origin::New, StatusCode::InstallError),
            Phase::Starting(_) => (Origin::Starting, StatusCode::StartupError),
            Phase::Running { .. } => (Origin::Running, StatusCode::RunError),
            _ => return self.refuse(),
        };
        self.fail(
            origin,
            Failure {
                code,
                reason: "The component reported that it has failed.".to_owned(),
            },
        );
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Refused> {
        match (&self.machine.phase, self.machine.pause) {
            (Phase::Running { .. }, Pause::No) => {
                self.machine.pause = Pause::Freezing;
                self.effects.push(Effect::Freeze);
                Ok(())
            }
            (Phase::Running { .. }, _) => Ok(()),
            _ => self.refuse(),
        }
    }

    fn resume(&mut self) -> Result<(), Refused> {
        // Also when it is not known to be frozen: an earlier thaw may have failed.
        self.machine.pause = Pause::No;
        if matches!(self.machine.phase, Phase::Running { .. }) {
            self.effects.push(Effect::Thaw);
        }
        Ok(())
    }

    pub fn thaw(&mut self) {
        if self.machine.pause != Pause::No {
            self.machine.pause = Pause::No;
            self.effects.push(Effect::Thaw);
        }
    }
}

/// The codes of a step's failures. Steps without codes of their own go by the nearest that has.
struct Codes {
    error: StatusCode,
    timeout: StatusCode,
    config: StatusCode,
    io: StatusCode,
    missing_user: StatusCode,
}

impl Codes {
    fn of(step: StepKind) -> Self {
        use StatusCode as C;
        let [error, timeout, config, io, missing_user] = match step {
            StepKind::Bootstrap | StepKind::Install => [
                C::InstallError,
                C::InstallTimeout,
                C::InstallConfigNotValid,
                C::InstallIoError,
                C::InstallMissingDefaultRunwith,
            ],
            StepKind::Startup | StepKind::Recover => [
                C::StartupError,
                C::StartupTimeout,
                C::StartupConfigNotValid,
                C::StartupIoError,
                C::StartupMissingDefaultRunwith,
            ],
            StepKind::Run => [
                C::RunError,
                C::RunTimeout,
                C::RunConfigNotValid,
                C::RunIoError,
                C::RunMissingDefaultRunwith,
            ],
            StepKind::Shutdown => [
                C::ShutdownError,
                C::ShutdownTimeout,
                C::ShutdownError,
                C::ShutdownError,
                C::ShutdownError,
            ],
            StepKind::Uninstall => [
                C::UninstallError,
                C::UninstallTimeout,
                C::UninstallError,
                C::UninstallError,
                C::UninstallError,
            ],
        };
        Self {
            error,
            timeout,
            config,
            io,
            missing_user,
        }
    }
}

/// The last lines of stderr, as they follow a reason.
pub(crate) fn tail_text(stderr: &[String]) -> String {
    stderr.iter().flat_map(|line| ["\n", line]).collect()
}
