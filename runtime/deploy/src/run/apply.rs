//! Processes: bootstrap steps one by one, then old ones down and new ones up, then waiting for them.

use super::{Flow, Interrupt, Run, Stop};
use crate::{
    BootstrapError, BootstrapExit, Change, Failure,
    journal::{Restart, Stage},
    plan::in_order,
    table::Specs,
};
use model::error_code::ErrorCode;
use model::{ComponentName, ComponentSpec, Version, component::Action};
use std::{collections::BTreeMap, time::Duration};

/// Begins of one bootstrap step that never ended, before it is taken for the one that kills the program.
const BEGINS: u32 = 3;
/// How long an asked-for restart may take to end this program.
const RESTART_LIMIT: Duration = Duration::from_secs(600);

impl Run {
    pub(super) async fn bootstrap(&mut self, next: usize, begun: u32) -> Result<Flow, Interrupt> {
        let Some(name) = self.prepared().plan.bootstrap.get(next).cloned() else {
            self.enter(Stage::Activating).await?;
            return Ok(Flow::Next);
        };
        if begun >= BEGINS {
            let message = format!(
                "the bootstrap step of {name} was begun {begun} times, and the runtime ended each time"
            );
            return Err(Failure::new(
                &[
                    ErrorCode::ComponentUpdateError,
                    ErrorCode::ComponentBootstrapError,
                ],
                message,
            )
            .of_component(&name)
            .into());
        }
        let spec = self.committed().new[&name].clone();
        self.enter(Stage::Bootstrapping {
            next,
            begun: begun + 1,
        })
        .await?;
        self.phase(&format!("running the bootstrap step of {name}"));
        let exit = match self
            .guarded(self.shared.ports.components.bootstrap(&spec))
            .await
        {
            Err(Interrupt::Canceled) => {
                self.shared.ports.components.halt(&[name]).await;
                return Err(Interrupt::Canceled);
            }
            other => other?.map_err(|error| bootstrap_failed(&spec, &error))?,
        };
        self.note_restart(exit);
        self.enter(Stage::Bootstrapping {
            next: next + 1,
            begun: 0,
        })
        .await?;
        self.restart().await?;
        Ok(Flow::Next)
    }

    /// Remembers the restart a bootstrap step wants.
    pub(super) fn note_restart(&mut self, exit: BootstrapExit) {
        self.journal.restart = match exit {
            BootstrapExit::Done => None,
            BootstrapExit::RestartRuntime => Some(Restart::Runtime),
            BootstrapExit::Reboot => Some(Restart::Device {
                boot: self.shared.ports.runtime.boot_id(),
            }),
        };
    }

    /// The same on the way back, which goes on whatever happens.
    pub(super) async fn restart_on_the_way_back(&mut self) -> Result<(), Stop> {
        match self.restart().await {
            Err(Interrupt::Stop) => Err(Stop),
            Err(Interrupt::Failed(failure)) => {
                self.journal.trouble.push(failure.cause);
                Ok(())
            }
            Err(Interrupt::Canceled) | Ok(()) => Ok(()),
        }
    }

    /// Asks for the restart a bootstrap step wanted, and waits for it.
    async fn restart(&mut self) -> Result<(), Interrupt> {
        match &self.journal.restart {
            None => return Ok(()),
            Some(Restart::Runtime) => {
                self.phase("restarting the runtime");
                self.shared.ports.runtime.request_restart();
            }
            Some(Restart::Device { .. }) => {
                self.phase("restarting the device");
                self.shared.ports.runtime.request_reboot();
            }
        }
        if tokio::time::timeout(RESTART_LIMIT, self.shutdown.cancelled())
            .await
            .is_ok()
        {
            return Err(Interrupt::Stop);
        }
        self.journal.restart = None;
        let message = format!(
            "the restart a bootstrap step asked for did not happen within {} s",
            RESTART_LIMIT.as_secs()
        );
        Err(Failure::new(&[ErrorCode::NucleusRestartFailure], message).into())
    }

    /// After a start: the runtime has restarted by that; the device only if it booted since.
    pub(crate) async fn check_restart(&mut self) -> Result<(), Stop> {
        let again = match self.journal.restart.take() {
            Some(Restart::Device { boot: Some(boot) }) => {
                self.shared.ports.runtime.boot_id().as_ref() == Some(&boot)
            }
            _ => false,
        };
        if !again {
            return Ok(());
        }
        self.journal.restart = Some(Restart::Device {
            boot: self.shared.ports.runtime.boot_id(),
        });
        match self.restart().await {
            Err(Interrupt::Failed(failure)) if self.journal.reason.is_none() => {
                self.fail(crate::journal::Reason::Failed(failure)).await?;
                Ok(())
            }
            Err(Interrupt::Failed(failure)) => {
                self.journal.trouble.push(failure.cause);
                Ok(())
            }
            Err(Interrupt::Stop) => Err(Stop),
            Err(Interrupt::Canceled) | Ok(()) => Ok(()),
        }
    }

    pub(super) async fn activate(&mut self) -> Result<Flow, Interrupt> {
        if !self.committed().activated {
            self.journal.committed.as_mut().expect("checked").activated = true;
            self.enter(Stage::Activating).await?;
        }
        self.phase("stopping what changes and starting what is new");
        let committed = self.committed();
        let change = change(&committed.old, &committed.new, |name| {
            committed
                .actions
                .get(name)
                .copied()
                .unwrap_or(Action::Reinstall)
        });
        let limit = self.limit(&committed.new);
        match self
            .guarded(tokio::time::timeout(
                limit,
                self.shared.ports.components.apply(change),
            ))
            .await?
        {
            Ok(Ok(())) => {}
            Ok(Err(message)) => {
                return Err(Failure::new(&[ErrorCode::ComponentUpdateError], message).into());
            }
            Err(_) => {
                let message = format!(
                    "the old processes were not down after {} s",
                    limit.as_secs()
                );
                return Err(Failure::new(&[ErrorCode::ComponentUpdateError], message).into());
            }
        }
        store::crash_point("deploy.applied");
        self.enter(Stage::Watching).await?;
        Ok(Flow::Next)
    }

    pub(super) async fn watch(&mut self) -> Result<Flow, Interrupt> {
        let targets: BTreeMap<ComponentName, Version> = self
            .prepared()
            .plan
            .components
            .iter()
            .filter(|change| change.change.disturbs())
            .filter_map(|change| Some((change.component.clone(), change.new_version.clone()?)))
            .collect();
        let limit = self.limit(&self.committed().new);
        self.guarded(self.until_up(&targets, &self.committed().new, limit))
            .await??;
        if !self.shared.close() {
            return Err(Interrupt::Canceled);
        }
        self.enter(Stage::Cleaning).await?;
        Ok(Flow::Next)
    }

    /// As long as all steps of all components may take, each as often as it may fail, and some more.
    pub(super) fn limit(&self, specs: &Specs) -> Duration {
        const LEAST: Duration = Duration::from_secs(300);
        if let Some(limit) = self.shared.options.watch_limit {
            return limit;
        }
        let of_one = |spec: &ComponentSpec| {
            let steps = &spec.lifecycle;
            let steps = [
                &steps.install,
                &steps.startup,
                &steps.shutdown,
                &steps.recover,
            ];
            let once: Duration = steps
                .into_iter()
                .flatten()
                .filter_map(|step| step.timeout)
                .sum();
            (once + spec.restart_policy.max_delay) * spec.restart_policy.max_errors.clamp(1, 10)
        };
        specs
            .values()
            .map(of_one)
            .fold(LEAST, Duration::saturating_add)
    }
}

/// The change from one set to another.
pub(super) fn change(
    old: &Specs,
    new: &Specs,
    action: impl Fn(&ComponentName) -> Action,
) -> Change {
    let set = in_order(new)
        .into_iter()
        .map(|name| (new[&name].clone(), action(&name)))
        .collect();
    let remove = in_order(old)
        .into_iter()
        .rev()
        .filter(|name| !new.contains_key(name))
        .collect();
    Change { set, remove }
}

fn bootstrap_failed(spec: &ComponentSpec, error: &BootstrapError) -> Failure {
    let code = match error {
        BootstrapError::Timeout { .. } => ErrorCode::ComponentBootstrapTimeout,
        BootstrapError::Exit { .. } | BootstrapError::Other(_) => {
            ErrorCode::ComponentBootstrapError
        }
    };
    let message = format!(
        "the bootstrap step of {} {} failed: {error}",
        spec.name, spec.version
    );
    Failure::new(&[ErrorCode::ComponentUpdateError, code], message).of_component(&spec.name)
}
