//! When a ticket is done, and what happens when the disk refuses.

#![allow(clippy::unwrap_used)]

mod store_model;

use ::store::{Database, StoreError};
use bytes::Bytes;
use futures_util::FutureExt;
use mqtt::{
    QoS,
    packet::PacketId,
    store::{
        Delivery, Enqueued, Loaded, Options, Refused, SCHEMA, SessionId, Store, Ticket, Unavailable,
    },
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use store_model::{message, queue, record, until};

/// A group waits for ever, unless it is told to go.
fn patient() -> Options {
    Options {
        linger: Duration::from_secs(3_600),
        ..Options::default()
    }
}

fn open(folder: &Path, options: Options) -> (Store, Loaded) {
    let (store, loaded, aside) = Store::open(&folder.join("mqtt.db"), options).unwrap();
    assert!(aside.is_none());
    (store, loaded)
}

fn enqueue(store: &Store, session: SessionId, payload: &str) -> Result<Enqueued, Refused> {
    let body = store.body(message("t", payload.into()));
    let delivery = Delivery {
        qos: QoS::AtLeastOnce,
        ..Delivery::default()
    };
    store.enqueue(session, &body, delivery)
}

async fn session(store: &Store, client: &str) -> SessionId {
    let (id, ticket) = store.create(record(client));
    store.flush().await.unwrap();
    assert!(store.is_durable(ticket));
    id
}

#[tokio::test]
async fn a_ticket_is_done_with_the_commit_of_its_group_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    let one = enqueue(&store, id, "1").unwrap();
    let two = enqueue(&store, id, "2").unwrap();
    assert_eq!((one.seq, two.seq), (1, 2));
    let mut waiting = store.durable(two.ticket);
    assert!((&mut waiting).now_or_never().is_none());
    assert!(!store.is_durable(one.ticket));
    store.flush().await.unwrap();
    waiting.await.unwrap();
    assert!(store.is_durable(one.ticket));
    assert!(store.is_durable(Ticket::default()));
}

#[tokio::test]
async fn a_group_is_committed_soon_without_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), Options::default());
    let (_, ticket) = store.create(record("a"));
    store.durable(ticket).await.unwrap();
}

#[tokio::test]
async fn a_message_acknowledged_before_its_commit_never_touches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    let commits = store.metrics().commits;
    let mut tickets = Vec::new();
    for _ in 0..100 {
        let one = enqueue(&store, id, "x").unwrap();
        tickets.push(store.durable(one.ticket));
        store.sent(id, one.seq, PacketId::MIN);
        store.remove(id, one.seq);
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    let metrics = store.metrics();
    assert_eq!((metrics.commits, metrics.cancelled), (commits, 100));
    assert_eq!((metrics.messages, metrics.pending_bytes), (0, 0));
}

#[tokio::test]
async fn a_ticket_of_a_cancelled_message_still_waits_for_what_came_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    let first = enqueue(&store, id, "stays").unwrap();
    let second = enqueue(&store, id, "goes").unwrap();
    store.remove(id, second.seq);
    assert!(!store.is_durable(second.ticket));
    store.remove(id, first.seq);
    assert!(store.is_durable(first.ticket) && store.is_durable(second.ticket));
}

#[tokio::test]
async fn a_ticket_for_two_sessions_is_done_when_both_are() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let (a, b) = (session(&store, "a").await, session(&store, "b").await);
    let (one, two) = (
        enqueue(&store, a, "x").unwrap(),
        enqueue(&store, b, "x").unwrap(),
    );
    for both in [one.ticket.and(two.ticket), two.ticket.and(one.ticket)] {
        assert!(!store.is_durable(both));
    }
    store.remove(a, one.seq);
    assert!(!store.is_durable(one.ticket.and(two.ticket)));
    store.remove(b, two.seq);
    assert!(store.is_durable(one.ticket.and(two.ticket)));
    assert_eq!(Ticket::default().and(one.ticket), one.ticket);
}

#[tokio::test]
async fn what_is_not_durable_yet_is_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    for n in 0..10 {
        enqueue(&store, id, &n.to_string()).unwrap();
        if n == 4 {
            store.flush().await.unwrap();
        }
    }
    store.remove(id, 2);
    store.remove(id, 8);
    store.released(id, 3, PacketId::MIN);
    let read = queue(&store, id, 3).await;
    assert_eq!(
        read.keys().copied().collect::<Vec<_>>(),
        [1, 3, 4, 5, 6, 7, 9, 10]
    );
    assert_eq!(read[&3].message, None);
    assert_eq!(
        read[&10].message.as_ref().unwrap().payload,
        Bytes::from("9")
    );
    assert_eq!(store.page(id, 10, 5, 1_000).await.unwrap(), []);
}

#[tokio::test]
async fn publishers_wait_while_too_much_is_pending() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        pending_bytes: 10_000,
        ..patient()
    };
    let (store, _) = open(folder.path(), options);
    let id = session(&store, "a").await;
    store.ready().await;
    assert!(store.has_room());
    let large = enqueue(&store, id, &"x".repeat(20_000)).unwrap();
    // So much is committed at once, whatever the linger; then there is room again.
    store.ready().await;
    assert!(store.is_durable(large.ticket));
}

#[tokio::test]
async fn closing_writes_what_is_pending() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    enqueue(&store, id, "x").unwrap();
    let other = store.clone();
    store.close().unwrap();
    assert_eq!(enqueue(&other, id, "late"), Err(Refused::Unavailable));
    let (_, late) = other.create(record("late"));
    assert!(other.durable(late).await.is_err());
    let (store, loaded) = open(folder.path(), patient());
    assert_eq!(loaded.sessions[0].messages, 1);
    // Dropping every handle writes too, but does not wait for it.
    enqueue(&store, loaded.sessions[0].id, "y").unwrap();
    assert_eq!(store.queue_size(loaded.sessions[0].id).0, 2);
}

#[tokio::test]
async fn a_qos_2_message_and_its_identifier_are_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let (from, to) = (session(&store, "from").await, session(&store, "to").await);
    let body = store.body(message("t", vec![1]));
    let together = store.together(&body);
    store.enqueue(to, &body, Delivery::default()).unwrap();
    // A group is taken in between, with what others noted.
    let other = enqueue(&store, to, "other").unwrap();
    store.flush().await.unwrap();
    assert!(store.is_durable(other.ticket));
    let copy = tempfile::tempdir().unwrap();
    let snapshot = || {
        for name in ["mqtt.db", "mqtt.db-wal"] {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let (copied, loaded) = open(copy.path(), patient());
        copied.close().unwrap();
        let messages: usize = loaded.sessions.iter().map(|s| s.messages).sum();
        let received: usize = loaded.sessions.iter().map(|s| s.received.len()).sum();
        (messages, received)
    };
    assert_eq!(snapshot(), (1, 0));
    assert_eq!(queue(&store, to, 5).await.len(), 2);
    let ticket = together.remember(from, PacketId::MIN);
    assert!(!store.is_durable(ticket));
    store.flush().await.unwrap();
    assert!(store.is_durable(ticket));
    assert_eq!(snapshot(), (2, 1));
}

#[tokio::test]
async fn giving_up_on_a_qos_2_message_does_not_keep_it_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), Options::default());
    let id = session(&store, "a").await;
    let body = store.body(message("t", vec![1]));
    let together = store.together(&body);
    store.enqueue(id, &body, Delivery::default()).unwrap();
    drop(together);
    until(&store, |metrics| metrics.pending_bytes == 0);
    store.close().unwrap();
    let (_, loaded) = open(folder.path(), patient());
    assert_eq!(loaded.sessions[0].messages, 1);
}

#[test]
fn many_threads_wait_and_every_one_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), Options::default());
    let workers: Vec<_> = (0..6u64)
        .map(|worker| {
            let store = store.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build();
                runtime.unwrap().block_on(async {
                    let (id, _) = store.create(record(&worker.to_string()));
                    for n in 0..152 {
                        store.ready().await;
                        let one = enqueue(&store, id, "x").unwrap();
                        // Some are acknowledged before, some while, some after they are written, some never.
                        let at_once = (n + worker) % 4 == 0;
                        if at_once {
                            store.remove(id, one.seq);
                        }
                        let done = store.durable(one.ticket);
                        let waited = tokio::time::timeout(Duration::from_secs(20), done).await;
                        waited.expect("woken in time").unwrap();
                        if (n + worker) % 4 == 1 {
                            store.remove(id, one.seq);
                        }
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(store.metrics().messages, 6 * 76);
    store.close().unwrap();
    let (_, loaded) = open(folder.path(), patient());
    assert_eq!(
        loaded.sessions.iter().map(|s| s.messages).sum::<usize>(),
        6 * 76
    );
}

#[tokio::test]
async fn of_two_sessions_of_one_client_the_later_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), Options::default());
    let (early, late) = (session(&store, "a").await, session(&store, "a").await);
    enqueue(&store, early, "early").unwrap();
    enqueue(&store, late, "late").unwrap();
    // Killed before the early one could be ended.
    store.close().unwrap();
    for _ in 0..2 {
        let (store, loaded) = open(folder.path(), Options::default());
        assert_eq!(loaded.sessions.len(), 1);
        assert_eq!(loaded.sessions[0].id, late);
        assert_eq!(store.metrics().messages, 1);
        assert_eq!(queue(&store, early, 5).await.len(), 0);
        store.close().unwrap();
    }
}

/// A database whose file may not grow any more, or may.
fn set_full(database: &Database, full: bool) {
    let pages = move |t: &::store::rusqlite::Transaction<'_>| {
        let now: i64 = t.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let limit = if full { now } else { 1_000_000 };
        t.query_row(&format!("PRAGMA max_page_count = {limit}"), [], |_| Ok(()))?;
        Ok::<_, StoreError>(())
    };
    database.read_blocking(pages).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_to_who_waits_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.db");
    let database = Database::open(&path, &[SCHEMA]).unwrap();
    let options = Options {
        pending_bytes: 100_000,
        ..Options::default()
    };
    let (store, _) = Store::on(database.clone(), options).unwrap();
    let id = session(&store, "a").await;
    set_full(&database, true);
    let payload = "x".repeat(20_000);
    let first = enqueue(&store, id, &payload).unwrap();
    let told: Result<(), Unavailable> = store.durable(first.ticket).await;
    assert!(told.unwrap_err().reason.contains("full"));
    assert!(!store.is_durable(first.ticket));
    assert!(store.metrics().failing);
    // What comes now is kept too, and read back, up to the limit; then it is refused.
    let mut kept = 1;
    let refused = loop {
        match enqueue(&store, id, &payload) {
            Ok(_) => kept += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused, kept), (Refused::Unavailable, 5));
    store.ready().await; // does not hang: the publisher must be told
    assert_eq!(queue(&store, id, 2).await.len(), 5);
    // One of them is acknowledged meanwhile.
    store.remove(id, 2);
    assert!(store.flush().await.is_err());
    set_full(&database, false);
    store.flush().await.unwrap();
    assert!(store.is_durable(first.ticket));
    let metrics = store.metrics();
    assert!(!metrics.failing && metrics.failures > 0);
    store.close().unwrap();
    let (store, loaded) = open(folder.path(), patient());
    let id = loaded.sessions[0].id;
    let read = queue(&store, id, 10).await;
    assert_eq!(read.keys().copied().collect::<Vec<_>>(), [1, 3, 4, 5]);
}

#[tokio::test]
async fn closing_on_a_full_disk_says_that_something_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("mqtt.db"), &[SCHEMA]).unwrap();
    let (store, _) = Store::on(database.clone(), Options::default()).unwrap();
    let id = session(&store, "a").await;
    set_full(&database, true);
    let lost = enqueue(&store, id, &"x".repeat(20_000)).unwrap();
    let other = store.clone();
    assert!(store.close().is_err());
    assert!(other.durable(lost.ticket).await.is_err());
    assert!(other.flush().await.is_err());
}

#[tokio::test]
async fn the_time_of_expiry_survives_and_expired_messages_go() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), patient());
    let id = session(&store, "a").await;
    for seconds in [1, 4_000_000_000] {
        let mut new = message("t", vec![1]);
        new.expires = Some(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
        let body = store.body(new);
        store.enqueue(id, &body, Delivery::default()).unwrap();
    }
    store.flush().await.unwrap();
    store.close().unwrap();
    // Looked for at once after a start.
    let (store, _) = open(folder.path(), Options::default());
    let metrics = until(&store, |metrics| metrics.expired == 1);
    assert_eq!(metrics.messages, 1);
    let left = queue(&store, id, 10).await;
    assert_eq!(left.keys().copied().collect::<Vec<_>>(), [2]);
    let at = std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    assert_eq!(left[&2].message.as_ref().unwrap().expires, Some(at));
}

#[tokio::test]
async fn the_file_becomes_small_again_after_a_long_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path(), Options::default());
    let id = session(&store, "a").await;
    let kept = enqueue(&store, id, "kept").unwrap();
    for _ in 0..1_000 {
        store.ready().await;
        enqueue(&store, id, &"x".repeat(20_000)).unwrap();
    }
    store.flush().await.unwrap();
    for seq in kept.seq + 1..=kept.seq + 1_000 {
        store.remove(id, seq);
    }
    store.close().unwrap();
    let size = || {
        std::fs::metadata(folder.path().join("mqtt.db"))
            .unwrap()
            .len()
    };
    assert!(size() > 20_000_000);
    let (store, _) = open(folder.path(), Options::default());
    let deadline = Instant::now() + Duration::from_secs(20);
    while size() > 200_000 {
        assert!(Instant::now() < deadline, "{}", size());
        tokio::task::yield_now().await;
    }
    assert_eq!(queue(&store, id, 10).await.len(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.db");
    std::fs::write(&path, "this is no database, whatever its name may say").unwrap();
    let (store, loaded, aside) = Store::open(&path, Options::default()).unwrap();
    assert!(loaded.sessions.is_empty());
    let aside = aside.unwrap();
    assert!(
        std::fs::read(&aside.path)
            .unwrap()
            .starts_with(b"this is no")
    );
    session(&store, "a").await;
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.db");
    let newer = ::store::Schema {
        name: SCHEMA.name,
        migrations: &["CREATE TABLE mqtt_x (x)", "CREATE TABLE mqtt_y (y)"],
    };
    Database::open(&path, &[newer]).unwrap().close();
    let outcome = Store::open(&path, Options::default());
    assert!(matches!(outcome, Err(StoreError::Newer { .. })));
}

#[tokio::test]
async fn a_message_for_many_sessions_stands_in_the_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("mqtt.db"), &[SCHEMA]).unwrap();
    let (store, _) = Store::on(database.clone(), patient()).unwrap();
    let body = store.body(message("t", vec![7; 50_000]));
    let mut seqs = Vec::new();
    for n in 0..50 {
        let id = session(&store, &n.to_string()).await;
        // Some in the same group, some later.
        seqs.push((
            id,
            store.enqueue(id, &body, Delivery::default()).unwrap().seq,
        ));
    }
    store.flush().await.unwrap();
    let count = || {
        let query = |t: &::store::rusqlite::Transaction<'_>| {
            let sum = "SELECT count(*), coalesce(sum(length(body)), 0) FROM mqtt_message";
            Ok::<_, StoreError>(t.query_row(sum, [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?)
        };
        database.read_blocking(query).unwrap()
    };
    let (bodies, bytes) = count();
    assert_eq!(bodies, 1);
    assert!(bytes < 51_000);
    let (last, others) = seqs.split_last().unwrap();
    for (id, seq) in others {
        store.remove(*id, *seq);
    }
    store.flush().await.unwrap();
    assert_eq!(count().0, 1);
    assert_eq!(queue(&store, last.0, 1).await.len(), 1);
    store.remove(last.0, last.1);
    store.flush().await.unwrap();
    assert_eq!(count(), (0, 0));
}
