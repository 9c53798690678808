//! What rumqttd's own broker does wrongly with sessions, and how it has to be: takeover, wills, keep-alive, expiry,
//! queues, slow consumers.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod strangers_support;

use mqtt::engine::Options;
use mqtt::policy::AllowAll;
use std::time::Duration;
use strangers_support::*;

#[tokio::test]
async fn a_session_of_five_is_kept_for_its_expiry_whatever_clean_start_says() {
    let engine = engine().await;
    // Clean start with an expiry: kept.
    let mut client = hello(V5, "kept").property(HOUR).connect(&engine).await;
    client.subscribe("t", 1).await;
    client.leave().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    publisher.publish("t", "waited", 1).await;
    let mut again = hello(V5, "kept");
    again.clean = false;
    let mut client = again.connect(&engine).await;
    assert!(client.session_present);
    assert_eq!(client.take().await.text(), "waited");
    // Which this time asked for none: gone with the connection.
    client.leave().await;
    let client = again.connect(&engine).await;
    assert!(!client.session_present);
    client.leave().await;
    assert_eq!(engine.clients().len(), 1);
}

#[tokio::test]
async fn nothing_is_left_of_clients_that_are_gone() {
    let engine = engine().await;
    for number in 0..200 {
        let version = if number % 2 == 0 { V311 } else { V5 };
        let mut client = hello(version, &format!("client{number}"))
            .connect(&engine)
            .await;
        client.subscribe(&format!("t/{number}/#"), 1).await;
        client.publish(&format!("t/{number}/x"), "x", 1).await;
        client.leave().await;
    }
    let metrics = engine.metrics();
    assert_eq!(
        (
            metrics.sessions,
            metrics.connections,
            metrics.subscriptions,
            metrics.queued_bytes
        ),
        (0, 0, 0, 0)
    );
}

#[tokio::test]
async fn messages_wait_for_a_client_that_is_away() {
    let engine = engine().await;
    let mut publisher = hello(V311, "publisher").connect(&engine).await;
    for version in [V311, V5] {
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        client.subscribe("t", 2).await;
        client.leave().await;
        for number in 0..2000 {
            publisher
                .publish("t", &number.to_string(), 1 + number as u8 % 2)
                .await;
        }
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        assert!(client.session_present);
        for number in 0..2000 {
            assert_eq!(client.take().await.text(), number.to_string());
        }
        client.leave().await;
        hello(version, "client")
            .connect(&engine)
            .await
            .leave()
            .await;
    }
}

#[tokio::test]
async fn a_queue_that_is_full_drops_and_counts() {
    let options = Options {
        max_queued_messages: 10,
        ..Options::default()
    };
    let engine = engine_with(options, AllowAll).await;
    let mut client = hello(V5, "client").lasting().connect(&engine).await;
    client.subscribe("t", 1).await;
    client.leave().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for number in 0..25 {
        publisher.publish("t", &number.to_string(), 1).await;
    }
    assert_eq!(engine.metrics().dropped_queue_full, 15);
    let mut client = hello(V5, "client").lasting().connect(&engine).await;
    assert_eq!(
        client.texts(10).await,
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    publisher.publish("t", "after", 1).await;
    assert_eq!(client.take().await.text(), "after");
}

#[tokio::test]
async fn unacknowledged_messages_come_again_as_duplicates() {
    let engine = engine().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for version in [V311, V5] {
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        client.subscribe("t", 2).await;
        publisher.publish("t", "one", 1).await;
        publisher.publish("t", "two", 2).await;
        let (one, two) = (client.got().await, client.got().await);
        assert!(!one.dup && !two.dup);
        client.send(&frame(0x50, &two.id.to_be_bytes())).await;
        client
            .wait(|seen| (*seen == Seen::PubRel(two.id, 0)).then_some(()))
            .await;
        client.vanish();
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        let again = client.got().await;
        assert_eq!((again.text(), again.id, again.dup), ("one", one.id, true));
        client
            .wait(|seen| (*seen == Seen::PubRel(two.id, 0)).then_some(()))
            .await;
        client.acknowledge(&again).await;
        client.send(&frame(0x70, &two.id.to_be_bytes())).await;
        publisher.publish("t", "three", 1).await;
        assert_eq!(client.take().await.text(), "three");
        client.leave().await;
        hello(version, "client")
            .connect(&engine)
            .await
            .leave()
            .await;
    }
}

#[tokio::test]
async fn who_takes_over_keeps_the_session_and_its_own_will() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    watcher.subscribe("will/#", 1).await;
    for version in [V311, V5] {
        let first = hello(version, "client")
            .lasting()
            .will("will/1", "first", 1, false, &[]);
        let mut first = first.connect(&engine).await;
        first.subscribe("t", 1).await;
        let second = hello(version, "client")
            .lasting()
            .will("will/2", "second", 1, false, &[]);
        let mut second = second.connect(&engine).await;
        assert!(second.session_present);
        assert_eq!(
            first.end().await,
            if version == V5 {
                vec![Seen::Disconnect(0x8E)]
            } else {
                vec![]
            }
        );
        assert_eq!(watcher.take().await.text(), "first");
        second.publish("t", "mine", 1).await;
        assert_eq!(second.take().await.text(), "mine");
        second.vanish();
        assert_eq!(watcher.take().await.text(), "second");
        hello(version, "client")
            .connect(&engine)
            .await
            .leave()
            .await;
    }
}

#[tokio::test]
async fn a_stale_connection_does_not_harm_the_one_that_took_over() {
    let engine = engine().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    let mut stale = hello(V5, "client").connect(&engine).await;
    stale.subscribe("t", 0).await;
    let payload = "x".repeat(10_000);
    for _ in 0..20 {
        publisher.publish("t", &payload, 0).await; // more than its pipe takes
    }
    let mut new = hello(V5, "client").connect(&engine).await;
    new.subscribe("t", 1).await;
    stale.send(&[0xC0, 0, 0xE0, 0]).await;
    stale.vanish();
    for number in 0..10 {
        publisher.publish("t", &number.to_string(), 1).await;
        assert_eq!(new.take().await.text(), number.to_string());
    }
    assert_eq!(engine.metrics().connections, 2);
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    watcher.subscribe("will", 2).await;
    for version in [V311, V5] {
        let properties: &[u8] = if version == V5 {
            b"\x26\0\x01n\0\x01v\x03\0\x01c"
        } else {
            &[]
        };
        let login = hello(version, "client").will("will", "gone", 2, true, properties);
        login.connect(&engine).await.leave().await;
        let broken = login.connect(&engine).await;
        broken.vanish();
        let got = watcher.take().await;
        assert_eq!(
            (got.text(), got.qos, got.properties.len()),
            ("gone", 2, if version == V5 { 2 } else { 0 })
        );
        assert_eq!(engine.retained("will", None, 1).messages.len(), 1);
        if version == V5 {
            let mut client = login.connect(&engine).await;
            client.send(&[0xE0, 1, 4]).await;
            client.end().await;
            assert_eq!(watcher.take().await.text(), "gone", "DISCONNECT with will");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_will_waits_for_its_delay_or_the_end_of_the_session() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").keep_alive(1200).connect(&engine).await;
    watcher.subscribe("will/#", 0).await;
    let began = tokio::time::Instant::now();
    let delayed =
        hello(V5, "delayed")
            .property(HOUR)
            .will("will/delay", "x", 0, false, b"\x18\0\0\0\x0a");
    delayed.connect(&engine).await.vanish();
    watcher.got_in(Duration::from_secs(60)).await;
    assert_elapsed(began, 10);
    // The session ends first.
    let began = tokio::time::Instant::now();
    let short = hello(V5, "short").property(b"\x11\0\0\0\x05").will(
        "will/end",
        "x",
        0,
        false,
        b"\x18\0\0\0\x3c",
    );
    short.connect(&engine).await.vanish();
    watcher.got_in(Duration::from_secs(60)).await;
    assert_elapsed(began, 5);
    // Back in time: none.
    let mut back =
        hello(V5, "back")
            .property(HOUR)
            .will("will/none", "x", 0, false, b"\x18\0\0\0\x0a");
    back.connect(&engine).await.vanish();
    back.clean = false;
    let back = back.connect(&engine).await;
    back.leave().await;
    let mut other = hello(V5, "other").connect(&engine).await;
    tokio::time::advance(Duration::from_secs(30)).await;
    other.publish("will/marker", "marker", 0).await;
    assert_eq!(watcher.got().await.text(), "marker");
}

fn assert_elapsed(began: tokio::time::Instant, seconds: u64) {
    let elapsed = began.elapsed();
    let expected = Duration::from_secs(seconds);
    assert!(
        elapsed >= expected && elapsed < expected + Duration::from_secs(2),
        "{elapsed:?} in place of {expected:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_expires_even_while_it_is_sent_messages() {
    let engine = engine().await;
    let mut publisher = hello(V5, "publisher")
        .keep_alive(1200)
        .connect(&engine)
        .await;
    for version in [V311, V5] {
        let mut silent = hello(version, "silent")
            .keep_alive(2)
            .connect(&engine)
            .await;
        silent.subscribe("t", 0).await;
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            publisher.publish("t", "x", 0).await;
        }
        let seen = silent.end().await;
        assert_eq!(seen.last() == Some(&Seen::Disconnect(0x8D)), version == V5);
        let messages = seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Publish(_)))
            .count();
        assert!((10..=14).contains(&messages), "{messages} in three seconds");
        assert_elapsed(began, 5);
        // A ping in time keeps a client.
        let mut living = hello(version, "living")
            .keep_alive(2)
            .connect(&engine)
            .await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            living.ping().await;
        }
        living.leave().await;
    }
}

#[tokio::test]
async fn a_client_of_five_without_a_keep_alive_is_told_ours() {
    let engine = engine_with(
        Options {
            max_keep_alive: Some(100),
            ..Options::default()
        },
        AllowAll,
    )
    .await;
    for (asked, told) in [(0, Some(100)), (50, None), (101, Some(100))] {
        let client = hello(V5, "client").keep_alive(asked).connect(&engine).await;
        let found = client
            .properties
            .iter()
            .find_map(|property| match property {
                Property::ServerKeepAlive(seconds) => Some(seconds.val()),
                _ => None,
            });
        assert_eq!(found, told, "asked for {asked}");
        client.leave().await;
    }
    hello(V311, "client")
        .keep_alive(0)
        .connect(&engine)
        .await
        .leave()
        .await;
}

#[tokio::test]
async fn a_client_without_an_id_is_given_one() {
    let engine = engine().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let client = hello(V5, "").connect(&engine).await;
        let id = client
            .properties
            .iter()
            .find_map(|property| match property {
                Property::AssignedClientIdentifier(id) => Some(id.val().to_owned()),
                _ => None,
            });
        ids.push(id.expect("an assigned client id"));
        client.leave().await;
    }
    assert_ne!(ids[0], ids[1]);
    let old = hello(V311, "").connect(&engine).await;
    old.leave().await;
    let mut lasting = Client::open(&engine, V311);
    lasting.send(&hello(V311, "").lasting().bytes()).await;
    assert!(matches!(
        lasting.end().await[..],
        [Seen::ConnAck { code: 2, .. }]
    ));
}

#[tokio::test]
async fn a_stalled_subscriber_does_not_hold_up_the_others() {
    let options = Options {
        max_queued_bytes: 256 << 10,
        high_water: 32 << 10,
        ..Options::default()
    };
    let engine = engine_with(options, AllowAll).await;
    let mut stalled = hello(V5, "stalled").connect(&engine).await;
    stalled.subscribe("t", 0).await;
    let mut reader = hello(V5, "reader").connect(&engine).await;
    reader.subscribe("t", 0).await;
    let reading = tokio::spawn(async move {
        for number in 0..400 {
            assert!(reader.got().await.text().starts_with(&format!("{number} ")));
        }
    });
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for number in 0..400 {
        publisher
            .publish("t", &format!("{number} {}", "x".repeat(10_000)), 0)
            .await;
    }
    soon("every message for the reader", reading).await.unwrap();
    let metrics = engine.metrics();
    assert!(
        metrics.queued_bytes <= 300 << 10,
        "{} bytes wait",
        metrics.queued_bytes
    );
    assert!(metrics.dropped_slow + metrics.dropped_queue_full > 0);
    drop(stalled);
}

#[tokio::test]
async fn expired_messages_are_not_delivered() {
    let engine = engine().await;
    let mut client = hello(V5, "client").lasting().connect(&engine).await;
    client.subscribe("t", 1).await;
    client.leave().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    publisher
        .publish_with("t", b"short", 2, b"\x02\0\0\0\x01")
        .await;
    publisher
        .publish_with("t", b"long", 2, b"\x02\0\0\x0f\xff")
        .await;
    // Wall-clock time decides, since messages outlive restarts.
    let expired = std::time::SystemTime::now() + Duration::from_millis(1100);
    while std::time::SystemTime::now() < expired {
        publisher.ping().await;
    }
    let mut client = hello(V5, "client").lasting().connect(&engine).await;
    assert_eq!(client.take().await.text(), "long");
}
