//! The client against a server that follows a script: refusals, silence, faults, limits, redelivery. Time is paused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client_support;

use client_support::{Packet, Server, message, packet, publish, status};
use mqtt::{
    Message, Properties, QoS,
    client::{
        BackOff, Cause, Client, Journal, Options, Pending, PubAck, PublishError, PublishOptions,
        Reason, Status, SubscribeError, SubscribeOptions, Timeouts, WhenOffline,
    },
    packet::{PacketId, Version},
};
use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> Options {
    Options::new("client")
}

async fn disconnected(client: &Client) -> (Arc<Cause>, Duration, bool) {
    match status(client, |status| {
        matches!(status, Status::Disconnected { .. })
    })
    .await
    {
        Status::Disconnected {
            cause,
            retry_in,
            duplicate_client_id,
        } => (cause, retry_in, duplicate_client_id),
        _ => unreachable!(),
    }
}

/// Publishes in the background.
fn publishes(
    client: &Client,
    message: Message,
) -> tokio::task::JoinHandle<Result<PubAck, PublishError>> {
    let client = client.clone();
    tokio::spawn(async move { client.publish(message).await })
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_reported_with_its_meaning_and_tried_again() {
    for (version, code, reason) in [
        (Version::V5, 0x87, Reason::NOT_AUTHORIZED),
        (Version::V5, 0x84, Reason::UNSUPPORTED_VERSION),
        (Version::V5, 0x9d, Reason(0x9d)),
        (Version::V311, 1, Reason::UNSUPPORTED_VERSION),
        (Version::V311, 2, Reason::CLIENT_ID_NOT_VALID),
        (Version::V311, 3, Reason::SERVER_UNAVAILABLE),
        (Version::V311, 4, Reason::BAD_CREDENTIALS),
        (Version::V311, 5, Reason::NOT_AUTHORIZED),
    ] {
        let (mut server, client) = Server::client(Options {
            version,
            ..options()
        });
        let mut peer = server.accept().await;
        peer.expect(0x10).await;
        let properties: &[u8] = match version {
            Version::V5 => b"\x0c\x1f\0\x02no\x1c\0\x04away",
            Version::V311 => b"",
        };
        let mut body = vec![0, code];
        body.extend_from_slice(properties);
        peer.send(&packet(0x20, &body)).await;
        let (cause, _, _) = disconnected(&client).await;
        let Cause::Refused {
            reason: said,
            text,
            server_reference,
        } = &*cause
        else {
            panic!("{cause}");
        };
        assert_eq!(*said, reason);
        if version == Version::V5 {
            assert_eq!(
                (text.as_deref(), server_reference.as_deref()),
                (Some("no"), Some("away"))
            );
        }
        server.accept().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_after_the_limit() {
    let (mut server, client) = Server::client(options());
    let started = Instant::now();
    let _silent = server.accept().await;
    let (cause, _, _) = disconnected(&client).await;
    assert!(matches!(*cause, Cause::ConnAckTimeout(_)), "{cause}");
    assert_eq!(started.elapsed(), Timeouts::default().connack);
}

#[tokio::test(start_paused = true)]
async fn tries_are_spread_by_growing_waits_and_soon_again_after_a_stable_connection() {
    let back_off = BackOff {
        initial: SECOND,
        max: 60 * SECOND,
        ..BackOff::default()
    };
    let (mut server, client) = Server::client(Options {
        back_off,
        ..options()
    });
    let mut bound = SECOND;
    for _ in 0..10 {
        drop(server.accept().await);
        let (_, retry_in, _) = disconnected(&client).await;
        assert!(retry_in <= bound, "{retry_in:?} {bound:?}");
        bound = (bound * 2).min(60 * SECOND);
        status(&client, |status| {
            matches!(status, Status::Connecting { .. })
        })
        .await;
    }
    let peer = server.connected(false, b"").await;
    status(&client, Status::is_connected).await;
    tokio::time::advance(31 * SECOND).await;
    drop(peer);
    let (_, retry_in, _) = disconnected(&client).await;
    assert!(retry_in <= SECOND, "{retry_in:?}");
    let dialed = server.dialed.lock().unwrap();
    assert!(dialed.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn packets_in_single_bytes_are_put_together() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.accept().await;
    peer.expect(0x10).await;
    for byte in packet(0x20, &[0, 0, 0]) {
        peer.send(&[byte]).await;
        tokio::time::advance(SECOND / 100).await;
    }
    let subscribing = client.subscribe("a", QoS::AtMostOnce);
    let (subscription, _) = tokio::join!(subscribing, peer.grant(0));
    let mut subscription = subscription.unwrap();
    for byte in publish("a", &[5; 300], None, 0x30, b"") {
        peer.send(&[byte]).await;
        tokio::time::advance(SECOND / 100).await;
    }
    assert_eq!(
        subscription.recv().await.unwrap().message.payload,
        vec![5; 300]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_protocol_is_told_and_left() {
    let faults: [(&[u8], u8); 9] = [
        (&[0x20, 3, 0, 0, 0], 0x82),                 // a second CONNACK
        (&[0x10, 0], 0x82),                          // CONNECT from a server
        (&[0x00, 0], 0x82),                          // a reserved type
        (&[0xf0, 0], 0x82),                          // AUTH out of the blue
        (&[0x40, 2, 0, 0], 0x82),                    // packet id 0
        (&[0x30, 3, 0, 1, 0xff], 0x81),              // not UTF-8
        (&[0x36, 6, 0, 1, b'a', 0, 1, 0], 0x81),     // QoS 3
        (&[0x30, 7, 0, 0, 3, 35, 0, 1, b'x'], 0x94), // an alias never set
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], 0x95),     // 256 MB
    ];
    for (bytes, reason) in faults {
        let (mut server, client) = Server::client(options());
        let mut peer = server.connected(false, b"").await;
        peer.send(bytes).await;
        let disconnect = peer.expect(0xe0).await;
        assert_eq!(disconnect.body, [reason], "{bytes:02x?}");
        peer.expect_end().await;
        let (cause, _, _) = disconnected(&client).await;
        assert!(matches!(*cause, Cause::Protocol(_)), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_for_other_packet_ids_change_nothing() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let publishing = publishes(&client, message("a", "x", QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    for wrong in [id + 1, 77, u16::MAX] {
        peer.ack(0x40, wrong, 0).await;
        peer.ack(0x70, wrong, 0).await;
        peer.answer(0x90, wrong, &[0]).await;
        peer.answer(0xb0, wrong, &[0]).await;
    }
    peer.ack(0x50, 99, 0).await;
    let pubrel = peer.expect(0x62).await;
    assert_eq!(pubrel.body, [0, 99, 0x92]);
    assert!(!publishing.is_finished());
    peer.ack(0x40, id, 0x10).await;
    let ack = publishing.await.unwrap().unwrap();
    assert_eq!(ack.reason, Some(Reason::NO_MATCHING_SUBSCRIBERS));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_fails_with_the_servers_reason() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    for (qos, first, answer) in [
        (QoS::AtLeastOnce, 0x32, 0x40),
        (QoS::ExactlyOnce, 0x34, 0x50),
    ] {
        let publishing = publishes(&client, message("a", "x", qos));
        let [high, low] = peer.expect(first).await.publish_id().to_be_bytes();
        peer.send(&packet(
            answer,
            &[high, low, 0x87, 5, 0x1f, 0, 2, b'n', b'o'],
        ))
        .await;
        let error = publishing.await.unwrap().unwrap_err();
        let PublishError::Refused { reason, text } = &error else {
            panic!("{error}");
        };
        assert_eq!(
            (*reason, text.as_deref()),
            (Reason::NOT_AUTHORIZED, Some("no"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_the_connection_is_quoted() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    peer.send(&packet(0xe0, &[0x8b, 0])).await;
    let (cause, _, duplicate) = disconnected(&client).await;
    assert_eq!(cause.reason(), Some(Reason(0x8b)));
    assert_eq!(
        cause.to_string(),
        "the server ended the connection: 0x8b server shutting down"
    );
    assert!(!duplicate);
}

#[tokio::test(start_paused = true)]
async fn a_session_taken_over_is_said_and_tried_again_much_later() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    peer.send(&packet(0xe0, &[0x8e])).await;
    let (cause, retry_in, duplicate) = disconnected(&client).await;
    assert_eq!(cause.reason(), Some(Reason::SESSION_TAKEN_OVER));
    assert!(
        duplicate && retry_in >= BackOff::default().duplicate_client_id,
        "{retry_in:?}"
    );
    server.connected(true, b"").await;
}

#[tokio::test(start_paused = true)]
async fn connections_cut_right_after_connecting_look_like_a_duplicate_client_id() {
    let (mut server, client) = Server::client(options());
    for cut in 1..=3 {
        drop(server.connected(false, b"").await);
        let seen = |status: &Status| matches!(status, Status::Disconnected { .. });
        let Status::Disconnected {
            duplicate_client_id,
            ..
        } = status(&client, seen).await
        else {
            unreachable!()
        };
        assert_eq!(duplicate_client_id, cut == 3);
        status(&client, |status| {
            matches!(status, Status::Connecting { .. })
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_under_way_than_the_server_takes() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, &[0x21, 0, 1]).await;
    let first = publishes(&client, message("a", "1", QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    let second = publishes(&client, message("a", "2", QoS::ExactlyOnce));
    peer.expect_nothing(10 * SECOND).await;
    peer.ack(0x40, id, 0).await;
    first.await.unwrap().unwrap();
    let id = peer.expect(0x34).await.publish_id();
    let third = publishes(&client, message("a", "3", QoS::AtLeastOnce));
    peer.ack(0x50, id, 0).await;
    peer.expect(0x62).await;
    // A QoS 2 message counts until PUBCOMP.
    peer.expect_nothing(10 * SECOND).await;
    peer.ack(0x70, id, 0).await;
    second.await.unwrap().unwrap();
    let id = peer.expect(0x32).await.publish_id();
    peer.ack(0x40, id, 0).await;
    third.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kept_session_is_resumed_with_duplicates_in_order_under_the_old_ids() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let mut publishing = Vec::new();
    let mut ids = Vec::new();
    for (n, qos, first) in [
        ("1", QoS::AtLeastOnce, 0x32),
        ("2", QoS::ExactlyOnce, 0x34),
        ("3", QoS::ExactlyOnce, 0x34),
        ("4", QoS::AtLeastOnce, 0x32),
    ] {
        publishing.push(publishes(&client, message("a", n, qos)));
        ids.push(peer.expect(first).await.publish_id());
    }
    // The third has got half way; the fourth is acknowledged.
    peer.ack(0x50, ids[2], 0).await;
    peer.expect(0x62).await;
    peer.ack(0x40, ids[3], 0).await;
    drop(peer);
    // A smaller window this time: the rest waits.
    let mut peer = server.connected(true, &[0x21, 0, 2]).await;
    assert_eq!(peer.expect(0x3a).await.publish_id(), ids[0]);
    assert_eq!(peer.expect(0x3c).await.publish_id(), ids[1]);
    peer.expect_nothing(SECOND).await;
    peer.ack(0x40, ids[0], 0).await;
    assert_eq!(peer.expect(0x62).await.id(), ids[2]);
    peer.ack(0x70, ids[2], 0).await;
    peer.ack(0x50, ids[1], 0).await;
    assert_eq!(peer.expect(0x62).await.id(), ids[1]);
    peer.ack(0x70, ids[1], 0).await;
    for publishing in publishing {
        publishing.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_old_session_messages_are_published_anew() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let one = publishes(&client, message("a", "1", QoS::AtLeastOnce));
    peer.expect(0x32).await;
    let two = publishes(&client, message("a", "2", QoS::ExactlyOnce));
    let released = peer.expect(0x34).await.publish_id();
    peer.ack(0x50, released, 0).await;
    peer.expect(0x62).await;
    drop(peer);
    let mut peer = server.connected(false, b"").await;
    // The server had taken the second over: nothing is left to do for it.
    two.await.unwrap().unwrap();
    let id = peer.expect(0x32).await.publish_id();
    peer.expect_nothing(SECOND).await;
    peer.ack(0x40, id, 0).await;
    one.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delayed_acknowledgement_is_waited_for_and_pings_go_on() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let publishing = publishes(&client, message("a", "x", QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    for _ in 0..10 {
        peer.expect(0xc0).await;
        peer.send(&[0xd0, 0]).await;
    }
    assert!(!publishing.is_finished());
    peer.ack(0x40, id, 0).await;
    publishing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn silence_is_probed_and_a_dead_connection_given_up() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let connected = Instant::now();
    peer.expect(0xc0).await;
    assert_eq!(connected.elapsed(), 60 * SECOND);
    let (cause, _, _) = disconnected(&client).await;
    assert!(matches!(*cause, Cause::PingTimeout(_)), "{cause}");
    assert_eq!(connected.elapsed(), 90 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_way_traffic_does_not_hide_a_dead_connection() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let connected = Instant::now();
    loop {
        client
            .publish(message("a", "x", QoS::AtMostOnce))
            .await
            .unwrap();
        if peer.packet().await.first == 0xc0 {
            break;
        }
        assert!(connected.elapsed() < 100 * SECOND);
        tokio::time::advance(7 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_keep_alive_counts_and_zero_turns_it_off() {
    let (mut server, _client) = Server::client(options());
    let mut peer = server.connected(false, &[19, 0, 7]).await;
    let connected = Instant::now();
    peer.expect(0xc0).await;
    assert_eq!(connected.elapsed(), 7 * SECOND);

    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, &[19, 0, 0]).await;
    peer.expect_nothing(3000 * SECOND).await;
    drop(client);
    peer.expect(0xe0).await;
}

#[tokio::test(start_paused = true)]
async fn the_servers_limits_are_honoured_before_sending() {
    let (mut server, client) = Server::client(options());
    // Maximum packet size 100, maximum QoS 1, no retained messages.
    let mut peer = server
        .connected(false, &[39, 0, 0, 0, 100, 36, 1, 37, 0])
        .await;
    let error = client
        .publish(message("a", vec![0; 95], QoS::AtLeastOnce))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            PublishError::TooLarge {
                what: "packet",
                limit: 100,
                size: 103
            }
        ),
        "{error:?}"
    );
    let error = client
        .publish(message("a", "", QoS::ExactlyOnce))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PublishError::QosNotSupported { maximum: 1 }),
        "{error}"
    );
    let retained = Message {
        retain: true,
        ..message("a", "", QoS::AtLeastOnce)
    };
    let error = client.publish(retained).await.unwrap_err();
    assert!(matches!(error, PublishError::RetainNotSupported), "{error}");
    let expired = Message {
        expires: Some(SystemTime::UNIX_EPOCH),
        ..message("a", "", QoS::AtLeastOnce)
    };
    let error = client.publish(expired).await.unwrap_err();
    assert!(matches!(error, PublishError::Expired), "{error}");
    let publishing = publishes(&client, message("a", vec![0; 92], QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    peer.ack(0x40, id, 0).await;
    publishing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_that_no_server_takes_are_refused_at_once() {
    let (_server, client) = Server::client(options());
    let user = |key: &str| Properties {
        user: vec![(key.into(), "".into())],
        ..Properties::default()
    };
    let with = |properties| Message {
        properties: Some(Arc::new(properties)),
        ..message("a", "", QoS::AtMostOnce)
    };
    for wrong in [
        message("", "", QoS::AtMostOnce),
        message("a/+", "", QoS::AtMostOnce),
        message(&"x".repeat(65_536), "", QoS::AtMostOnce),
        with(user("nul\0")),
        with(user(&"x".repeat(65_536))),
        with(Properties {
            response_topic: Some("a/#".into()),
            ..Properties::default()
        }),
        with(Properties {
            correlation_data: Some(vec![0; 65_536].into()),
            ..Properties::default()
        }),
        with(Properties {
            payload_format: Some(2),
            ..Properties::default()
        }),
    ] {
        let error = client.publish(wrong).await.unwrap_err();
        assert!(matches!(error, PublishError::Invalid(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn topics_are_replaced_by_aliases_as_far_as_the_server_takes_them() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, &[34, 0, 1]).await;
    for (topic, sent, alias) in [
        ("long/a", "long/a", 1),
        ("long/a", "", 1),
        ("long/b", "long/b", 1),
        ("long/a", "long/a", 1),
    ] {
        client
            .publish(message(topic, "x", QoS::AtMostOnce))
            .await
            .unwrap();
        let packet = peer.expect(0x30).await;
        assert_eq!(packet.topic(), sent);
        assert_eq!(packet.body[2 + sent.len()..], [3, 35, 0, alias, b'x']);
    }
    drop(peer);
    // A new connection knows no aliases.
    let mut peer = server.connected(true, &[34, 0, 1]).await;
    client
        .publish(message("long/a", "x", QoS::AtMostOnce))
        .await
        .unwrap();
    assert_eq!(peer.expect(0x30).await.topic(), "long/a");
}

#[tokio::test(start_paused = true)]
async fn the_servers_aliases_are_resolved() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("#", QoS::AtMostOnce), peer.grant(0));
    let mut subscription = subscription.unwrap();
    peer.send(&publish("a/b", b"1", None, 0x30, &[35, 0, 8]))
        .await;
    peer.send(&publish("", b"2", None, 0x30, &[35, 0, 8])).await;
    for payload in ["1", "2"] {
        let delivery = subscription.recv().await.unwrap();
        assert_eq!(
            (&*delivery.message.topic, &delivery.message.payload[..]),
            ("a/b", payload.as_bytes())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_go_out_in_packets_of_eight_and_again_only_when_the_session_is_lost() {
    let (mut server, client) = Server::client(options());
    let mut subscribing = Vec::new();
    for n in 0..20 {
        let client = client.clone();
        subscribing.push(tokio::spawn(async move {
            client
                .subscribe(format!("f/{n}"), QoS::AtLeastOnce)
                .await
                .unwrap()
        }));
    }
    tokio::task::yield_now().await;
    let mut peer = server.connected(false, b"").await;
    let mut subscriptions = Vec::new();
    let granted = tokio::spawn(async move {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 20 {
            sizes.push(peer.grant(1).await.len());
        }
        (peer, sizes)
    });
    for task in subscribing {
        subscriptions.push(task.await.unwrap());
    }
    let (peer, sizes) = granted.await.unwrap();
    assert!(sizes.iter().all(|size| *size <= 8), "{sizes:?}");
    drop(peer);
    let mut peer = server.connected(true, b"").await;
    peer.expect_nothing(SECOND).await;
    drop(peer);
    let mut peer = server.connected(false, b"").await;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        sizes.push(peer.grant(1).await.len());
    }
    assert_eq!(sizes, [8, 8, 4]);
    peer.expect_nothing(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn one_filter_is_shared_and_left_with_its_last_subscriber() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (one, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    let (mut one, mut two) = (
        one.unwrap(),
        client.subscribe("a", QoS::AtMostOnce).await.unwrap(),
    );
    // A higher QoS is asked for anew.
    let (three, _) = tokio::join!(client.subscribe("a", QoS::ExactlyOnce), peer.grant(2));
    drop(three.unwrap());
    peer.publish("a", b"x", Some(9), 0x32).await;
    two.recv().await.unwrap().ack();
    peer.expect_nothing(SECOND).await;
    one.recv().await.unwrap().ack();
    assert_eq!(peer.expect(0x40).await.id(), 9);
    drop(one);
    peer.expect_nothing(SECOND).await;
    drop(two);
    let unsubscribe = peer.expect(0xa2).await;
    assert_eq!(unsubscribe.filters(), ["a"]);
    peer.answer(0xb0, unsubscribe.id(), &[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_left_while_offline_is_left_when_the_session_comes_back() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    drop(peer);
    disconnected(&client).await;
    drop(subscription);
    let mut peer = server.connected(true, b"").await;
    // Cut before it was confirmed: told again.
    assert_eq!(peer.expect(0xa2).await.filters(), ["a"]);
    drop(peer);
    let mut peer = server.connected(true, b"").await;
    let unsubscribe = peer.expect(0xa2).await;
    peer.answer(0xb0, unsubscribe.id(), &[0]).await;
    drop(peer);
    server
        .connected(true, b"")
        .await
        .expect_nothing(SECOND)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_given_up_before_it_was_granted_is_taken_back() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    tokio::select! {
        _ = client.subscribe("a", QoS::AtLeastOnce) => panic!("never granted"),
        packet = peer.expect(0x82) => drop(packet),
    }
    assert_eq!(peer.expect(0xa2).await.filters(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn refused_and_surplus_subscriptions_fail_by_name() {
    let options = Options {
        maximum_subscriptions: 2,
        ..options()
    };
    let (mut server, client) = Server::client(options);
    let mut peer = server.connected(false, b"").await;
    let (refused, _) = tokio::join!(
        client.subscribe("secret", QoS::AtLeastOnce),
        peer.grant(0x87)
    );
    let reason = Reason::NOT_AUTHORIZED;
    assert_eq!(
        refused.unwrap_err(),
        SubscribeError::Refused { reason, text: None }
    );
    let mut held = Vec::new();
    for filter in ["a", "b"] {
        let (granted, _) = tokio::join!(client.subscribe(filter, QoS::AtLeastOnce), peer.grant(1));
        held.push(granted.unwrap());
    }
    let error = client.subscribe("c", QoS::AtLeastOnce).await.unwrap_err();
    assert_eq!(error, SubscribeError::TooMany { limit: 2 });
    held.push(client.subscribe("a", QoS::AtLeastOnce).await.unwrap());
    let error = client
        .subscribe("a/#/b", QoS::AtLeastOnce)
        .await
        .unwrap_err();
    assert_eq!(error, SubscribeError::InvalidFilter("a/#/b".into()));
}

#[tokio::test(start_paused = true)]
async fn a_resubscription_refused_for_a_passing_reason_is_tried_again_and_a_lasting_one_ends_it() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    let mut subscription = subscription.unwrap();
    drop(peer);
    let mut peer = server.connected(false, b"").await;
    peer.grant(0x97).await;
    let refused = Instant::now();
    peer.grant(1).await;
    assert_eq!(refused.elapsed(), 5 * SECOND);
    peer.publish("a", b"x", None, 0x30).await;
    subscription.recv().await.unwrap().ack();
    drop(peer);
    let mut peer = server.connected(false, b"").await;
    peer.grant(0x87).await;
    let error = subscription.recv().await.unwrap_err();
    assert!(matches!(error, SubscribeError::Refused { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_only_when_its_consumer_is_done() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::ExactlyOnce), peer.grant(2));
    let mut subscription = subscription.unwrap();
    peer.publish("a", b"1", Some(1), 0x32).await;
    peer.publish("a", b"2", Some(2), 0x34).await;
    let one = subscription.recv().await.unwrap();
    let two = subscription.recv().await.unwrap();
    peer.expect_nothing(SECOND).await;
    two.ack();
    assert_eq!(peer.expect(0x50).await.id(), 2);
    // Sent again before its release: answered, not delivered.
    peer.publish("a", b"2", Some(2), 0x3c).await;
    assert_eq!(peer.expect(0x50).await.id(), 2);
    peer.ack(0x62, 2, 0).await;
    assert_eq!(peer.expect(0x70).await.body, [0, 2]);
    peer.ack(0x62, 2, 0).await;
    assert_eq!(peer.expect(0x70).await.body, [0, 2, 0x92]);
    one.ack();
    assert_eq!(peer.expect(0x40).await.id(), 1);
    assert!(subscription.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_consumer_still_holds_over_a_reconnect_is_not_given_to_it_twice() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    let mut subscription = subscription.unwrap();
    for (n, id) in [(b"1", 1), (b"2", 2), (b"3", 3)] {
        peer.publish("a", n, Some(id), 0x32).await;
    }
    let one = subscription.recv().await.unwrap();
    let two = subscription.recv().await.unwrap();
    drop(peer);
    disconnected(&client).await;
    // Done while there is no connection to say so.
    one.ack();
    let mut peer = server.connected(true, b"").await;
    for (n, id) in [(b"1", 1), (b"2", 2), (b"3", 3)] {
        peer.publish("a", n, Some(id), 0x3a).await;
    }
    assert_eq!(peer.expect(0x40).await.id(), 1);
    two.ack();
    assert_eq!(peer.expect(0x40).await.id(), 2);
    let three = subscription.recv().await.unwrap();
    assert_eq!(three.message.payload, "3");
    three.ack();
    assert_eq!(peer.expect(0x40).await.id(), 3);
    assert!(subscription.try_recv().is_none());
    // The ids are free for other messages.
    peer.publish("a", b"4", Some(1), 0x32).await;
    assert_eq!(subscription.recv().await.unwrap().message.payload, "4");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_takes_nothing_keeps_its_connection_and_harms_nobody() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let small = SubscribeOptions {
        queue: 2,
        ..QoS::AtLeastOnce.into()
    };
    let (slow, _) = tokio::join!(client.subscribe("slow", small), peer.grant(1));
    let mut slow = slow.unwrap();
    // More than its queue holds, but what the window allows.
    for id in 1..=32 {
        peer.publish("slow", b"x", Some(id), 0x32).await;
    }
    for _ in 0..20 {
        peer.publish("slow", b"dropped", None, 0x30).await;
    }
    let publishing = publishes(&client, message("other", "x", QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    peer.ack(0x40, id, 0).await;
    publishing.await.unwrap().unwrap();
    for _ in 0..10 {
        peer.expect(0xc0).await;
        peer.send(&[0xd0, 0]).await;
    }
    assert_eq!(slow.dropped(), 20);
    for id in 1..=32 {
        slow.recv().await.unwrap().ack();
        assert_eq!(peer.expect(0x40).await.id(), id);
    }
    peer.publish("slow", b"taken again", None, 0x30).await;
    assert_eq!(slow.recv().await.unwrap().message.payload, "taken again");
}

#[tokio::test(start_paused = true)]
async fn a_busy_consumer_loses_nothing_since_reading_waits_for_it() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let small = SubscribeOptions {
        queue: 2,
        ..QoS::AtMostOnce.into()
    };
    let (subscription, _) = tokio::join!(client.subscribe("a", small), peer.grant(0));
    let mut subscription = subscription.unwrap();
    for n in 0..200_u8 {
        peer.publish("a", &[n], None, 0x30).await;
    }
    for n in 0..200_u8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(subscription.recv().await.unwrap().message.payload, [n][..]);
    }
    assert_eq!(subscription.dropped(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_3_1_1_server_that_floods_is_read_no_further_and_kept_alive() {
    let options = Options {
        version: Version::V311,
        receive_maximum: 2,
        ..options()
    };
    let (mut server, client) = Server::client(options);
    let mut peer = server.accept().await;
    peer.expect(0x10).await;
    peer.send(&[0x20, 2, 0, 0]).await;
    let subscribing = client.subscribe("a", QoS::AtLeastOnce);
    let granting = async {
        let [high, low] = peer.expect(0x82).await.id().to_be_bytes();
        peer.send(&[0x90, 3, high, low, 1]).await;
    };
    let (subscription, ()) = tokio::join!(subscribing, granting);
    let mut subscription = subscription.unwrap();
    for id in 1..=100_u8 {
        peer.send(&[0x32, 6, 0, 1, b'a', 0, id, id]).await;
    }
    peer.send(&[0xd0, 0]).await;
    for _ in 0..9 {
        // Nothing is read, so the silence after a PINGREQ means nothing.
        for _ in 0..3 {
            peer.expect(0xc0).await;
        }
        for _ in 0..10 {
            let delivery = subscription.recv().await.unwrap();
            let id = u16::from(delivery.message.payload[0]);
            delivery.ack();
            assert_eq!(peer.expect(0x40).await.id(), id);
        }
    }
    assert!(client.status().borrow().is_connected());
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_kept_session_wait_for_their_subscriber() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(true, b"").await;
    peer.publish("a", b"early", Some(1), 0x3a).await;
    peer.publish("nobody", b"lost", Some(2), 0x3a).await;
    peer.expect_nothing(SECOND).await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    let delivery = subscription.unwrap().recv().await.unwrap();
    assert_eq!(delivery.message.payload, "early");
    delivery.ack();
    assert_eq!(peer.expect(0x40).await.id(), 1);
    // The other one is given up after a while; the subscription above is gone as well.
    let mut left = [peer.packet().await.first, peer.packet().await.first];
    left.sort_unstable();
    assert_eq!(left, [0x40, 0xa2]);
}

#[tokio::test(start_paused = true)]
async fn an_assigned_client_id_is_kept_for_the_session() {
    let (mut server, client) = Server::client(Options::new(""));
    let peer = server.connected(false, b"\x12\0\x02me").await;
    let connected = status(&client, Status::is_connected).await;
    let Status::Connected(connected) = connected else {
        unreachable!()
    };
    assert_eq!(connected.client_id, "me");
    drop(peer);
    let connect = server.accept().await.packet().await;
    assert!(connect.body.ends_with(b"\0\x02me"), "{connect:?}");
}

#[tokio::test(start_paused = true)]
async fn clean_start_is_for_the_first_connection_only() {
    let (mut server, _client) = Server::client(Options {
        clean_start: true,
        ..options()
    });
    let clean = |connect: &Packet| connect.body[7] & 2 != 0;
    let mut peer = server.accept().await;
    assert!(clean(&peer.packet().await));
    drop(peer);
    let mut peer = server.accept().await;
    assert!(clean(&peer.packet().await), "it had not connected yet");
    peer.connack(false, 0, b"").await;
    drop(peer);
    assert!(!clean(&server.accept().await.packet().await));
}

#[tokio::test(start_paused = true)]
async fn a_publish_given_up_before_it_was_sent_is_taken_back() {
    let (mut server, client) = Server::client(options());
    let given_up =
        tokio::time::timeout(SECOND, client.publish(message("a", "1", QoS::AtLeastOnce)));
    assert!(given_up.await.is_err());
    let publishing = publishes(&client, message("a", "2", QoS::AtLeastOnce));
    let mut peer = server.connected(false, b"").await;
    let packet = peer.expect(0x32).await;
    assert_eq!(packet.body.last(), Some(&b'2'));
    // Once sent it goes on without its caller.
    publishing.abort();
    drop(peer);
    let mut peer = server.connected(true, b"").await;
    assert_eq!(peer.expect(0x3a).await.publish_id(), packet.publish_id());
}

#[tokio::test(start_paused = true)]
async fn an_impatient_publish_fails_when_the_connection_goes_while_it_waits_for_the_window() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, &[0x21, 0, 1]).await;
    let first = publishes(&client, message("a", "1", QoS::AtLeastOnce));
    peer.expect(0x32).await;
    let impatient = PublishOptions {
        when_offline: WhenOffline::Fail,
        tag: None,
    };
    let second = client
        .send(message("a", "2", QoS::AtLeastOnce), impatient)
        .await
        .unwrap();
    drop(peer);
    let error = second.await.unwrap_err();
    assert!(matches!(error, PublishError::NotConnected), "{error}");
    assert!(!first.is_finished());
}

#[tokio::test(start_paused = true)]
async fn disconnecting_waits_for_what_is_under_way_and_no_longer_than_asked() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let publishing = publishes(&client, message("a", "1", QoS::AtLeastOnce));
    let id = peer.expect(0x32).await.publish_id();
    let ending = tokio::spawn({
        let client = client.clone();
        async move { client.disconnect(10 * SECOND).await }
    });
    peer.expect_nothing(5 * SECOND).await;
    let error = client
        .publish(message("a", "2", QoS::AtLeastOnce))
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::Stopped), "{error}");
    peer.ack(0x40, id, 0).await;
    publishing.await.unwrap().unwrap();
    assert!(peer.expect(0xe0).await.body.is_empty());
    peer.expect_end().await;
    ending.await.unwrap();

    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let publishing = publishes(&client, message("a", "1", QoS::AtLeastOnce));
    peer.expect(0x32).await;
    let started = Instant::now();
    client.disconnect(10 * SECOND).await;
    assert_eq!(started.elapsed(), 10 * SECOND);
    assert!(matches!(
        publishing.await.unwrap(),
        Err(PublishError::Stopped)
    ));
    peer.expect(0xe0).await;
    assert!(matches!(*client.status().borrow(), Status::Stopped));
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_in_order_with_the_last_handle() {
    let (mut server, client) = Server::client(options());
    let mut peer = server.connected(false, b"").await;
    let (subscription, _) = tokio::join!(client.subscribe("a", QoS::AtLeastOnce), peer.grant(1));
    let mut subscription = subscription.unwrap();
    drop(client);
    peer.publish("a", b"x", Some(1), 0x32).await;
    subscription.recv().await.unwrap().ack();
    peer.expect(0x40).await;
    drop(subscription);
    let mut last = peer.packet().await;
    if last.first == 0xa2 {
        last = peer.packet().await;
    }
    assert_eq!(last.first, 0xe0);
    peer.expect_end().await;
}

#[derive(Clone, Default)]
struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    pending: Vec<Pending>,
    full: Arc<Mutex<bool>>,
}

impl Notes {
    fn line(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Journal for Notes {
    fn sending(&mut self, id: PacketId, message: &Message, tag: Option<u64>) -> io::Result<()> {
        if *self.full.lock().unwrap() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.line(format!("sending {id} {} {tag:?}", message.topic));
        Ok(())
    }

    fn received(&mut self, id: PacketId, tag: Option<u64>) {
        self.line(format!("received {id} {tag:?}"));
    }

    fn finished(
        &mut self,
        id: PacketId,
        tag: Option<u64>,
        outcome: Result<&PubAck, &PublishError>,
    ) {
        self.line(format!("finished {id} {tag:?} {}", outcome.is_ok()));
    }

    fn pending(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.pending)
    }
}

fn journaled(notes: &Notes) -> (Server, Client) {
    let (server, dial) = Server::new();
    let (client, task) = Client::start(options(), dial, Some(Box::new(notes.clone())));
    tokio::spawn(task);
    (server, client)
}

#[tokio::test(start_paused = true)]
async fn a_journal_hears_of_every_step_and_keeps_what_is_not_over() {
    let notes = Notes::default();
    let (mut server, client) = journaled(&notes);
    let mut peer = server.connected(false, b"").await;
    let tagged = |tag| PublishOptions {
        tag: Some(tag),
        ..PublishOptions::default()
    };
    let one = client
        .send(message("a", "", QoS::AtLeastOnce), tagged(7))
        .await
        .unwrap();
    let two = client
        .send(message("b", "", QoS::ExactlyOnce), tagged(8))
        .await
        .unwrap();
    client
        .publish(message("c", "", QoS::AtMostOnce))
        .await
        .unwrap();
    peer.expect(0x32).await;
    peer.expect(0x34).await;
    peer.expect(0x30).await;
    peer.ack(0x40, 1, 0).await;
    one.await.unwrap();
    peer.ack(0x50, 2, 0).await;
    peer.expect(0x62).await;
    assert_eq!(
        notes.take(),
        [
            "sending 1 a Some(7)",
            "sending 2 b Some(8)",
            "finished 1 Some(7) true",
            "received 2 Some(8)"
        ]
    );

    *notes.full.lock().unwrap() = true;
    let error = client
        .publish(message("d", "", QoS::AtLeastOnce))
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::Journal(_)), "{error}");
    client.disconnect(Duration::ZERO).await;
    assert!(two.await.is_err());
    peer.expect(0xe0).await;
    assert_eq!(notes.take(), [""; 0], "what is not over stays");
}

#[tokio::test(start_paused = true)]
async fn what_a_journal_kept_is_redelivered_by_the_next_process() {
    let id = |id| PacketId::new(id).unwrap();
    for session_present in [true, false] {
        let pending = |n, topic: Option<(&str, QoS)>| Pending {
            id: id(n),
            tag: Some(n.into()),
            message: topic.map(|(topic, qos)| message(topic, "", qos)),
        };
        let notes = Notes {
            pending: vec![
                pending(9, Some(("a", QoS::AtLeastOnce))),
                pending(3, None),
                pending(1, Some(("b", QoS::ExactlyOnce))),
            ],
            ..Notes::default()
        };
        let (mut server, client) = journaled(&notes);
        let mut peer = server.connected(session_present, b"").await;
        let dup = if session_present { 8 } else { 0 };
        assert_eq!(peer.expect(0x32 | dup).await.publish_id(), 9);
        if session_present {
            assert_eq!(peer.expect(0x62).await.id(), 3);
            peer.ack(0x70, 3, 0).await;
        }
        assert_eq!(peer.expect(0x34 | dup).await.publish_id(), 1);
        peer.ack(0x40, 9, 0).await;
        peer.ack(0x50, 1, 0).await;
        peer.expect(0x62).await;
        peer.ack(0x70, 1, 0).await;
        // New messages keep clear of ids in use.
        let publishing = publishes(&client, message("c", "", QoS::AtLeastOnce));
        peer.expect(0x32).await;
        let mut lines = notes.take();
        lines.retain(|line| line.starts_with("finished"));
        lines.sort();
        assert_eq!(
            lines,
            [
                "finished 1 Some(1) true",
                "finished 3 Some(3) true",
                "finished 9 Some(9) true"
            ]
        );
        publishing.abort();
    }
}
