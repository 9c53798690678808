//! The handle: accepts, cancels, reports and plans deployments. The work is done by the one [`crate::task::Task`].

use crate::{
    CancelError, CreateError, Failure, OpenError, Options, Plan, PlanError, Ports,
    folders::{self, Layout},
    prepare::{Outcome, Situation, prepare},
    request,
    table::{self, Record, SCHEMA, Specs},
    task::Task,
};
use configuration::Configuration;
use model::{
    ComponentSpec, State,
    deployment::{
        DeploymentId, DeploymentReport, DeploymentStatus, DetailedStatus, LocalDeploymentRequest,
    },
};
use std::{
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use store::{Database, Schema};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

/// Reports a slow listener may lag behind.
const EVENTS: usize = 64;

/// Deployments of this device. Cheap to clone.
#[derive(Clone)]
pub struct Deployments {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub options: Arc<Options>,
    pub layout: Layout,
    pub database: Database,
    pub configuration: Configuration,
    pub ports: Ports,
    /// Every deployment known, oldest first.
    records: Mutex<Vec<Record>>,
    /// The one under way.
    running: Mutex<Option<Running>>,
    active: Mutex<Specs>,
    /// Held while a deployment enters or leaves the queue.
    pub queue: tokio::sync::Mutex<()>,
    pub wake: Notify,
    events: broadcast::Sender<DeploymentReport>,
}

/// Whether the deployment under way can still be canceled.
struct Running {
    id: DeploymentId,
    cancel: CancellationToken,
    closed: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Deployments {
    /// The tables; give it to [`Database::open`].
    pub const SCHEMA: Schema = SCHEMA;

    /// Reads the state. The returned task does the work, one deployment after the other, and goes on with one that was
    /// interrupted: start it when components run.
    pub async fn open(
        options: Options,
        database: Database,
        configuration: Configuration,
        ports: Ports,
    ) -> Result<(Self, Task), OpenError> {
        let (records, journal, active, new) = database
            .write(|t| {
                table::count_attempt(t)?;
                let new = table::is_new(t)?;
                Ok::<_, OpenError>((table::all(t)?, table::journal(t)?, table::active(t)?, new))
            })
            .await?;
        let layout = Layout {
            root: options.root.clone(),
        };
        folders::sweep(&layout, journal.as_ref().map(|journal| &journal.deployment));
        let running = journal
            .as_ref()
            .map_or_else(|| active.clone(), |journal| journal.running(&active));
        let initial = options.initial.clone().filter(|_| new && active.is_empty());
        let shared = Arc::new(Shared {
            options: Arc::new(options),
            layout,
            database,
            configuration,
            ports,
            records: Mutex::new(records),
            running: Mutex::new(None),
            active: Mutex::new(running),
            queue: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            events: broadcast::channel(EVENTS).0,
        });
        let deployments = Self {
            shared: shared.clone(),
        };
        if let Some(request) = initial {
            match deployments.create(request).await {
                Ok(id) => {
                    log::info!(deployment = id.0.as_str(); "queued the deployment this image brings along");
                }
                Err(e) => log::error!("the deployment this image brings along was refused: {e}"),
            }
        }
        Ok((deployments, Task::new(shared, journal)))
    }

    /// Queues a local deployment.
    pub async fn create(
        &self,
        request: LocalDeploymentRequest,
    ) -> Result<DeploymentId, CreateError> {
        request::check(&request, &self.shared.options)?;
        let _queue = self.shared.queue.lock().await;
        let waiting = lock(&self.shared.records)
            .iter()
            .filter(|r| r.report.status == DeploymentStatus::Queued)
            .count();
        if waiting >= self.shared.options.queue_limit {
            return Err(CreateError::QueueFull { waiting });
        }
        let id = new_id();
        let report = DeploymentReport {
            id: id.clone(),
            status: DeploymentStatus::Queued,
            created: SystemTime::now(),
            detailed: None,
            error_stack: Vec::new(),
            error_types: Vec::new(),
            failure_cause: String::new(),
            phase: "queued".into(),
        };
        let record = Record {
            request,
            report: report.clone(),
            cancel: false,
            at: self.shared.now(),
        };
        let row = record.clone();
        self.shared
            .database
            .write(move |t| table::insert(t, &row))
            .await?;
        lock(&self.shared.records).push(record);
        log::info!(deployment = id.0.as_str(); "deployment queued");
        let _ = self.shared.events.send(report);
        self.shared.wake.notify_one();
        Ok(id)
    }

    /// Cancels a deployment: at once while it waits in the queue, at the next possible moment while it is under way. What it
    /// has changed by then is put back. Follow [`Deployments::watch`] to see the end.
    pub async fn cancel(&self, id: &DeploymentId) -> Result<(), CancelError> {
        let shared = &self.shared;
        let _queue = shared.queue.lock().await;
        let report = self
            .report(id)
            .ok_or_else(|| CancelError::NotFound(id.clone()))?;
        let too_late = |reason| {
            Err(CancelError::TooLate {
                id: id.clone(),
                reason,
            })
        };
        if report.status.is_final() {
            return too_late("it is over");
        }
        if report.status == DeploymentStatus::Queued {
            let report = DeploymentReport {
                status: DeploymentStatus::Canceled,
                detailed: Some(DetailedStatus::Canceled),
                phase: "canceled before it began".into(),
                ..report
            };
            let row = report.clone();
            shared
                .database
                .write(move |t| table::set_report(t, &row))
                .await?;
            shared.publish(report);
            return Ok(());
        }
        let open =
            |running: &Option<Running>| running.as_ref().is_some_and(|r| r.id == *id && !r.closed);
        if !open(&lock(&shared.running)) {
            return too_late("it is ending already");
        }
        let row = id.clone();
        shared
            .database
            .write(move |t| table::set_cancel(t, &row))
            .await?;
        match &*lock(&shared.running) {
            running if !open(running) => too_late("it is ending already"),
            Some(running) => {
                running.cancel.cancel();
                Ok(())
            }
            None => too_late("it is ending already"),
        }
    }

    /// Where a deployment is, or how it ended.
    pub fn report(&self, id: &DeploymentId) -> Option<DeploymentReport> {
        lock(&self.shared.records)
            .iter()
            .find(|r| r.report.id == *id)
            .map(|r| r.report.clone())
    }

    /// Every deployment known, newest first.
    pub fn list(&self) -> Vec<DeploymentReport> {
        lock(&self.shared.records)
            .iter()
            .rev()
            .map(|r| r.report.clone())
            .collect()
    }

    /// Every change of a report from now on.
    pub fn watch(&self) -> broadcast::Receiver<DeploymentReport> {
        self.shared.events.subscribe()
    }

    /// What a deployment would do now, without doing it. Deployments that wait in the queue are not thought of.
    pub async fn plan(&self, request: LocalDeploymentRequest) -> Result<Plan, PlanError> {
        let add = request::check(&request, &self.shared.options)?;
        let record = Record {
            request,
            report: DeploymentReport {
                id: DeploymentId("plan".into()),
                status: DeploymentStatus::Queued,
                created: SystemTime::now(),
                detailed: None,
                error_stack: Vec::new(),
                error_types: Vec::new(),
                failure_cause: String::new(),
                phase: String::new(),
            },
            cancel: false,
            at: self.shared.now(),
        };
        let situation = self
            .shared
            .situation(&record, add)
            .await
            .map_err(PlanError::Failed)?;
        let cancel = CancellationToken::new();
        // Stops the thread when the caller goes away.
        let _guard = cancel.clone().drop_guard();
        let work =
            tokio::task::spawn_blocking(move || prepare(&situation, false, &|_| (), &cancel));
        match work.await {
            Ok(Ok(Outcome::Ready(prepared))) => Ok(prepared.plan),
            Ok(Ok(Outcome::Canceled)) => Err(interrupted("the plan was canceled").into()),
            Ok(Err(failure)) => Err(failure.into()),
            Err(e) => Err(interrupted(&format!("planning failed: {e}")).into()),
        }
    }

    /// What is to run at start, before the task: the active set; while a deployment was interrupted, what of it is whole.
    /// Units that run but are not in it belong to a deployment that goes on at once.
    pub fn active(&self) -> Vec<ComponentSpec> {
        let specs = lock(&self.shared.active);
        crate::plan::in_order(&specs)
            .into_iter()
            .map(|name| specs[&name].clone())
            .collect()
    }
}

pub(crate) fn interrupted(message: &str) -> Failure {
    Failure::new(
        &[model::error_code::ErrorCode::DeploymentInterrupted],
        message,
    )
}

impl Shared {
    /// The timestamp of what is asked for now: by the clock, but never before what is stored already, since the clock of a
    /// device that has just started may be wrong and a person means what comes last.
    fn now(&self) -> u64 {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis());
        let newest = self
            .configuration
            .tree()
            .entry(&["services"])
            .map_or(0, |entry| entry.at);
        u64::try_from(clock).unwrap_or(0).max(newest)
    }

    /// Takes the state as it is now.
    pub(crate) async fn situation(
        &self,
        record: &Record,
        add: std::collections::BTreeMap<model::ComponentName, model::Version>,
    ) -> Result<Situation, Failure> {
        let read = self
            .database
            .read(|t| Ok::<_, OpenError>((table::active(t)?, table::contents(t)?)))
            .await;
        let (active, contents) = read.map_err(|e| interrupted(&e.to_string()))?;
        let broken = self
            .ports
            .components
            .statuses()
            .into_iter()
            .filter(|s| s.state == State::Broken)
            .map(|s| s.name);
        Ok(Situation {
            options: self.options.clone(),
            request: record.request.clone(),
            add,
            deployment: record.report.id.clone(),
            at: record.at,
            tree: self.configuration.tree(),
            active,
            contents,
            broken: broken.collect(),
        })
    }

    /// Shows a report to everybody. It is stored by the caller, or not worth it.
    pub(crate) fn publish(&self, report: DeploymentReport) {
        if let Some(record) = lock(&self.records)
            .iter_mut()
            .find(|r| r.report.id == report.id)
        {
            record.report = report.clone();
        }
        let _ = self.events.send(report);
    }

    /// Says what the deployment is at.
    pub(crate) fn phase(&self, id: &DeploymentId, phase: &str) {
        let report = lock(&self.records)
            .iter()
            .find(|r| r.report.id == *id)
            .map(|r| r.report.clone());
        if let Some(report) = report.filter(|report| report.phase != phase) {
            log::info!(deployment = id.0.as_str(); "{phase}");
            self.publish(DeploymentReport {
                phase: phase.to_owned(),
                ..report
            });
        }
    }

    pub(crate) fn record(&self, id: &DeploymentId) -> Option<Record> {
        lock(&self.records)
            .iter()
            .find(|r| r.report.id == *id)
            .cloned()
    }

    /// The oldest that waits.
    pub(crate) fn next(&self) -> Option<Record> {
        lock(&self.records)
            .iter()
            .find(|r| r.report.status == DeploymentStatus::Queued)
            .cloned()
    }

    /// Forgets the oldest finished ones beyond the limit, as the table does.
    pub(crate) fn trim(&self) {
        let mut records = lock(&self.records);
        let finished = records
            .iter()
            .filter(|r| r.report.status.is_final())
            .count();
        let mut excess = finished.saturating_sub(self.options.history_limit);
        records.retain(|record| {
            let drop = excess > 0 && record.report.status.is_final();
            excess -= usize::from(drop);
            !drop
        });
    }

    pub(crate) fn set_active(&self, specs: Specs) {
        *lock(&self.active) = specs;
    }

    /// A deployment begins or goes on; `closed` when it cannot be canceled any more.
    pub(crate) fn begin(&self, id: &DeploymentId, closed: bool) -> CancellationToken {
        let cancel = CancellationToken::new();
        *lock(&self.running) = Some(Running {
            id: id.clone(),
            cancel: cancel.clone(),
            closed,
        });
        cancel
    }

    /// From here on it cannot be canceled; `false` when it was before.
    pub(crate) fn close(&self) -> bool {
        match &mut *lock(&self.running) {
            Some(running) if running.cancel.is_cancelled() && !running.closed => {
                running.closed = true;
                false
            }
            Some(running) => {
                running.closed = true;
                true
            }
            None => true,
        }
    }

    pub(crate) fn end(&self) {
        *lock(&self.running) = None;
    }
}

/// A random UUID, version 4.
fn new_id() -> DeploymentId {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .unwrap_or(0);
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    DeploymentId(text)
}
