//! The one task that works: takes deployments from the queue, one at a time, and at start goes on with an interrupted one.

use crate::{
    deployments::Shared,
    journal::{Journal, Reason, Restart, Resume, Stage, resume},
    run::{Run, Stop},
    table,
};
use model::deployment::{DeploymentReport, DeploymentStatus, DetailedStatus};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A database that does not answer is tried again after this long.
pub(crate) const RETRY: Duration = Duration::from_secs(5);

/// The work of [`crate::Deployments`].
pub struct Task {
    shared: Arc<Shared>,
    journal: Option<Journal>,
}

impl Task {
    pub(crate) fn new(shared: Arc<Shared>, journal: Option<Journal>) -> Self {
        Self { shared, journal }
    }

    /// Runs until `shutdown`. A deployment under way then stays in the journal, and goes on after the next start.
    pub async fn run(mut self, shutdown: CancellationToken) {
        if let Some(journal) = self.journal.take()
            && self.go_on(journal, &shutdown).await.is_err()
        {
            return;
        }
        while !shutdown.is_cancelled() {
            match self.take().await {
                Some(run) => {
                    if run(shutdown.clone()).drive().await.is_err() {
                        return;
                    }
                }
                None => tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.shared.wake.notified() => {}
                    // A report that could not be stored is tried again.
                    () = tokio::time::sleep(RETRY), if self.shared.next().is_some() => {}
                },
            }
        }
    }

    /// Takes the oldest deployment out of the queue.
    async fn take(&self) -> Option<impl FnOnce(CancellationToken) -> Run + use<>> {
        let shared = &self.shared;
        let _queue = shared.queue.lock().await;
        let mut record = shared.next()?;
        record.report = DeploymentReport {
            status: DeploymentStatus::InProgress,
            phase: "beginning".into(),
            ..record.report
        };
        let journal = Journal::new(record.report.id.clone());
        let (report, entry) = (record.report.clone(), journal.clone());
        let written = shared.database.write(move |t| {
            table::set_report(t, &report)?;
            table::set_journal(t, &entry)
        });
        if let Err(e) = written.await {
            log::error!(deployment = record.report.id.0.as_str(); "a deployment waits, since its begin cannot be stored: {e}");
            return None;
        }
        let cancel = shared.begin(&record.report.id, false);
        shared.publish(record.report.clone());
        let shared = shared.clone();
        Some(move |shutdown| Run::new(shared, record, journal, cancel, shutdown))
    }

    /// Does with a journal found at start what the table says.
    async fn go_on(&self, mut journal: Journal, shutdown: &CancellationToken) -> Result<(), Stop> {
        let shared = &self.shared;
        let id = journal.deployment.clone();
        let Some(record) = shared.record(&id) else {
            log::error!(deployment = id.0.as_str(); "the journal tells of a deployment that is not known; forgetting it");
            if let Err(e) = shared.database.write(table::clear_journal).await {
                log::error!("the journal cannot be cleared: {e}");
            }
            return Ok(());
        };
        let decision = resume(journal.stage, journal.attempts);
        log::info!(deployment = id.0.as_str(); "a deployment was interrupted at {}: {decision:?}", journal.stage.name());
        let closed =
            journal.reason.is_some() || matches!(journal.stage, Stage::Cleaning | Stage::Returning);
        let cancel = shared.begin(&id, closed);
        if record.cancel && !closed {
            cancel.cancel();
        }
        let starts = journal.attempts;
        let stage = journal.stage.name();
        let reason = Reason::Failed(crate::deployments::interrupted(&match journal.restart {
            Some(Restart::Device { .. }) => format!(
                "a bootstrap step asked for the device to be restarted, and in {starts} starts of the runtime it was not; \
                 restart it when the runtime ends with exit code 101, or let the runtime do it (--allow-reboot)"
            ),
            _ => format!("the runtime ended {starts} times while the deployment was at {stage}"),
        }));
        if decision == Resume::StartOver {
            journal = Journal {
                attempts: journal.attempts,
                ..Journal::new(id)
            };
        }
        let mut run = Run::new(shared.clone(), record, journal, cancel, shutdown.clone());
        match decision {
            Resume::StartOver => run.start_over().await?,
            Resume::GoOn => run.check_restart().await?,
            Resume::GiveUp => {
                return run
                    .finish(DetailedStatus::FailedNoStateChange, Some(reason))
                    .await;
            }
            Resume::Return => run.turn_back(reason, Stage::Returning).await?,
            Resume::GoBack => {
                if run.fail(reason).await? {
                    return Ok(());
                }
            }
            Resume::Abandon => {
                return run
                    .finish(DetailedStatus::FailedUnableToRollback, Some(reason))
                    .await;
            }
        }
        run.drive().await
    }
}
