//! Opening the file: pragmas, checks, and what to do with a damaged one.

use crate::{Schema, StoreError, crash_point, file, schema, schema::Standing, versions};
use rusqlite::{Connection, OpenFlags};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long to wait for a predecessor that is just going down.
const BUSY: Duration = Duration::from_secs(5);

/// A damaged file that was moved away.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// What was wrong with it.
    pub reason: String,
    /// Where it is now.
    pub path: PathBuf,
}

pub(crate) fn open(path: &Path, schemas: &[Schema]) -> Result<Connection, StoreError> {
    versions::prepare(path, schemas)?;
    let mut connection = connect(path)?;
    if schema::standing(&versions_in(&connection, path)?, schemas) != Standing::Current {
        // Whole features are missing: making their tables changes nothing an older program knows.
        schema::migrate(&mut connection, path, schemas)?;
    }
    Ok(connection)
}

pub(crate) fn open_or_set_aside(
    path: &Path,
    schemas: &[Schema],
) -> Result<(Connection, Option<SetAside>), StoreError> {
    match open(path, schemas) {
        Err(StoreError::Corrupt { path, reason }) => {
            let aside = set_aside(&path, &reason)?;
            Ok((open(&path, schemas)?, Some(aside)))
        }
        other => Ok((other?, None)),
    }
}

pub(crate) fn in_memory(schemas: &[Schema]) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "foreign_keys", true)?;
    schema::migrate(&mut connection, Path::new(":memory:"), schemas)?;
    Ok(connection)
}

/// Opens one file, private to its owner and to this process, and checks it.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let created = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let created = created.map_err(StoreError::io("create", path))?;
    created
        .set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(StoreError::io("set the mode of", path))?;
    drop(created);
    file::fsync_dir(file::folder_of(path)).map_err(StoreError::io("fsync the folder of", path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(path, e))?;
    configure(&connection).map_err(|e| failed(path, e))?;
    check(&connection, path)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    // One process owns the file: no shared-memory file, and a second process is told so.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A small device: 256 KiB of cache, a log folded back every 256 KiB, nothing mapped.
    connection.pragma_update(None, "cache_size", -256)?;
    connection.pragma_update(None, "wal_autocheckpoint", 64)?;
    connection.pragma_update(None, "journal_size_limit", 1024 * 1024)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| failed(path, e))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        reason: verdict,
    })
}

pub(crate) fn versions_in(
    connection: &Connection,
    path: &Path,
) -> Result<Vec<(String, u32)>, StoreError> {
    schema::versions(connection).map_err(|e| failed(path, e))
}

/// Folds the log back into the file and closes it, so that the file alone is the whole state.
pub(crate) fn close_whole(connection: Connection, path: &Path) -> Result<(), StoreError> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(|e| failed(path, e))?;
    connection.close().map_err(|(_, e)| failed(path, e))
}

fn failed(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    if StoreError::is_damage(&source) {
        StoreError::Corrupt {
            path,
            reason: source.to_string(),
        }
    } else if StoreError::is_busy(&source) {
        StoreError::InUse { path }
    } else {
        StoreError::Sqlite { source }
    }
}

/// Renames the damaged file, with its log and the reason beside it, to the first free `<name>.damaged-<n>`.
fn set_aside(path: &Path, reason: &str) -> Result<SetAside, StoreError> {
    let target = (1..)
        .map(|n| versions::beside(path, &format!(".damaged-{n}")))
        .find(|candidate| !candidate.exists())
        .expect("some number is free");
    let note = versions::beside(&target, ".reason");
    file::write_atomic(&note, format!("{reason}\n").as_bytes(), 0o600)
        .map_err(StoreError::io("write", &note))?;
    // The log first: without it the file is still found damaged, or whole as of its last fold.
    for suffix in ["-wal", "-shm"] {
        let from = versions::beside(path, suffix);
        if from.exists() {
            let to = versions::beside(&target, suffix);
            file::rename_durable(&from, &to).map_err(StoreError::io("rename", &from))?;
        }
    }
    crash_point("store.set_aside");
    file::rename_durable(path, &target).map_err(StoreError::io("rename", path))?;
    Ok(SetAside {
        reason: reason.to_owned(),
        path: target,
    })
}
