//! What has stopped a broker built on rumqttd's server: none of it stops this one. Each test ends with an honest client
//! that is served.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod strangers_support;

use mqtt::engine::{Engine, Options};
use mqtt::policy::AllowAll;
use strangers_support::*;

/// The engine still serves.
async fn alive(engine: &Engine) {
    for version in [V311, V5] {
        let mut subscriber = hello(version, "alive-subscriber").connect(engine).await;
        let mut publisher = hello(version, "alive-publisher").connect(engine).await;
        subscriber.subscribe("alive/+", 1).await;
        publisher.publish("alive/é", "yes", 1).await;
        assert_eq!(subscriber.take().await.text(), "yes");
        subscriber.leave().await;
        publisher.leave().await;
    }
}

#[tokio::test]
async fn a_topic_that_begins_with_a_letter_beyond_ascii() {
    let engine = engine().await;
    let mut client = hello(V311, "c").connect(&engine).await;
    client.subscribe("#", 1).await;
    for topic in ["é/temp", "é", "温度/1", "/é", "\u{10FFFF}"] {
        client.publish(topic, topic, 1).await;
        assert_eq!(client.take().await.topic, topic);
    }
    alive(&engine).await;
}

#[tokio::test]
async fn the_last_of_a_shared_group_leaves_with_an_unacknowledged_message() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut member = hello(version, "member").lasting().connect(&engine).await;
        member.subscribe("$share/g/t", 1).await;
        let mut publisher = hello(version, "publisher").connect(&engine).await;
        publisher.publish("t", "1", 1).await;
        assert_eq!(member.got().await.text(), "1");
        member.vanish();
        publisher.publish("t", "2", 1).await;
        // It comes back and gets what it has not acknowledged.
        let mut member = hello(version, "member").lasting().connect(&engine).await;
        assert!(member.session_present);
        assert_eq!(member.take().await.text(), "1");
        assert_eq!(member.take().await.text(), "2");
        member.unsubscribe(&["$share/g/t"]).await;
        member.leave().await;
        publisher.leave().await;
    }
    alive(&engine).await;
}

#[tokio::test]
async fn a_stalled_subscriber_is_taken_over_and_then_reads_on() {
    let engine = engine().await;
    let mut stalled = hello(V5, "s").connect(&engine).await;
    stalled.subscribe("t", 0).await;
    let mut publisher = hello(V5, "p").connect(&engine).await;
    let payload = "x".repeat(10_000);
    for _ in 0..60 {
        publisher.publish("t", &payload, 0).await;
    }
    let second = hello(V5, "s").connect(&engine).await;
    second.leave().await;
    // What was under way when the other came may still be read; nothing of it harms.
    while stalled_read(&mut stalled).await {}
    for _ in 0..60 {
        publisher.publish("t", &payload, 0).await;
    }
    publisher.leave().await;
    alive(&engine).await;
}

async fn stalled_read(client: &mut Client) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = [0; 4096];
    soon("the end", client.stream().read(&mut bytes))
        .await
        .is_ok_and(|count| count > 0)
}

#[tokio::test]
async fn client_ids_with_special_characters_connect_twice() {
    let engine = engine().await;
    for id in ["a#b", "+", "a/b", "$SYS", "$share/g/t", "é", " "] {
        for version in [V311, V5] {
            let mut first = hello(version, id).connect(&engine).await;
            let second = hello(version, id).connect(&engine).await;
            let farewell = first.end().await;
            assert_eq!(
                farewell,
                if version == V5 {
                    vec![Seen::Disconnect(0x8E)]
                } else {
                    vec![]
                },
                "{id}"
            );
            second.leave().await;
        }
    }
    alive(&engine).await;
}

#[tokio::test]
async fn more_clients_than_allowed_try_again_and_again() {
    let options = Options {
        max_sessions: 2,
        ..Options::default()
    };
    let engine = engine_with(options, AllowAll).await;
    let one = hello(V5, "1").connect(&engine).await;
    let two = hello(V311, "2").connect(&engine).await;
    for round in 0..5 {
        for version in [V311, V5] {
            let mut surplus = Client::open(&engine, version);
            surplus.send(&hello(version, "surplus").bytes()).await;
            let seen = surplus.end().await;
            let expected = if version == V5 { 0x89 } else { 3 };
            assert!(
                matches!(&seen[..], [Seen::ConnAck { code, .. }] if *code == expected),
                "round {round}: {seen:?}"
            );
        }
    }
    one.leave().await;
    two.leave().await;
    alive(&engine).await;
}

#[tokio::test]
async fn packets_that_only_a_server_sends_end_that_connection_alone() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    watcher.subscribe("will", 0).await;
    for bytes in [
        &b"\x20\x03\0\0\0"[..],
        b"\xb0\x04\0\x01\0\0",
        b"\x90\x04\0\x01\0\0",
        b"\xd0\0",
    ] {
        for version in [V311, V5] {
            let mut early = Client::open(&engine, version);
            early.send(bytes).await;
            assert_eq!(early.end().await, []);
            // Its will is published, and its place is free again.
            let mut late = hello(version, "late")
                .will("will", "gone", 0, false, &[])
                .connect(&engine)
                .await;
            late.send(bytes).await;
            assert_eq!(
                late.end().await,
                if version == V5 {
                    vec![Seen::Disconnect(0x82)]
                } else {
                    vec![]
                }
            );
            assert_eq!(watcher.got().await.text(), "gone");
        }
    }
    alive(&engine).await;
    watcher.leave().await;
}

#[tokio::test]
async fn properties_of_five_meet_a_subscriber_of_three() {
    let engine = engine().await;
    let mut old = hello(V311, "old").connect(&engine).await;
    old.subscribe("t", 2).await;
    let mut new = hello(V5, "new").connect(&engine).await;
    let properties = b"\x01\x01\x02\0\0\0\x3c\x03\0\x01c\x08\0\x01r\x09\0\x01d\x26\0\x01n\0\x01v";
    for qos in 0..3 {
        new.publish_with("t", b"text", qos << 1, properties).await;
        let got = old.take().await;
        assert_eq!((got.text(), got.qos), ("text", qos));
    }
    alive(&engine).await;
}

#[tokio::test]
async fn noise_of_every_kind_ends_only_its_own_connection() {
    let engine = engine().await;
    let mut neighbour = hello(V5, "neighbour").connect(&engine).await;
    neighbour.subscribe("#", 1).await;
    let mut seed = 1_u32;
    let mut noise = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed.to_le_bytes()[1]
    };
    for round in 0..200_usize {
        let mut stranger = Client::open(&engine, V5);
        if round % 2 == 0 {
            stranger.send(&hello(V5, "stranger").bytes()).await;
        }
        let bytes: Vec<u8> = (0..round).map(|_| noise()).collect();
        stranger.send(&bytes).await;
        stranger.vanish();
    }
    let mut publisher = hello(V311, "publisher").connect(&engine).await;
    publisher.publish("t", "still here", 1).await;
    while neighbour.take().await.payload != b"still here" {}
    alive(&engine).await;
}

#[tokio::test]
async fn topics_and_filters_of_as_many_levels_as_a_string_holds() {
    let engine = engine().await;
    let deep = "/".repeat(65_535);
    let wild = "+/".repeat(32_767);
    for version in [V311, V5] {
        for flags in [2, 3] {
            let mut client = hello(version, "deep").connect(&engine).await;
            client
                .send(&subscribe(version, &[&wild, &deep, &format!("{wild}#")]))
                .await;
            let bytes = client.message(&deep, b"x", flags, 1, &[]);
            client.send(&bytes).await;
            let bytes = client.message(&wild.replace('+', "a"), b"x", flags, 2, &[]);
            client.send(&bytes).await;
            client.send(&[0xE0, 0]).await;
            client.end().await; // served or refused, but alive
        }
    }
    alive(&engine).await;
}

/// SUBSCRIBE with QoS 1 to all of these.
fn subscribe(version: Version, filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == V5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(field(filter.as_bytes()));
        body.push(1);
    }
    frame(0x82, &body)
}

#[tokio::test]
async fn as_many_filters_and_topics_as_the_limits_allow() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut client = hello(version, "greedy").connect(&engine).await;
        let filters: Vec<String> = (0..1024).map(|number| format!("+/{number}/#")).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        client.send(&subscribe(version, &filters)).await;
        let Seen::SubAck(1, codes) = client.next().await else {
            panic!("no SUBACK")
        };
        assert_eq!(codes.len(), 1024);
        assert_eq!(codes.iter().filter(|code| **code == 1).count(), 1000);
        client.leave().await;
    }
    alive(&engine).await;
    assert_eq!(engine.metrics().subscriptions, 0);
}
