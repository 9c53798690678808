//! Jobs: what devices are to do, told at a rate, taken up by each in its time, and called off when too many fail.
//!
//! Deployments to thing groups are jobs too, in a namespace of their own. Whatever changes a device's list of pending
//! runs leaves, in the same transaction, the messages about it ([`Notices`]); they are sent once it is durable. A device that
//! misses one asks when it connects.

mod clock;
pub mod data;
pub mod execution;
mod mqtt;
mod notices;
mod operations;
pub mod rollout;
pub mod table;

pub use mqtt::{FILTERS, handle};
pub use notices::Notices;
pub use operations::operations;
pub use table::{Job, Run, SCHEMA};

use crate::{
    device::port::{Link, Outgoing},
    http::{ApiError, Timestamp},
    iot::registry::{groups, names, things},
};
use execution::{Execution, ExecutionError, Report, Status};
use http::StatusCode;
use rollout::{Abort, Retry, Rollout};
use rusqlite::Transaction;
use std::{collections::BTreeSet, fmt, sync::Arc};
use store::Database;
use tokio::sync::{Notify, broadcast};

/// Changes that may wait for a slow listener before it must look for itself.
const EVENTS: usize = 4096;

/// The largest document.
const MAX_DOCUMENT: usize = 32 * 1024;

/// Targets that a job may name.
const MAX_TARGETS: usize = 100;

/// What happened to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEvent {
    /// The run as it is now.
    pub run: Run,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    database: Database,
    link: Link,
    events: broadcast::Sender<JobEvent>,
    /// Wakes the clock when a deadline or a wave was set.
    wake: Notify,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jobs")
    }
}

/// A job to create.
#[derive(Clone, Debug, Default)]
pub struct NewJob {
    /// Its id.
    pub id: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// What devices are told, JSON.
    pub document: String,
    /// Where the document came from.
    pub document_source: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Whether devices that become targets later are told too.
    pub continuous: bool,
    /// ARNs of things and groups.
    pub targets: Vec<String>,
    /// How fast.
    pub rollout: Rollout,
    /// When it is called off by itself.
    pub abort: Abort,
    /// How often a device may try again.
    pub retry: Retry,
    /// How long a device has.
    pub timeout_minutes: Option<i64>,
}

fn transition_refused(error: ExecutionError) -> ApiError {
    match error {
        ExecutionError::Transition { .. } => ApiError::new(
            StatusCode::CONFLICT,
            "InvalidStateTransitionException",
            error.to_string(),
        ),
        ExecutionError::Version { .. } => ApiError::new(
            StatusCode::CONFLICT,
            "VersionConflictException",
            error.to_string(),
        ),
        ExecutionError::Invalid(text) => ApiError::invalid(text),
    }
}

impl Jobs {
    /// Over the tables of this module.
    pub fn new(database: Database, link: Link) -> Self {
        Self(Arc::new(Inner {
            database,
            link,
            events: broadcast::Sender::new(EVENTS),
            wake: Notify::new(),
        }))
    }

    /// What happens to runs from now on.
    pub fn events(&self) -> broadcast::Receiver<JobEvent> {
        self.0.events.subscribe()
    }

    /// Runs `work` in a transaction; once that is durable, tells devices and listeners of what it changed.
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Notices) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = move |t: &Transaction<'_>| {
            let mut notices = Notices::default();
            let value = work(t, &mut notices)?;
            let messages = notices.messages(t)?;
            Ok::<_, ApiError>((value, messages, notices.into_changed()))
        };
        let (value, messages, changed) = self.0.database.write(done).await?;
        self.told(messages, changed).await;
        Ok(value)
    }

    async fn told(&self, messages: Vec<Outgoing>, changed: Vec<Run>) {
        for run in changed {
            let _ = self.0.events.send(JobEvent { run });
        }
        self.0.wake.notify_one();
        self.0.link.send_all(messages).await;
    }

    /// Creates a job and begins to tell its targets.
    pub async fn create(&self, new: NewJob) -> Result<Job, ApiError> {
        self.change(move |t, notices| create(t, notices, new)).await
    }

    /// Calls a job off; runs that devices are at only with `force`.
    pub async fn cancel(
        &self,
        id: &str,
        reason: Option<String>,
        comment: Option<String>,
        force: bool,
    ) -> Result<Job, ApiError> {
        let id = id.to_owned();
        self.change(move |t, notices| cancel(t, notices, &id, reason, comment, force))
            .await
    }
}

/// Creates a job within a transaction.
pub fn create(t: &Transaction<'_>, notices: &mut Notices, new: NewJob) -> Result<Job, ApiError> {
    if Job::find(t, &new.id)?.is_some() {
        return Err(names::already_exists(
            format!("Job {} already exists", new.id),
            "",
            &new.id,
        ));
    }
    serde_json::from_str::<serde_json::Value>(&new.document).map_err(|error| {
        ApiError::invalid(format!("The job document is not valid JSON: {error}"))
    })?;
    if new.document.len() > MAX_DOCUMENT {
        return Err(ApiError::invalid(format!(
            "The job document may have at most {MAX_DOCUMENT} bytes"
        )));
    }
    check_targets(t, &new.targets)?;
    new.rollout.check().map_err(ApiError::invalid)?;
    new.abort.check().map_err(ApiError::invalid)?;
    new.retry.check().map_err(ApiError::invalid)?;
    if let Some(minutes) = new.timeout_minutes {
        crate::http::validate::range(
            "timeoutConfig.inProgressTimeoutInMinutes",
            minutes,
            1..=10_080,
        )?;
    }
    let now = Timestamp::now();
    let mut job = Job {
        id: new.id,
        namespace: new.namespace,
        document: new.document,
        document_source: new.document_source,
        description: new.description,
        continuous: new.continuous,
        status: "IN_PROGRESS".into(),
        targets: new.targets,
        rollout: new.rollout,
        abort: new.abort,
        retry: new.retry,
        timeout_minutes: new.timeout_minutes,
        reason: None,
        comment: None,
        forced: false,
        told: 0,
        next_wave: None,
        created: now,
        updated: now,
        completed: None,
    };
    job.save(t)?;
    let things = job.things(t)?;
    enlist(t, notices, &mut job, things, now)?;
    finish(t, &mut job, now)?;
    Ok(job)
}

fn check_targets(t: &Transaction<'_>, targets: &[String]) -> Result<(), ApiError> {
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        return Err(ApiError::invalid(format!(
            "A job must have between 1 and {MAX_TARGETS} targets"
        )));
    }
    for target in targets {
        if let Some(thing) = names::of_arn(target, "thing") {
            things::Thing::get(t, thing)?;
        } else if let Some(group) = names::of_arn(target, "thinggroup") {
            groups::Group::get(t, group)?;
        } else {
            return Err(ApiError::invalid(format!(
                "{target} is neither the ARN of a thing nor that of a thing group"
            )));
        }
    }
    Ok(())
}

/// Makes things targets: at once, or one by one at the job's rate.
fn enlist(
    t: &Transaction<'_>,
    notices: &mut Notices,
    job: &mut Job,
    things: BTreeSet<String>,
    now: Timestamp,
) -> Result<(), ApiError> {
    if job.rollout.per_minute(0, 0).is_none() {
        for thing in things {
            queue(t, notices, job, &thing, now)?;
        }
    } else {
        let mut insert =
            t.prepare_cached("INSERT OR IGNORE INTO iot_job_waiting (job, thing) VALUES (?1, ?2)")?;
        for thing in things {
            if !runs_already(t, job, &thing)? {
                insert.execute((&job.id, thing))?;
            }
        }
        if job.next_wave.is_none() {
            job.next_wave = Some(now);
        }
    }
    job.save(t)
}

fn runs_already(t: &Transaction<'_>, job: &Job, thing: &str) -> Result<bool, ApiError> {
    let last = Run::find(t, &job.id, thing, None)?;
    Ok(last.is_some_and(|run| run.execution.status != Status::Removed))
}

/// Queues a run for a thing that has none, or whose last one ended because it was no target any more.
fn queue(
    t: &Transaction<'_>,
    notices: &mut Notices,
    job: &mut Job,
    thing: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let last = Run::find(t, &job.id, thing, None)?;
    if last
        .as_ref()
        .is_some_and(|run| run.execution.status != Status::Removed)
    {
        return Ok(());
    }
    notices.before(t, thing, job.namespace.as_deref())?;
    let run = Run {
        job: job.id.clone(),
        thing: thing.to_owned(),
        number: last.map_or(1, |run| run.number + 1),
        namespace: job.namespace.clone(),
        execution: Execution::queued(now),
    };
    run.save(t)?;
    job.told += 1;
    notices.changed(run);
    Ok(())
}

/// Replaces a run's state.
fn put(
    t: &Transaction<'_>,
    notices: &mut Notices,
    run: &Run,
    next: Execution,
) -> Result<Run, ApiError> {
    notices.before(t, &run.thing, run.namespace.as_deref())?;
    let run = Run {
        execution: next,
        ..run.clone()
    };
    run.save(t)?;
    notices.changed(run.clone());
    Ok(run)
}

/// What follows from the end of a run: another attempt, or the end of the job.
fn follow(
    t: &Transaction<'_>,
    notices: &mut Notices,
    run: Run,
    now: Timestamp,
) -> Result<Run, ApiError> {
    if !run.execution.status.is_terminal() {
        return Ok(run);
    }
    let Some(mut job) = Job::find(t, &run.job)? else {
        return Ok(run);
    };
    if job.is_open()
        && let Some(again) = run
            .execution
            .retry(job.retry.allowed(run.execution.status), now)
    {
        return put(t, notices, &run, again);
    }
    if job.is_open() && job.abort.met(&job.counts(t)?) {
        log::warn!(job = job.id.as_str(); "the job is called off: too many devices failed");
        cancel(
            t,
            notices,
            &job.id,
            Some("ABORT".into()),
            Some("The job's abort criteria were met".into()),
            false,
        )?;
        return Ok(run);
    }
    finish(t, &mut job, now)?;
    Ok(run)
}

/// A job for a fixed set of devices is complete when all of them have ended.
fn finish(t: &Transaction<'_>, job: &mut Job, now: Timestamp) -> Result<(), ApiError> {
    if !job.is_open() || job.continuous {
        return Ok(());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM iot_job_waiting WHERE job = ?1)
         OR EXISTS (SELECT 1 FROM iot_execution WHERE job = ?1 AND status IN ('QUEUED', 'IN_PROGRESS'))";
    if t.query_row(sql, [&job.id], |row| row.get(0))? {
        return Ok(());
    }
    job.status = "COMPLETED".into();
    job.completed = Some(now);
    job.updated = now;
    job.save(t)
}

/// Calls a job off within a transaction.
pub fn cancel(
    t: &Transaction<'_>,
    notices: &mut Notices,
    id: &str,
    reason: Option<String>,
    comment: Option<String>,
    force: bool,
) -> Result<Job, ApiError> {
    let mut job = Job::get(t, id)?;
    if job.status == "COMPLETED" {
        return Err(ApiError::invalid(format!(
            "Job {id} is completed and cannot be canceled."
        )));
    }
    let now = Timestamp::now();
    t.execute("DELETE FROM iot_job_waiting WHERE job = ?1", [id])?;
    let mut statement = t.prepare_cached(
        "SELECT * FROM iot_execution WHERE job = ?1 AND status IN ('QUEUED', 'IN_PROGRESS')",
    )?;
    let runs = statement
        .query_map([id], Run::read)?
        .collect::<Result<Vec<_>, _>>()?;
    for run in runs {
        if let Ok(next) = run.execution.cancel(force, now) {
            put(t, notices, &run, next)?;
        }
    }
    job.status = "CANCELED".into();
    job.reason = reason;
    job.comment = comment;
    job.forced = force;
    job.updated = now;
    job.completed = Some(now);
    job.next_wave = None;
    job.save(t)?;
    Ok(job)
}

/// A report of a device about its run of a job.
pub fn report(
    t: &Transaction<'_>,
    notices: &mut Notices,
    run: &Run,
    said: &Report,
) -> Result<Run, ExecutionOrApi> {
    let now = Timestamp::now();
    let job = Job::get(t, &run.job)?;
    let next = run.execution.report(said, job.timeout(), now)?;
    let reported = put(t, notices, run, next)?;
    // What the device is told is what it reported, even when the run is queued anew.
    follow(t, notices, reported.clone(), now)?;
    Ok(reported)
}

/// Either kind of failure: callers over MQTT and over HTTP word the first in different ways.
#[derive(Debug)]
pub enum ExecutionOrApi {
    /// The run does not allow it.
    Execution(ExecutionError),
    /// Everything else.
    Api(ApiError),
}

impl From<ExecutionError> for ExecutionOrApi {
    fn from(error: ExecutionError) -> Self {
        Self::Execution(error)
    }
}

impl From<ApiError> for ExecutionOrApi {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<ExecutionOrApi> for ApiError {
    fn from(error: ExecutionOrApi) -> Self {
        match error {
            ExecutionOrApi::Execution(error) => transition_refused(error),
            ExecutionOrApi::Api(error) => error,
        }
    }
}
