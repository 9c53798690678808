//! Shadows: classic and named, kept in SQLite, changed over HTTP and MQTT by the rules of [`model::shadow`].

mod mqtt;
mod operations;

pub use mqtt::{FILTERS, handle};
pub use operations::operations;

use crate::{
    device::port::{Link, Outgoing},
    http::{ApiError, Timestamp},
    iot::registry::things::Thing,
};
use model::shadow::{Shadow, ShadowError, Update};
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};
use store::{Database, Schema};
use tokio::sync::broadcast;

/// Changes that may wait for a slow listener before it must look for itself.
const EVENTS: usize = 4096;

/// Documents; of a deleted shadow its version is left.
pub const SCHEMA: Schema = Schema {
    name: "iot_shadow",
    migrations: &["
        CREATE TABLE iot_shadow (
            thing TEXT NOT NULL,
            name TEXT NOT NULL,
            document TEXT NOT NULL,
            deleted INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (thing, name)
        ) WITHOUT ROWID, STRICT;
    "],
};

/// A shadow was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowEvent {
    /// Whose.
    pub thing: String,
    /// Which; empty for the classic shadow.
    pub name: String,
    /// As it is now; `None` when it was deleted.
    pub shadow: Option<Shadow>,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Shadows(Arc<Inner>);

struct Inner {
    database: Database,
    link: Link,
    events: broadcast::Sender<ShadowEvent>,
}

impl fmt::Debug for Shadows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shadows")
    }
}

/// Why a request for a shadow fails.
#[derive(Debug)]
pub enum Failure {
    /// What AWS IoT refuses.
    Refused(ShadowError),
    /// Everything else.
    Api(ApiError),
}

impl From<ShadowError> for Failure {
    fn from(error: ShadowError) -> Self {
        Self::Refused(error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Api(error.into())
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        Self::Api(error.into())
    }
}

/// How AWS IoT calls a shadow that is not there.
fn called(thing: &str, name: &str) -> String {
    if name.is_empty() {
        thing.to_owned()
    } else {
        format!("{thing}~{name}")
    }
}

/// `$aws/things/<thing>/shadow[/name/<name>]`.
pub(crate) fn topic(thing: &str, name: &str) -> String {
    if name.is_empty() {
        format!("$aws/things/{thing}/shadow")
    } else {
        format!("$aws/things/{thing}/shadow/name/{name}")
    }
}

fn find(t: &Transaction<'_>, thing: &str, name: &str) -> Result<Option<(Shadow, bool)>, ApiError> {
    let sql = "SELECT document, deleted FROM iot_shadow WHERE thing = ?1 AND name = ?2";
    let found: Option<(String, bool)> = t
        .prepare_cached(sql)?
        .query_row((thing, name), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((text, deleted)) => Ok(Some((serde_json::from_str(&text)?, deleted))),
        None => Ok(None),
    }
}

fn save(
    t: &Transaction<'_>,
    thing: &str,
    name: &str,
    shadow: &Shadow,
    deleted: bool,
) -> Result<(), ApiError> {
    let sql = "INSERT OR REPLACE INTO iot_shadow (thing, name, document, deleted) VALUES (?1, ?2, ?3, ?4)";
    t.prepare_cached(sql)?
        .execute((thing, name, serde_json::to_string(shadow)?, deleted))?;
    Ok(())
}

/// Where a core device is told of its addresses: the classic shadow of `<core>-gci`, which is no thing of its own.
const OF_CORE: &str = "-gci";

/// Refuses shadows of what does not exist.
fn owner(t: &Transaction<'_>, thing: &str) -> Result<(), ApiError> {
    if let Some(core) = thing.strip_suffix(OF_CORE)
        && Thing::find(t, core)?.is_some()
    {
        return Ok(());
    }
    Thing::get(t, thing).map(|_| ())
}

/// The shadow of a name, if there is one.
pub fn current(t: &Transaction<'_>, thing: &str, name: &str) -> Result<Option<Shadow>, ApiError> {
    Ok(find(t, thing, name)?
        .filter(|(_, deleted)| !deleted)
        .map(|(shadow, _)| shadow))
}

/// Applies an update within a transaction; gives the answer to who asked, and what everybody else is told.
pub fn apply(
    t: &Transaction<'_>,
    thing: &str,
    name: &str,
    update: &Update,
) -> Result<(Value, Vec<Outgoing>, ShadowEvent), Failure> {
    owner(t, thing)?;
    let (mut shadow, deleted) = find(t, thing, name)?.unwrap_or_default();
    if deleted {
        shadow = Shadow {
            version: shadow.version,
            ..Shadow::default()
        };
    }
    let change = shadow.update(update, seconds())?;
    save(t, thing, name, &shadow, false)?;
    let base = topic(thing, name);
    let mut messages = Vec::new();
    if let Some(delta) = change.delta() {
        messages.push(Outgoing::json(format!("{base}/update/delta"), &delta));
    }
    messages.push(Outgoing::json(
        format!("{base}/update/documents"),
        &change.documents(),
    ));
    let event = ShadowEvent {
        thing: thing.to_owned(),
        name: name.to_owned(),
        shadow: Some(shadow),
    };
    Ok((change.accepted().clone(), messages, event))
}

fn seconds() -> i64 {
    Timestamp::now().millis() / 1000
}

impl Shadows {
    /// Over the table of this module.
    pub fn new(database: Database, link: Link) -> Self {
        Self(Arc::new(Inner {
            database,
            link,
            events: broadcast::Sender::new(EVENTS),
        }))
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<ShadowEvent> {
        self.0.events.subscribe()
    }

    /// The whole document.
    pub async fn get(&self, thing: &str, name: &str) -> Result<Value, Failure> {
        let (thing, name) = (thing.to_owned(), name.to_owned());
        self.0
            .database
            .read(move |t| {
                owner(t, &thing)?;
                let shadow = current(t, &thing, &name)?
                    .ok_or_else(|| ShadowError::NotFound(called(&thing, &name)))?;
                Ok(shadow.document(seconds()))
            })
            .await
    }

    /// Applies an update; the answer to who asked. It is sent to devices too, before what
    /// follows from it, once all is durable.
    pub async fn update(&self, thing: &str, name: &str, update: Update) -> Result<Value, Failure> {
        let base = topic(thing, name);
        let (thing, name) = (thing.to_owned(), name.to_owned());
        let work = move |t: &Transaction<'_>| apply(t, &thing, &name, &update);
        let (accepted, messages, event) = self.0.database.write(work).await?;
        self.tell(
            Outgoing::json(format!("{base}/update/accepted"), &accepted),
            messages,
            event,
        )
        .await;
        Ok(accepted)
    }

    /// Tells of a change that another transaction made with [`apply`].
    pub async fn tell(&self, first: Outgoing, messages: Vec<Outgoing>, event: ShadowEvent) {
        let _ = self.0.events.send(event);
        self.0
            .link
            .send_all(std::iter::once(first).chain(messages))
            .await;
    }

    /// Deletes a shadow; its version and the time.
    pub async fn delete(&self, thing: &str, name: &str) -> Result<Value, Failure> {
        self.deleted(thing, name, None).await
    }

    pub(super) async fn delete_with(
        &self,
        thing: &str,
        name: &str,
        token: Option<&str>,
    ) -> Result<(), Failure> {
        self.deleted(thing, name, token).await.map(|_| ())
    }

    async fn deleted(
        &self,
        thing: &str,
        name: &str,
        token: Option<&str>,
    ) -> Result<Value, Failure> {
        let event = ShadowEvent {
            thing: thing.to_owned(),
            name: name.to_owned(),
            shadow: None,
        };
        let base = topic(thing, name);
        let (thing, name) = (thing.to_owned(), name.to_owned());
        let version = self
            .0
            .database
            .write(move |t| {
                owner(t, &thing)?;
                let shadow = current(t, &thing, &name)?
                    .ok_or_else(|| ShadowError::NotFound(called(&thing, &name)))?;
                save(t, &thing, &name, &shadow.deleted(), true)?;
                Ok::<_, Failure>(shadow.version)
            })
            .await?;
        let mut answer = json!({ "version": version, "timestamp": seconds() });
        if let Some(token) = token {
            answer["clientToken"] = token.into();
        }
        self.tell(
            Outgoing::json(format!("{base}/delete/accepted"), &answer),
            Vec::new(),
            event,
        )
        .await;
        Ok(answer)
    }

    /// The names of a thing's named shadows after a name.
    pub async fn names(
        &self,
        thing: &str,
        after: String,
        limit: i64,
    ) -> Result<Vec<String>, ApiError> {
        let thing = thing.to_owned();
        self.0
            .database
            .read(move |t| {
                owner(t, &thing)?;
                let sql = "SELECT name FROM iot_shadow WHERE thing = ?1 AND name > ?2 AND name <> '' AND NOT deleted ORDER BY name LIMIT ?3";
                let mut statement = t.prepare_cached(sql)?;
                let rows = statement.query_map((thing, after, limit), |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}
