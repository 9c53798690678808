//! The tree in SQLite: only the difference is written.

use crate::{
    ConfigurationError, Tree,
    row::{Row, Step, tree_of},
};
use store::{Schema, StoreError, crash_point, rusqlite::Transaction};

pub(crate) const SCHEMA: Schema = Schema {
    name: "configuration",
    migrations: &["CREATE TABLE configuration_node (
            path TEXT PRIMARY KEY NOT NULL,
            name TEXT,
            value TEXT,
            at INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT"],
};

pub(crate) fn load(t: &Transaction<'_>) -> Result<Tree, ConfigurationError> {
    let mut rows = Vec::new();
    {
        let mut statement = t
            .prepare("SELECT path, name, value, at FROM configuration_node ORDER BY path")
            .map_err(StoreError::from)?;
        let found = statement.query_map([], |row| {
            let at: i64 = row.get(3)?;
            Ok(Row {
                path: row.get(0)?,
                name: row.get(1)?,
                value: row.get(2)?,
                at: at.cast_unsigned(),
            })
        });
        for row in found.map_err(StoreError::from)? {
            rows.push(row.map_err(StoreError::from)?);
        }
    }
    tree_of(rows)
}

pub(crate) fn write(t: &Transaction<'_>, steps: &[Step]) -> Result<(), StoreError> {
    // '0' follows '/': the range holds every path below.
    let mut delete = t.prepare(
        "DELETE FROM configuration_node WHERE path = ?1 OR (path > ?1 || '/' AND path < ?1 || '0')",
    )?;
    let mut put = t.prepare(
        "INSERT INTO configuration_node (path, name, value, at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (path) DO UPDATE SET name = excluded.name, value = excluded.value, at = excluded.at",
    )?;
    for step in steps {
        match step {
            Step::Delete(path) => delete.execute([path])?,
            Step::Put(row) => {
                put.execute((&row.path, &row.name, &row.value, row.at.cast_signed()))?
            }
        };
        crash_point("configuration.step");
    }
    Ok(())
}
