//! Rows of core devices: what they have told of themselves.

use crate::{
    greengrassv2::names::{Kind, not_found},
    http::{ApiError, Timestamp},
    iot::registry::things::Thing,
};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde_json::Value;
use std::collections::BTreeSet;

/// A core device.
#[derive(Clone, Debug, Default)]
pub struct Core {
    /// Its thing.
    pub thing: String,
    /// Version of its nucleus.
    pub version: Option<String>,
    /// For example `linux`.
    pub platform: Option<String>,
    /// For example `amd64`.
    pub architecture: Option<String>,
    /// For example `aws_nucleus_lite`.
    pub runtime: Option<String>,
    /// `HEALTHY` or `UNHEALTHY`.
    pub status: String,
    /// The device's time of its last report, milliseconds.
    pub reported: i64,
    /// Counts up with every report.
    pub sequence: i64,
    /// Which parts of the report of that number have come.
    pub chunks: BTreeSet<i64>,
    /// When it was last heard of, by our clock, milliseconds.
    pub seen: i64,
}

/// A component on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `RUNNING`, …
    pub state: String,
    /// Why, for people.
    pub details: Option<String>,
    /// Why, for programs.
    pub codes: Vec<String>,
    /// Whether a deployment names it.
    pub root: bool,
    /// The deployment that brought it, or `LOCAL`.
    pub source: Option<String>,
    /// When its state changed last.
    pub changed: Timestamp,
    /// When it was last reported.
    pub reported: Timestamp,
}

/// How a deployment went on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRow {
    /// `SUCCEEDED`, `FAILED`, …
    pub status: String,
    /// `statusDetails` as the device words them.
    pub details: Value,
    /// When it told.
    pub modified: Timestamp,
}

/// Which core devices to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `HEALTHY` or `UNHEALTHY`.
    pub status: Option<String>,
    /// The kind of nucleus.
    pub runtime: Option<String>,
    /// Where the last page ended.
    pub after: String,
    /// How many.
    pub limit: i64,
}

impl Core {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let chunks: String = row.get("chunks")?;
        Ok(Self {
            thing: row.get("thing")?,
            version: row.get("version")?,
            platform: row.get("platform")?,
            architecture: row.get("architecture")?,
            runtime: row.get("runtime")?,
            status: row.get("status")?,
            reported: row.get("reported")?,
            sequence: row.get("sequence")?,
            chunks: serde_json::from_str(&chunks).unwrap_or_default(),
            seen: row.get("seen")?,
        })
    }

    /// The core device of a thing.
    pub fn find(t: &Transaction<'_>, thing: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM gg_core WHERE thing = ?1";
        Ok(t.prepare_cached(sql)?
            .query_row([thing], Self::read)
            .optional()?)
    }

    /// The same, or the error for its absence.
    pub fn get(t: &Transaction<'_>, thing: &str) -> Result<Self, ApiError> {
        Self::find(t, thing)?.ok_or_else(|| missing(thing))
    }

    /// A page, by name.
    pub fn list(t: &Transaction<'_>, filter: &Filter) -> Result<Vec<Self>, ApiError> {
        let sql = "SELECT * FROM gg_core WHERE thing > ?1 AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR runtime = ?3)
             ORDER BY thing LIMIT ?4";
        let mut statement = t.prepare_cached(sql)?;
        let rows = statement.query_map(
            (&filter.after, &filter.status, &filter.runtime, filter.limit),
            Self::read,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes it.
    pub fn save(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let sql = "INSERT INTO gg_core (thing, version, platform, architecture, runtime, status, reported, sequence, chunks, seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (thing) DO UPDATE SET version = ?2, platform = ?3, architecture = ?4, runtime = ?5, status = ?6,
                 reported = ?7, sequence = ?8, chunks = ?9, seen = ?10";
        t.prepare_cached(sql)?.execute((
            &self.thing,
            &self.version,
            &self.platform,
            &self.architecture,
            &self.runtime,
            &self.status,
            self.reported,
            self.sequence,
            serde_json::to_string(&self.chunks)?,
            self.seen,
        ))?;
        Ok(())
    }
}

/// The error for a core device that never reported.
pub fn missing(thing: &str) -> ApiError {
    not_found(
        Kind::CoreDevice,
        thing,
        format!("The core device {thing} does not exist."),
    )
}

impl Installed {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let codes: String = row.get("codes")?;
        Ok(Self {
            name: row.get("name")?,
            version: row.get("version")?,
            state: row.get("state")?,
            details: row.get("details")?,
            codes: serde_json::from_str(&codes).unwrap_or_default(),
            root: row.get("root")?,
            source: row.get("source")?,
            changed: row.get("changed")?,
            reported: row.get("reported")?,
        })
    }

    /// A component on a device.
    pub fn find(t: &Transaction<'_>, thing: &str, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM gg_installed WHERE thing = ?1 AND name = ?2";
        Ok(t.prepare_cached(sql)?
            .query_row([thing, name], Self::read)
            .optional()?)
    }

    /// A page of a device's components, by name.
    pub fn list(
        t: &Transaction<'_>,
        thing: &str,
        all: bool,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Self>, ApiError> {
        let sql = "SELECT * FROM gg_installed WHERE thing = ?1 AND (root OR ?2) AND name > ?3 ORDER BY name LIMIT ?4";
        let mut statement = t.prepare_cached(sql)?;
        let rows = statement.query_map((thing, all, after, limit), Self::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes it; `sequence` is the number of the report that had it.
    pub fn save(&self, t: &Transaction<'_>, thing: &str, sequence: i64) -> Result<(), ApiError> {
        let sql = "INSERT OR REPLACE INTO gg_installed (thing, name, version, state, details, codes, root, source, changed, reported, sequence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        t.prepare_cached(sql)?.execute((
            thing,
            &self.name,
            &self.version,
            &self.state,
            &self.details,
            serde_json::to_string(&self.codes)?,
            self.root,
            &self.source,
            self.changed,
            self.reported,
            sequence,
        ))?;
        Ok(())
    }

    /// Removes one.
    pub fn remove(t: &Transaction<'_>, thing: &str, name: &str) -> Result<(), ApiError> {
        t.prepare_cached("DELETE FROM gg_installed WHERE thing = ?1 AND name = ?2")?
            .execute([thing, name])?;
        Ok(())
    }

    /// Removes those that the report of this number did not have.
    pub fn keep_only(t: &Transaction<'_>, thing: &str, sequence: i64) -> Result<(), ApiError> {
        t.prepare_cached("DELETE FROM gg_installed WHERE thing = ?1 AND sequence <> ?2")?
            .execute((thing, sequence))?;
        Ok(())
    }
}

impl ResultRow {
    /// How a deployment went on a device, as far as it told.
    pub fn find(
        t: &Transaction<'_>,
        thing: &str,
        deployment: &str,
    ) -> Result<Option<Self>, ApiError> {
        let sql =
            "SELECT status, details, modified FROM gg_result WHERE thing = ?1 AND deployment = ?2";
        let read = |row: &Row<'_>| {
            let details: String = row.get(1)?;
            Ok(Self {
                status: row.get(0)?,
                details: serde_json::from_str(&details).unwrap_or_default(),
                modified: row.get(2)?,
            })
        };
        Ok(t.prepare_cached(sql)?
            .query_row([thing, deployment], read)
            .optional()?)
    }

    /// Writes it.
    pub fn save(&self, t: &Transaction<'_>, thing: &str, deployment: &str) -> Result<(), ApiError> {
        let sql = "INSERT OR REPLACE INTO gg_result (thing, deployment, status, details, modified) VALUES (?1, ?2, ?3, ?4, ?5)";
        t.prepare_cached(sql)?.execute((
            thing,
            deployment,
            &self.status,
            self.details.to_string(),
            self.modified,
        ))?;
        Ok(())
    }
}

/// Forgets everything about a thing.
pub fn forget(t: &Transaction<'_>, thing: &str) -> Result<(), ApiError> {
    for sql in [
        "DELETE FROM gg_installed WHERE thing = ?1",
        "DELETE FROM gg_core WHERE thing = ?1",
        "DELETE FROM gg_result WHERE thing = ?1",
        "DELETE FROM gg_telemetry WHERE thing = ?1",
        "DELETE FROM gg_connectivity WHERE thing = ?1",
        "DELETE FROM gg_authority WHERE thing = ?1",
        "DELETE FROM gg_association WHERE core = ?1 OR client = ?1",
    ] {
        t.prepare_cached(sql)?.execute([thing])?;
    }
    Ok(())
}

/// Forgets the devices whose things are gone.
pub fn sweep(t: &Transaction<'_>) -> Result<(), ApiError> {
    let mut statement = t.prepare("SELECT thing FROM gg_core UNION SELECT client FROM gg_association UNION SELECT core FROM gg_association")?;
    let things = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for thing in things {
        if Thing::find(t, &thing)?.is_none() {
            forget(t, &thing)?;
        }
    }
    Ok(())
}
