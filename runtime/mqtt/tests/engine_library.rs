//! The library's face beside clients: in-process publish and subscribe, events, lists, disconnects.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::{
    Message, QoS,
    engine::{Delivery, DisconnectCause, Event, Options, Peer, Subscription},
    packet::Version,
};
use tokio::time::timeout;

fn message(topic: &str, payload: &'static str, qos: QoS) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.into(),
        qos,
        retain: false,
        expires: None,
        properties: None,
    }
}

async fn recv(subscription: &mut Subscription) -> Delivery {
    timeout(LIMIT, subscription.recv())
        .await
        .expect("a delivery in time")
        .expect("the engine runs")
}

#[tokio::test]
async fn a_client_gets_its_acknowledgement_once_the_subscriber_in_this_process_has_acknowledged() {
    let engine = engine(Options::default()).await;
    let mut subscription = engine
        .subscribe(&["$aws/things/+/shadow/#"], QoS::AtLeastOnce, 1 << 20)
        .await
        .unwrap();
    let mut client = Client::connect(&engine, Conn::v5("thing")).await;
    let publish = Pub::new("$aws/things/t/shadow/update", "x", 2, 1).with(Prop::Pair(
        USER,
        "a".into(),
        "b".into(),
    ));
    client.publish(&publish).await;
    let delivery = recv(&mut subscription).await;
    assert_eq!(
        (delivery.message.qos, &delivery.message.payload[..]),
        (QoS::AtLeastOnce, &b"x"[..])
    );
    assert_eq!(
        delivery
            .publisher
            .as_ref()
            .map(|identity| &*identity.client_id),
        Some("thing")
    );
    assert_eq!(
        delivery
            .message
            .properties
            .as_ref()
            .map(|properties| properties.user.len()),
        Some(1)
    );
    // Later packets are read meanwhile.
    client.ping().await;
    delivery.ack();
    assert_eq!(client.read().await, Packet::PubRec(1, 0));
}

#[tokio::test]
async fn what_this_process_publishes_reaches_clients() {
    let engine = engine(Options::default()).await;
    let mut client = Client::connect(&engine, Conn::v4("c")).await;
    client.subscribe(&[("t", 2)]).await;
    engine
        .publish(message("t", "at 2", QoS::ExactlyOnce))
        .await
        .unwrap();
    let got = client.message_done().await;
    assert_eq!((got.text(), got.qos), ("at 2", 2));
    engine
        .publish(Message {
            retain: true,
            ..message("r", "kept", QoS::AtMostOnce)
        })
        .await
        .unwrap();
    client.subscribe(&[("r", 0)]).await;
    assert_eq!(client.message().await.text(), "kept");
    assert!(
        engine
            .publish(message("a/+", "x", QoS::AtMostOnce))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn clients_live_through_the_death_of_the_router_and_nothing_unacknowledged_is_lost() {
    let engine = engine(Options::default()).await;
    let mut subscription = engine
        .subscribe(&["t/#"], QoS::AtLeastOnce, 4 << 20)
        .await
        .unwrap();
    let mut watcher = Client::connect(&engine, Conn::v5("watcher")).await;
    watcher.subscribe(&[("t/#", 0)]).await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    for number in 0..600_u16 {
        client
            .publish(&Pub::new("t/x", number.to_string(), 1, number + 1))
            .await;
        if number % 200 == 100 {
            engine.break_router();
        }
    }
    for number in 0..600 {
        let delivery = recv(&mut subscription).await;
        assert_eq!(delivery.message.payload, number.to_string());
        assert_eq!(watcher.message().await.text(), number.to_string());
        delivery.ack();
        assert_eq!(client.read().await, Packet::PubAck(number + 1, 0));
    }
    client.ping().await;
    assert!(engine.metrics().bus_restarts >= 1);
    assert_eq!(engine.metrics().connections, 2);
}

#[tokio::test]
async fn events_tell_what_happens_to_a_client_in_order() {
    let engine = engine(Options::default()).await;
    let mut events = engine.events();
    let mut client = Client::connect(&engine, Conn::v4("c")).await;
    client
        .subscribe(&[("a", 1), ("bad/#/filter", 0), ("$share/g/b", 0)])
        .await;
    client.unsubscribe(&["a", "never"]).await;
    let mut second = Client::connect(&engine, Conn::v5("c")).await;
    assert_eq!(client.read_or_end().await, None);
    second.publish_done("x", "x", 0).await;
    second.disconnect_with(4, &[]).await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.push(
            match timeout(LIMIT, events.recv()).await.unwrap().unwrap() {
                Event::Connected {
                    identity,
                    version,
                    session_present,
                    keep_alive,
                } => {
                    assert_eq!(
                        (&*identity.client_id, session_present, keep_alive),
                        ("c", false, 60)
                    );
                    format!("connected {}", if version == Version::V5 { 5 } else { 4 })
                }
                Event::Disconnected { cause, .. } => format!("disconnected {cause:?}"),
                Event::Subscribed { filters, .. } => format!("subscribed {filters:?}"),
                Event::Unsubscribed { filters, .. } => format!("unsubscribed {filters:?}"),
            },
        );
    }
    let expected = [
        "connected 4",
        r#"subscribed [("a", AtLeastOnce), ("$share/g/b", AtMostOnce)]"#,
        r#"unsubscribed ["a"]"#,
        "disconnected TakenOver",
        "connected 5",
        "disconnected Client(4)",
    ];
    assert_eq!(seen, expected);
    engine.stop(std::time::Duration::from_secs(1)).await;
    assert!(events.recv().await.is_none());
}

#[tokio::test]
async fn a_reader_of_events_that_does_not_keep_up_learns_how_many_it_lost() {
    let engine = engine(Options {
        event_capacity: 2,
        ..Options::default()
    })
    .await;
    let mut events = engine.events();
    let client = Client::connect(&engine, Conn::v4("a")).await;
    client.disconnect().await;
    drop(Client::connect(&engine, Conn::v4("b")).await);
    assert!(matches!(events.recv().await, Some(Event::Connected { .. })));
    assert!(matches!(
        events.recv().await,
        Some(Event::Disconnected {
            cause: DisconnectCause::Client(0),
            ..
        })
    ));
    assert!(events.take_lost() >= 1);
    assert_eq!(events.take_lost(), 0);
}

#[tokio::test]
async fn clients_are_listed_and_can_be_sent_away() {
    let engine = engine(Options::default()).await;
    let mut watcher = Client::connect(&engine, Conn::v4("watcher")).await;
    watcher.subscribe(&[("gone", 0)]).await;
    let will = |text: &str| Pub::new("gone", text, 0, 0);
    let mut one = Client::connect(&engine, Conn::v5("one").will(will("one"), vec![])).await;
    let mut two = Client::connect(&engine, Conn::v5("two").will(will("two"), vec![])).await;
    one.subscribe(&[("t", 1), ("u", 1)]).await;
    let clients = engine.clients();
    let listed = clients
        .iter()
        .find(|client| client.client_id == "one")
        .unwrap();
    assert_eq!(
        (listed.subscriptions, listed.version),
        (2, Some(Version::V5))
    );
    assert!(engine.disconnect("one", 0x98));
    assert_eq!(one.read().await, Packet::Disconnect(0x98));
    assert_eq!(watcher.message().await.text(), "one");
    assert_eq!(
        engine.disconnect_where(|identity| identity.client_id.starts_with("two"), 0),
        1
    );
    assert_eq!(two.read().await, Packet::Disconnect(0));
    watcher.expect_nothing().await;
    assert!(!engine.disconnect("one", 0x98));
}

#[test]
fn the_engine_runs_on_a_runtime_of_one_thread_and_its_futures_may_move_between_threads() {
    fn moves<T: Send>(value: T) -> T {
        value
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = engine(Options::default()).await;
        let (near, far) = tokio::io::duplex(1024);
        drop(moves(engine.connection(far, Peer::default())));
        drop(moves(Box::pin(engine.publish(message(
            "t",
            "x",
            QoS::AtLeastOnce,
        )))));
        drop(near);
        moves(engine);
    });
}

/// Bytes of the future that the front spawns: it holds two pointers, whatever the stream.
const FUTURE: usize = 32;

#[tokio::test]
async fn the_future_of_a_connection_is_small() {
    let engine = engine(Options::default()).await;
    let (near, far) = tokio::io::duplex(64);
    let future = engine.connection(far, Peer::default());
    assert!(size_of_val(&future) <= FUTURE, "{}", size_of_val(&future));
    drop((future, near));
}
