//! The change itself: folders change places, then one transaction holds configuration, set, records and journal.

use super::{Flow, Interrupt, Run};
use crate::{
    Failure, folders,
    journal::{Committed, Stage},
    plan::with_hard_dependers,
    table,
};
use configuration::ConfigurationError;
use model::State;
use model::error_code::ErrorCode;
use std::collections::BTreeSet;
use store::crash_point;

impl Run {
    pub(super) async fn exchange(&mut self) -> Result<Flow, Interrupt> {
        self.phase("putting recipes and artifacts in place");
        let (situation, _) = self.redraft().await?;
        let halted = self.halted(&situation.active);
        if !halted.is_empty() {
            let order = crate::plan::in_order(&situation.active);
            let names: Vec<_> = order
                .into_iter()
                .rev()
                .filter(|name| halted.contains(name))
                .collect();
            self.halt(&names, &situation.active).await?;
        }
        let (layout, id, moves) = (
            self.shared.layout.clone(),
            self.journal.deployment.clone(),
            self.prepared().moves.clone(),
        );
        self.blocking(move || folders::exchange(&layout, &id, &moves))
            .await?;
        self.commit(halted).await?;
        Ok(Flow::Next)
    }

    /// What must be down before its folders change or its bootstrap step runs, and what cannot be without it.
    fn halted(&self, active: &table::Specs) -> BTreeSet<model::ComponentName> {
        let prepared = self.prepared();
        let direct = prepared
            .changed
            .keys()
            .chain(&prepared.plan.bootstrap)
            .filter(|name| active.contains_key(*name));
        with_hard_dependers(direct.cloned(), active)
    }

    /// Stops components. Their steps and the kill after them are bounded; so is the wait.
    pub(super) async fn halt(
        &self,
        names: &[model::ComponentName],
        specs: &table::Specs,
    ) -> Result<(), super::Stop> {
        let limit = self.limit(specs);
        let halt = tokio::time::timeout(limit, self.shared.ports.components.halt(names));
        if self.until_stop(halt).await?.is_err() {
            log::error!(deployment = self.journal.deployment.0.as_str(); "components were not down after {} s; going on", limit.as_secs());
        }
        Ok(())
    }

    async fn commit(&mut self, halted: BTreeSet<model::ComponentName>) -> Result<(), Interrupt> {
        let (situation, draft) = self.redraft().await?;
        let not_well = |state| matches!(state, State::Broken | State::Errored);
        let statuses = self.shared.ports.components.statuses();
        let unwell = statuses
            .into_iter()
            .filter(|status| not_well(status.state))
            .map(|status| status.name)
            .collect();
        let prepared = self
            .journal
            .prepared
            .as_mut()
            .expect("present from Consenting on");
        let contents: Vec<_> = prepared
            .contents
            .iter()
            .map(|(name, content)| {
                (
                    name.clone(),
                    prepared.versions[name].clone(),
                    content.clone(),
                )
            })
            .collect();
        let stage = if draft.plan.bootstrap.is_empty() {
            Stage::Activating
        } else {
            Stage::Bootstrapping { next: 0, begun: 0 }
        };
        prepared.plan = draft.plan;
        self.journal.committed = Some(Committed {
            old: situation.active,
            new: draft.settled.specs,
            actions: draft.actions,
            halted,
            old_contents: contents
                .iter()
                .map(|(name, version, _)| {
                    let key = (name.clone(), version.clone());
                    let old = situation.contents.get(&key).cloned();
                    (key.0, key.1, old)
                })
                .collect(),
            saved: draft.settled.saved,
            unwell,
            activated: false,
        });
        let exchanging = self.journal.stage;
        (self.journal.stage, self.journal.attempts) = (stage, 0);
        let (entry, new) = (self.journal.clone(), self.committed().new.clone());
        let active = new.clone();
        crash_point("deploy.commit.before");
        let committed = self
            .shared
            .configuration
            .commit_with(draft.settled.operations, move |t| {
                table::set_active(t, &new)?;
                for (name, version, content) in &contents {
                    table::set_content(t, name, version, Some(content))?;
                }
                table::set_journal(t, &entry)
            });
        if let Err(e) = committed.await {
            self.journal.stage = exchanging;
            self.journal.committed = None;
            return Err(commit_failed(&e).into());
        }
        crash_point("deploy.commit.after");
        self.shared.set_active(active);
        Ok(())
    }
}

pub(super) fn commit_failed(error: &ConfigurationError) -> Failure {
    let code = match error {
        ConfigurationError::Tree(_) => ErrorCode::DeploymentDocumentNotValid,
        ConfigurationError::Store(_) | ConfigurationError::Damaged { .. } => {
            ErrorCode::IoWriteError
        }
    };
    Failure::new(
        &[code],
        format!("the new configuration cannot be stored: {error}"),
    )
}
