//! One group in one transaction. Runs on the database's thread.

use super::{
    SessionId,
    batch::{Batch, Insert, QueueChange},
    format,
    record::{Body, SessionRecord, State},
};
use ::store::{StoreError, crash_point, rusqlite::Connection};
use std::collections::{BTreeMap, BTreeSet};

/// A body up to here stands in the row of the one session that it is for.
const INLINE: usize = 512;

/// Rows of an ended session that go in one transaction.
const PURGED: i64 = 2_000;

/// Every statement of the hot path stays prepared.
pub(super) const STATEMENTS: usize = 32;

pub(super) fn apply(t: &Connection, batch: &Batch) -> Result<(), StoreError> {
    for (id, change) in &batch.sessions {
        match &change.value {
            Some(record) => put_session(t, *id, record)?,
            None => end_session(t, *id)?,
        }
    }
    let ended = |id: SessionId| matches!(batch.sessions.get(&id), Some(c) if c.value.is_none());
    for ((session, filter), change) in &batch.subscriptions {
        if ended(*session) {
            continue;
        }
        if let Some(record) = &change.value {
            t.prepare_cached(
                "INSERT OR REPLACE INTO mqtt_subscription (session, filter, flags, identifier) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                key(*session),
                &**filter,
                format::subscription_flags(record),
                record.identifier,
            ))?;
        } else {
            t.prepare_cached("DELETE FROM mqtt_subscription WHERE session = ?1 AND filter = ?2")?
                .execute((key(*session), &**filter))?;
        }
    }
    for ((session, id), change) in &batch.received {
        if ended(*session) {
            continue;
        }
        let statement = if change.value {
            "INSERT OR IGNORE INTO mqtt_received (session, packet) VALUES (?1, ?2)"
        } else {
            "DELETE FROM mqtt_received WHERE session = ?1 AND packet = ?2"
        };
        t.prepare_cached(statement)?
            .execute((key(*session), id.get()))?;
    }
    queue(t, batch, ended)?;
    crash_point("mqtt.store.batch.half");
    retained(t, batch)
}

fn key(session: SessionId) -> i64 {
    number(session.0)
}

/// SQLite's integers are signed; these count up from 1.
pub(super) fn number(n: u64) -> i64 {
    i64::try_from(n).expect("counted up from 1")
}

fn put_session(t: &Connection, id: SessionId, record: &SessionRecord) -> Result<(), StoreError> {
    let will = record.will.as_ref();
    t.prepare_cached(
        "INSERT OR REPLACE INTO mqtt_session (id, client_id, expiry, away_since, will, will_due) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        key(id),
        &*record.client_id,
        record.expiry,
        record.away_since.map(format::millis),
        will.map(|will| format::will(&will.will)),
        will.and_then(|will| will.due).map(format::millis),
    ))?;
    Ok(())
}

/// The queue, which may be long, goes later in pieces: nobody finds it any more.
fn end_session(t: &Connection, id: SessionId) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM mqtt_session WHERE id = ?1",
        "DELETE FROM mqtt_subscription WHERE session = ?1",
        "DELETE FROM mqtt_received WHERE session = ?1",
    ] {
        t.prepare_cached(statement)?.execute([key(id)])?;
    }
    Ok(())
}

fn queue(
    t: &Connection,
    batch: &Batch,
    ended: impl Fn(SessionId) -> bool,
) -> Result<(), StoreError> {
    // Bodies that a row ceased to need, and those that one begins to need.
    let mut unneeded = BTreeSet::new();
    let mut bodies: BTreeMap<u64, Body> = BTreeMap::new();
    let mut remove = t.prepare_cached(
        "DELETE FROM mqtt_queue WHERE session = ?1 AND seq = ?2 RETURNING message",
    )?;
    let mut sent = t.prepare_cached(
        "UPDATE mqtt_queue SET packet = ?3 WHERE session = ?1 AND seq = ?2 AND packet < 65536",
    )?;
    let mut insert = t.prepare_cached(
        "INSERT OR REPLACE INTO mqtt_queue (session, seq, packet, flags, size, expires, message, body, identifiers)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut bytes = Vec::new();
    for ((session, seq), change) in &batch.queue {
        if ended(*session) {
            continue;
        }
        let at = (key(*session), number(*seq));
        match &change.value {
            QueueChange::Insert(new) => {
                let place = place(new, &mut bytes);
                if place == Place::Shared {
                    bodies.insert(new.body.0.id, new.body.clone());
                }
                let message = &new.body.0.message;
                insert.execute((
                    at.0,
                    at.1,
                    format::packet(new.state),
                    format::flags(new.delivery.qos, new.delivery.retain),
                    new.size,
                    message.expires.map(format::millis),
                    (place == Place::Shared).then(|| number(new.body.0.id)),
                    (place == Place::Row).then_some(&bytes[..]),
                    format::identifiers(&new.delivery.identifiers),
                ))?;
            }
            QueueChange::State(state @ State::Released(_)) => {
                unneeded.extend(release(t, at, format::packet(*state))?);
            }
            QueueChange::State(state) => {
                sent.execute((at.0, at.1, format::packet(*state)))?;
            }
            QueueChange::Remove => {
                let mut rows = remove.query(at)?;
                while let Some(row) = rows.next()? {
                    unneeded.extend(row.get::<_, Option<i64>>(0)?);
                }
            }
        }
    }
    for (id, body) in bodies {
        bytes.clear();
        format::body(&body.0.message, &mut bytes);
        t.prepare_cached("INSERT OR IGNORE INTO mqtt_message (id, body) VALUES (?1, ?2)")?
            .execute((number(id), &bytes))?;
    }
    drop_bodies(t, &unneeded)
}

#[derive(PartialEq)]
enum Place {
    Row,
    Shared,
    Nowhere,
}

/// Where the body goes; in a row, `bytes` holds it then.
fn place(new: &Insert, bytes: &mut Vec<u8>) -> Place {
    if matches!(new.state, State::Released(_)) {
        return Place::Nowhere;
    }
    let message = &new.body.0.message;
    if new.body.is_shared() || message.size() > INLINE {
        return Place::Shared;
    }
    bytes.clear();
    format::body(message, bytes);
    Place::Row
}

/// PUBREC has come: the content is not needed any more.
fn release(t: &Connection, at: (i64, i64), packet: i64) -> Result<Option<i64>, StoreError> {
    let mut find =
        t.prepare_cached("SELECT message FROM mqtt_queue WHERE session = ?1 AND seq = ?2")?;
    let mut rows = find.query(at)?;
    let shared: Option<i64> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => return Ok(None),
    };
    drop(rows);
    t.prepare_cached(
        "UPDATE mqtt_queue SET packet = ?3, message = NULL, body = NULL WHERE session = ?1 AND seq = ?2",
    )?
    .execute((at.0, at.1, packet))?;
    Ok(shared)
}

fn drop_bodies(t: &Connection, unneeded: &BTreeSet<i64>) -> Result<(), StoreError> {
    let mut statement = t.prepare_cached(
        "DELETE FROM mqtt_message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM mqtt_queue WHERE message = ?1)",
    )?;
    for id in unneeded {
        statement.execute([id])?;
    }
    Ok(())
}

fn retained(t: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    for (topic, change) in &batch.retained {
        let Some(message) = &change.value else {
            t.prepare_cached("DELETE FROM mqtt_retained WHERE topic = ?1")?
                .execute([&**topic])?;
            continue;
        };
        bytes.clear();
        format::body(message, &mut bytes);
        t.prepare_cached(
            "INSERT OR REPLACE INTO mqtt_retained (topic, flags, expires, body) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((
            &**topic,
            format::flags(message.qos, true),
            message.expires.map(format::millis),
            &bytes,
        ))?;
    }
    Ok(())
}

/// Removes a piece of an ended session's queue; returns whether that was all.
pub(super) fn purge(t: &Connection, session: SessionId) -> Result<bool, StoreError> {
    let mut statement = t.prepare_cached(
        "DELETE FROM mqtt_queue WHERE session = ?1 AND seq IN
         (SELECT seq FROM mqtt_queue WHERE session = ?1 ORDER BY seq LIMIT ?2) RETURNING message",
    )?;
    let mut rows = statement.query((key(session), PURGED))?;
    let mut count = 0;
    let mut unneeded = BTreeSet::new();
    while let Some(row) = rows.next()? {
        count += 1;
        unneeded.extend(row.get::<_, Option<i64>>(0)?);
    }
    drop(rows);
    drop_bodies(t, &unneeded)?;
    Ok(count < PURGED)
}
