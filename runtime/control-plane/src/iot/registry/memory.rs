//! What connections ask about certificates, kept in memory: a decision about a message must not wait for a disk.
//!
//! A certificate is loaded when its first connection is made. Whoever writes something that can alter an answer finds out,
//! in the same transaction, which certificates it concerns (`certificates_of_…`) and calls [`Registry::refresh`]; those that
//! are loaded are read again and live sessions are asked anew.

use super::things::{Attributes, Thing};
use crate::{
    http::{ApiError, Timestamp},
    iot::policy::Document,
};
use rusqlite::{OptionalExtension, Transaction};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};
use store::Database;
use tokio::sync::{broadcast, watch};

/// Events that may wait for a slow listener before it must look for itself.
const EVENTS: usize = 4096;

/// What happened in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thing was created.
    ThingCreated {
        /// Which.
        thing: String,
    },
    /// A thing is gone.
    ThingDeleted {
        /// Which.
        thing: String,
    },
    /// A thing is in a group now.
    ThingAdded {
        /// Which.
        thing: String,
        /// The group that was named.
        group: String,
    },
    /// A thing is no longer in a group.
    ThingRemoved {
        /// Which.
        thing: String,
        /// The group that was named.
        group: String,
    },
    /// A group is gone, and with it its memberships.
    GroupDeleted {
        /// Which.
        group: String,
    },
    /// A certificate was made, or its status changed.
    CertificateChanged {
        /// Its fingerprint.
        certificate: String,
        /// The status it has now; `None` when it was deleted.
        status: Option<String>,
    },
}

/// A certificate as decisions need it.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its fingerprint, which is its id.
    pub id: String,
    /// `ACTIVE`, `INACTIVE`, `REVOKED`, …
    pub status: String,
    /// The policies attached to it.
    pub policies: Vec<Arc<Document>>,
    /// The things attached to it, by name.
    pub things: BTreeMap<String, Attached>,
    /// For a provisioning claim: its template and its end.
    pub claim: Option<(String, Timestamp)>,
}

/// A thing that a certificate is attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Its type.
    pub kind: Option<String>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Whether the certificate is for this thing alone.
    pub exclusive: bool,
    /// Policies of the thing's groups and of those above them.
    pub policies: Vec<Arc<Document>>,
}

impl Principal {
    /// Whether it may be used at all.
    pub fn active(&self) -> bool {
        let claim_over = self
            .claim
            .as_ref()
            .is_some_and(|(_, end)| *end <= Timestamp::now());
        self.status == "ACTIVE" && !claim_over
    }

    /// The thing that a connection is: the one its client id names, or the one that the certificate is for alone.
    pub fn thing(&self, client_id: &str) -> Option<(&str, &Attached)> {
        let named = self.things.get_key_value(client_id);
        let alone = || self.things.iter().find(|(_, thing)| thing.exclusive);
        named
            .or_else(alone)
            .map(|(name, thing)| (name.as_str(), thing))
    }

    fn load(t: &Transaction<'_>, id: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT status FROM iot_certificate WHERE id = ?1";
        let Some(status) = t
            .prepare_cached(sql)?
            .query_row([id], |row| row.get(0))
            .optional()?
        else {
            return Ok(None);
        };
        let policies = documents(
            t,
            "SELECT v.document FROM iot_certificate_policy c JOIN iot_policy p ON p.name = c.policy
             JOIN iot_policy_version v ON v.policy = p.name AND v.version = p.default_version WHERE c.certificate = ?1",
            id,
        )?;
        let sql = "SELECT template, expires FROM iot_claim WHERE certificate = ?1";
        let claim = t
            .prepare_cached(sql)?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let mut things = BTreeMap::new();
        let sql = "SELECT thing, exclusive FROM iot_thing_principal WHERE certificate = ?1";
        let mut statement = t.prepare_cached(sql)?;
        let attached = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (name, exclusive) in attached.collect::<Result<Vec<(String, bool)>, _>>()? {
            let Some(thing) = Thing::find(t, &name)? else {
                continue;
            };
            let policies = documents(
                t,
                "WITH RECURSIVE above(name) AS (
                     SELECT grouped FROM iot_group_member WHERE thing = ?1
                     UNION SELECT g.parent FROM iot_group g JOIN above ON g.name = above.name WHERE g.parent IS NOT NULL)
                 SELECT v.document FROM iot_policy p JOIN iot_policy_version v ON v.policy = p.name AND v.version = p.default_version
                 WHERE p.name IN (SELECT gp.policy FROM iot_group_policy gp JOIN above ON gp.grouped = above.name)",
                &name,
            )?;
            let attached = Attached {
                kind: thing.kind,
                attributes: thing.attributes,
                exclusive,
                policies,
            };
            things.insert(name, attached);
        }
        Ok(Some(Self {
            id: id.to_owned(),
            status,
            policies,
            things,
            claim,
        }))
    }
}

fn documents(t: &Transaction<'_>, sql: &str, key: &str) -> Result<Vec<Arc<Document>>, ApiError> {
    let mut statement = t.prepare_cached(sql)?;
    let texts = statement.query_map([key], |row| row.get::<_, String>(0))?;
    texts
        .map(|text| {
            // It was checked when it was stored.
            let document = Document::parse(&text?).map_err(ApiError::internal)?;
            Ok(Arc::new(document))
        })
        .collect()
}

/// The certificates attached to a thing.
pub fn certificates_of_thing(t: &Transaction<'_>, thing: &str) -> Result<Vec<String>, ApiError> {
    let sql = "SELECT certificate FROM iot_thing_principal WHERE thing = ?1";
    texts(t, sql, thing)
}

/// The certificates of the things in a group and in the groups below it.
pub fn certificates_of_group(t: &Transaction<'_>, group: &str) -> Result<Vec<String>, ApiError> {
    let sql = "WITH RECURSIVE below(name) AS (
                   SELECT ?1 UNION SELECT g.name FROM iot_group g JOIN below ON g.parent = below.name)
               SELECT DISTINCT p.certificate FROM iot_group_member m JOIN below ON m.grouped = below.name
               JOIN iot_thing_principal p ON p.thing = m.thing";
    texts(t, sql, group)
}

/// The certificates that a policy is attached to, itself or through groups.
pub fn certificates_of_policy(t: &Transaction<'_>, policy: &str) -> Result<Vec<String>, ApiError> {
    let mut all: BTreeSet<String> = texts(
        t,
        "SELECT certificate FROM iot_certificate_policy WHERE policy = ?1",
        policy,
    )?
    .into_iter()
    .collect();
    for group in texts(
        t,
        "SELECT grouped FROM iot_group_policy WHERE policy = ?1",
        policy,
    )? {
        all.extend(certificates_of_group(t, &group)?);
    }
    Ok(all.into_iter().collect())
}

pub(super) fn texts(t: &Transaction<'_>, sql: &str, key: &str) -> Result<Vec<String>, ApiError> {
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map([key], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    database: Database,
    principals: RwLock<HashMap<String, Arc<Principal>>>,
    revision: watch::Sender<u32>,
    events: broadcast::Sender<Event>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Over the tables of this module.
    pub fn new(database: Database) -> Self {
        Self(Arc::new(Inner {
            database,
            principals: RwLock::default(),
            revision: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS),
        }))
    }

    pub(super) fn database(&self) -> &Database {
        &self.0.database
    }

    /// A certificate by its fingerprint, from memory when it was loaded before.
    pub async fn load(&self, id: &str) -> Result<Option<Arc<Principal>>, ApiError> {
        if let Some(found) = self.loaded(id) {
            return Ok(Some(found));
        }
        let key = id.to_owned();
        let found = self
            .0
            .database
            .read(move |t| Principal::load(t, &key))
            .await?;
        let found = found.map(Arc::new);
        if let Some(found) = &found {
            self.principals_mut(|principals| principals.insert(id.to_owned(), Arc::clone(found)));
            // A change between the look and the insertion would have found nothing to refresh.
            self.refresh(vec![id.to_owned()]).await?;
        }
        Ok(self.loaded(id))
    }

    /// A certificate that was loaded before: for decisions about messages.
    pub fn loaded(&self, id: &str) -> Option<Arc<Principal>> {
        let principals = self
            .0
            .principals
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        principals.get(id).cloned()
    }

    /// Drops one that is not active: nobody is connected with it any more. One that was activated meanwhile stays.
    pub fn forget(&self, id: &str) {
        self.principals_mut(|principals| {
            if principals.get(id).is_some_and(|found| !found.active()) {
                principals.remove(id);
            }
        });
    }

    fn principals_mut<T>(&self, work: impl FnOnce(&mut HashMap<String, Arc<Principal>>) -> T) -> T {
        work(
            &mut self
                .0
                .principals
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Reads again those of the certificates that are loaded, and lets live sessions be asked anew.
    pub async fn refresh(&self, certificates: Vec<String>) -> Result<(), ApiError> {
        let mut concerned = certificates;
        concerned.retain(|id| self.loaded(id).is_some());
        if concerned.is_empty() {
            return Ok(());
        }
        let load = move |t: &Transaction<'_>| {
            let load = |id: String| Ok((Principal::load(t, &id)?.map(Arc::new), id));
            concerned
                .into_iter()
                .map(load)
                .collect::<Result<Vec<_>, ApiError>>()
        };
        let found = self.0.database.read(load).await?;
        self.principals_mut(|principals| {
            for (principal, id) in found {
                match principal {
                    Some(principal) => principals.insert(id, principal),
                    None => principals.remove(&id),
                };
            }
        });
        self.0
            .revision
            .send_modify(|revision| *revision = revision.wrapping_add(1));
        Ok(())
    }

    /// Counts up whenever a decision about a loaded certificate may have changed.
    pub fn revision(&self) -> watch::Receiver<u32> {
        self.0.revision.subscribe()
    }

    /// Tells who listens; not an error when nobody does.
    pub fn tell(&self, event: Event) {
        let _ = self.0.events.send(event);
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }
}
