//! The way back: folders, configuration, set and processes are again what they were before.

use super::{Flow, Run, Stop, apply::change, exchange::commit_failed};
use crate::{Change, Failure, folders, journal::Stage, plan::in_order, table};
use model::{ComponentName, Version, component::Action, deployment::DetailedStatus};
use std::collections::BTreeMap;
use store::crash_point;

impl Run {
    async fn put_back(&self) -> Result<(), Failure> {
        let (layout, id, moves) = (
            self.shared.layout.clone(),
            self.journal.deployment.clone(),
            self.prepared().moves.clone(),
        );
        self.blocking(move || folders::put_back(&layout, &id, &moves))
            .await
    }

    /// Nothing was committed: only folders go back, and what was halted goes up again.
    pub(super) async fn come_back(&mut self) -> Result<Flow, Stop> {
        self.phase("putting recipes and artifacts back");
        let reason = self.journal.reason.clone();
        if let Err(failure) = self.put_back().await {
            return self.stuck(&failure).await;
        }
        let active = match self.situation().await {
            Ok(situation) => situation.active,
            Err(failure) => return self.stuck(&failure).await,
        };
        let set = in_order(&active)
            .into_iter()
            .map(|name| (active[&name].clone(), Action::Keep))
            .collect();
        let applied = self
            .until_stop(self.shared.ports.components.apply(Change {
                set,
                remove: Vec::new(),
            }))
            .await?;
        if let Err(message) = applied {
            log::error!("the components cannot be started again: {message}");
        }
        self.finish(DetailedStatus::FailedNoStateChange, reason)
            .await?;
        Ok(Flow::End)
    }

    pub(super) async fn restore(&mut self) -> Result<Flow, Stop> {
        self.phase("rolling back: restoring recipes, artifacts and configuration");
        let committed = self.committed();
        let keeps = |name: &ComponentName| committed.actions.get(name) == Some(&Action::Keep);
        let names: Vec<_> = in_order(&committed.new)
            .into_iter()
            .rev()
            .filter(|name| !keeps(name))
            .collect();
        self.halt(&names, &committed.new).await?;
        if let Err(failure) = self.put_back().await {
            return self.stuck(&failure).await;
        }
        let committed = self.committed();
        let (old, contents) = (committed.old.clone(), committed.old_contents.clone());
        let (operations, active) = (committed.saved.restore(), old.clone());
        (self.journal.stage, self.journal.attempts) =
            (Stage::RestoringBootstrap { next: 0, begun: 0 }, 0);
        let entry = self.journal.clone();
        crash_point("deploy.restore.before");
        let restored = self.shared.configuration.commit_with(operations, move |t| {
            table::set_active(t, &old)?;
            for (name, version, content) in &contents {
                table::set_content(t, name, version, content.as_ref())?;
            }
            table::set_journal(t, &entry)
        });
        if let Err(e) = restored.await {
            return self.stuck(&commit_failed(&e)).await;
        }
        crash_point("deploy.restore.after");
        self.shared.set_active(active);
        Ok(Flow::Next)
    }

    /// Bootstrap steps of the old versions that say `BootstrapOnRollback`, where the new ones were bootstrapped.
    pub(super) async fn restore_bootstrap(
        &mut self,
        next: usize,
        begun: u32,
    ) -> Result<Flow, Stop> {
        let committed = self.committed();
        let wants = |name: &&ComponentName| {
            let step = committed
                .old
                .get(*name)
                .and_then(|spec| spec.lifecycle.bootstrap.as_ref());
            step.is_some_and(|step| step.on_rollback)
        };
        let Some(name) = self
            .prepared()
            .plan
            .bootstrap
            .iter()
            .filter(wants)
            .nth(next)
            .cloned()
        else {
            self.enter(Stage::Reactivating).await?;
            return Ok(Flow::Next);
        };
        let spec = committed.old[&name].clone();
        let result = if begun >= 3 {
            Err("it was begun 3 times, and the runtime ended each time".to_owned())
        } else {
            self.enter(Stage::RestoringBootstrap {
                next,
                begun: begun + 1,
            })
            .await?;
            self.phase(&format!(
                "rolling back: running the bootstrap step of {name}"
            ));
            let run = self
                .until_stop(self.shared.ports.components.bootstrap(&spec))
                .await?;
            run.map_err(|e| e.to_string())
        };
        let exit = match result {
            Ok(exit) => exit,
            Err(message) => {
                self.trouble(format!(
                    "the bootstrap step of {name} {} failed: {message}",
                    spec.version
                ));
                crate::BootstrapExit::Done
            }
        };
        self.note_restart(exit);
        self.enter(Stage::RestoringBootstrap {
            next: next + 1,
            begun: 0,
        })
        .await?;
        self.restart_on_the_way_back().await?;
        Ok(Flow::Next)
    }

    pub(super) async fn reactivate(&mut self) -> Result<Flow, Stop> {
        self.phase("rolling back: starting the old components");
        let committed = self.committed();
        let change = change(&committed.new, &committed.old, |name| {
            // Before activation the new set was never there: what was halted just goes up again.
            match committed.actions.get(name) {
                _ if !committed.activated => Action::Keep,
                Some(action) => *action,
                None => Action::Reinstall,
            }
        });
        let limit = self.limit(&committed.old);
        let apply = tokio::time::timeout(limit, self.shared.ports.components.apply(change));
        match self.until_stop(apply).await? {
            Ok(Ok(())) => {}
            Ok(Err(message)) => self.trouble(message),
            Err(_) => self.trouble(format!(
                "the new processes were not down after {} s",
                limit.as_secs()
            )),
        }
        crash_point("deploy.reapplied");
        self.enter(Stage::Rewatching).await?;
        Ok(Flow::Next)
    }

    pub(super) async fn rewatch(&mut self) -> Result<Flow, Stop> {
        let committed = self.committed();
        let changed = |name: &ComponentName| {
            committed.halted.contains(name)
                || committed.activated && committed.actions.get(name) != Some(&Action::Keep)
        };
        let targets: BTreeMap<ComponentName, Version> = committed
            .old
            .values()
            .filter(|spec| changed(&spec.name) && !committed.unwell.contains(&spec.name))
            .map(|spec| (spec.name.clone(), spec.version.clone()))
            .collect();
        let limit = self.limit(&committed.old);
        let up = self.until_up(&targets, &committed.old, limit);
        if let Err(failure) = self.until_stop(up).await? {
            self.trouble(failure.cause);
        }
        let reason = self.journal.reason.clone();
        let detailed = if self.journal.trouble.is_empty() {
            DetailedStatus::FailedRollbackComplete
        } else {
            DetailedStatus::FailedUnableToRollback
        };
        self.finish(detailed, reason).await?;
        Ok(Flow::End)
    }

    /// Something went wrong on the way back, which is gone to its end all the same.
    fn trouble(&mut self, message: String) {
        log::error!(deployment = self.journal.deployment.0.as_str(); "rolling back: {message}");
        self.journal.trouble.push(message);
    }

    /// The way back is closed.
    async fn stuck(&mut self, failure: &Failure) -> Result<Flow, Stop> {
        self.trouble(failure.cause.clone());
        let reason = self.journal.reason.clone();
        self.finish(DetailedStatus::FailedUnableToRollback, reason)
            .await?;
        Ok(Flow::End)
    }
}
