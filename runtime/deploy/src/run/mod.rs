//! One deployment under way: each stage does its work, writes the next stage to the journal, and goes on.

mod apply;
mod back;
mod consent;
mod exchange;
mod finish;
mod wait;

use crate::{
    Failure,
    deployments::{Shared, interrupted},
    folders,
    journal::{Committed, Journal, Prepared, Reason, Stage},
    prepare::{Draft, Outcome, Situation, prepare, redraft},
    table::{self, Record},
    task::RETRY,
};
use model::deployment::{DetailedStatus, FailurePolicy};
use std::{future::Future, sync::Arc};
use store::crash_point;
use tokio_util::sync::CancellationToken;

/// The program ends; the journal keeps the rest.
#[derive(Debug)]
pub(crate) struct Stop;

/// Why a stage did not come to its end.
#[derive(Debug)]
pub(crate) enum Interrupt {
    Stop,
    Canceled,
    Failed(Failure),
}

impl From<Stop> for Interrupt {
    fn from(_: Stop) -> Self {
        Self::Stop
    }
}

impl From<Failure> for Interrupt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Whether there is a next stage.
pub(crate) enum Flow {
    Next,
    End,
}

pub(crate) struct Run {
    shared: Arc<Shared>,
    record: Record,
    journal: Journal,
    cancel: CancellationToken,
    shutdown: CancellationToken,
}

impl Run {
    pub(crate) fn new(
        shared: Arc<Shared>,
        record: Record,
        journal: Journal,
        cancel: CancellationToken,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            shared,
            record,
            journal,
            cancel,
            shutdown,
        }
    }

    /// Goes on until the deployment is over or the program ends.
    pub(crate) async fn drive(mut self) -> Result<(), Stop> {
        loop {
            match self.step().await {
                Ok(Flow::Next) => {}
                Ok(Flow::End) => return Ok(()),
                Err(Stop) => {
                    // An orderly end is no sign that this deployment kills the program.
                    self.journal.attempts = 0;
                    let entry = self.journal.clone();
                    if let Err(e) = self
                        .shared
                        .database
                        .write(move |t| table::set_journal(t, &entry))
                        .await
                    {
                        log::error!("the journal cannot be written: {e}");
                    }
                    return Err(Stop);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Flow, Stop> {
        let result = match self.journal.stage {
            Stage::Preparing => self.prepare().await,
            Stage::Consenting => self.consent().await,
            Stage::Exchanging => self.exchange().await,
            Stage::Bootstrapping { next, begun } => self.bootstrap(next, begun).await,
            Stage::Activating => self.activate().await,
            Stage::Watching => self.watch().await,
            Stage::Cleaning => self.clean().await,
            Stage::Returning => return self.come_back().await,
            Stage::Restoring => return self.restore().await,
            Stage::RestoringBootstrap { next, begun } => {
                return self.restore_bootstrap(next, begun).await;
            }
            Stage::Reactivating => return self.reactivate().await,
            Stage::Rewatching => return self.rewatch().await,
        };
        let reason = match result {
            Ok(flow) => return Ok(flow),
            Err(Interrupt::Stop) => return Err(Stop),
            Err(Interrupt::Canceled) => Reason::Canceled,
            Err(Interrupt::Failed(failure)) => Reason::Failed(failure),
        };
        if self.fail(reason).await? {
            Ok(Flow::End)
        } else {
            Ok(Flow::Next)
        }
    }

    /// Decides what a failure or a cancellation at this stage means; `true` when that is the end.
    pub(crate) async fn fail(&mut self, reason: Reason) -> Result<bool, Stop> {
        self.shared.close();
        if let Reason::Failed(failure) = &reason {
            log::error!(deployment = self.journal.deployment.0.as_str(); "{failure}");
        }
        let put_back = match self.journal.stage {
            Stage::Exchanging => {
                self.turn_back(reason, Stage::Returning).await?;
                return Ok(false);
            }
            // Nothing of the new set was started, and with half a bootstrap nothing of it could be.
            Stage::Bootstrapping { .. } => true,
            Stage::Activating | Stage::Watching => {
                reason == Reason::Canceled
                    || self.record.request.failure_policy == Some(FailurePolicy::Rollback)
            }
            _ => {
                self.finish(DetailedStatus::FailedNoStateChange, Some(reason))
                    .await?;
                return Ok(true);
            }
        };
        if put_back {
            self.turn_back(reason, Stage::Restoring).await?;
            return Ok(false);
        }
        self.finish(DetailedStatus::FailedRollbackNotRequested, Some(reason))
            .await?;
        Ok(true)
    }

    /// Begins the way back.
    pub(crate) async fn turn_back(&mut self, reason: Reason, stage: Stage) -> Result<(), Stop> {
        self.journal.reason = Some(reason);
        self.enter(stage).await
    }

    /// Throws away what an interrupted preparation left.
    pub(crate) async fn start_over(&mut self) -> Result<(), Stop> {
        let folder = self.shared.layout.deployment(&self.journal.deployment);
        if let Ok(Err(failure)) =
            tokio::task::spawn_blocking(move || folders::remove(&folder)).await
        {
            log::warn!("{failure}");
        }
        Ok(())
    }

    /// Writes the stage to the journal, then it counts. Only the end of the program keeps it from that.
    async fn enter(&mut self, stage: Stage) -> Result<(), Stop> {
        crash_point(&format!("deploy.{}.before", stage.name()));
        self.journal.stage = stage;
        self.journal.attempts = 0;
        let entry = self.journal.clone();
        self.write(move |t| table::set_journal(t, &entry)).await?;
        crash_point(&format!("deploy.{}.after", stage.name()));
        Ok(())
    }

    /// Writes, again and again until it succeeds: without it nothing further may be done.
    async fn write(
        &self,
        work: impl Fn(&store::rusqlite::Transaction<'_>) -> Result<(), store::StoreError>
        + Clone
        + Send
        + 'static,
    ) -> Result<(), Stop> {
        loop {
            match self.shared.database.write(work.clone()).await {
                Ok(()) => return Ok(()),
                Err(store::StoreError::Closed) => return Err(Stop),
                Err(e) => {
                    log::error!(deployment = self.journal.deployment.0.as_str(); "the deployment waits, since its state cannot be stored: {e}");
                }
            }
            self.until_stop(tokio::time::sleep(RETRY)).await?;
        }
    }

    async fn until_stop<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Stop),
            value = work => Ok(value),
        }
    }

    /// Waits for something, unless the program ends or the deployment is canceled.
    async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Interrupt::Stop),
            () = self.cancel.cancelled() => Err(Interrupt::Canceled),
            value = work => Ok(value),
        }
    }

    /// Does something on a blocking thread, to its end.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(interrupted(&format!(
                "a step of the deployment ended abnormally: {e}"
            ))),
        }
    }

    fn phase(&self, text: &str) {
        self.shared.phase(&self.journal.deployment, text);
    }

    fn prepared(&self) -> &Prepared {
        self.journal
            .prepared
            .as_ref()
            .expect("written before any stage that needs it")
    }

    fn committed(&self) -> &Committed {
        self.journal
            .committed
            .as_ref()
            .expect("written with the stages that need it")
    }

    async fn situation(&self) -> Result<Situation, Failure> {
        let add = crate::request::versions(&self.record.request)?;
        self.shared.situation(&self.record, add).await
    }

    async fn redraft(&self) -> Result<(Situation, Draft), Failure> {
        let (situation, prepared) = (self.situation().await?, self.prepared().clone());
        self.blocking(move || {
            let draft = redraft(&situation, &prepared)?;
            Ok((situation, draft))
        })
        .await
    }

    async fn prepare(&mut self) -> Result<Flow, Interrupt> {
        let situation = self.situation().await?;
        // Canceled when this future goes away too, so that no thread goes on copying behind our back.
        let stop = self.cancel.child_token();
        let guard = stop.clone().drop_guard();
        let (shared, id) = (self.shared.clone(), self.journal.deployment.clone());
        let work = tokio::task::spawn_blocking(move || {
            prepare(&situation, true, &|text| shared.phase(&id, text), &stop)
        });
        tokio::pin!(work);
        let result = tokio::select! {
            result = &mut work => result,
            () = self.shutdown.cancelled() => {
                drop(guard);
                let _ = work.await;
                return Err(Interrupt::Stop);
            }
        };
        match result {
            Ok(Ok(Outcome::Ready(prepared))) => self.journal.prepared = Some(*prepared),
            Ok(Ok(Outcome::Canceled)) => return Err(Interrupt::Canceled),
            Ok(Err(failure)) => return Err(failure.into()),
            Err(e) => return Err(interrupted(&format!("preparing ended abnormally: {e}")).into()),
        }
        self.enter(Stage::Consenting).await?;
        Ok(Flow::Next)
    }
}
