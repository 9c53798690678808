//! The way down, and what comes after it.

use super::{Effect, Failure, Goal, Kill, Phase, Refused, Removal, Stage, Why, advance::Turn};
use crate::launcher::StepKind;
use model::component::Action;
use std::time::Duration;

/// Between tries to end processes that outlive SIGKILL; doubles up to [`KILL_PAUSE_MOST`].
const KILL_PAUSE: Duration = Duration::from_secs(1);
const KILL_PAUSE_MOST: Duration = Duration::from_secs(60);

impl Turn {
    /// Begins the way down; `held`: only once its dependers are down.
    pub fn leave(&mut self, why: Why, held: bool) {
        let started = matches!(
            self.machine.phase,
            Phase::Starting(_) | Phase::Running { .. }
        );
        self.machine.phase = Phase::Leaving {
            why,
            started,
            stage: Stage::Held,
        };
        if matches!(why, Why::Failure { .. }) {
            self.cut(false);
        } else if !held {
            self.go_down();
        }
    }

    fn stage(&mut self, to: Stage) {
        if let Phase::Leaving { stage, .. } = &mut self.machine.phase {
            *stage = to;
        }
    }

    fn kill(&mut self) -> Kill {
        self.effects.push(Effect::Kill);
        Kill::default()
    }

    /// Ends what runs before the recover step, or ends the recover step.
    pub fn cut(&mut self, recovered: bool) {
        self.thaw();
        let kill = self.kill();
        self.stage(Stage::Cut { kill, recovered });
    }

    /// A frozen component must be thawed to hear of its end.
    pub fn go_down(&mut self) {
        self.thaw();
        let started = matches!(self.machine.phase, Phase::Leaving { started: true, .. });
        if started && self.machine.spec.lifecycle.shutdown.is_some() {
            let process = self.launch(StepKind::Shutdown);
            self.stage(Stage::Shutdown(process));
        } else {
            self.sweep();
        }
    }

    pub fn sweep(&mut self) {
        let kill = self.kill();
        if let Phase::Uninstalling(removal) = &mut self.machine.phase {
            *removal = Removal::Sweep(kill);
        } else {
            self.stage(Stage::Sweep(kill));
        }
    }

    /// A wish that cannot wait for the recover step.
    pub fn hurry(&mut self) {
        match &mut self.machine.phase {
            Phase::Leaving {
                stage: Stage::Recover(_),
                ..
            } => self.cut(true),
            Phase::Leaving {
                stage: Stage::Cut { recovered, .. },
                ..
            } => *recovered = true,
            _ => {}
        }
    }

    pub fn down(&mut self, nothing_lives: bool) -> Result<(), Refused> {
        let kill = match self.machine.kill() {
            Some(kill) if kill.retry_at.is_none() => *kill,
            _ => return Err(Refused::Stale),
        };
        if !nothing_lives {
            let pause = KILL_PAUSE
                .saturating_mul(1 << kill.failures.min(16))
                .min(KILL_PAUSE_MOST);
            self.set_kill(Kill {
                failures: kill.failures.saturating_add(1),
                retry_at: Some(self.now + pause),
            });
            return Ok(());
        }
        match &self.machine.phase {
            Phase::Leaving {
                stage: Stage::Cut { recovered, .. },
                ..
            } => {
                if !recovered && self.machine.spec.lifecycle.recover.is_some() {
                    let process = self.launch(StepKind::Recover);
                    self.stage(Stage::Recover(process));
                } else {
                    self.go_down();
                }
            }
            Phase::Uninstalling(_) => self.gone(),
            _ => self.settle(),
        }
        Ok(())
    }

    pub fn kill_again(&mut self) {
        let failures = self.machine.kill().map_or(0, |kill| kill.failures);
        self.effects.push(Effect::Kill);
        self.set_kill(Kill {
            failures,
            retry_at: None,
        });
    }

    fn set_kill(&mut self, to: Kill) {
        if let Phase::Leaving {
            stage: Stage::Cut { kill, .. } | Stage::Sweep(kill),
            ..
        }
        | Phase::Uninstalling(Removal::Sweep(kill)) = &mut self.machine.phase
        {
            *kill = to;
        }
    }

    /// Everything is down: on to what was asked for meanwhile, or to what the way down leads to.
    fn settle(&mut self) {
        let Phase::Leaving { why, .. } = self.machine.phase else {
            return;
        };
        self.machine.launched = None;
        if self.machine.goal == Goal::Gone {
            // Forgotten before the step runs: half uninstalled is not installed.
            let installed = std::mem::take(&mut self.machine.installed);
            if installed && self.machine.spec.lifecycle.uninstall.is_some() {
                let process = self.launch(StepKind::Uninstall);
                self.machine.phase = Phase::Uninstalling(Removal::Script(process));
            } else {
                self.gone();
            }
            return;
        }
        let redo = self.renew();
        match (self.machine.goal, redo, why) {
            (Goal::Up, Action::Keep, Why::Finish) => self.machine.phase = Phase::Finished,
            (goal, Action::Keep, Why::Failure { broken: true, .. }) => {
                let again = self
                    .machine
                    .spec
                    .restart_policy
                    .retry_broken
                    .filter(|_| goal == Goal::Up);
                self.machine.phase = Phase::Broken {
                    retry_at: again.map(|after| self.now + after),
                };
            }
            (Goal::Up, Action::Keep, Why::Failure { origin, .. }) => {
                let pause = self
                    .machine
                    .errors
                    .pause(origin, &self.machine.spec.restart_policy);
                self.machine.phase = Phase::Waiting {
                    origin,
                    until: self.now + pause,
                };
            }
            (Goal::Up, ..) => self.rise(),
            (Goal::Down | Goal::Gone, ..) => self.rest(),
        }
    }

    /// Takes the next spec, and what is to be done with it.
    pub fn renew(&mut self) -> Action {
        let redo = std::mem::take(&mut self.machine.redo);
        if let Some(next) = self.machine.next.take() {
            self.machine.spec = next;
        }
        if redo == Action::Reinstall {
            self.machine.installed = false;
        }
        redo
    }

    /// Stopped by request, with nothing running.
    pub fn rest(&mut self) {
        self.machine.phase = if self.machine.installed {
            Phase::Finished
        } else {
            Phase::New
        };
    }

    /// Uninstalled; or, when it was asked for again meanwhile, installed anew.
    fn gone(&mut self) {
        self.machine.installed = false;
        self.machine.phase = Phase::Gone;
        if self.machine.goal != Goal::Gone {
            self.renew();
            self.machine.failure = Failure::default();
            if self.machine.goal == Goal::Up {
                self.rise();
            } else {
                self.rest();
            }
        }
    }
}
