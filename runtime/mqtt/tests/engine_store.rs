//! With a store: what was acknowledged is there after a crash. A crash is played by copying the files at that instant and starting
//! another engine on the copy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::{
    Message, QoS,
    engine::{Engine, Options},
    policy::AllowAll,
    store::{self, Store},
};
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

async fn open(folder: &Path, options: Options, store: store::Options) -> Engine {
    let (store, loaded, aside) = Store::open(&folder.join("mqtt.db"), store).unwrap();
    assert!(aside.is_none());
    Engine::start(options, Arc::new(AllowAll), Some((store, loaded)))
        .await
        .unwrap()
}

async fn start(folder: &TempDir) -> Engine {
    open(folder.path(), Options::default(), store::Options::default()).await
}

/// The files as they are now.
fn crash(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        // Shared memory is made anew; a copy of it would only be stale.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

fn lasting(id: &str) -> Conn {
    Conn::v5(id).lasting()
}

#[tokio::test]
async fn what_was_acknowledged_is_delivered_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber
        .subscribe_with(&[("t/#", 2)], &[Prop::Var(SUBSCRIPTION_ID, 7)])
        .await;
    subscriber.disconnect().await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for number in 0..20 {
        publisher
            .publish_done("t/x", number.to_string(), 1 + number % 2)
            .await;
    }
    let engine = start(&crash(&folder)).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    assert!(subscriber.session_present());
    for number in 0..20 {
        let message = subscriber.message_done().await;
        assert_eq!(
            (message.text(), message.qos),
            (&*number.to_string(), 1 + number % 2)
        );
        assert_eq!(message.props, [Prop::Var(SUBSCRIPTION_ID, 7)]);
    }
    subscriber.expect_nothing().await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    publisher
        .publish_done("t/x", "the subscription too", 1)
        .await;
    assert_eq!(
        subscriber.message_done().await.text(),
        "the subscription too"
    );
}

#[tokio::test]
async fn a_qos_2_message_stays_one_message_across_a_crash_on_its_way_in() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 2)]).await;
    subscriber.disconnect().await;
    let mut publisher = Client::connect(&engine, lasting("p")).await;
    publisher.publish(&Pub::new("t", "once", 2, 5)).await;
    assert_eq!(publisher.read().await, Packet::PubRec(5, 0));
    let folder = crash(&folder);
    let engine = start(&folder).await;
    let mut publisher = Client::connect(&engine, lasting("p")).await;
    publisher.publish(&Pub::new("t", "once", 2, 5).dup()).await;
    assert_eq!(publisher.read().await, Packet::PubRec(5, 0));
    publisher.ack(6, 5).await;
    assert_eq!(publisher.read().await, Packet::PubComp(5, 0));
    // The identifier is free again, also after another crash.
    let engine = start(&crash(&folder)).await;
    let mut publisher = Client::connect(&engine, lasting("p")).await;
    publisher.publish(&Pub::new("t", "twice", 2, 5)).await;
    assert_eq!(publisher.read().await, Packet::PubRec(5, 0));
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    assert_eq!(subscriber.message_done().await.text(), "once");
    assert_eq!(subscriber.message_done().await.text(), "twice");
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn a_qos_2_message_stays_one_message_across_a_crash_on_its_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 2)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    publisher.publish_done("t", "first", 2).await;
    publisher.publish_done("t", "second", 2).await;
    let (first, second) = (subscriber.message().await, subscriber.message().await);
    subscriber.ack(5, first.id).await;
    assert_eq!(subscriber.read().await, Packet::PubRel(first.id, 0));
    // The client has both; of the first it has the release too.
    let folder = crash(&folder);
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    assert_eq!(subscriber.read().await, Packet::PubRel(first.id, 0));
    let again = subscriber.message().await;
    assert_eq!(
        (again.text(), again.dup, again.id),
        ("second", true, second.id)
    );
    subscriber.ack(7, first.id).await;
    subscriber.ack(5, second.id).await;
    assert_eq!(subscriber.read().await, Packet::PubRel(second.id, 0));
    subscriber.ack(7, second.id).await;
    subscriber.expect_nothing().await;
    engine.stop(Duration::from_secs(1)).await;
    let engine = start(&crash(&folder)).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn retained_messages_survive_and_cleared_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    for (id, topic, payload) in [
        (1, "r/a", "x"),
        (2, "r/b", "y"),
        (3, "r/a", ""),
        (4, "$aws/r", "z"),
    ] {
        publisher
            .publish(&Pub::new(topic, payload, 1, id).retained())
            .await;
        assert!(matches!(publisher.read().await, Packet::PubAck(acked, _) if acked == id));
    }
    let engine = start(&crash(&folder)).await;
    let topics = |filter: &str| -> Vec<String> {
        engine
            .retained(filter, None, 10)
            .messages
            .iter()
            .map(|message| message.topic.to_string())
            .collect()
    };
    assert_eq!(topics("#"), ["r/b"]);
    assert_eq!(topics("$aws/#"), ["$aws/r"]);
}

#[tokio::test]
async fn sessions_that_ended_and_subscriptions_that_were_removed_stay_gone() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut client = Client::connect(&engine, lasting("kept")).await;
    client
        .subscribe(&[("a", 1), ("b", 1), ("$share/g/c", 1)])
        .await;
    assert_eq!(client.unsubscribe(&["a"]).await, [0]);
    let mut ended = Client::connect(&engine, lasting("ended")).await;
    ended.subscribe(&[("a", 1)]).await;
    drop(Client::connect(&engine, Conn::v5("ended")).await);
    // In memory only.
    let mut short = Client::connect(&engine, Conn::v4("short")).await;
    short.subscribe(&[("a", 1)]).await;
    client.publish_done("x", "after all this", 1).await;
    let mut last = Client::connect(&engine, lasting("last")).await;
    last.subscribe(&[("a", 1)]).await;
    let engine = start(&crash(&folder)).await;
    let mut names: Vec<_> = engine
        .clients()
        .iter()
        .map(|client| (client.client_id.to_string(), client.subscriptions))
        .collect();
    names.sort();
    assert_eq!(names, [("kept".to_owned(), 2), ("last".to_owned(), 1)]);
}

#[tokio::test]
async fn a_will_of_a_client_that_was_connected_at_the_crash_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut watcher = Client::connect(&engine, lasting("watcher")).await;
    watcher.subscribe(&[("gone", 1)]).await;
    let will = Pub::new("gone", "w", 1, 0);
    let _client = Client::connect(&engine, lasting("w").will(will, vec![])).await;
    // Its SUBACK says that what came before is written.
    watcher.subscribe(&[("other", 1)]).await;
    let engine = start(&crash(&folder)).await;
    let mut watcher = Client::connect(&engine, lasting("watcher")).await;
    assert_eq!(watcher.message_done().await.text(), "w");
}

#[tokio::test]
async fn a_long_queue_stays_on_the_disk_and_comes_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        high_water: 16 << 10,
        ..Options::default()
    };
    let engine = open(folder.path(), options.clone(), store::Options::default()).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 1)]).await;
    subscriber.disconnect().await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    let body = |number: u32| format!("{number:0400}");
    publish_many(&mut publisher, 0..3000, body).await;
    assert!(
        engine.metrics().queued_bytes < 32 << 10,
        "{:?}",
        engine.metrics()
    );
    assert_eq!(
        engine
            .clients()
            .iter()
            .map(|client| client.queued)
            .sum::<usize>(),
        3000
    );
    let folder = crash(&folder);
    for engine in [
        engine,
        open(folder.path(), options, store::Options::default()).await,
    ] {
        let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
        let mut subscriber =
            Client::connect(&engine, lasting("s").with(Prop::Two(RECEIVE_MAXIMUM, 20))).await;
        let reading = async {
            for number in 0..3500 {
                assert_eq!(subscriber.message_done().await.text(), body(number));
            }
            subscriber.expect_nothing().await;
        };
        // New ones come while the old ones are read.
        tokio::join!(reading, publish_many(&mut publisher, 3000..3500, body));
        until(|| engine.metrics().queued_bytes == 0).await;
        assert_eq!(engine.store_metrics().unwrap().messages, 0);
    }
}

async fn publish_many(
    publisher: &mut Client,
    numbers: std::ops::Range<u32>,
    body: impl Fn(u32) -> String,
) {
    let id = |number: u32| (number % 60_000 + 1) as u16;
    let all: Vec<u32> = numbers.collect();
    for chunk in all.chunks(200) {
        for number in chunk {
            publisher
                .publish(&Pub::new("t", body(*number), 1, id(*number)))
                .await;
        }
        for number in chunk {
            assert_eq!(publisher.read().await, Packet::PubAck(id(*number), 0));
        }
    }
}

#[tokio::test]
async fn acknowledgements_wait_for_the_disk_in_order_while_later_packets_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let slow = store::Options {
        linger: Duration::from_millis(300),
        ..store::Options::default()
    };
    let engine = open(folder.path(), Options::default(), slow).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 1)]).await;
    subscriber.disconnect().await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    for id in 1..=10 {
        publisher.publish(&Pub::new("t", "x", 1, id)).await;
    }
    // Not stored, but behind those that are.
    publisher.publish(&Pub::new("nobody", "x", 1, 11)).await;
    publisher.ping().await;
    for id in 1..=10 {
        assert_eq!(publisher.read().await, Packet::PubAck(id, 0));
    }
    assert_eq!(publisher.read().await, Packet::PubAck(11, 0x10));
    assert_eq!(engine.store_metrics().unwrap().pending_bytes, 0);
}

#[tokio::test]
async fn what_is_acknowledged_at_once_hardly_touches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 1)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for number in 0..200 {
        publisher.publish(&Pub::new("t", "x", 1, number + 1)).await;
        subscriber.message_done().await;
        assert_eq!(publisher.read().await, Packet::PubAck(number + 1, 0));
    }
    let metrics = engine.store_metrics().unwrap();
    assert!(metrics.cancelled > 150, "{metrics:?}");
}

#[tokio::test]
async fn a_stopped_engine_has_everything_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let engine = start(&folder).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    subscriber.subscribe(&[("t", 1)]).await;
    let message = Message {
        topic: "t".into(),
        payload: "from this process".into(),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
        properties: None,
    };
    engine.publish(message).await.unwrap();
    let taken = subscriber.message().await;
    engine.stop(Duration::from_secs(5)).await;
    assert_eq!(subscriber.read().await, Packet::Disconnect(0x8B));
    let engine = start(&crash(&folder)).await;
    let mut subscriber = Client::connect(&engine, lasting("s")).await;
    let again = subscriber.message_done().await;
    assert_eq!(
        (again.text(), again.dup, again.id),
        ("from this process", true, taken.id)
    );
}
