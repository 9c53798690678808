//! Files of other versions: the other slot may boot tomorrow with an older or a newer program.
//!
//! ```text
//! state.db              always the state used last, by whichever program ran last
//! state.db.layout-<n>   what a program of another version left; n counts all migrations ever applied to it
//! state.db.migrating    a migration at work; worth nothing after a crash
//! ```
//!
//! - **Upgrade.** `state.db` is copied to `state.db.migrating`; the migrations run there in one transaction. Then the old
//!   file gets its second name `state.db.layout-<n>` and the new one takes its place by rename. A crash before the rename
//!   leaves the old state, after it the new one.
//! - **Downgrade.** The older program sees that `state.db` is ahead of it, and looks for the newest kept copy that it knows.
//!   The newer file gets its second name, the kept copy takes its place: the older program finds the state of the moment when
//!   the newer one took over. With no such copy nothing is touched and the error says so.
//! - **Upgrade again.** `state.db` is now the older program's: it is migrated as the first time. What the newer program had
//!   left is out of date and goes.
//!
//! A program that only adds features makes their tables in place: an older one does not look at them.
//! Two older layouts are kept at most.

use crate::{
    Schema, StoreError, crash_point, file,
    open::{close_whole, connect, versions_in},
    schema::{self, Standing},
};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Older layouts kept beside the current one.
const KEPT: usize = 2;

/// Puts a file in place that this program knows and whose existing features are current.
pub(crate) fn prepare(path: &Path, schemas: &[Schema]) -> Result<(), StoreError> {
    let migrating = beside(path, ".migrating");
    discard(&migrating)?;
    if !path.exists() {
        return Ok(());
    }
    let connection = connect(path)?;
    let found = versions_in(&connection, path)?;
    match schema::standing(&found, schemas) {
        Standing::Current | Standing::Additions => connection.close().map_err(|(_, e)| e.into()),
        Standing::Older => {
            close_whole(connection, path)?;
            upgrade(path, &migrating, schema::layout(&found), schemas)
        }
        Standing::Newer {
            feature,
            found: version,
            known,
        } => {
            let Some(copy) = kept_copy(path, schemas)? else {
                return Err(StoreError::Newer {
                    path: path.to_owned(),
                    feature,
                    found: version,
                    known,
                });
            };
            close_whole(connection, path)?;
            log::warn!(
                "{}: {feature} is at version {version}, this program knows {known}; going back to {}",
                path.display(),
                copy.display()
            );
            keep(path, schema::layout(&found))?;
            replace(&copy, path)
        }
    }
}

fn upgrade(
    path: &Path,
    migrating: &Path,
    layout: u32,
    schemas: &[Schema],
) -> Result<(), StoreError> {
    fs::copy(path, migrating).map_err(StoreError::io("copy", path))?;
    crash_point("store.migrate.copied");
    let mut connection = connect(migrating)?;
    schema::migrate(&mut connection, path, schemas)?;
    let reached = schema::layout(&versions_in(&connection, migrating)?);
    close_whole(connection, migrating)?;
    file::fsync_file(migrating).map_err(StoreError::io("fsync", migrating))?;
    crash_point("store.migrate.written");
    keep(path, layout)?;
    replace(migrating, path)?;
    crash_point("store.migrate.replaced");
    log::info!(
        "{}: migrated from layout {layout} to {reached}",
        path.display()
    );
    prune(path, reached)
}

/// Gives the file its second name, so that taking its place does not lose it.
fn keep(path: &Path, layout: u32) -> Result<(), StoreError> {
    let name = beside(path, &format!(".layout-{layout}"));
    discard(&name)?;
    if fs::hard_link(path, &name).is_err() {
        // A file system without links.
        fs::copy(path, &name).map_err(StoreError::io("copy", path))?;
        file::fsync_file(&name).map_err(StoreError::io("fsync", &name))?;
    }
    file::fsync_dir(file::folder_of(path)).map_err(StoreError::io("fsync the folder of", path))?;
    crash_point("store.migrate.kept");
    Ok(())
}

fn replace(from: &Path, to: &Path) -> Result<(), StoreError> {
    // Both are closed and whole: a log beside either belongs to nothing.
    discard(&beside(to, "-wal"))?;
    file::rename_durable(from, to).map_err(StoreError::io("rename", from))
}

/// The newest kept copy that this program knows.
fn kept_copy(path: &Path, schemas: &[Schema]) -> Result<Option<PathBuf>, StoreError> {
    let mut copies = layouts(path)?;
    copies.sort_unstable_by_key(|(layout, _)| std::cmp::Reverse(*layout));
    for (_, copy) in copies {
        match look(&copy) {
            Ok(found) if !matches!(schema::standing(&found, schemas), Standing::Newer { .. }) => {
                return Ok(Some(copy));
            }
            Ok(_) => {}
            Err(error) => log::warn!("kept copy not usable: {error}"),
        }
    }
    Ok(None)
}

fn look(copy: &Path) -> Result<Vec<(String, u32)>, StoreError> {
    let connection = connect(copy)?;
    let found = versions_in(&connection, copy)?;
    close_whole(connection, copy)?;
    Ok(found)
}

/// Drops what is out of date after an upgrade to `current`: later layouts, and older ones beyond [`KEPT`].
fn prune(path: &Path, current: u32) -> Result<(), StoreError> {
    let (mut older, later): (Vec<_>, Vec<_>) = layouts(path)?
        .into_iter()
        .partition(|(layout, _)| *layout < current);
    older.sort_unstable_by_key(|(layout, _)| std::cmp::Reverse(*layout));
    for (_, copy) in later.into_iter().chain(older.into_iter().skip(KEPT)) {
        discard(&copy)?;
    }
    Ok(())
}

fn layouts(path: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let folder = file::folder_of(path);
    let prefix = format!(
        "{}.layout-",
        path.file_name().unwrap_or_default().to_string_lossy()
    );
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(StoreError::io("list", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        let name = entry.file_name();
        if let Some(layout) = name
            .to_str()
            .and_then(|n| n.strip_prefix(&prefix))
            .and_then(|n| n.parse().ok())
        {
            found.push((layout, entry.path()));
        }
    }
    Ok(found)
}

fn discard(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm", ""] {
        let path = beside(path, suffix);
        file::remove_if_there(&path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

/// The path with something added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
