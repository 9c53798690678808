//! The client against mosquitto: both versions, every QoS, plain and mutual TLS, restarts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client_support;

use bytes::Bytes;
use client_support::{
    SOON,
    certificates::Authority,
    message,
    mosquitto::{Mosquitto, WithTls},
    status,
};
use mqtt::{
    Message, Properties, QoS,
    client::{
        BackOff, Cause, Client, Connector, Options, PublishError, PublishOptions, Reason, Status,
        SubscribeOptions, Subscription, Tls, WhenOffline,
    },
    packet::Version,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::timeout;

const VERSIONS: [Version; 2] = [Version::V5, Version::V311];
const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn options(client_id: &str, version: Version) -> Options {
    Options {
        version,
        back_off: BackOff {
            initial: Duration::from_millis(50),
            max: Duration::from_millis(200),
            duplicate_client_id: Duration::from_millis(200),
            ..BackOff::default()
        },
        ..Options::new(client_id.to_owned())
    }
}

fn connect(broker: &Mosquitto, options: Options) -> Client {
    let connector = Connector {
        host: "127.0.0.1".into(),
        port: broker.port,
        tls: None,
        proxy: None,
    };
    let (client, task) = Client::start(options, connector, None);
    tokio::spawn(task);
    client
}

async fn take(subscription: &mut Subscription) -> Message {
    let delivery = timeout(SOON, subscription.recv()).await;
    let delivery = delivery.expect("a message in time").unwrap();
    let message = delivery.message.clone();
    delivery.ack();
    message
}

async fn connected(client: &Client) -> bool {
    match status(client, Status::is_connected).await {
        Status::Connected(connected) => connected.session_present,
        _ => unreachable!(),
    }
}

async fn lost(client: &Client) {
    status(client, |status| !status.is_connected()).await;
}

#[tokio::test]
async fn messages_of_every_qos_come_back_in_both_versions() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let client = connect(&broker, options("echo", version));
        for qos in EVERY_QOS {
            let mut echo = client.subscribe("echo/+", qos).await.unwrap();
            assert_eq!(echo.granted(), qos);
            for payload in ["one", "two", ""] {
                let ack = client
                    .publish(message("echo/é", payload, qos))
                    .await
                    .unwrap();
                let reason = (qos != QoS::AtMostOnce).then_some(Reason::SUCCESS);
                assert_eq!(ack.reason, reason);
                let came = take(&mut echo).await;
                assert_eq!(
                    (&*came.topic, &came.payload[..], came.qos),
                    ("echo/é", payload.as_bytes(), qos)
                );
            }
        }
        client.disconnect(SOON).await;
        assert!(matches!(*client.status().borrow(), Status::Stopped));
    }
}

#[tokio::test]
async fn a_publisher_hears_that_nobody_subscribes() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    let client = connect(&broker, options("lonely", Version::V5));
    let ack = client
        .publish(message("nobody", "x", QoS::AtLeastOnce))
        .await
        .unwrap();
    assert_eq!(ack.reason, Some(Reason::NO_MATCHING_SUBSCRIBERS));
}

#[tokio::test]
async fn properties_travel_both_ways() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    let client = connect(&broker, options("properties", Version::V5));
    let mut subscription = client.subscribe("p", QoS::AtLeastOnce).await.unwrap();
    let properties = Properties {
        payload_format: Some(1),
        content_type: Some("text/plain".into()),
        response_topic: Some("answer/here".into()),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1])),
        user: vec![
            ("a".into(), "1".into()),
            ("a".into(), "2".into()),
            ("".into(), "é".into()),
        ],
    };
    let sent = Message {
        expires: Some(SystemTime::now() + Duration::from_secs(100)),
        properties: Some(Arc::new(properties.clone())),
        ..message("p", "x", QoS::AtLeastOnce)
    };
    client.publish(sent).await.unwrap();
    let came = take(&mut subscription).await;
    assert_eq!(came.properties.as_deref(), Some(&properties));
    let left = came
        .expires
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(
        left <= Duration::from_secs(101) && left > Duration::from_secs(90),
        "{left:?}"
    );
}

#[tokio::test]
async fn retained_messages_come_with_the_subscription() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let client = connect(&broker, options(&format!("retained-{version:?}"), version));
        let kept = Message {
            retain: true,
            ..message("kept", "last words", QoS::AtLeastOnce)
        };
        client.publish(kept).await.unwrap();
        let mut subscription = client.subscribe("kept", QoS::AtLeastOnce).await.unwrap();
        let came = take(&mut subscription).await;
        assert!(came.retain);
        assert_eq!(came.payload, "last words");
        client.disconnect(SOON).await;
    }
}

#[tokio::test]
async fn a_message_of_128_kib_passes_and_a_larger_one_is_refused_by_name() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let client = connect(&broker, options("large", version));
        let mut subscription = client.subscribe("large", QoS::AtLeastOnce).await.unwrap();
        let payload: Vec<u8> = (0..128 * 1024_u32).map(|n| n.to_le_bytes()[0]).collect();
        client
            .publish(message("large", payload.clone(), QoS::AtLeastOnce))
            .await
            .unwrap();
        assert_eq!(take(&mut subscription).await.payload, payload);
        let over = message("large", vec![0; 128 * 1024 + 1], QoS::AtLeastOnce);
        let error = client.publish(over).await.unwrap_err();
        assert!(
            matches!(
                error,
                PublishError::TooLarge {
                    what: "payload",
                    ..
                }
            ),
            "{error}"
        );
        client.disconnect(SOON).await;
    }
}

#[tokio::test]
async fn subscriptions_work_again_after_a_restart_that_forgot_the_session() {
    let Some(mut broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let client = connect(&broker, options("forgotten", version));
        let mut subscriptions = Vec::new();
        for n in 0..20 {
            let filter = format!("filter/{n}");
            subscriptions.push(client.subscribe(filter, QoS::AtLeastOnce).await.unwrap());
        }
        broker.kill();
        lost(&client).await;
        broker.run();
        assert!(!connected(&client).await);
        for n in [0, 7, 19] {
            let again = message(&format!("filter/{n}"), "again", QoS::AtLeastOnce);
            client.publish(again).await.unwrap();
            assert_eq!(take(&mut subscriptions[n]).await.payload, "again");
        }
        client.disconnect(SOON).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_over_restarts_of_a_broker_that_keeps_sessions() {
    for version in VERSIONS {
        let Some(mut broker) = Mosquitto::start("persistence true\n", None) else {
            return;
        };
        let receiver = connect(&broker, options("receiver", version));
        let everything = SubscribeOptions {
            queue: 10_000,
            ..QoS::AtLeastOnce.into()
        };
        let mut subscription = receiver.subscribe("n", everything).await.unwrap();
        let sender = connect(&broker, options("sender", version));
        let count = 600_u32;
        let publisher = sender.clone();
        let publishing = tokio::spawn(async move {
            let mut acknowledgements = Vec::new();
            for n in 0..count {
                let next = message("n", n.to_string(), QoS::AtLeastOnce);
                let sent = publisher
                    .send(next, PublishOptions::default())
                    .await
                    .unwrap();
                acknowledgements.push(sent);
            }
            for acknowledgement in acknowledgements {
                acknowledgement.await.unwrap();
            }
        });
        let mut seen = BTreeSet::new();
        let mut restarts = 0;
        while seen.len() < count as usize {
            let n: u32 = std::str::from_utf8(&take(&mut subscription).await.payload)
                .unwrap()
                .parse()
                .unwrap();
            seen.insert(n);
            if seen.len() > 100 * (restarts + 1) && restarts < 3 {
                restarts += 1;
                broker.stop();
                broker.run();
            }
        }
        timeout(SOON, publishing)
            .await
            .expect("all acknowledged")
            .unwrap();
        assert_eq!(restarts, 3);
        assert!(connected(&receiver).await, "the session was kept");
    }
}

#[tokio::test]
async fn every_publish_is_acknowledged_although_the_broker_is_killed_in_the_middle() {
    let Some(mut broker) = Mosquitto::start("", None) else {
        return;
    };
    for (version, qos) in [
        (Version::V5, QoS::AtLeastOnce),
        (Version::V5, QoS::ExactlyOnce),
        (Version::V311, QoS::ExactlyOnce),
    ] {
        let client = connect(&broker, options("survivor", version));
        let publisher = client.clone();
        let publishing = tokio::spawn(async move {
            let mut acknowledgements = Vec::new();
            for n in 0..2000 {
                let next = message("n", n.to_string(), qos);
                let sent = publisher
                    .send(next, PublishOptions::default())
                    .await
                    .unwrap();
                acknowledgements.push(sent);
            }
            for acknowledgement in acknowledgements {
                acknowledgement.await.unwrap();
            }
        });
        connected(&client).await;
        broker.kill();
        lost(&client).await;
        broker.run();
        timeout(SOON, publishing)
            .await
            .expect("all acknowledged")
            .unwrap();
        client.disconnect(SOON).await;
    }
}

#[tokio::test]
async fn what_a_process_did_not_acknowledge_comes_to_the_next_one() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let client = connect(&broker, options(&format!("device-{version:?}"), version));
        let mut subscription = client.subscribe("work", QoS::AtLeastOnce).await.unwrap();
        for n in ["1", "2"] {
            client
                .publish(message("work", n, QoS::AtLeastOnce))
                .await
                .unwrap();
        }
        assert_eq!(take(&mut subscription).await.payload, "1");
        // Taken, and not acknowledged when the process ends.
        let unfinished = timeout(SOON, subscription.recv()).await.unwrap().unwrap();
        assert_eq!(unfinished.message.payload, "2");
        client.disconnect(SOON).await;
        drop(subscription);

        let client = connect(&broker, options(&format!("device-{version:?}"), version));
        assert!(connected(&client).await);
        let mut subscription = client.subscribe("work", QoS::AtLeastOnce).await.unwrap();
        assert_eq!(take(&mut subscription).await.payload, "2");
        client.disconnect(SOON).await;
    }
}

#[tokio::test]
async fn the_second_client_with_the_same_id_is_told_of() {
    let Some(broker) = Mosquitto::start("", None) else {
        return;
    };
    for version in VERSIONS {
        let slow = Options {
            back_off: BackOff {
                duplicate_client_id: Duration::from_secs(600),
                ..options("twin", version).back_off
            },
            ..options("twin", version)
        };
        let one = connect(&broker, slow.clone());
        connected(&one).await;
        let two = connect(&broker, slow);
        // One of them gives in. This broker does not say why it cuts connections: it is told from the pattern.
        let given_in = |status: &Status| match status {
            Status::Disconnected {
                duplicate_client_id: true,
                retry_in,
                ..
            } => *retry_in >= Duration::from_secs(600),
            _ => false,
        };
        tokio::select! {
            _ = status(&one, given_in) => {}
            _ = status(&two, given_in) => {}
        }
    }
}

#[tokio::test]
async fn an_offline_publish_waits_or_fails_as_asked() {
    let Some(mut broker) = Mosquitto::start("", None) else {
        return;
    };
    let client = connect(&broker, options("offline", Version::V5));
    connected(&client).await;
    broker.kill();
    lost(&client).await;
    let fail = PublishOptions {
        when_offline: WhenOffline::Fail,
        tag: None,
    };
    let error = client
        .publish_with(message("n", "x", QoS::AtLeastOnce), fail)
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::NotConnected), "{error}");
    let waits = client
        .send(
            message("n", "x", QoS::AtLeastOnce),
            PublishOptions::default(),
        )
        .await
        .unwrap();
    broker.run();
    timeout(SOON, waits).await.expect("sent in time").unwrap();
    client
        .publish_with(message("n", "x", QoS::AtLeastOnce), fail)
        .await
        .unwrap();
}

fn over_tls(broker: &Mosquitto, host: &str, tls: Tls) -> Client {
    let connector = Connector {
        host: host.into(),
        port: broker.port,
        tls: Some(tls),
        proxy: None,
    };
    let (client, task) = Client::start(options("tls", Version::V5), connector, None);
    tokio::spawn(task);
    client
}

#[tokio::test]
async fn mutual_tls_works_and_every_flaw_is_named() {
    let authority = Authority::new("Test Authority");
    let server = authority.issue("localhost");
    let with_tls = WithTls {
        authority: &authority,
        server: &server,
    };
    let Some(broker) = Mosquitto::start("", Some(&with_tls)) else {
        return;
    };
    let device = authority.issue("device");
    let identity = (&[device.certificate.clone()][..], &device.key);

    let tls = Tls::from_parts(&authority.pem(), Some(identity)).unwrap();
    let client = over_tls(&broker, "localhost", tls.clone());
    let mut subscription = client.subscribe("t", QoS::AtLeastOnce).await.unwrap();
    let payload = vec![7; 100_000];
    client
        .publish(message("t", payload.clone(), QoS::AtLeastOnce))
        .await
        .unwrap();
    assert_eq!(take(&mut subscription).await.payload, payload);
    client.disconnect(SOON).await;

    // The right address, but not the name in the certificate.
    let client = over_tls(&broker, "127.0.0.1", tls);
    let cause = why(&client).await;
    assert!(
        cause.contains("127.0.0.1") && cause.contains("mismatch"),
        "{cause}"
    );

    let stranger = Authority::new("Stranger");
    let tls = Tls::from_parts(&stranger.pem(), Some(identity)).unwrap();
    let cause = why(&over_tls(&broker, "localhost", tls)).await;
    assert!(cause.contains("certificate"), "{cause}");

    // TLS 1.3: the server refuses after the handshake has ended for us.
    let tls = Tls::from_parts(&authority.pem(), None).unwrap();
    let cause = why(&over_tls(&broker, "localhost", tls)).await;
    assert!(cause.contains("certificate required"), "{cause}");
}

async fn why(client: &Client) -> String {
    let disconnected = |status: &Status| matches!(status, Status::Disconnected { .. });
    match status(client, disconnected).await {
        Status::Disconnected { cause, .. } => {
            assert!(matches!(*cause, Cause::Dial(_) | Cause::Io(_)), "{cause:?}");
            cause.to_string()
        }
        _ => unreachable!(),
    }
}
