//! Each feature's tables and their versions.

use crate::{StoreError, crash_point};
use rusqlite::{Connection, OptionalExtension, Transaction};
use std::path::Path;

/// The tables of one feature. It owns every table whose name starts with its own.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The feature, for example `configuration`.
    pub name: &'static str,
    /// `migrations[i]` takes version i to i + 1; released ones never change. Version 0 has no table.
    pub migrations: &'static [&'static str],
}

impl Schema {
    /// The version this program works with.
    pub fn known(&self) -> u32 {
        u32::try_from(self.migrations.len()).expect("a schema has few migrations")
    }
}

/// The versions in one file: one row a feature.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema (feature TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID, STRICT";

/// How a file stands to what this program knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All features as known.
    Current,
    /// Only whole features are missing: their tables can be made without touching any other.
    Additions,
    /// Existing tables must change.
    Older,
    /// A feature is ahead of this program.
    Newer {
        feature: String,
        found: u32,
        known: u32,
    },
}

/// The version of each feature in the file; empty for a new one.
pub(crate) fn versions(connection: &Connection) -> Result<Vec<(String, u32)>, rusqlite::Error> {
    let there: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare("SELECT feature, version FROM schema")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// A number that grows with every migration: it names the kept copies.
pub(crate) fn layout(versions: &[(String, u32)]) -> u32 {
    versions.iter().map(|(_, version)| version).sum()
}

pub(crate) fn standing(versions: &[(String, u32)], schemas: &[Schema]) -> Standing {
    let mut standing = Standing::Current;
    for schema in schemas {
        let found = version_of(versions, schema.name);
        let known = schema.known();
        if found > known {
            return Standing::Newer {
                feature: schema.name.to_owned(),
                found,
                known,
            };
        }
        if found < known {
            standing = if found > 0 || standing == Standing::Older {
                Standing::Older
            } else {
                Standing::Additions
            };
        }
    }
    standing
}

fn version_of(versions: &[(String, u32)], feature: &str) -> u32 {
    versions
        .iter()
        .find(|(name, _)| name == feature)
        .map_or(0, |(_, version)| *version)
}

/// Brings every feature to the version known here, in one transaction.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    schemas: &[Schema],
) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLE)?;
    let versions = versions(&transaction)?;
    for schema in schemas {
        migrate_feature(
            &transaction,
            path,
            schema,
            version_of(&versions, schema.name),
        )?;
    }
    crash_point("store.migrate.commit.before");
    transaction.commit()?;
    crash_point("store.migrate.commit.after");
    Ok(())
}

fn migrate_feature(
    t: &Transaction<'_>,
    path: &Path,
    schema: &Schema,
    found: u32,
) -> Result<(), StoreError> {
    for from in found..schema.known() {
        t.execute_batch(schema.migrations[from as usize])
            .map_err(|source| StoreError::Migration {
                path: path.to_owned(),
                feature: schema.name,
                from,
                source,
            })?;
        crash_point("store.migrate.step");
    }
    if found < schema.known() {
        t.execute(
            "INSERT INTO schema (feature, version) VALUES (?1, ?2)
             ON CONFLICT (feature) DO UPDATE SET version = excluded.version",
            (schema.name, schema.known()),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Schema = Schema {
        name: "a",
        migrations: &["x", "y"],
    };
    const B: Schema = Schema {
        name: "b",
        migrations: &["x"],
    };

    fn file(versions: &[(&str, u32)]) -> Vec<(String, u32)> {
        versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version))
            .collect()
    }

    #[test]
    fn a_missing_feature_is_an_addition_and_an_old_one_a_migration() {
        assert_eq!(standing(&file(&[]), &[A, B]), Standing::Additions);
        assert_eq!(standing(&file(&[("a", 2)]), &[A, B]), Standing::Additions);
        assert_eq!(standing(&file(&[("a", 1)]), &[A, B]), Standing::Older);
        assert_eq!(
            standing(&file(&[("a", 1), ("b", 1)]), &[B, A]),
            Standing::Older
        );
        assert_eq!(
            standing(&file(&[("a", 2), ("b", 1)]), &[A, B]),
            Standing::Current
        );
    }

    #[test]
    fn one_feature_ahead_makes_the_file_newer_and_an_unknown_one_does_not() {
        let newer = Standing::Newer {
            feature: "b".into(),
            found: 3,
            known: 1,
        };
        assert_eq!(standing(&file(&[("a", 1), ("b", 3)]), &[A, B]), newer);
        assert_eq!(
            standing(&file(&[("a", 2), ("b", 1), ("c", 9)]), &[A, B]),
            Standing::Current
        );
    }
}
