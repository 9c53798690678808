//! What is read back: everything but the queues' contents at start, and pages of a queue later.

use super::{
    Entry, Seq, SessionId, SessionRecord, StoredWill,
    batch::{Batch, QueueChange},
    format::{self, Unreadable},
    handle::{Loaded, LoadedSession},
    queue::Queues,
    record::{Delivery, State},
    write::number,
};
use crate::{Message, packet::PacketId};
use ::store::{
    StoreError,
    rusqlite::{Connection, Row},
};
use bytes::Bytes;
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap};

/// Everything at start.
pub(super) struct Everything {
    pub loaded: Loaded,
    pub queues: Queues,
    /// Sessions that have ended and whose queues are still in the file.
    pub orphans: Vec<SessionId>,
    /// Sessions whose client has a later one: a crash came between the two.
    pub superseded: Vec<SessionId>,
    pub last_session: u64,
    pub last_body: u64,
}

pub(super) fn everything(t: &Connection) -> Result<Everything, StoreError> {
    let mut sessions = sessions(t)?;
    let superseded = superseded(&sessions);
    for id in &superseded {
        sessions.remove(id);
    }
    let mut queues = Queues::default();
    for id in sessions.keys() {
        queues.add(*id);
    }
    subscriptions(t, &mut sessions)?;
    received(t, &mut sessions)?;
    let orphans = queue_sizes(t, &mut queues)?;
    let highest = |statement| t.query_row(statement, [], |row| row.get::<_, Option<i64>>(0));
    let last_row = highest("SELECT max(session) FROM mqtt_queue")?;
    let last_session = highest("SELECT max(id) FROM mqtt_session")?.max(last_row);
    let last_body = highest("SELECT max(id) FROM mqtt_message")?;
    for session in sessions.values_mut() {
        (session.messages, session.bytes) = queues.load_of(session.id);
    }
    Ok(Everything {
        loaded: Loaded {
            sessions: sessions.into_values().collect(),
            retained: retained(t)?,
        },
        queues,
        orphans,
        superseded,
        last_session: last_session.map_or(0, i64::unsigned_abs),
        last_body: last_body.map_or(0, i64::unsigned_abs),
    })
}

fn session_id(row: &Row<'_>, column: usize) -> Result<SessionId, StoreError> {
    Ok(SessionId(row.get::<_, i64>(column)?.unsigned_abs()))
}

fn sessions(t: &Connection) -> Result<BTreeMap<SessionId, LoadedSession>, StoreError> {
    let mut statement =
        t.prepare("SELECT id, client_id, expiry, away_since, will, will_due FROM mqtt_session")?;
    let mut rows = statement.query([])?;
    let mut sessions = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let id = session_id(row, 0)?;
        let client_id: String = row.get(1)?;
        let will: Option<Vec<u8>> = row.get(4)?;
        let will = will.and_then(|bytes| {
            format::read_will(bytes.into())
                .inspect_err(|error| log::error!(client_id = client_id.as_str(); "a stored will is lost: {error}"))
                .ok()
        });
        let due = row.get::<_, Option<i64>>(5)?.map(format::read_millis);
        let record = SessionRecord {
            client_id: client_id.into(),
            expiry: row.get(2)?,
            away_since: row.get::<_, Option<i64>>(3)?.map(format::read_millis),
            will: will.map(|will| StoredWill { will, due }),
        };
        let session = LoadedSession {
            id,
            record,
            subscriptions: Vec::new(),
            received: Vec::new(),
            messages: 0,
            bytes: 0,
        };
        sessions.insert(id, session);
    }
    Ok(sessions)
}

fn superseded(sessions: &BTreeMap<SessionId, LoadedSession>) -> Vec<SessionId> {
    let mut latest = HashMap::new();
    // In the order of their numbers.
    let replaced = sessions
        .values()
        .filter_map(|session| latest.insert(&*session.record.client_id, session.id));
    replaced.collect()
}

fn subscriptions(
    t: &Connection,
    sessions: &mut BTreeMap<SessionId, LoadedSession>,
) -> Result<(), StoreError> {
    let mut statement =
        t.prepare("SELECT session, filter, flags, identifier FROM mqtt_subscription")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(session) = sessions.get_mut(&session_id(row, 0)?) else {
            continue;
        };
        let filter: String = row.get(1)?;
        match format::read_subscription(row.get(2)?, row.get(3)?) {
            Ok(record) => session.subscriptions.push((filter.into(), record)),
            Err(error) => log::error!(
                client_id = &*session.record.client_id, filter = filter.as_str();
                "a stored subscription is lost: {error}"
            ),
        }
    }
    Ok(())
}

fn received(
    t: &Connection,
    sessions: &mut BTreeMap<SessionId, LoadedSession>,
) -> Result<(), StoreError> {
    let mut statement = t.prepare("SELECT session, packet FROM mqtt_received")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(session) = sessions.get_mut(&session_id(row, 0)?) {
            session.received.extend(PacketId::new(row.get(1)?));
        }
    }
    Ok(())
}

/// Counts the queues; returns the sessions that have none of their own any more.
fn queue_sizes(t: &Connection, queues: &mut Queues) -> Result<Vec<SessionId>, StoreError> {
    let mut statement =
        t.prepare("SELECT session, seq, size, packet FROM mqtt_queue ORDER BY session, seq")?;
    let mut rows = statement.query([])?;
    let mut orphans: Vec<SessionId> = Vec::new();
    while let Some(row) = rows.next()? {
        let session = session_id(row, 0)?;
        if queues.has(session) {
            let seq = row.get::<_, i64>(1)?.unsigned_abs();
            queues.load(session, seq, row.get(2)?, row.get::<_, i64>(3)? != 0);
        } else if orphans.last() != Some(&session) {
            orphans.push(session);
        }
    }
    Ok(orphans)
}

fn retained(t: &Connection) -> Result<Vec<Message>, StoreError> {
    let mut statement = t.prepare("SELECT topic, flags, expires, body FROM mqtt_retained")?;
    let mut rows = statement.query([])?;
    let mut retained = Vec::new();
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(3)?;
        let read = || {
            let (qos, retain) = format::read_flags(row.get(1).unwrap_or(3))?;
            let message = format::message(body.into())?;
            Ok::<_, Unreadable>(Message {
                qos,
                retain,
                ..message
            })
        };
        match read() {
            Ok(mut message) => {
                message.expires = row.get::<_, Option<i64>>(2)?.map(format::read_millis);
                retained.push(message);
            }
            Err(error) => {
                let topic: ByteString = row.get::<_, String>(0)?.into();
                log::error!(topic = &*topic; "a retained message is lost: {error}");
            }
        }
    }
    Ok(retained)
}

/// The rows of a queue behind `after` (`None`: unreadable), and whether these were all.
pub(super) fn rows(
    t: &Connection,
    session: SessionId,
    after: Seq,
    limit: usize,
    max_bytes: usize,
) -> Result<(BTreeMap<Seq, Option<Entry>>, bool), StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT q.seq, q.packet, q.flags, q.expires, q.identifiers, coalesce(q.body, m.body)
         FROM mqtt_queue q LEFT JOIN mqtt_message m ON m.id = q.message
         WHERE q.session = ?1 AND q.seq > ?2 ORDER BY q.seq LIMIT ?3",
    )?;
    let mut rows = statement.query((number(session.0), number(after), rows_of(limit)))?;
    let mut found = BTreeMap::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.unsigned_abs();
        let body: Option<Vec<u8>> = row.get(5)?;
        bytes += body.as_ref().map_or(0, Vec::len);
        let read = entry(row, seq, body);
        if let Err(error) = &read {
            log::error!(session = session.0, seq; "a queued message is lost: {error}");
        }
        found.insert(seq, read.ok());
        if bytes >= max_bytes {
            return Ok((found, false));
        }
    }
    let all = found.len() < limit;
    Ok((found, all))
}

fn entry(row: &Row<'_>, seq: Seq, body: Option<Vec<u8>>) -> Result<Entry, Unreadable> {
    let column = |at| row.get::<_, i64>(at).map_err(|_| Unreadable("row"));
    let state = format::read_packet(column(1)?)?;
    let (qos, retain) = format::read_flags(column(2)?)?;
    let expires: Option<i64> = row.get(3).map_err(|_| Unreadable("row"))?;
    let identifiers: Option<Vec<u8>> = row.get(4).map_err(|_| Unreadable("row"))?;
    let message = match (state, body) {
        (State::Released(_), _) => None,
        (_, None) => return Err(Unreadable("row without a body")),
        (_, Some(body)) => Some(Message {
            qos,
            retain,
            expires: expires.map(format::read_millis),
            ..format::message(Bytes::from(body))?
        }),
    };
    Ok(Entry {
        seq,
        state,
        delivery: Delivery {
            qos,
            retain,
            identifiers: format::read_identifiers(identifiers.as_deref()),
        },
        message,
    })
}

/// Lays what a group changes over rows that were read, up to the number `to`. It may be in them already.
pub(super) fn overlay(
    found: &mut BTreeMap<Seq, Option<Entry>>,
    batch: &Batch,
    session: SessionId,
    after: Seq,
    to: Seq,
) {
    if matches!(batch.sessions.get(&session), Some(change) if change.value.is_none()) {
        found.clear();
        return;
    }
    if after >= to {
        return;
    }
    for ((_, seq), change) in batch.queue.range((session, after + 1)..=(session, to)) {
        match &change.value {
            QueueChange::Remove => _ = found.remove(seq),
            QueueChange::State(state) => {
                if let Some(Some(entry)) = found.get_mut(seq) {
                    set_state(entry, *state);
                }
            }
            QueueChange::Insert(insert) => {
                let mut entry = Entry {
                    seq: *seq,
                    state: State::Queued,
                    delivery: insert.delivery.clone(),
                    message: Some(Message {
                        qos: insert.delivery.qos,
                        retain: insert.delivery.retain,
                        ..insert.body.message().clone()
                    }),
                };
                set_state(&mut entry, insert.state);
                found.insert(*seq, Some(entry));
            }
        }
    }
}

fn set_state(entry: &mut Entry, state: State) {
    entry.state.advance(state);
    if matches!(entry.state, State::Released(_)) {
        entry.message = None;
    }
}

fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Messages that expired before they were sent.
pub(super) fn expired(
    t: &Connection,
    now: i64,
    limit: usize,
) -> Result<Vec<(SessionId, Seq)>, StoreError> {
    let mut statement = t.prepare_cached(
        "SELECT session, seq FROM mqtt_queue WHERE expires IS NOT NULL AND packet = 0 AND expires <= ?1 LIMIT ?2",
    )?;
    let mut rows = statement.query((now, rows_of(limit)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((session_id(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs()));
    }
    Ok(found)
}
