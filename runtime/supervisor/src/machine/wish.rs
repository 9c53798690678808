//! What others want of a component, in each phase.

use super::{Effect, Errors, Failure, Goal, Phase, Refused, Stage, Why, advance::Turn};
use model::{
    ComponentSpec,
    component::{Action, change_between},
};
use std::sync::Arc;

impl Turn {
    pub fn set(&mut self, spec: Arc<ComponentSpec>, action: Action) -> Result<(), Refused> {
        let machine = &mut self.machine;
        let target = machine.next.as_ref().unwrap_or(&machine.spec);
        let mut action = action.max(change_between(target, &spec));
        let before = std::mem::replace(&mut machine.goal, Goal::Up);
        let broken = match machine.phase {
            Phase::Broken { .. } => true,
            Phase::Leaving {
                why: Why::Failure { broken, .. },
                ..
            } => broken,
            _ => false,
        };
        if before != Goal::Up || broken || action != Action::Keep {
            machine.errors = Errors::default();
        }
        match &machine.phase {
            Phase::Gone | Phase::Uninstalling(_) => {
                (machine.next, machine.redo) = (Some(spec), Action::Reinstall);
                if machine.phase == Phase::Gone {
                    self.renew();
                    self.rise();
                }
            }
            Phase::Leaving { .. } => {
                if before != Goal::Up || broken {
                    action = action.max(Action::Restart);
                }
                (machine.next, machine.redo) = (Some(spec), machine.redo.max(action));
                if action != Action::Keep {
                    self.hurry();
                }
            }
            Phase::Finished if before == Goal::Up && action != Action::Keep => {
                self.replace(spec, action);
            }
            Phase::New
            | Phase::Installed { .. }
            | Phase::Waiting { .. }
            | Phase::Broken { .. }
            | Phase::Finished => {
                if broken {
                    // As Greengrass: a deployment installs a BROKEN component again.
                    action = Action::Reinstall;
                }
                if before != Goal::Up || machine.phase == Phase::New {
                    action = action.max(Action::Restart);
                }
                (machine.next, machine.redo) = (Some(spec), action);
                if self.renew() != Action::Keep {
                    self.rise();
                }
            }
            Phase::Installing(_) if action == Action::Reinstall => {
                (machine.next, machine.redo) = (Some(spec), action);
                self.leave(Why::Stop, false);
            }
            Phase::Starting(_) | Phase::Running { .. } if action != Action::Keep => {
                self.replace(spec, action);
            }
            // The step that runs is the same in both.
            Phase::Installing(_) | Phase::Starting(_) | Phase::Running { .. } => {
                let old = std::mem::replace(&mut machine.spec, spec);
                if old.run_with.limits != machine.spec.run_with.limits {
                    self.effects
                        .push(Effect::Limit(machine.spec.run_with.limits.clone()));
                }
            }
        }
        Ok(())
    }

    /// Down once its dependers are, then up with another spec.
    fn replace(&mut self, spec: Arc<ComponentSpec>, action: Action) {
        (self.machine.next, self.machine.redo) = (Some(spec), action);
        self.leave(Why::Stop, true);
    }

    pub fn restart(&mut self) -> Result<(), Refused> {
        if self.machine.goal == Goal::Gone {
            return self.refuse();
        }
        let before = std::mem::replace(&mut self.machine.goal, Goal::Up);
        self.machine.errors = Errors::default();
        match &self.machine.phase {
            Phase::Finished if before == Goal::Down => self.rise(),
            Phase::Starting(_) | Phase::Running { .. } | Phase::Finished => {
                self.machine.redo = Action::Restart;
                self.leave(Why::Stop, true);
            }
            Phase::Leaving { .. } => {
                self.machine.redo = self.machine.redo.max(Action::Restart);
                self.hurry();
            }
            Phase::New | Phase::Waiting { .. } | Phase::Broken { .. } => self.rise(),
            // On its way already; an uninstallation that was countermanded installs anew.
            Phase::Installing(_)
            | Phase::Installed { .. }
            | Phase::Uninstalling(_)
            | Phase::Gone => {}
        }
        Ok(())
    }

    pub fn dependency_lost(&mut self) -> Result<(), Refused> {
        match self.machine.phase {
            Phase::Starting(_) | Phase::Running { .. } if self.machine.goal == Goal::Up => {
                self.machine.redo = Action::Restart;
                self.leave(Why::Stop, true);
                Ok(())
            }
            _ => self.refuse(),
        }
    }

    pub fn stop(&mut self, orderly: bool) -> Result<(), Refused> {
        if self.machine.goal == Goal::Gone {
            // It goes down anyway.
            return Ok(());
        }
        self.machine.goal = Goal::Down;
        match &mut self.machine.phase {
            Phase::Starting(_) | Phase::Running { .. } => self.leave(Why::Stop, orderly),
            Phase::Installing(_) => self.leave(Why::Stop, false),
            Phase::Installed { .. } | Phase::Waiting { .. } => self.rest(),
            Phase::Leaving {
                stage: Stage::Held, ..
            } if !orderly => self.go_down(),
            Phase::Leaving { .. } => self.hurry(),
            Phase::Broken { retry_at } => *retry_at = None,
            Phase::New | Phase::Finished | Phase::Uninstalling(_) | Phase::Gone => {}
        }
        Ok(())
    }

    pub fn remove(&mut self) -> Result<(), Refused> {
        self.machine.goal = Goal::Gone;
        (self.machine.next, self.machine.redo) = (None, Action::Keep);
        match &self.machine.phase {
            Phase::Leaving { .. } => self.hurry(),
            Phase::Uninstalling(_) | Phase::Gone => {}
            _ => {
                self.machine.failure = Failure::default();
                self.leave(Why::Stop, true);
            }
        }
        Ok(())
    }
}
