//! The tables and their records. Values that only Rust reads are JSON.
//!
//! `deploy_deployment` is the queue and the history, `deploy_journal` the one deployment under way, `deploy_active` the set
//! that runs, `deploy_set` the sets before it (versions only), `deploy_content` what the artifact folders were made from.

use crate::{error::OpenError, journal::Journal};
use model::{
    ComponentName, ComponentSpec, Version,
    deployment::{DeploymentId, DeploymentReport, LocalDeploymentRequest},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use store::{
    Schema, StoreError,
    rusqlite::{OptionalExtension, Row, Transaction, params},
};

pub(crate) const SCHEMA: Schema = Schema {
    name: "deploy",
    migrations: &["
        CREATE TABLE deploy_deployment (
            ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            request TEXT NOT NULL,
            report TEXT NOT NULL,
            at INTEGER NOT NULL,
            open INTEGER NOT NULL,
            cancel INTEGER NOT NULL DEFAULT 0
        );
        CREATE TABLE deploy_journal (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            attempts INTEGER NOT NULL,
            entry TEXT NOT NULL
        );
        CREATE TABLE deploy_active (component TEXT PRIMARY KEY, spec TEXT NOT NULL);
        CREATE TABLE deploy_set (ordinal INTEGER PRIMARY KEY AUTOINCREMENT, members TEXT NOT NULL);
        CREATE TABLE deploy_content (
            component TEXT NOT NULL,
            version TEXT NOT NULL,
            content TEXT NOT NULL,
            PRIMARY KEY (component, version)
        );"],
};

/// A row of the queue or the history.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub request: LocalDeploymentRequest,
    pub report: DeploymentReport,
    pub cancel: bool,
    /// The timestamp of its configuration.
    pub at: u64,
}

/// What the artifact folders of one version were made from; when it is the same, they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    /// The fingerprint of the files.
    pub files: String,
    /// The recipe's artifacts: what is unpacked, and the permissions.
    pub artifacts: String,
}

/// By component and version.
pub(crate) type Contents = BTreeMap<(ComponentName, Version), Content>;

/// The set that runs.
pub(crate) type Specs = BTreeMap<ComponentName, ComponentSpec>;

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("records have string keys only")
}

/// A stored text that is not what it should be can only be reported.
fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, OpenError> {
    serde_json::from_str(text).map_err(|e| OpenError::Damaged {
        what: what.to_owned(),
        reason: e.to_string(),
    })
}

fn sql<T>(result: store::rusqlite::Result<T>) -> Result<T, OpenError> {
    result.map_err(|e| OpenError::Store(StoreError::from(e)))
}

type Raw = (String, String, bool, i64);

fn record(row: &Row<'_>) -> store::rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn record_of((request, report, cancel, at): Raw) -> Result<Record, OpenError> {
    Ok(Record {
        request: parse("deployment request", &request)?,
        report: parse("deployment report", &report)?,
        cancel,
        at: u64::try_from(at).unwrap_or(0),
    })
}

pub(crate) fn insert(t: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    t.execute(
        "INSERT INTO deploy_deployment (id, request, report, at, open) VALUES (?1, ?2, ?3, ?4, 1)",
        params![
            record.report.id.0,
            json(&record.request),
            json(&record.report),
            i64::try_from(record.at).unwrap_or(i64::MAX)
        ],
    )?;
    Ok(())
}

pub(crate) fn set_report(t: &Transaction<'_>, report: &DeploymentReport) -> Result<(), StoreError> {
    t.execute(
        "UPDATE deploy_deployment SET report = ?2, open = ?3 WHERE id = ?1",
        params![report.id.0, json(report), !report.status.is_final()],
    )?;
    Ok(())
}

pub(crate) fn set_cancel(t: &Transaction<'_>, id: &DeploymentId) -> Result<(), StoreError> {
    t.execute(
        "UPDATE deploy_deployment SET cancel = 1 WHERE id = ?1",
        params![id.0],
    )?;
    Ok(())
}

/// Drops finished deployments beyond the newest `keep`.
pub(crate) fn trim(t: &Transaction<'_>, keep: usize) -> Result<(), StoreError> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    t.execute(
        "DELETE FROM deploy_deployment WHERE open = 0 AND ordinal NOT IN
            (SELECT ordinal FROM deploy_deployment WHERE open = 0 ORDER BY ordinal DESC LIMIT ?1)",
        params![keep],
    )?;
    Ok(())
}

/// Every deployment known, oldest first.
pub(crate) fn all(t: &Transaction<'_>) -> Result<Vec<Record>, OpenError> {
    let mut statement = sql(
        t.prepare("SELECT request, report, cancel, at FROM deploy_deployment ORDER BY ordinal")
    )?;
    let rows = sql(statement.query_map([], record))?;
    rows.map(|row| record_of(sql(row)?)).collect()
}

/// No deployment was ever accepted here.
pub(crate) fn is_new(t: &Transaction<'_>) -> Result<bool, OpenError> {
    let seen = t.query_row(
        "SELECT seq FROM sqlite_sequence WHERE name = 'deploy_deployment'",
        [],
        |row| row.get::<_, i64>(0),
    );
    Ok(sql(seen.optional())?.is_none())
}

pub(crate) fn journal(t: &Transaction<'_>) -> Result<Option<Journal>, OpenError> {
    let row = t.query_row("SELECT attempts, entry FROM deploy_journal", [], |row| {
        Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?))
    });
    let Some((attempts, entry)) = sql(row.optional())? else {
        return Ok(None);
    };
    let mut journal: Journal = parse("deployment journal", &entry)?;
    journal.attempts = attempts;
    Ok(Some(journal))
}

pub(crate) fn set_journal(t: &Transaction<'_>, journal: &Journal) -> Result<(), StoreError> {
    t.execute(
        "INSERT OR REPLACE INTO deploy_journal (one, attempts, entry) VALUES (1, ?1, ?2)",
        params![journal.attempts, json(journal)],
    )?;
    Ok(())
}

/// Counts one more start of the program with this journal.
pub(crate) fn count_attempt(t: &Transaction<'_>) -> Result<(), StoreError> {
    t.execute("UPDATE deploy_journal SET attempts = attempts + 1", [])?;
    Ok(())
}

pub(crate) fn clear_journal(t: &Transaction<'_>) -> Result<(), StoreError> {
    t.execute("DELETE FROM deploy_journal", [])?;
    Ok(())
}

pub(crate) fn active(t: &Transaction<'_>) -> Result<Specs, OpenError> {
    let mut statement = sql(t.prepare("SELECT spec FROM deploy_active"))?;
    let rows = sql(statement.query_map([], |row| row.get::<_, String>(0)))?;
    rows.map(|row| {
        let spec: ComponentSpec = parse("active component", &sql(row)?)?;
        Ok((spec.name.clone(), spec))
    })
    .collect()
}

pub(crate) fn set_active(t: &Transaction<'_>, specs: &Specs) -> Result<(), StoreError> {
    t.execute("DELETE FROM deploy_active", [])?;
    let mut insert = t.prepare("INSERT INTO deploy_active (component, spec) VALUES (?1, ?2)")?;
    for spec in specs.values() {
        insert.execute(params![spec.name.as_str(), json(spec)])?;
    }
    Ok(())
}

/// Notes a set that was replaced, and forgets all but the newest `keep`.
pub(crate) fn push_set(
    t: &Transaction<'_>,
    members: &BTreeMap<ComponentName, Version>,
    keep: u32,
) -> Result<(), StoreError> {
    t.execute(
        "INSERT INTO deploy_set (members) VALUES (?1)",
        params![json(members)],
    )?;
    t.execute(
        "DELETE FROM deploy_set WHERE ordinal NOT IN (SELECT ordinal FROM deploy_set ORDER BY ordinal DESC LIMIT ?1)",
        params![keep],
    )?;
    Ok(())
}

/// The sets before the current one, newest first.
pub(crate) fn sets(
    t: &Transaction<'_>,
) -> Result<Vec<BTreeMap<ComponentName, Version>>, OpenError> {
    let mut statement = sql(t.prepare("SELECT members FROM deploy_set ORDER BY ordinal DESC"))?;
    let rows = sql(statement.query_map([], |row| row.get::<_, String>(0)))?;
    rows.map(|row| parse("previous set", &sql(row)?)).collect()
}

pub(crate) fn contents(t: &Transaction<'_>) -> Result<Contents, OpenError> {
    let mut statement = sql(t.prepare("SELECT component, version, content FROM deploy_content"))?;
    let rows = sql(statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
        ))
    }))?;
    let mut contents = Contents::new();
    for row in rows {
        let (component, version, content) = sql(row)?;
        let damaged = |reason: String| OpenError::Damaged {
            what: "artifact record".to_owned(),
            reason,
        };
        let component = ComponentName::new(&component).map_err(|e| damaged(e.to_string()))?;
        let version = version
            .parse()
            .map_err(|e: model::version::VersionError| damaged(e.to_string()))?;
        contents.insert((component, version), parse("artifact record", &content)?);
    }
    Ok(contents)
}

/// Sets or, with `None`, forgets what one version's folders were made from.
pub(crate) fn set_content(
    t: &Transaction<'_>,
    component: &ComponentName,
    version: &Version,
    content: Option<&Content>,
) -> Result<(), StoreError> {
    let (name, version) = (component.as_str(), version.to_string());
    match content {
        Some(content) => t.execute(
            "INSERT OR REPLACE INTO deploy_content (component, version, content) VALUES (?1, ?2, ?3)",
            params![name, version, json(content)],
        )?,
        None => t.execute("DELETE FROM deploy_content WHERE component = ?1 AND version = ?2", params![name, version])?,
    };
    Ok(())
}
