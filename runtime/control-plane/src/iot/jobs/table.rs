//! The tables of jobs, as rows and the questions asked of them. Everything here runs within a transaction.

use super::{
    execution::{Execution, Status, StatusDetails},
    rollout::{Abort, Counts, Retry, Rollout},
};
use crate::{
    http::{ApiError, Timestamp},
    iot::registry::{groups, names},
};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use store::Schema;

/// Jobs, the runs of devices, and the devices that are not told yet.
pub const SCHEMA: Schema = Schema {
    name: "iot_jobs",
    migrations: &["
        CREATE TABLE iot_job (
            id TEXT PRIMARY KEY NOT NULL,
            namespace TEXT,
            document TEXT NOT NULL,
            document_source TEXT,
            description TEXT,
            selection TEXT NOT NULL,
            status TEXT NOT NULL,
            targets TEXT NOT NULL,
            rollout TEXT NOT NULL,
            abort TEXT NOT NULL,
            retry TEXT NOT NULL,
            timeout_minutes INTEGER,
            reason TEXT,
            comment TEXT,
            forced INTEGER NOT NULL DEFAULT 0,
            told INTEGER NOT NULL DEFAULT 0,
            next_wave INTEGER,
            created INTEGER NOT NULL,
            updated INTEGER NOT NULL,
            completed INTEGER
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_job_created ON iot_job (created, id);
        CREATE INDEX iot_job_wave ON iot_job (next_wave) WHERE next_wave IS NOT NULL;
        CREATE TABLE iot_execution (
            job TEXT NOT NULL REFERENCES iot_job (id) ON DELETE CASCADE,
            thing TEXT NOT NULL,
            number INTEGER NOT NULL,
            namespace TEXT,
            status TEXT NOT NULL,
            details TEXT NOT NULL,
            version INTEGER NOT NULL,
            queued INTEGER NOT NULL,
            started INTEGER,
            updated INTEGER NOT NULL,
            deadline INTEGER,
            step_deadline INTEGER,
            expires INTEGER,
            forced INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            PRIMARY KEY (job, thing, number)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_execution_thing ON iot_execution (thing, status, queued);
        CREATE INDEX iot_execution_status ON iot_execution (job, status);
        CREATE INDEX iot_execution_expires ON iot_execution (expires) WHERE expires IS NOT NULL;
        CREATE TABLE iot_job_waiting (
            job TEXT NOT NULL REFERENCES iot_job (id) ON DELETE CASCADE,
            thing TEXT NOT NULL,
            PRIMARY KEY (job, thing)
        ) WITHOUT ROWID, STRICT;
    "],
};

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its namespace: `aws-gg-deployment` for deployments.
    pub namespace: Option<String>,
    /// What devices are told, JSON.
    pub document: String,
    /// Where the document came from.
    pub document_source: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Whether devices that become targets later are told too.
    pub continuous: bool,
    /// `IN_PROGRESS`, `CANCELED`, `COMPLETED`.
    pub status: String,
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
    /// Why it was called off.
    pub reason: Option<String>,
    /// For people.
    pub comment: Option<String>,
    /// Whether it was called off by force.
    pub forced: bool,
    /// Devices told so far.
    pub told: i64,
    /// When the next devices are told.
    pub next_wave: Option<Timestamp>,
    /// When it was created.
    pub created: Timestamp,
    /// When it changed last.
    pub updated: Timestamp,
    /// When it came to its end.
    pub completed: Option<Timestamp>,
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn text(value: &impl Serialize) -> Result<String, ApiError> {
    Ok(serde_json::to_string(value)?)
}

impl Job {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let selection: String = row.get("selection")?;
        Ok(Self {
            id: row.get("id")?,
            namespace: row.get("namespace")?,
            document: row.get("document")?,
            document_source: row.get("document_source")?,
            description: row.get("description")?,
            continuous: selection == "CONTINUOUS",
            status: row.get("status")?,
            targets: json(row, "targets")?,
            rollout: json(row, "rollout")?,
            abort: json(row, "abort")?,
            retry: json(row, "retry")?,
            timeout_minutes: row.get("timeout_minutes")?,
            reason: row.get("reason")?,
            comment: row.get("comment")?,
            forced: row.get("forced")?,
            told: row.get("told")?,
            next_wave: row.get("next_wave")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            completed: row.get("completed")?,
        })
    }

    /// The job of an id.
    pub fn find(t: &Transaction<'_>, id: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_job WHERE id = ?1";
        Ok(t.prepare_cached(sql)?
            .query_row([id], Self::read)
            .optional()?)
    }

    /// The job of an id, or the error that AWS IoT has for its absence.
    pub fn get(t: &Transaction<'_>, id: &str) -> Result<Self, ApiError> {
        Self::find(t, id)?.ok_or_else(|| ApiError::not_found(format!("Job {id} cannot be found.")))
    }

    /// Whether it may still tell devices.
    pub fn is_open(&self) -> bool {
        self.status == "IN_PROGRESS"
    }

    /// How long a device has.
    pub fn timeout(&self) -> Option<Duration> {
        let minutes = u64::try_from(self.timeout_minutes?).ok()?;
        Some(Duration::from_secs(minutes * 60))
    }

    /// `SNAPSHOT` or `CONTINUOUS`.
    pub fn selection(&self) -> &'static str {
        if self.continuous {
            "CONTINUOUS"
        } else {
            "SNAPSHOT"
        }
    }

    pub(super) fn save(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let first = "INSERT INTO iot_job (id, namespace, document, document_source, description, selection, status, targets, rollout, abort, retry, timeout_minutes, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (id) DO UPDATE SET description = ?5, status = ?7, targets = ?8, rollout = ?9, abort = ?10, retry = ?11, timeout_minutes = ?12, updated = ?14";
        t.prepare_cached(first)?.execute((
            &self.id,
            &self.namespace,
            &self.document,
            &self.document_source,
            &self.description,
            self.selection(),
            &self.status,
            text(&self.targets)?,
            text(&self.rollout)?,
            text(&self.abort)?,
            text(&self.retry)?,
            self.timeout_minutes,
            self.created,
            self.updated,
        ))?;
        let rest = "UPDATE iot_job SET reason = ?2, comment = ?3, forced = ?4, told = ?5, next_wave = ?6, completed = ?7 WHERE id = ?1";
        t.prepare_cached(rest)?.execute((
            &self.id,
            &self.reason,
            &self.comment,
            self.forced,
            self.told,
            self.next_wave,
            self.completed,
        ))?;
        Ok(())
    }

    /// The things that are its targets now, each once.
    pub fn things(&self, t: &Transaction<'_>) -> Result<BTreeSet<String>, ApiError> {
        let mut things = BTreeSet::new();
        for target in &self.targets {
            if let Some(thing) = names::of_arn(target, "thing") {
                things.insert(thing.to_owned());
            } else if let Some(group) = names::of_arn(target, "thinggroup") {
                things.extend(groups::members(t, group, true)?);
            }
        }
        Ok(things)
    }

    /// How many runs are where; of a device that ran it more than once only the last counts.
    pub fn counts(&self, t: &Transaction<'_>) -> Result<Counts, ApiError> {
        let sql = "SELECT status, count(*) FROM iot_execution e WHERE job = ?1
             AND number = (SELECT max(number) FROM iot_execution WHERE job = e.job AND thing = e.thing) GROUP BY status";
        let mut statement = t.prepare_cached(sql)?;
        let rows = statement.query_map([&self.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A run with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Which job.
    pub job: String,
    /// Which thing.
    pub thing: String,
    /// How often the thing became a target of the job; from 1.
    pub number: i64,
    /// The job's namespace.
    pub namespace: Option<String>,
    /// How it stands.
    pub execution: Execution,
}

impl Run {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let details: StatusDetails = json(row, "details")?;
        Ok(Self {
            job: row.get("job")?,
            thing: row.get("thing")?,
            number: row.get("number")?,
            namespace: row.get("namespace")?,
            execution: Execution {
                status: row.get("status")?,
                details,
                version: row.get("version")?,
                queued: row.get("queued")?,
                started: row.get("started")?,
                updated: row.get("updated")?,
                deadline: row.get("deadline")?,
                step_deadline: row.get("step_deadline")?,
                forced: row.get("forced")?,
                attempts: row.get("attempts")?,
            },
        })
    }

    /// A thing's run of a job: the last, or that of a number.
    pub fn find(
        t: &Transaction<'_>,
        job: &str,
        thing: &str,
        number: Option<i64>,
    ) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_execution WHERE job = ?1 AND thing = ?2 AND (?3 IS NULL OR number = ?3) ORDER BY number DESC LIMIT 1";
        Ok(t.prepare_cached(sql)?
            .query_row((job, thing, number), Self::read)
            .optional()?)
    }

    /// The same, or the error that AWS IoT has for its absence.
    pub fn get(
        t: &Transaction<'_>,
        job: &str,
        thing: &str,
        number: Option<i64>,
    ) -> Result<Self, ApiError> {
        let found = Self::find(t, job, thing, number)?;
        found.ok_or_else(|| {
            ApiError::not_found(format!(
                "The job execution of job {job} for thing {thing} cannot be found."
            ))
        })
    }

    pub(super) fn save(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let execution = &self.execution;
        let sql = "INSERT INTO iot_execution (job, thing, number, namespace, status, details, version, queued, started, updated, deadline, step_deadline, forced, attempts, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (job, thing, number) DO UPDATE SET status = ?5, details = ?6, version = ?7, queued = ?8, started = ?9, updated = ?10,
                 deadline = ?11, step_deadline = ?12, forced = ?13, attempts = ?14, expires = ?15";
        t.prepare_cached(sql)?.execute((
            &self.job,
            &self.thing,
            self.number,
            &self.namespace,
            execution.status,
            text(&execution.details)?,
            execution.version,
            execution.queued,
            execution.started,
            execution.updated,
            execution.deadline,
            execution.step_deadline,
            execution.forced,
            execution.attempts,
            execution.next_deadline(),
        ))?;
        Ok(())
    }

    /// What devices are told of it; the document where it is wanted.
    pub fn describe(&self, document: Option<&str>, now: Timestamp) -> Result<Value, ApiError> {
        let execution = &self.execution;
        let mut described = self.summary();
        described["thingName"] = self.thing.as_str().into();
        described["status"] = execution.status.name().into();
        if !execution.details.is_empty() {
            described["statusDetails"] = serde_json::to_value(&execution.details)?;
        }
        if let Some(deadline) = execution.next_deadline() {
            described["approximateSecondsBeforeTimedOut"] =
                ((deadline.millis() - now.millis()).max(0) / 1000).into();
        }
        if let Some(document) = document {
            described["jobDocument"] = serde_json::from_str(document)?;
        }
        Ok(described)
    }

    /// What lists of runs have; seconds, whole.
    pub fn summary(&self) -> Value {
        let execution = &self.execution;
        let seconds = |time: Timestamp| time.millis() / 1000;
        let mut summary = serde_json::json!({
            "jobId": self.job,
            "queuedAt": seconds(execution.queued),
            "lastUpdatedAt": seconds(execution.updated),
            "executionNumber": self.number,
            "versionNumber": execution.version,
        });
        if let Some(started) = execution.started {
            summary["startedAt"] = seconds(started).into();
        }
        summary
    }
}

/// A thing's runs that are not over, those in progress first, each kind in the order of their coming.
pub fn pending(
    t: &Transaction<'_>,
    thing: &str,
    namespace: Option<&str>,
) -> Result<Vec<Run>, ApiError> {
    let sql = "SELECT * FROM iot_execution WHERE thing = ?1 AND status IN ('IN_PROGRESS', 'QUEUED') AND namespace IS ?2
         ORDER BY status = 'QUEUED', queued, job";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map((thing, namespace), Run::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A thing's runs in a namespace, of each job the last.
pub fn of_thing(
    t: &Transaction<'_>,
    thing: &str,
    namespace: Option<&str>,
) -> Result<Vec<Run>, ApiError> {
    let sql = "SELECT * FROM iot_execution e WHERE thing = ?1 AND namespace IS ?2
         AND number = (SELECT max(number) FROM iot_execution WHERE job = e.job AND thing = e.thing)";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map((thing, namespace), Run::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The things whose run of a job has come to a status.
pub fn things_at(
    t: &Transaction<'_>,
    job: &str,
    status: Status,
) -> Result<BTreeSet<String>, ApiError> {
    let sql = "SELECT thing FROM iot_execution WHERE job = ?1 AND status = ?2";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map((job, status), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
