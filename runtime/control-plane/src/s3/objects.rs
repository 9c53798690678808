//! The files that hold contents. A file is written once, under a random name, and never changed; a row refers to it.
//!
//! ```text
//! objects/incoming/<name>      being written; worthless after a crash
//! objects/<2 letters>/<name>   whole and durable
//! ```
//! A transaction that replaces or deletes a row notes the file as garbage; it is removed after the commit. A crash at any
//! point leaves at most a file without a row, which the next start removes.

use crate::state::private_folder;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openssl::{
    hash::{Hasher, MessageDigest},
    rand::rand_bytes,
};
use rusqlite::Transaction;
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::{Database, StoreError, file};
use tokio::{fs::File, io::AsyncWriteExt, sync::RwLock};

/// The folder of contents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    folder: PathBuf,
    /// Held for reading by a backup: nothing is removed under it.
    keep: Arc<RwLock<()>>,
}

/// A file that is whole and durable.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name, for the row.
    pub name: String,
    /// Its length.
    pub size: u64,
    /// MD5 in hexadecimal: the ETag.
    pub md5: String,
}

/// Why contents were not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The sender's fault or the network's.
    #[error("reading the body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// More than was announced or allowed.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    /// Ours.
    #[error("writing: {0}")]
    Io(#[from] io::Error),
}

impl Objects {
    /// Opens the folder and removes what belongs to nothing. Blocks; for start-up.
    pub fn open(folder: &Path, database: &Database) -> Result<Self> {
        private_folder(folder)?;
        private_folder(&folder.join("incoming"))?;
        let objects = Self {
            folder: folder.to_owned(),
            keep: Arc::default(),
        };
        let known: HashSet<String> = database.write_blocking(|t| {
            t.execute("DELETE FROM s3_garbage", [])?;
            let mut all =
                t.prepare("SELECT file FROM s3_object UNION ALL SELECT file FROM s3_part")?;
            let names = all.query_map([], |row| row.get(0))?;
            Ok::<_, StoreError>(names.collect::<Result<_, _>>()?)
        })?;
        objects
            .sweep(&known)
            .with_context(|| format!("sweeping {}", folder.display()))?;
        Ok(objects)
    }

    fn sweep(&self, known: &HashSet<String>) -> io::Result<()> {
        for folder in std::fs::read_dir(&self.folder)? {
            let folder = folder?.path();
            if !folder.is_dir() {
                continue;
            }
            let incoming = folder.ends_with("incoming");
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let named = entry.file_name();
                let wanted = named.to_str().is_some_and(|name| known.contains(name));
                if incoming || !wanted {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name.get(..2).unwrap_or("__")).join(name)
    }

    /// Opens a file for reading.
    pub async fn read(&self, name: &str) -> io::Result<File> {
        File::open(self.path(name)).await
    }

    /// Writes a body to a new file, durably. `look` sees every piece on its way.
    pub async fn write<S, E>(
        &self,
        mut body: S,
        limit: u64,
        mut look: impl FnMut(&[u8]),
    ) -> Result<Stored, PutError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut incoming = self.begin().await?;
        let mut hasher = Hasher::new(MessageDigest::md5()).map_err(io::Error::from)?;
        let mut size = 0u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| PutError::Body(e.into()))?;
            size += piece.len() as u64;
            if size > limit {
                return Err(PutError::TooLong(limit));
            }
            hasher.update(&piece).map_err(io::Error::from)?;
            look(&piece);
            incoming.file.write_all(&piece).await?;
        }
        let md5 = hasher.finish().map_err(io::Error::from)?;
        let name = incoming.finish(self).await?;
        Ok(Stored {
            name,
            size,
            md5: crate::http::sigv4::hex(&md5),
        })
    }

    async fn begin(&self) -> io::Result<Incoming> {
        let mut random = [0; 16];
        rand_bytes(&mut random).map_err(io::Error::from)?;
        let name = crate::http::sigv4::hex(&random);
        let path = self.folder.join("incoming").join(&name);
        let mut options = tokio::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .await?;
        Ok(Incoming {
            file,
            path,
            name,
            kept: false,
        })
    }

    /// Removes what transactions have noted as garbage. Call after the commit.
    pub async fn collect(&self, database: &Database) -> Result<(), StoreError> {
        // A backup reads files of its snapshot: what it may need goes at the next occasion.
        let Ok(_lock) = self.keep.try_write() else {
            return Ok(());
        };
        let names: Vec<String> = database
            .read(|t| {
                let mut all = t.prepare_cached("SELECT file FROM s3_garbage")?;
                let names = all.query_map([], |row| row.get(0))?;
                Ok::<_, StoreError>(names.collect::<Result<_, _>>()?)
            })
            .await?;
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            if let Err(error) = tokio::fs::remove_file(self.path(name)).await
                && error.kind() != io::ErrorKind::NotFound
            {
                log::warn!(file = name.as_str(); "removing an object's file: {error}");
            }
        }
        database
            .write(move |t| {
                let mut delete = t.prepare_cached("DELETE FROM s3_garbage WHERE file = ?1")?;
                for name in names {
                    delete.execute([name])?;
                }
                Ok(())
            })
            .await
    }

    /// While this is held, no file is removed.
    pub async fn hold(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        Arc::clone(&self.keep).read_owned().await
    }
}

/// Notes a file that no row refers to any more.
pub(super) fn discard(t: &Transaction<'_>, file: &str) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO s3_garbage (file) VALUES (?1) ON CONFLICT DO NOTHING";
    t.prepare_cached(sql)?.execute([file]).map(drop)
}

/// A file being written; removed unless it is finished.
struct Incoming {
    file: File,
    path: PathBuf,
    name: String,
    kept: bool,
}

impl Incoming {
    async fn finish(mut self, objects: &Objects) -> io::Result<String> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let (from, to) = (self.path.clone(), objects.path(&self.name));
        let moved = tokio::task::spawn_blocking(move || {
            let folder = to.parent().unwrap_or(Path::new("."));
            private_folder(folder).map_err(io::Error::other)?;
            file::rename_durable(&from, &to)?;
            file::fsync_dir(folder.parent().unwrap_or(Path::new(".")))
        });
        moved.await.map_err(io::Error::other)??;
        self.kept = true;
        Ok(std::mem::take(&mut self.name))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.kept {
            // The next start removes it otherwise.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
