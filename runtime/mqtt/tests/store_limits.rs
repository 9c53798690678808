//! What is dropped when a queue is full, and that it is counted.

#![allow(clippy::unwrap_used)]

mod store_model;

use mqtt::{
    packet::PacketId,
    store::{Delivery, DropPolicy, Enqueued, Options, Refused, SessionId, Store},
};
use store_model::{message, queue, record};

fn open(folder: &tempfile::TempDir, options: Options) -> (Store, SessionId) {
    let path = folder.path().join("mqtt.db");
    let (store, loaded, _) = Store::open(&path, options).unwrap();
    let known = loaded.sessions.first().map(|session| session.id);
    let id = known.unwrap_or_else(|| store.create(record("a")).0);
    (store, id)
}

fn enqueue(store: &Store, session: SessionId, size: usize) -> Result<Enqueued, Refused> {
    let body = store.body(message("t", vec![0; size]));
    store.enqueue(session, &body, Delivery::default())
}

async fn seqs(store: &Store, session: SessionId) -> Vec<u64> {
    queue(store, session, 10).await.into_keys().collect()
}

#[tokio::test]
async fn the_newest_message_is_dropped_when_so_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        session_messages: 3,
        ..Options::default()
    };
    let (store, id) = open(&folder, options);
    for _ in 0..3 {
        enqueue(&store, id, 1).unwrap();
    }
    assert_eq!(enqueue(&store, id, 1), Err(Refused::SessionFull));
    store.remove(id, 2);
    assert_eq!(enqueue(&store, id, 1).unwrap().seq, 4);
    assert_eq!(seqs(&store, id).await, [1, 3, 4]);
    let metrics = store.metrics();
    assert_eq!((metrics.dropped_newest, metrics.dropped_oldest), (1, 0));
}

#[tokio::test]
async fn the_oldest_unsent_messages_are_dropped_when_so_chosen_and_none_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        session_messages: 3,
        drop: DropPolicy::Oldest,
        ..Options::default()
    };
    let (store, id) = open(&folder, options.clone());
    for _ in 0..3 {
        enqueue(&store, id, 1).unwrap();
    }
    store.sent(id, 1, PacketId::MIN);
    // Wherever the messages are by now: not written yet, or in the file after a restart.
    assert_eq!(enqueue(&store, id, 1).unwrap().dropped, [2]);
    store.close().unwrap();
    let (store, id) = open(&folder, options);
    assert_eq!(enqueue(&store, id, 1).unwrap().dropped, [3]);
    assert_eq!(seqs(&store, id).await, [1, 4, 5]);
    store.sent(id, 5, PacketId::MIN);
    assert_eq!(enqueue(&store, id, 1), Err(Refused::SessionFull));
    let metrics = store.metrics();
    assert_eq!((metrics.dropped_newest, metrics.dropped_oldest), (1, 1));
}

#[tokio::test]
async fn bytes_are_limited_as_well_and_one_large_message_may_cost_several_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        session_bytes: 1_000,
        drop: DropPolicy::Oldest,
        ..Options::default()
    };
    let (store, id) = open(&folder, options);
    for _ in 0..4 {
        // With topic and overhead, 201 bytes each.
        enqueue(&store, id, 100).unwrap();
    }
    assert_eq!(store.queue_size(id), (4, 804));
    assert_eq!(enqueue(&store, id, 400).unwrap().dropped, [1, 2]);
    assert_eq!(store.queue_size(id), (3, 903));
    assert_eq!(enqueue(&store, id, 2_000), Err(Refused::SessionFull));
    // Nothing was given up in vain.
    assert_eq!(seqs(&store, id).await, [3, 4, 5]);
}

#[tokio::test]
async fn all_queues_together_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        total_messages: 4,
        ..Options::default()
    };
    let (store, id) = open(&folder, options);
    let (other, _) = store.create(record("b"));
    for session in [id, other, id, other] {
        enqueue(&store, session, 1).unwrap();
    }
    assert_eq!(enqueue(&store, id, 1), Err(Refused::StoreFull));
    store.end(other);
    assert_eq!(enqueue(&store, other, 1), Err(Refused::NoSession));
    enqueue(&store, id, 1).unwrap();
    let metrics = store.metrics();
    assert_eq!((metrics.messages, metrics.dropped_newest), (3, 1));
}
