//! The spool on disk: a SQLite file of its own, so that its syncs do not hold up those of the state.
//!
//! One task writes. Whatever was asked for while the last transaction was being synced goes into the next one (group
//! commit), and what has arrived is deleted along with it, or by itself after a short while.
//!
//! ```text
//! spool_message: id (ascending), size (what it counts for), topic, qos, retain, payload, expires (ms since 1970, or NULL),
//!                properties (JSON: payloadFormat, contentType, responseTopic, correlationData as bytes, user; or NULL)
//! ```

use super::Entry;
use crate::SpoolError;
use bytes::Bytes;
use bytestring::ByteString;
use mqtt::{Message, Properties, QoS};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::{
    Database, Schema, StoreError, crash_point,
    rusqlite::{Row, Transaction, params, types::Type},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
    time,
};

/// The tables.
const SCHEMA: Schema = Schema {
    name: "spool",
    migrations: &["CREATE TABLE spool_message (
        id INTEGER PRIMARY KEY, size INTEGER NOT NULL, topic TEXT NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
        payload BLOB NOT NULL, expires INTEGER, properties TEXT) STRICT"],
};
/// Messages written in one transaction, at most.
const BATCH: usize = 256;
/// Messages and bytes read at once, at most.
const PAGE: i64 = 64;
const PAGE_BYTES: u64 = 256 * 1024;
/// Deleting waits for company this long. A crash in between sends again what had arrived.
const TIDY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Disk {
    database: Database,
    /// Gone once it is closed.
    adds: std::sync::Mutex<Option<mpsc::Sender<Add>>>,
    arrived: watch::Sender<u64>,
    newest: watch::Receiver<u64>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Add {
    size: u64,
    message: Message,
    written: oneshot::Sender<Result<(), SpoolError>>,
}

impl Disk {
    /// Opens or creates the file; also says how many bytes wait in it.
    pub async fn open(path: PathBuf) -> Result<(Self, u64), StoreError> {
        let opened = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                // An error shows when the file in it is opened.
                let _ = std::fs::create_dir_all(folder);
            }
            let opened = Database::open_or_set_aside(&path, &[SCHEMA])?;
            if let Some(aside) = &opened.1 {
                log::error!(
                    "{} was damaged ({}) and is kept as {}: messages that waited in it are not sent",
                    path.display(),
                    aside.reason,
                    aside.path.display()
                );
            }
            Ok::<_, StoreError>(opened.0)
        });
        let database = opened.await.map_err(|_| StoreError::Closed)??;
        let (last, used) = database
            .read(|t| {
                let sums = "SELECT coalesce(max(id), 0), coalesce(sum(size), 0) FROM spool_message";
                let sums = t.query_row(sums, [], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
                Ok::<_, StoreError>(sums)
            })
            .await?;
        let (adds, queue) = mpsc::channel(BATCH);
        let (arrived, watched) = watch::channel(0);
        let (written, newest) = watch::channel(last);
        let writer = Writer {
            database: database.clone(),
            queue,
            arrived: watched,
            newest: written,
            tidied: 0,
        };
        let disk = Self {
            database,
            adds: std::sync::Mutex::new(Some(adds)),
            arrived,
            newest,
            writing: Mutex::new(Some(tokio::spawn(writer.run()))),
        };
        Ok((disk, used))
    }

    pub async fn add(&self, size: u64, message: Message) -> Result<(), SpoolError> {
        let (written, answer) = oneshot::channel();
        let add = Add {
            size,
            message,
            written,
        };
        let adds = {
            let adds = self.adds.lock();
            adds.unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone()
        };
        let adds = adds.ok_or(SpoolError::Closed)?;
        adds.send(add).await.map_err(|_| SpoolError::Closed)?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }

    pub async fn after(&self, id: u64) -> Result<Vec<Entry>, SpoolError> {
        let mut newest = self.newest.clone();
        loop {
            // What has arrived and is not deleted yet is not to be sent again.
            let id = id.max(*self.arrived.borrow());
            if *newest.borrow_and_update() > id {
                let page = self.database.read(move |t| page(t, id)).await?;
                if !page.is_empty() {
                    return Ok(page);
                }
            }
            newest.changed().await.map_err(|_| SpoolError::Closed)?;
        }
    }

    pub fn remove_up_to(&self, id: u64) {
        self.arrived.send_replace(id);
    }

    pub async fn close(&self) {
        let adds = {
            let adds = self.adds.lock();
            adds.unwrap_or_else(std::sync::PoisonError::into_inner)
                .take()
        };
        drop(adds);
        if let Some(writing) = self.writing.lock().await.take() {
            // It cannot be cancelled, and has told of its errors.
            let _ = writing.await;
            let database = self.database.clone();
            let _ = tokio::task::spawn_blocking(move || database.shut_down()).await;
        }
    }
}

struct Writer {
    database: Database,
    queue: mpsc::Receiver<Add>,
    arrived: watch::Receiver<u64>,
    newest: watch::Sender<u64>,
    tidied: u64,
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let untidy = self.is_untidy();
            tokio::select! {
                count = self.queue.recv_many(&mut batch, BATCH) => {
                    let over = count == 0;
                    if !over || self.is_untidy() {
                        self.write(std::mem::take(&mut batch)).await;
                    }
                    if over {
                        return;
                    }
                }
                () = time::sleep(TIDY), if untidy => self.write(Vec::new()).await,
                // The sender lives as long as the queue's.
                Ok(()) = self.arrived.changed(), if !untidy => {}
            }
        }
    }

    fn is_untidy(&self) -> bool {
        *self.arrived.borrow() > self.tidied
    }

    async fn write(&mut self, adds: Vec<Add>) {
        let arrived = *self.arrived.borrow_and_update();
        let first = *self.newest.borrow() + 1;
        let count = adds.len();
        let (answers, messages): (Vec<_>, Vec<_>) = adds
            .into_iter()
            .map(|add| (add.written, (add.size, add.message)))
            .unzip();
        let written = self.database.write(move |t| {
            t.prepare_cached("DELETE FROM spool_message WHERE id <= ?1")?
                .execute([signed(arrived)])?;
            for (id, (size, message)) in (first..).zip(&messages) {
                insert(t, id, *size, message)?;
            }
            crash_point("cloud.spool.written");
            Ok::<_, StoreError>(())
        });
        match written.await {
            Ok(()) => {
                self.tidied = arrived;
                for answer in answers {
                    // Who has gone away does not want it; the message is sent all the same.
                    let _ = answer.send(Ok(()));
                }
                if count > 0 {
                    self.newest.send_replace(first - 1 + count as u64);
                }
            }
            Err(error) => {
                log::warn!("the MQTT spool on disk cannot be written: {error}");
                let text = error.to_string();
                let mut first = Some(error);
                for answer in answers {
                    let error = first.take().unwrap_or_else(|| StoreError::Panicked {
                        message: text.clone(),
                    });
                    let _ = answer.send(Err(error.into()));
                }
                // Nobody waits: what could not be deleted is tried again, not at once.
                self.tidied = if count == 0 { arrived } else { self.tidied };
            }
        }
    }
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    payload_format: Option<u8>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user: Vec<(String, String)>,
}

impl From<&Properties> for Kept {
    fn from(properties: &Properties) -> Self {
        let text = |text: &Option<ByteString>| text.as_ref().map(ToString::to_string);
        let user = properties.user.iter();
        Self {
            payload_format: properties.payload_format,
            content_type: text(&properties.content_type),
            response_topic: text(&properties.response_topic),
            correlation_data: properties.correlation_data.as_ref().map(|d| d.to_vec()),
            user: user.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }
}

impl From<Kept> for Properties {
    fn from(kept: Kept) -> Self {
        let user = kept.user.into_iter();
        Self {
            payload_format: kept.payload_format,
            content_type: kept.content_type.map(Into::into),
            response_topic: kept.response_topic.map(Into::into),
            correlation_data: kept.correlation_data.map(Into::into),
            user: user.map(|(k, v)| (k.into(), v.into())).collect(),
        }
    }
}

fn insert(t: &Transaction<'_>, id: u64, size: u64, message: &Message) -> Result<(), StoreError> {
    let properties = message.properties.as_deref().map(|properties| {
        serde_json::to_string(&Kept::from(properties)).expect("texts and numbers serialise")
    });
    let expires = message.expires.map(|at| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    t.prepare_cached("INSERT INTO spool_message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            signed(id),
            signed(size),
            &*message.topic,
            message.qos as u8,
            message.retain,
            &message.payload[..],
            expires,
            properties,
        ])?;
    Ok(())
}

fn page(t: &Transaction<'_>, after: u64) -> Result<Vec<Entry>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT id, size, topic, qos, retain, payload, expires, properties FROM spool_message
         WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query((signed(after), PAGE))?;
    let mut page = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        bytes += entry.size;
        page.push(entry);
        if bytes > PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

fn entry(row: &Row<'_>) -> Result<Entry, store::rusqlite::Error> {
    let properties: Option<String> = row.get(7)?;
    let properties = properties
        .map(|text| serde_json::from_str::<Kept>(&text))
        .transpose()
        .map_err(|e| {
            store::rusqlite::Error::FromSqlConversionFailure(7, Type::Text, Box::new(e))
        })?;
    let expires: Option<i64> = row.get(6)?;
    let expires = expires.map(|at| {
        let since = Duration::from_millis(u64::try_from(at).unwrap_or(0));
        UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    });
    let topic: String = row.get(2)?;
    let payload: Vec<u8> = row.get(5)?;
    Ok(Entry {
        id: number(row, 0)?,
        size: number(row, 1)?,
        message: Message {
            topic: topic.into(),
            payload: Bytes::from(payload),
            qos: QoS::from_bits(row.get(3)?).unwrap_or(QoS::AtLeastOnce),
            retain: row.get(4)?,
            expires,
            properties: properties.map(|kept| Arc::new(kept.into())),
        },
    })
}

fn number(row: &Row<'_>, column: usize) -> Result<u64, store::rusqlite::Error> {
    let number: i64 = row.get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// SQLite's numbers have a sign; ids and sizes come nowhere near their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
