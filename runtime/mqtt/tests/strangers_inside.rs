//! Strangers' messages on their way to subscribers inside this process, which is the way through rumqttd's router, and on
//! their way through a restart.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod strangers_support;

use mqtt::{
    QoS,
    engine::{Engine, Options, Store, Subscription},
    policy::AllowAll,
};
use std::{path::Path, sync::Arc, time::Duration};
use strangers_support::*;

/// Topics that a router could stumble over; all are valid.
fn awkward_topics() -> Vec<String> {
    vec![
        "é/temp".into(),
        "温度".into(),
        "$aws/things/t/shadow/update".into(),
        "$share/g/t".into(),
        "$SYS".into(),
        "$".into(),
        "/".into(),
        "//lead".into(),
        "trail/".into(),
        " ".into(),
        "m/x".into(),
        "test/x".into(),
        "\u{FEFF}x".into(),
        "/".repeat(100),
        "x".repeat(60_000),
        "x".repeat(65_535),
    ]
}

async fn receive(subscription: &mut Subscription) -> (String, Vec<u8>) {
    let delivery = soon("a message inside", subscription.recv()).await.unwrap();
    let got = (
        delivery.message.topic.to_string(),
        delivery.message.payload.to_vec(),
    );
    delivery.ack();
    got
}

#[tokio::test]
async fn awkward_topics_reach_subscribers_inside_and_outside() {
    let engine = engine().await;
    let mut inside = engine
        .subscribe(&["#", "$aws/#", "$SYS/#", "$/#"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let mut outside = hello(V311, "outside").connect(&engine).await;
    outside.subscribe("#", 1).await;
    for version in [V311, V5] {
        let mut publisher = hello(version, "publisher").connect(&engine).await;
        for (number, topic) in awkward_topics().into_iter().enumerate() {
            let id = u16::try_from(number + 1).unwrap();
            let bytes = publisher.message(&topic, b"x", 2, id, &[]);
            publisher.send(&bytes).await;
            if topic != "$share/g/t" {
                let (got, _) = receive(&mut inside).await;
                assert!(got == topic, "{got:.40} in place of {topic:.40}");
            }
            // Which comes only once the subscriber inside has acknowledged.
            publisher
                .wait(|seen| matches!(seen, Seen::PubAck(of, 0 | 0x10) if *of == id).then_some(()))
                .await;
            if !topic.starts_with('$') {
                assert!(outside.take().await.topic == topic);
            }
        }
        publisher.leave().await;
    }
    assert_eq!(engine.metrics().bus_restarts, 0);
    engine.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn more_than_the_bus_holds_arrives_in_order_and_whole() {
    let options = Options {
        bus_bytes: 64 << 10,
        ..Options::default()
    };
    let engine = engine_with(options, AllowAll).await;
    let mut inside = engine
        .subscribe(&["t/+"], QoS::AtLeastOnce, 64 << 10)
        .await
        .unwrap();
    let reading = tokio::spawn(async move {
        for number in 0..300 {
            let (_, payload) = receive(&mut inside).await;
            assert_eq!(payload.len(), 10_000);
            assert!(
                payload.starts_with(format!("{number} ").as_bytes()),
                "{number}"
            );
        }
        inside
    });
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for number in 0..300 {
        let mut payload = format!("{number} ").into_bytes();
        payload.resize(10_000, b'x');
        assert_eq!(publisher.publish_with("t/x", &payload, 2, &[]).await, 0);
    }
    drop(soon("all of it", reading).await.unwrap());
    engine.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn noise_does_not_reach_the_router() {
    let engine = engine().await;
    let mut inside = engine
        .subscribe(&["#"], QoS::AtMostOnce, 1 << 20)
        .await
        .unwrap();
    let mut seed = 7_u32;
    for round in 0..200_usize {
        let mut stranger = hello(V5, "stranger").connect(&engine).await;
        let mut bytes = stranger.message("t", b"x", 2, 1, b"\x26\0\x01n\0\x01v");
        for _ in 0..=round % 3 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bytes.len();
            bytes[at] ^= seed.to_be_bytes()[1];
        }
        stranger.send(&bytes).await;
        stranger.vanish();
    }
    let mut last = hello(V311, "last").connect(&engine).await;
    last.publish("last", "still here", 1).await;
    while receive(&mut inside).await.1 != b"still here" {}
    assert_eq!(engine.metrics().bus_restarts, 0);
    engine.stop(Duration::from_secs(1)).await;
}

async fn lasting(path: &Path) -> Engine {
    let (store, loaded, aside) = Store::open(path, mqtt::store::Options::default()).unwrap();
    assert!(aside.is_none());
    Engine::start(
        Options::default(),
        Arc::new(AllowAll),
        Some((store, loaded)),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn sessions_queues_and_retained_messages_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.db");
    let engine = lasting(&path).await;
    let mut clients = Vec::new();
    for (version, id) in [(V311, "old"), (V5, "new")] {
        let mut client = hello(version, id).lasting().connect(&engine).await;
        client.subscribe("q/+", 2).await;
        clients.push(client);
    }
    let mut publisher = hello(V5, "publisher").lasting().connect(&engine).await;
    publisher
        .publish_with("kept", b"kept", 3, b"\x26\0\x01n\0\x01v")
        .await;
    for client in clients {
        client.leave().await;
    }
    for (number, topic) in awkward_topics()
        .into_iter()
        .filter(|topic| topic.len() < 1000)
        .enumerate()
    {
        let topic = format!("q/{}", topic.replace('/', "_"));
        publisher
            .publish(
                &topic,
                &number.to_string(),
                1 + u8::try_from(number % 2).unwrap(),
            )
            .await;
    }
    // A QoS 2 message in the middle of its handshake.
    let half = publisher.message("q/half", b"half", 4, 999, &[]);
    publisher.send(&half).await;
    publisher
        .wait(|seen| matches!(seen, Seen::PubRec(999, 0)).then_some(()))
        .await;
    engine.stop(Duration::from_secs(5)).await;
    drop((engine, publisher));

    let engine = lasting(&path).await;
    assert_eq!(engine.retained("#", None, 10).messages.len(), 1);
    let mut publisher = hello(V5, "publisher").lasting().connect(&engine).await;
    assert!(publisher.session_present);
    let mut again = half;
    again[0] |= 8;
    publisher.send(&again).await;
    publisher
        .wait(|seen| matches!(seen, Seen::PubRec(999, _)).then_some(()))
        .await;
    publisher.send(&frame(0x62, &999_u16.to_be_bytes())).await;
    publisher
        .wait(|seen| (*seen == Seen::PubComp(999, 0)).then_some(()))
        .await;
    for (version, id) in [(V311, "old"), (V5, "new")] {
        let mut client = hello(version, id).lasting().connect(&engine).await;
        assert!(client.session_present, "{id}");
        let texts = client.texts(15).await;
        let expected: Vec<String> = (0..14)
            .map(|number| number.to_string())
            .chain(["half".to_owned()])
            .collect();
        assert_eq!(texts, expected, "{id}");
        publisher.publish("q/after", "after", 1).await;
        assert_eq!(
            client.take().await.text(),
            "after",
            "{id}: nothing twice, and the subscription is there"
        );
        client.leave().await;
    }
    engine.stop(Duration::from_secs(5)).await;
}
