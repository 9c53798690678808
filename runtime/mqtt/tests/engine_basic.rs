//! Connect, subscribe, publish at every QoS, retain, wills, takeover: in memory, for both versions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::engine::Options;

fn both(id: &str) -> [Conn; 2] {
    [Conn::v4(id), Conn::v5(id)]
}

#[tokio::test]
async fn a_message_arrives_with_the_lower_of_both_qualities() {
    let engine = engine(Options::default()).await;
    for (publisher, subscriber) in both("p").into_iter().zip(both("s")) {
        let mut publisher = Client::connect(&engine, publisher).await;
        let mut subscriber = Client::connect(&engine, subscriber).await;
        for granted in 0..3 {
            let filter = format!("t/{granted}");
            assert_eq!(subscriber.subscribe(&[(&filter, granted)]).await, [granted]);
            for sent in 0..3 {
                publisher.publish_done(&filter, "x", sent).await;
                let message = subscriber.message_done().await;
                assert_eq!(
                    (message.qos, message.text(), message.retain, message.dup),
                    (sent.min(granted), "x", false, false)
                );
            }
        }
    }
}

#[tokio::test]
async fn a_repeated_qos_2_publish_is_delivered_once_and_the_next_one_is_not_lost() {
    let engine = engine(Options::default()).await;
    let mut subscriber = Client::connect(&engine, Conn::v4("s")).await;
    subscriber.subscribe(&[("t", 2)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    publisher.publish(&Pub::new("t", "x", 2, 1)).await;
    assert_eq!(publisher.read().await, Packet::PubRec(1, 0));
    publisher.publish(&Pub::new("t", "x", 2, 1).dup()).await;
    assert_eq!(publisher.read().await, Packet::PubRec(1, 0));
    publisher.ack(6, 1).await;
    assert_eq!(publisher.read().await, Packet::PubComp(1, 0));
    publisher.publish(&Pub::new("t", "y", 2, 1)).await;
    assert_eq!(publisher.read().await, Packet::PubRec(1, 0));
    assert_eq!(subscriber.message_done().await.text(), "x");
    assert_eq!(subscriber.message_done().await.text(), "y");
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn acknowledgements_may_come_in_any_order() {
    let engine = engine(Options::default()).await;
    let mut subscriber =
        Client::connect(&engine, Conn::v5("s").with(Prop::Two(RECEIVE_MAXIMUM, 3))).await;
    subscriber.subscribe(&[("t", 1)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for number in 0..6 {
        publisher.publish_done("t", number.to_string(), 1).await;
    }
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(subscriber.message().await);
    }
    subscriber.expect_nothing().await;
    for message in first.iter().rev() {
        subscriber.ack(4, message.id).await;
    }
    for number in 3..6 {
        assert_eq!(subscriber.message_done().await.text(), number.to_string());
    }
    until(|| engine.metrics().queued_bytes == 0).await;
}

#[tokio::test]
async fn retained_messages_come_with_the_subscription_and_an_empty_one_clears() {
    let engine = engine(Options::default()).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    publisher
        .publish(&Pub::new("r/1", "one", 1, 1).retained())
        .await;
    publisher
        .publish(&Pub::new("r/2", "two", 1, 2).retained())
        .await;
    publisher
        .publish(&Pub::new("r/2", "", 1, 3).retained())
        .await;
    // Not retained, so it clears nothing.
    publisher.publish(&Pub::new("r/1", "", 1, 4)).await;
    for id in 1..=4 {
        assert!(matches!(publisher.read().await, Packet::PubAck(acked, _) if acked == id));
    }
    for conn in both("s") {
        let mut subscriber = Client::connect(&engine, conn).await;
        subscriber.subscribe(&[("r/#", 1)]).await;
        let message = subscriber.message_done().await;
        assert_eq!(
            (
                message.topic.as_str(),
                message.text(),
                message.retain,
                message.qos
            ),
            ("r/1", "one", true, 1)
        );
        subscriber.expect_nothing().await;
    }
    assert_eq!(engine.metrics().retained, 1);
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_good_bye() {
    let engine = engine(Options::default()).await;
    for conn in both("w") {
        let mut watcher = Client::connect(&engine, Conn::v4("watcher")).await;
        watcher.subscribe(&[("gone", 1)]).await;
        let conn = conn.will(Pub::new("gone", "w", 1, 0), vec![]);
        Client::connect(&engine, conn.clone())
            .await
            .disconnect()
            .await;
        watcher.expect_nothing().await;
        drop(Client::connect(&engine, conn).await);
        assert_eq!(watcher.message_done().await.text(), "w");
    }
}

#[tokio::test]
async fn a_second_connection_takes_over_and_keeps_its_own_will() {
    let engine = engine(Options::default()).await;
    let mut watcher = Client::connect(&engine, Conn::v4("watcher")).await;
    watcher.subscribe(&[("gone", 1)]).await;
    let mut old = Client::connect(
        &engine,
        Conn::v5("c").will(Pub::new("gone", "old", 0, 0), vec![]),
    )
    .await;
    let new = Client::connect(
        &engine,
        Conn::v5("c").will(Pub::new("gone", "new", 0, 0), vec![]),
    )
    .await;
    assert_eq!(old.read().await, Packet::Disconnect(0x8E));
    assert_eq!(old.read_or_end().await, None);
    assert_eq!(watcher.message_done().await.text(), "old");
    watcher.expect_nothing().await;
    drop(new);
    assert_eq!(watcher.message_done().await.text(), "new");
}

#[tokio::test]
async fn a_lasting_session_gets_what_it_missed_in_order_and_before_what_is_new() {
    let engine = engine(Options::default()).await;
    for conn in both("s").map(Conn::lasting) {
        let mut subscriber = Client::connect(&engine, conn.clone()).await;
        assert!(!subscriber.session_present());
        subscriber.subscribe(&[("t", 2)]).await;
        let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
        publisher.publish_done("t", "a", 1).await;
        publisher.publish_done("t", "b", 2).await;
        // Taken but not acknowledged.
        let (a, b) = (subscriber.message().await, subscriber.message().await);
        drop(subscriber);
        until(|| engine.metrics().connections == 1).await;
        publisher.publish_done("t", "c", 1).await;
        publisher.publish_done("t", "lost", 0).await;
        publisher.publish_done("t", "d", 2).await;
        let mut subscriber = Client::connect(&engine, conn).await;
        assert!(subscriber.session_present());
        publisher.publish_done("t", "e", 1).await;
        for (text, dup, id) in [
            ("a", true, Some(a.id)),
            ("b", true, Some(b.id)),
            ("c", false, None),
            ("d", false, None),
            ("e", false, None),
        ] {
            let message = subscriber.message_done().await;
            assert_eq!((message.text(), message.dup), (text, dup));
            assert!(id.is_none_or(|id| id == message.id));
        }
        subscriber.expect_nothing().await;
        drop(subscriber);
        engine.end_session("s");
    }
}
