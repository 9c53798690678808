//! What only MQTT 5 has.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::engine::Options;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_session_lives_as_long_as_its_expiry() {
    let engine = engine(Options::default()).await;
    let conn = Conn::v5("s").resume().with(Prop::Four(SESSION_EXPIRY, 10));
    drop(Client::connect(&engine, conn.clone()).await);
    until(|| engine.metrics().connections == 0).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let back = Client::connect(&engine, conn.clone()).await;
    assert!(back.session_present());
    drop(back);
    until(|| engine.metrics().connections == 0).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(engine.metrics().sessions, 0);
    assert!(!Client::connect(&engine, conn).await.session_present());
}

#[tokio::test]
async fn disconnect_may_change_the_expiry_but_not_from_nothing() {
    let engine = engine(Options::default()).await;
    let conn = Conn::v5("s").resume().with(Prop::Four(SESSION_EXPIRY, 10));
    let client = Client::connect(&engine, conn).await;
    client
        .disconnect_with(0, &[Prop::Four(SESSION_EXPIRY, 0)])
        .await;
    assert_eq!(engine.metrics().sessions, 0);
    let mut client = Client::connect(&engine, Conn::v5("s")).await;
    client
        .send(&[0xE0, 7, 0, 5, SESSION_EXPIRY, 0, 0, 0, 10])
        .await;
    assert_eq!(client.read().await, Packet::Disconnect(0x82));
}

#[tokio::test]
async fn an_expiry_above_the_servers_is_told() {
    let options = Options {
        max_session_expiry: Duration::from_secs(100),
        ..Options::default()
    };
    let engine = engine(options).await;
    let client =
        Client::connect(&engine, Conn::v5("s").with(Prop::Four(SESSION_EXPIRY, 101))).await;
    assert_eq!(
        client.connack_prop(SESSION_EXPIRY),
        Some(Prop::Four(SESSION_EXPIRY, 100))
    );
    let client =
        Client::connect(&engine, Conn::v5("t").with(Prop::Four(SESSION_EXPIRY, 100))).await;
    assert_eq!(client.connack_prop(SESSION_EXPIRY), None);
}

#[tokio::test]
async fn a_message_goes_on_with_what_is_left_of_its_expiry_or_not_at_all() {
    let engine = engine(Options::default()).await;
    let conn = Conn::v5("s").lasting();
    let mut subscriber = Client::connect(&engine, conn.clone()).await;
    subscriber.subscribe(&[("t", 1)]).await;
    drop(subscriber);
    until(|| engine.metrics().connections == 0).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    publisher
        .publish(&Pub::new("t", "short", 1, 1).with(Prop::Four(EXPIRY, 1)))
        .await;
    publisher
        .publish(&Pub::new("t", "long", 1, 2).with(Prop::Four(EXPIRY, 1000)))
        .await;
    publisher.publish(&Pub::new("t", "for ever", 1, 3)).await;
    for id in 1..=3 {
        assert_eq!(publisher.read().await, Packet::PubAck(id, 0));
    }
    // Wall clock, since it counts across restarts.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut subscriber = Client::connect(&engine, conn).await;
    let message = subscriber.message_done().await;
    assert_eq!(message.text(), "long");
    let [Prop::Four(EXPIRY, left)] = message.props[..] else {
        panic!("{message:?}")
    };
    assert!((990..1000).contains(&left), "{left}");
    let message = subscriber.message_done().await;
    assert_eq!((message.text(), &message.props[..]), ("for ever", &[][..]));
    assert_eq!(engine.metrics().dropped_expired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_will_waits_and_a_returning_client_cancels_it() {
    let engine = engine(Options::default()).await;
    let mut watcher = Client::connect(&engine, Conn::v4("watcher").keep_alive(0)).await;
    watcher.subscribe(&[("gone", 0)]).await;
    let conn = Conn::v5("w")
        .lasting()
        .will(Pub::new("gone", "w", 0, 0), vec![Prop::Four(WILL_DELAY, 5)]);
    drop(Client::connect(&engine, conn.clone()).await);
    until(|| engine.metrics().connections == 1).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let client = Client::connect(&engine, conn.clone()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    watcher.expect_nothing().await;
    drop(client);
    assert_eq!(watcher.message().await.text(), "w");
    // The end of the session does not wait for the delay.
    drop(Client::connect(&engine, conn.clone()).await);
    until(|| engine.metrics().connections == 1).await;
    let mut other = conn;
    other.clean = true;
    other.will = None;
    let _new = Client::connect(&engine, other).await;
    assert_eq!(watcher.message().await.text(), "w");
}

#[tokio::test]
async fn more_unacknowledged_messages_than_the_receive_maximum_end_the_connection() {
    let engine = engine(Options {
        receive_maximum: 3,
        ..Options::default()
    })
    .await;
    let mut client = Client::connect(&engine, Conn::v5("p")).await;
    assert_eq!(
        client.connack_prop(RECEIVE_MAXIMUM),
        Some(Prop::Two(RECEIVE_MAXIMUM, 3))
    );
    for id in 1..=3 {
        client.publish(&Pub::new("t", "x", 2, id)).await;
        assert!(matches!(client.read().await, Packet::PubRec(..)));
    }
    client.publish(&Pub::new("t", "x", 2, 4)).await;
    assert_eq!(client.read().await, Packet::Disconnect(0x93));
}

#[tokio::test]
async fn subscription_options_are_followed() {
    let engine = engine(Options::default()).await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    let mut other = Client::connect(&engine, Conn::v5("o")).await;
    client
        .publish(&Pub::new("t/r", "kept", 0, 0).retained())
        .await;
    client.ping().await;
    // No local.
    client.subscribe(&[("n", 4)]).await;
    client.publish_done("n", "own", 0).await;
    other.publish_done("n", "theirs", 0).await;
    assert_eq!(client.message().await.text(), "theirs");
    // Retain as published.
    client.subscribe(&[("f/#", 0), ("p/#", 8)]).await;
    for topic in ["f/a", "p/a"] {
        other.publish(&Pub::new(topic, "x", 0, 0).retained()).await;
    }
    assert!(!client.message().await.retain);
    assert!(client.message().await.retain);
    // Retain handling: only when new, and never.
    client.subscribe(&[("t/+", 16)]).await;
    assert_eq!(client.message().await.text(), "kept");
    client.subscribe(&[("t/+", 16)]).await;
    client.subscribe(&[("+/r", 32)]).await;
    client.expect_nothing().await;
    client.subscribe(&[("t/+", 0)]).await;
    assert_eq!(client.message().await.text(), "kept");
    client.subscribe(&[("t/+", 0)]).await;
    assert_eq!(
        client.message().await.text(),
        "kept",
        "once for every SUBSCRIBE"
    );
}

#[tokio::test]
async fn overlapping_subscriptions_give_one_message_with_all_identifiers() {
    let engine = engine(Options::default()).await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    client
        .subscribe_with(&[("a/#", 0)], &[Prop::Var(SUBSCRIPTION_ID, 3)])
        .await;
    client
        .subscribe_with(&[("a/+", 2)], &[Prop::Var(SUBSCRIPTION_ID, 268_435_455)])
        .await;
    client.subscribe_with(&[("a/b", 1)], &[]).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    publisher.publish_done("a/b", "x", 2).await;
    let message = client.message_done().await;
    assert_eq!(message.qos, 2);
    let mut identifiers: Vec<_> = message
        .props
        .iter()
        .map(|p| matches!(p, Prop::Var(SUBSCRIPTION_ID, 3)))
        .collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [false, true]);
    client.expect_nothing().await;
    publisher
        .publish(&Pub::new("a/r", "kept", 1, 9).retained())
        .await;
    assert_eq!(client.message_done().await.props.len(), 2);
    // A retained message carries the identifier of the subscription that fetches it.
    client
        .subscribe_with(&[("+/r", 1)], &[Prop::Var(SUBSCRIPTION_ID, 9)])
        .await;
    assert_eq!(
        client.message_done().await.props,
        [Prop::Var(SUBSCRIPTION_ID, 9)]
    );
}

#[tokio::test]
async fn a_shared_subscription_shares_evenly_and_prefers_who_is_there() {
    let engine = engine(Options::default()).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        let mut member = Client::connect(&engine, Conn::v5(name).lasting()).await;
        assert_eq!(member.subscribe(&[("$share/g/t/#", 1)]).await, [1]);
        members.push(member);
    }
    // The same group name with another filter is another group.
    assert_eq!(members[0].subscribe(&[("$share/g/u", 1)]).await, [1]);
    for number in 0..9 {
        publisher.publish_done(&format!("t/{number}"), "x", 1).await;
    }
    for member in &mut members {
        for _ in 0..3 {
            member.message_done().await;
        }
        member.expect_nothing().await;
    }
    publisher.publish_done("u", "only a", 1).await;
    assert_eq!(members[0].message_done().await.text(), "only a");
    // One is away, though its session is kept: the others get everything.
    drop(members.remove(0));
    until(|| engine.metrics().connections == 3).await;
    for number in 0..6 {
        publisher.publish_done(&format!("t/{number}"), "y", 1).await;
    }
    let mut got = 0;
    for member in &mut members {
        for _ in 0..3 {
            got += usize::from(member.message_done().await.text() == "y");
        }
    }
    assert_eq!(got, 6);
}

#[tokio::test]
async fn what_a_member_of_a_shared_subscription_leaves_undone_goes_to_another() {
    let engine = engine(Options::default()).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    let mut dying = Client::connect(
        &engine,
        Conn::v5("a").lasting().with(Prop::Two(RECEIVE_MAXIMUM, 2)),
    )
    .await;
    dying.subscribe(&[("$share/g/t", 2)]).await;
    publisher.publish_done("t", "sent at 1", 1).await;
    publisher.publish_done("t", "sent at 2", 2).await;
    publisher.publish_done("t", "waiting", 2).await;
    assert_eq!(dying.message().await.text(), "sent at 1");
    assert_eq!(dying.message().await.text(), "sent at 2");
    let mut heir = Client::connect(&engine, Conn::v5("b")).await;
    heir.subscribe(&[("$share/g/t", 2)]).await;
    drop(dying);
    assert_eq!(heir.message_done().await.text(), "sent at 1");
    assert_eq!(heir.message_done().await.text(), "waiting");
    heir.expect_nothing().await;
    // The QoS 2 message is finished with the client that may have it.
    let mut back = Client::connect(&engine, Conn::v5("a").lasting()).await;
    let message = back.message_done().await;
    assert_eq!((message.text(), message.dup), ("sent at 2", true));
    back.expect_nothing().await;
}

#[tokio::test]
async fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let engine = engine(Options::default()).await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    let bytes = client.subscribe_bytes(1, &[("$share/g/t", 5)], &[]);
    client.send(&bytes).await;
    assert_eq!(client.read().await, Packet::Disconnect(0x82));
}

#[tokio::test]
async fn a_clients_topic_aliases_are_followed_and_bounded() {
    let engine = engine(Options {
        topic_alias_maximum: 2,
        ..Options::default()
    })
    .await;
    let mut subscriber = Client::connect(&engine, Conn::v5("s")).await;
    subscriber.subscribe(&[("#", 0)]).await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    assert_eq!(
        client.connack_prop(ALIAS_MAXIMUM),
        Some(Prop::Two(ALIAS_MAXIMUM, 2))
    );
    let alias = |topic: &str, payload: &str, alias| {
        Pub::new(topic, payload, 0, 0).with(Prop::Two(ALIAS, alias))
    };
    client.publish(&alias("one", "1", 1)).await;
    client.publish(&alias("two", "2", 2)).await;
    client.publish(&alias("", "1", 1)).await;
    client.publish(&alias("other", "3", 1)).await;
    client.publish(&alias("", "3", 1)).await;
    for (topic, payload) in [
        ("one", "1"),
        ("two", "2"),
        ("one", "1"),
        ("other", "3"),
        ("other", "3"),
    ] {
        let message = subscriber.message().await;
        assert_eq!((message.topic.as_str(), message.text()), (topic, payload));
    }
    client.publish(&alias("x", "x", 3)).await;
    assert_eq!(client.read().await, Packet::Disconnect(0x94));
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    client.publish(&alias("", "x", 1)).await;
    assert_eq!(
        client.read().await,
        Packet::Disconnect(0x82),
        "aliases end with their connection"
    );
}

#[tokio::test]
async fn topics_sent_to_a_client_are_aliased_one_by_one() {
    let engine = engine(Options::default()).await;
    let mut subscriber =
        Client::connect(&engine, Conn::v5("s").with(Prop::Two(ALIAS_MAXIMUM, 2))).await;
    subscriber.subscribe(&[("w/+/long", 0)]).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    let mut seen = Vec::new();
    for topic in [
        "w/1/long", "w/2/long", "w/3/long", "w/1/long", "w/2/long", "w/3/long",
    ] {
        publisher.publish_done(topic, topic, 0).await;
        let message = subscriber.message().await;
        let alias = message.props.first().cloned();
        seen.push((message.topic.clone(), alias));
        assert_eq!(message.text(), topic);
    }
    let alias = |number| Some(Prop::Two(ALIAS, number));
    let expected = [
        ("w/1/long", alias(1)),
        ("w/2/long", alias(2)),
        ("w/3/long", None),
        ("", alias(1)),
        ("", alias(2)),
        ("w/3/long", None),
    ];
    assert_eq!(
        seen,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}

#[tokio::test]
async fn a_message_too_large_for_a_client_is_done_with_for_that_client_only() {
    let engine = engine(Options::default()).await;
    let mut small = Client::connect(
        &engine,
        Conn::v5("small")
            .with(Prop::Four(MAXIMUM_PACKET, 60))
            .with(Prop::Two(RECEIVE_MAXIMUM, 1)),
    )
    .await;
    let mut large = Client::connect(&engine, Conn::v5("large")).await;
    small.subscribe(&[("topic", 1)]).await;
    large.subscribe(&[("topic", 1)]).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    publisher.publish_done("topic", [b'x'; 100], 1).await;
    publisher.publish_done("topic", "fits", 1).await;
    assert_eq!(large.message_done().await.payload.len(), 100);
    assert_eq!(large.message_done().await.text(), "fits");
    assert_eq!(small.message_done().await.text(), "fits");
    assert_eq!(engine.metrics().dropped_too_large, 1);
    until(|| engine.metrics().queued_bytes == 0).await;
}

#[tokio::test]
async fn an_empty_client_id_is_assigned_and_told() {
    let engine = engine(Options::default()).await;
    let client = Client::connect(&engine, Conn::v5("")).await;
    let Some(Prop::Text(ASSIGNED_ID, id)) = client.connack_prop(ASSIGNED_ID) else {
        panic!("no id")
    };
    assert_eq!(&*engine.clients()[0].client_id, id);
    let _other = Client::connect(&engine, Conn::v5("")).await;
    assert_eq!(engine.metrics().connections, 2);
}

#[tokio::test]
async fn the_servers_keep_alive_is_told_and_used() {
    let engine = engine(Options {
        max_keep_alive: Some(60),
        ..Options::default()
    })
    .await;
    let client = Client::connect(&engine, Conn::v5("c").keep_alive(120)).await;
    assert_eq!(
        client.connack_prop(SERVER_KEEP_ALIVE),
        Some(Prop::Two(SERVER_KEEP_ALIVE, 60))
    );
    let client = Client::connect(&engine, Conn::v5("d").keep_alive(30)).await;
    assert_eq!(client.connack_prop(SERVER_KEEP_ALIVE), None);
}

#[tokio::test]
async fn user_properties_and_the_like_go_through() {
    let engine = engine(Options::default()).await;
    let mut subscriber = Client::connect(&engine, Conn::v5("s")).await;
    let mut old = Client::connect(&engine, Conn::v4("old")).await;
    subscriber.subscribe(&[("t", 1)]).await;
    old.subscribe(&[("t", 1)]).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    let props = [
        Prop::Byte(1, 1),
        Prop::Text(3, "text/plain".into()),
        Prop::Text(8, "reply/to".into()),
        Prop::Text(9, "corr".into()),
        Prop::Pair(USER, "a".into(), "1".into()),
        Prop::Pair(USER, "a".into(), "2".into()),
    ];
    let publish = Pub {
        props: props.to_vec(),
        ..Pub::new("t", "x", 1, 1)
    };
    publisher.publish(&publish).await;
    let message = subscriber.message_done().await;
    assert_eq!(message.props.len(), props.len());
    assert!(props.iter().all(|p| message.props.contains(p)));
    assert_eq!(old.message_done().await.text(), "x");
}

#[tokio::test]
async fn a_publisher_is_told_that_nobody_subscribes() {
    let engine = engine(Options::default()).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    assert_eq!(publisher.publish_done("nobody", "x", 1).await, 0x10);
    assert_eq!(publisher.publish_done("nobody", "x", 2).await, 0x10);
    assert_eq!(
        publisher.unsubscribe(&["nobody", "a/#/b"]).await,
        [0x11, 0x8F]
    );
}
