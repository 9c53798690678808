//! The end: what is not needed goes, the report is stored, everybody is told.

use super::{Flow, Interrupt, Run, Stop};
use crate::{
    folders,
    journal::{Reason, Stage},
    packages, table,
    table::Specs,
};
use model::{
    ComponentName, Version,
    deployment::{DeploymentReport, DeploymentStatus, DetailedStatus},
};
use std::collections::BTreeMap;
use store::crash_point;

impl Run {
    pub(super) async fn clean(&mut self) -> Result<Flow, Interrupt> {
        self.phase("removing what is not needed any more");
        let committed = self.committed();
        let active = versions(&committed.new);
        let mut previous: Vec<_> = Some(versions(&committed.old))
            .into_iter()
            .filter(|old| *old != active)
            .collect();
        match self.shared.database.read(table::sets).await {
            Ok(sets) => previous.extend(sets),
            Err(e) => log::warn!("the previous sets cannot be read: {e}"),
        }
        let (layout, rule) = (self.shared.layout.clone(), self.shared.options.retention);
        let (keep, before) = (active.clone(), previous);
        match self
            .blocking(move || packages::clean(&layout, &keep, &before, &rule))
            .await
        {
            Ok(gone) if !gone.is_empty() => {
                self.write(move |t| {
                    gone.iter()
                        .try_for_each(|(name, version)| table::set_content(t, name, version, None))
                })
                .await?;
            }
            Ok(_) => {}
            // Untidy, but no reason to fail.
            Err(failure) => log::warn!("the component store was not cleaned: {failure}"),
        }
        self.finish(DetailedStatus::Successful, None).await?;
        Ok(Flow::End)
    }

    /// Stores how it ended. `detailed` is what it is without a cancellation, which `reason` tells.
    pub(crate) async fn finish(
        &mut self,
        detailed: DetailedStatus,
        reason: Option<Reason>,
    ) -> Result<(), Stop> {
        self.shared.close();
        let report = self.final_report(detailed, reason);
        let new_set = self
            .journal
            .committed
            .as_ref()
            .filter(|_| !self.journal.is_back());
        let replaced = new_set
            .map(|c| (versions(&c.old), versions(&c.new)))
            .filter(|(old, new)| old != new && !old.is_empty());
        let (row, keep, history) = (
            report.clone(),
            self.shared.options.retention.previous_sets,
            self.shared.options.history_limit,
        );
        crash_point("deploy.finish.before");
        self.write(move |t| {
            table::set_report(t, &row)?;
            if let Some((old, _)) = &replaced {
                table::push_set(t, old, keep)?;
            }
            table::clear_journal(t)?;
            table::trim(t, history)
        })
        .await?;
        crash_point("deploy.finish.after");
        if let Some(committed) = &self.journal.committed {
            let counts = if self.journal.is_back() {
                &committed.old
            } else {
                &committed.new
            };
            self.shared.set_active(counts.clone());
        }
        let folder = self.shared.layout.deployment(&self.journal.deployment);
        if let Err(failure) = self.blocking(move || folders::remove(&folder)).await {
            log::warn!("a deployment folder stays until the next start: {failure}");
        }
        log::info!(deployment = report.id.0.as_str(), status = format!("{:?}", report.status).as_str(); "deployment ended");
        self.shared.end();
        self.shared.publish(report);
        self.shared.trim();
        let disturbing = |plan: &crate::Plan| plan.components.iter().any(|c| c.change.disturbs());
        if self
            .journal
            .prepared
            .as_ref()
            .is_some_and(|p| disturbing(&p.plan))
        {
            let listeners = &self.shared.ports.listeners;
            listeners.post_update(&self.journal.deployment).await;
        }
        Ok(())
    }

    fn final_report(&self, detailed: DetailedStatus, reason: Option<Reason>) -> DeploymentReport {
        let unable = detailed == DetailedStatus::FailedUnableToRollback;
        let (status, detailed, failure) = match reason {
            None => (DeploymentStatus::Succeeded, detailed, None),
            Some(Reason::Canceled) if unable => {
                let failure = crate::deployments::interrupted("it was canceled");
                (DeploymentStatus::Failed, detailed, Some(failure))
            }
            Some(Reason::Canceled) => (DeploymentStatus::Canceled, DetailedStatus::Canceled, None),
            Some(Reason::Failed(failure)) => (DeploymentStatus::Failed, detailed, Some(failure)),
        };
        let notes = self
            .journal
            .prepared
            .as_ref()
            .map(|prepared| prepared.plan.notes.join("; "))
            .unwrap_or_default();
        let mut phase = match status {
            DeploymentStatus::Succeeded => "succeeded".to_owned(),
            DeploymentStatus::Canceled => "canceled".to_owned(),
            _ => "failed".to_owned(),
        };
        if status == DeploymentStatus::Succeeded && !notes.is_empty() {
            phase = format!("{phase}; {notes}");
        }
        let (mut stack, mut types, mut cause) = (Vec::new(), Vec::new(), String::new());
        if let Some(failure) = failure {
            stack = failure
                .stack
                .iter()
                .map(|code| code.as_str().to_owned())
                .collect();
            types = failure
                .types
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .collect();
            cause = failure.cause;
        }
        for trouble in &self.journal.trouble {
            cause.push_str(&format!("\nrolling back: {trouble}"));
        }
        DeploymentReport {
            id: self.journal.deployment.clone(),
            status,
            created: self.record.report.created,
            detailed: Some(detailed),
            error_stack: stack,
            error_types: types,
            failure_cause: cause,
            phase,
        }
    }
}

fn versions(specs: &Specs) -> BTreeMap<ComponentName, Version> {
    specs
        .values()
        .map(|spec| (spec.name.clone(), spec.version.clone()))
        .collect()
}

impl crate::journal::Journal {
    /// The old set counts.
    fn is_back(&self) -> bool {
        self.committed.is_none()
            || matches!(
                self.stage,
                Stage::RestoringBootstrap { .. } | Stage::Reactivating | Stage::Rewatching
            )
    }
}
