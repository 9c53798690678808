//! Slow consumers, back-pressure, limits, silence, and the end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::engine::{DisconnectCause, Engine, Event, Options, Peer};
use std::time::Duration;
use tokio::time::Instant;

/// A subscriber whose socket takes little and who reads nothing.
async fn stalled(engine: &Engine, id: &str, filter: &str, qos: u8) -> Client {
    let mut client =
        Client::connect_through(engine, Conn::v5(id).keep_alive(0), 4096, Peer::default()).await;
    client.subscribe(&[(filter, qos)]).await;
    client
}

#[tokio::test]
async fn a_stalled_subscriber_costs_its_publisher_a_moment_and_the_others_nothing() {
    let options = Options {
        slow_after: Duration::from_millis(50),
        high_water: 64 << 10,
        ..Options::default()
    };
    let engine = engine(options).await;
    let _stalled = stalled(&engine, "stalled", "t", 0).await;
    let mut reader = Client::connect(&engine, Conn::v4("reader")).await;
    reader.subscribe(&[("t", 0)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    let started = Instant::now();
    let reading = async {
        for number in 0..2000 {
            assert_eq!(
                reader.message().await.payload,
                format!("{number:01000}").into_bytes()
            );
        }
    };
    let publishing = async {
        for number in 0..2000 {
            publisher
                .publish(&Pub::new("t", format!("{number:01000}"), 0, 0))
                .await;
        }
        publisher.ping().await;
    };
    tokio::join!(reading, publishing);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let metrics = engine.metrics();
    assert!(metrics.dropped_slow > 1500, "{metrics:?}");
    assert!(metrics.queued_bytes < 80 << 10, "{metrics:?}");
    assert!(metrics.held_back >= 1, "{metrics:?}");
}

#[tokio::test]
async fn a_subscriber_that_goes_on_holds_its_publisher_back_and_loses_nothing() {
    let options = Options {
        high_water: 16 << 10,
        max_queued_messages: 100,
        ..Options::default()
    };
    let engine = engine(options).await;
    let mut slow = Client::connect_through(&engine, Conn::v5("slow"), 2048, Peer::default()).await;
    slow.subscribe(&[("t", 0)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    let reading = async {
        for number in 0..1000 {
            assert_eq!(
                slow.message().await.payload,
                format!("{number:0800}").into_bytes()
            );
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    };
    let publishing = async {
        for number in 0..1000 {
            publisher
                .publish(&Pub::new("t", format!("{number:0800}"), 0, 0))
                .await;
        }
    };
    tokio::join!(reading, publishing);
    assert_eq!(engine.metrics().dropped_slow, 0);
    assert!(engine.metrics().held_back > 0);
}

#[tokio::test]
async fn two_clients_that_publish_to_each_other_do_not_wait_for_each_other() {
    let options = Options {
        high_water: 8 << 10,
        ..Options::default()
    };
    let engine = engine(options).await;
    let started = Instant::now();
    let one_way = |from: &'static str, to: &'static str| {
        let engine = engine.clone();
        async move {
            let conn = Conn::v5(from).with(Prop::Two(RECEIVE_MAXIMUM, 10));
            let mut client = Client::connect(&engine, conn).await;
            client.subscribe(&[(to, 1)]).await;
            client
        }
    };
    let (one, other) = tokio::join!(one_way("a", "to a"), one_way("b", "to b"));
    let talk = |mut client: Client, topic: &'static str| async move {
        let mut bytes = Vec::new();
        for number in 0..500_u16 {
            bytes.extend(client.publish_bytes(&Pub::new(topic, [b'x'; 200], 1, number + 1)));
        }
        client.send(&bytes).await;
        let (mut acked, mut received) = (0, 0);
        while acked < 500 || received < 500 {
            match client.read().await {
                Packet::PubAck(..) => acked += 1,
                Packet::Publish(message) => {
                    client.ack(4, message.id).await;
                    received += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::join!(talk(one, "to b"), talk(other, "to a"));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(engine.metrics().dropped_queue_full, 0);
}

#[tokio::test]
async fn a_full_queue_drops_the_newest_and_counts() {
    let engine = engine(Options {
        max_queued_messages: 10,
        ..Options::default()
    })
    .await;
    let mut subscriber = Client::connect(&engine, Conn::v4("s").resume()).await;
    subscriber.subscribe(&[("t", 1)]).await;
    subscriber.disconnect().await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for number in 0..15 {
        publisher.publish_done("t", number.to_string(), 1).await;
    }
    let mut subscriber = Client::connect(&engine, Conn::v4("s").resume()).await;
    for number in 0..10 {
        assert_eq!(subscriber.message_done().await.text(), number.to_string());
    }
    subscriber.expect_nothing().await;
    assert_eq!(engine.metrics().dropped_queue_full, 5);
}

#[tokio::test]
async fn all_queues_together_stay_within_their_budget() {
    let engine = engine(Options {
        max_total_queued_bytes: 50_000,
        ..Options::default()
    })
    .await;
    for name in ["a", "b", "c"] {
        let mut subscriber = Client::connect(&engine, Conn::v4(name).resume()).await;
        subscriber.subscribe(&[("t", 1)]).await;
        subscriber.disconnect().await;
    }
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for _ in 0..50 {
        publisher.publish_done("t", [0; 1000], 1).await;
    }
    let metrics = engine.metrics();
    assert!(
        (40_000..=50_000).contains(&metrics.queued_bytes),
        "{metrics:?}"
    );
    assert!(metrics.dropped_memory > 80, "{metrics:?}");
    for name in ["a", "b", "c"] {
        assert!(engine.end_session(name));
    }
    assert_eq!(engine.metrics().queued_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_although_messages_are_sent_to_the_client() {
    let engine = engine(Options::default()).await;
    let mut events = engine.events();
    let mut silent = Client::connect(&engine, Conn::v5("silent").keep_alive(2)).await;
    silent.subscribe(&[("t", 0)]).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p").keep_alive(0)).await;
    let started = Instant::now();
    let mut received = 0;
    let code = loop {
        publisher.publish_done("t", "x", 0).await;
        publisher.ping().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        match silent.read_or_end().await {
            Some(Packet::Publish(_)) => received += 1,
            Some(Packet::Disconnect(code)) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 0x8D);
    assert!(received > 20);
    assert!(
        (Duration::from_millis(2900)..Duration::from_millis(3300)).contains(&started.elapsed())
    );
    loop {
        if let Event::Disconnected { cause, .. } = events.recv().await.unwrap() {
            assert_eq!(cause, DisconnectCause::KeepAlive);
            break;
        }
    }
    // A client without keep-alive may be silent for ever.
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    publisher.ping().await;
}

#[tokio::test(start_paused = true)]
async fn connect_must_come_in_time() {
    let engine = engine(Options::default()).await;
    let (near, far) = tokio::io::duplex(64);
    let serving = tokio::spawn(engine.connection(far, Peer::default()));
    tokio::time::timeout(Duration::from_secs(11), serving)
        .await
        .expect("given up")
        .unwrap();
    assert_eq!(engine.metrics().refused, 1);
    drop(near);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_in_the_end() {
    let engine = engine(Options::default()).await;
    let _stalled = stalled(&engine, "stalled", "t", 0).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p").keep_alive(0)).await;
    for _ in 0..10 {
        publisher.publish_done("t", [0; 2000], 0).await;
    }
    publisher.ping().await;
    assert_eq!(engine.metrics().connections, 2);
    tokio::time::sleep(Duration::from_secs(40)).await;
    until(|| engine.metrics().connections == 1).await;
}

#[tokio::test]
async fn a_stalled_old_connection_does_not_touch_the_new_one() {
    let engine = engine(Options::default()).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    let old = stalled(&engine, "c", "t", 0).await;
    for _ in 0..20 {
        publisher.publish_done("t", [0; 2000], 0).await;
    }
    publisher.ping().await;
    let mut new = Client::connect(&engine, Conn::v5("c")).await;
    new.subscribe(&[("t", 1)]).await;
    drop(old);
    for _ in 0..3 {
        publisher.publish_done("t", "x", 1).await;
        assert_eq!(new.message_done().await.text(), "x");
    }
    assert_eq!(engine.metrics().connections, 2);
}

#[tokio::test]
async fn stopping_writes_what_waits_and_says_good_bye() {
    let engine = engine(Options::default()).await;
    let mut subscriber = Client::connect(&engine, Conn::v5("s")).await;
    subscriber.subscribe(&[("t", 0)]).await;
    let _stalled = stalled(&engine, "stalled", "t", 0).await;
    let mut old = Client::connect(&engine, Conn::v4("old")).await;
    let mut publisher = Client::connect(&engine, Conn::v4("p")).await;
    for _ in 0..10 {
        publisher.publish_done("t", [b'x'; 1000], 0).await;
    }
    publisher.ping().await;
    let started = Instant::now();
    engine.stop(Duration::from_millis(300)).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    for _ in 0..10 {
        assert_eq!(subscriber.message().await.payload.len(), 1000);
    }
    assert_eq!(subscriber.read().await, Packet::Disconnect(0x8B));
    assert_eq!(old.read_or_end().await, None);
    assert_eq!(engine.metrics().connections, 0);
    let (near, far) = tokio::io::duplex(64);
    engine.connection(far, Peer::default()).await;
    drop(near);
}

#[tokio::test]
async fn many_retained_messages_come_in_pages_and_all_of_them_come() {
    let engine = engine(Options::default()).await;
    let publisher = Client::connect(&engine, Conn::v4("p")).await;
    const COUNT: usize = 20_000;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        bytes.extend(
            publisher.publish_bytes(
                &Pub::new(
                    &format!("r/{number}"),
                    "value",
                    1,
                    (number % 60_000 + 1) as u16,
                )
                .retained(),
            ),
        );
    }
    let (mut reading, mut writing) = tokio::io::split(publisher.stream);
    let write = async {
        tokio::io::AsyncWriteExt::write_all(&mut writing, &bytes)
            .await
            .unwrap();
    };
    let read = async {
        let mut acks = vec![0; COUNT * 4];
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut acks)
            .await
            .unwrap();
    };
    tokio::join!(write, read);
    assert_eq!(engine.metrics().retained, COUNT);
    for qos in 0..2 {
        let mut subscriber =
            Client::connect_through(&engine, Conn::v4("s"), 8192, Peer::default()).await;
        subscriber.subscribe(&[("r/#", qos)]).await;
        let mut most = 0;
        let mut topics = std::collections::HashSet::new();
        while topics.len() < COUNT {
            let message = subscriber.message_done().await;
            assert!(message.retain && topics.insert(message.topic));
            most = most.max(engine.metrics().queued_bytes);
        }
        subscriber.expect_nothing().await;
        assert!(most < 200_000, "{most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_publishers_and_subscribers_on_several_threads_keep_each_publishers_order() {
    let engine = engine(Options::default()).await;
    const EACH: u32 = 500;
    let mut readers = Vec::new();
    for name in ["s1", "s2", "s3", "s4"] {
        let mut client = Client::connect(&engine, Conn::v5(name)).await;
        client.subscribe(&[("all/#", 1)]).await;
        readers.push(tokio::spawn(async move {
            let mut next = [0_u32; 4];
            for _ in 0..4 * EACH {
                let message = client.message_done().await;
                let publisher: usize = message.topic.rsplit('/').next().unwrap().parse().unwrap();
                assert_eq!(message.text(), next[publisher].to_string());
                next[publisher] += 1;
            }
            client.expect_nothing().await;
        }));
    }
    let mut writers = Vec::new();
    for publisher in 0..4 {
        let mut client = Client::connect(&engine, Conn::v4(&format!("p{publisher}"))).await;
        writers.push(tokio::spawn(async move {
            for number in 0..EACH {
                client
                    .publish_done(&format!("all/{publisher}"), number.to_string(), 1)
                    .await;
            }
        }));
    }
    for task in readers.into_iter().chain(writers) {
        task.await.unwrap();
    }
    until(|| engine.metrics().queued_bytes == 0).await;
}

#[tokio::test]
async fn a_packet_of_a_thousand_filters_too_many_is_answered_and_costs_no_subscription() {
    let engine = engine(Options {
        max_subscriptions: 5,
        ..Options::default()
    })
    .await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    let names: Vec<String> = (0..1000).map(|number| format!("f/{number}")).collect();
    let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let codes = client.subscribe(&filters).await;
    assert_eq!(codes[..5], [0; 5]);
    assert!(codes[5..].iter().all(|code| *code == 0x97));
    assert_eq!(client.unsubscribe(&["f/0"]).await, [0]);
    assert_eq!(client.subscribe(&[("g", 0), ("h", 0)]).await, [0, 0x97]);
}
