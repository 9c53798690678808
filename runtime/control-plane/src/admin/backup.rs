//! Backups: one tar of everything, consistent while the program runs, and putting one back.
//!
//! ```text
//! greengrass-cloud.json   what it is: format, account, region, when
//! state.db                a copy made in one read transaction
//! pki/…                   the authority: whoever has the file can be it
//! objects/…               every file that state.db refers to
//! ```

use crate::{
    http::Timestamp,
    state::{SCHEMAS, State, private_folder},
};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::Stream;
use rusqlite::{Connection, backup::Backup};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
    time::Duration,
};
use store::{Database, StoreError, file};
use tokio::sync::mpsc;

const FORMAT: u32 = 1;
const MANIFEST: &str = "greengrass-cloud.json";
const DATABASE: &str = "state.db";

/// Pieces under way between the thread that reads and the connection that sends.
const PIECES: usize = 16;
const PIECE: usize = 128 * 1024;

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    account: String,
    region: String,
    created: String,
}

/// A backup, piece by piece.
pub async fn stream(
    state: &State,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let hold = state.objects.hold().await;
    let copy = Copy(
        state
            .folder
            .join(format!("backup-{}.db", uuid::Uuid::new_v4().simple())),
    );
    let path = copy.0.clone();
    let files = state
        .database
        .read(move |t| {
            copy_database(t, &path)?;
            let mut all =
                t.prepare("SELECT file FROM s3_object UNION ALL SELECT file FROM s3_part")?;
            let names = all.query_map([], |row| row.get(0))?;
            Ok::<_, StoreError>(names.collect::<Result<Vec<String>, _>>()?)
        })
        .await
        .context("copying the database")?;
    let manifest = serde_json::to_vec(&Manifest {
        format: FORMAT,
        account: state.account.id.clone(),
        region: state.account.region.clone(),
        created: Timestamp::now().iso(),
    })?;
    let (folder, objects) = (state.folder.clone(), state.objects.clone());
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _hold = hold;
        let mut out = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let mut write = || {
            let mut tar = tar::Builder::new(&mut out);
            append(
                &mut tar,
                MANIFEST,
                manifest.len() as u64,
                manifest.as_slice(),
            )?;
            append_file(&mut tar, DATABASE, &copy.0)?;
            for entry in fs::read_dir(folder.join("pki"))? {
                let entry = entry?;
                let name = entry.file_name();
                if let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) {
                    append_file(&mut tar, &format!("pki/{name}"), &entry.path())?;
                }
            }
            for name in &files {
                append_file(
                    &mut tar,
                    &format!("objects/{}/{name}", &name[..2]),
                    &objects.path(name),
                )?;
            }
            tar.finish()
        };
        if let Err(error) = write().and_then(|()| out.flush()) {
            log::error!("making a backup: {error}");
            // The reader may be gone.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok(tokio_stream(pieces))
}

fn tokio_stream<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    futures_util::stream::unfold(receiver, |mut receiver| async {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

fn copy_database(from: &Connection, to: &Path) -> Result<(), StoreError> {
    // Made by us first: SQLite would give it the umask's mode.
    let private = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to);
    private.map_err(|source| StoreError::Io {
        action: "create",
        path: to.to_owned(),
        source,
    })?;
    let mut copy = Connection::open(to)?;
    Backup::new(from, &mut copy)?.run_to_completion(1024, Duration::ZERO, None)?;
    // One file, without a log beside it.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// A temporary copy of the database; removed with this.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(Timestamp::now().millis().unsigned_abs() / 1000);
    tar.append_data(&mut header, name, content)
}

fn append_file<W: Write>(tar: &mut tar::Builder<W>, name: &str, path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    append(tar, name, size, file.take(size))
}

/// Sends what is written.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| {
            io::Error::new(
                io::ErrorKind::BrokenPipe,
                "nobody reads the backup any more",
            )
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a data folder of a backup. The folder must not be there, or be empty.
pub fn restore(backup: &Path, folder: &Path) -> Result<String> {
    let there = folder.exists();
    if there && fs::read_dir(folder)?.next().is_some() {
        bail!(
            "{} is not empty: a backup is only put into a new folder",
            folder.display()
        );
    }
    let mut name = folder
        .file_name()
        .context("the data folder has no name")?
        .to_owned();
    name.push(".restoring");
    let work = folder.with_file_name(name);
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    private_folder(&work)?;
    let result = unpack(backup, &work);
    let manifest = match result {
        Ok(manifest) => manifest,
        Err(error) => {
            let _ = fs::remove_dir_all(&work);
            return Err(error.context(format!("reading {}", backup.display())));
        }
    };
    if there {
        fs::remove_dir(folder)?;
    }
    file::rename_durable(&work, folder)?;
    Ok(format!(
        "account {}, region {}, of {}",
        manifest.account, manifest.region, manifest.created
    ))
}

fn unpack(backup: &Path, work: &Path) -> Result<Manifest> {
    let mut archive = tar::Archive::new(io::BufReader::new(File::open(backup)?));
    let mut manifest = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || !entry.header().entry_type().is_file() {
            bail!("it has {}, which no backup has", path.display());
        }
        if path == Path::new(MANIFEST) {
            let found: Manifest = serde_json::from_reader(&mut entry).context("its description")?;
            if found.format != FORMAT {
                bail!(
                    "it is of format {}, this program knows {FORMAT}",
                    found.format
                );
            }
            manifest = Some(found);
            continue;
        }
        let target = work.join(&path);
        private_folder(target.parent().unwrap_or(work))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)?;
        io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
    }
    let manifest = manifest.context("it is no backup of greengrass-cloud, or not a whole one")?;
    check(work)?;
    let ca = work.join("pki/ca.pem");
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o644))
        .context("the authority's certificate")?;
    for folder in [work.join("pki"), work.join("objects"), work.to_owned()] {
        if folder.exists() {
            file::fsync_dir(&folder)?;
        }
    }
    Ok(manifest)
}

/// Everything that the database refers to must be there.
fn check(work: &Path) -> Result<()> {
    let database = Database::open(&work.join(DATABASE), SCHEMAS).context("its database")?;
    let sizes: Vec<(String, i64)> = database.read_blocking(|t| {
        let mut all =
            t.prepare("SELECT file, size FROM s3_object UNION ALL SELECT file, size FROM s3_part")?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok::<_, StoreError>(rows.collect::<Result<_, _>>()?)
    })?;
    database.shut_down();
    for (name, size) in sizes {
        let path = work.join("objects").join(&name[..2]).join(&name);
        let found = fs::metadata(&path).map(|m| m.len()).unwrap_or_default();
        if found != size.unsigned_abs() {
            bail!("the contents of an object are missing: it is not a whole backup");
        }
    }
    Ok(())
}
