//! Denials in both versions, caching, and what happens to live sessions when policy changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use async_trait::async_trait;
use bytestring::ByteString;
use engine_support::*;
use mqtt::{
    Identity, Policy, QoS,
    engine::{DisconnectCause, Event, Options},
    policy::{ConnectRefusal, ConnectRequest},
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::watch;

/// Denies what is on its lists, and counts how often it is asked.
#[derive(Default)]
struct Rules {
    denied: Mutex<Vec<String>>,
    asked: AtomicUsize,
    revision: watch::Sender<u32>,
}

impl Rules {
    fn deny(self: &Arc<Self>, what: &str) {
        self.denied.lock().unwrap().push(what.to_owned());
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn allows(&self, what: &str) -> bool {
        !self
            .denied
            .lock()
            .unwrap()
            .iter()
            .any(|denied| denied == what)
    }
}

struct Asked(Arc<Rules>);

#[async_trait]
impl Policy for Asked {
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<(), ConnectRefusal> {
        match &*request.identity.client_id {
            "password" if request.password.is_none_or(|password| password != "right") => {
                Err(ConnectRefusal::BadCredentials)
            }
            "authority" => Err(ConnectRefusal::NotAuthorized),
            "name" => Err(ConnectRefusal::ClientIdNotAllowed),
            "busy" => Err(ConnectRefusal::Busy),
            "banned" => Err(ConnectRefusal::Banned),
            _ => Ok(()),
        }
    }

    fn publish(&self, _: &Identity, topic: &str, _: QoS, _: bool) -> bool {
        self.0.asked.fetch_add(1, Relaxed);
        self.0.allows(&format!("publish {topic}"))
    }

    fn subscribe(&self, _: &Identity, filter: &str, _: QoS) -> bool {
        self.0.allows(&format!("subscribe {filter}"))
    }

    fn receive(&self, _: &Identity, topic: &str) -> bool {
        self.0.allows(&format!("receive {topic}"))
    }

    fn keep(&self, who: &Identity) -> bool {
        self.0.allows(&format!("client {}", who.client_id))
    }

    fn revision(&self) -> Option<watch::Receiver<u32>> {
        Some(self.0.revision.subscribe())
    }
}

async fn start() -> (mqtt::engine::Engine, Arc<Rules>) {
    let rules = Arc::new(Rules::default());
    (
        engine_with(Options::default(), Asked(Arc::clone(&rules))).await,
        rules,
    )
}

#[tokio::test]
async fn a_refused_connect_is_told_why_in_its_version() {
    let (engine, _) = start().await;
    for (id, old, new) in [
        ("password", 4, 0x86),
        ("authority", 5, 0x87),
        ("name", 2, 0x85),
        ("busy", 3, 0x89),
        ("banned", 5, 0x8A),
    ] {
        for (conn, expected) in [(Conn::v4(id), old), (Conn::v5(id), new)] {
            let mut client = Client::try_connect(&engine, conn).await;
            assert!(
                matches!(client.connack, Packet::ConnAck { code, .. } if code == expected),
                "{id}: {:?}",
                client.connack
            );
            assert_eq!(client.read_or_end().await, None);
        }
    }
    let mut conn = Conn::v4("password");
    conn.login = Some(("user".into(), "right".into()));
    Client::connect(&engine, conn).await;
    assert_eq!(engine.metrics().denied_connect, 10);
}

#[tokio::test]
async fn a_denied_publish_closes_3_1_1_and_is_answered_in_5() {
    let (engine, rules) = start().await;
    rules.deny("publish no");
    let mut watcher = Client::connect(&engine, Conn::v4("watcher")).await;
    watcher.subscribe(&[("#", 0)]).await;
    for qos in 0..3 {
        let mut client = Client::connect(&engine, Conn::v4("old")).await;
        client.publish(&Pub::new("no", "x", qos, 1)).await;
        assert_eq!(client.read_or_end().await, None);
    }
    let mut client = Client::connect(&engine, Conn::v5("new")).await;
    client.publish(&Pub::new("no", "x", 1, 1)).await;
    assert_eq!(client.read().await, Packet::PubAck(1, 0x87));
    client.publish(&Pub::new("no", "x", 2, 2)).await;
    assert_eq!(client.read().await, Packet::PubRec(2, 0x87));
    client.publish_done("yes", "x", 2).await;
    client.publish(&Pub::new("no", "x", 0, 0)).await;
    assert_eq!(client.read().await, Packet::Disconnect(0x87));
    assert_eq!(watcher.message().await.topic, "yes");
    watcher.expect_nothing().await;
    assert_eq!(engine.metrics().denied_publish, 6);
}

#[tokio::test]
async fn a_denied_filter_fails_alone() {
    let (engine, rules) = start().await;
    rules.deny("subscribe no/#");
    for (conn, code) in [(Conn::v4("old"), 0x80), (Conn::v5("new"), 0x87)] {
        let mut client = Client::connect(&engine, conn).await;
        assert_eq!(
            client
                .subscribe(&[("a", 1), ("no/#", 1), ("$share/g/no/#", 0), ("b", 2)])
                .await,
            [1, code, code, 2]
        );
        assert_eq!(engine.metrics().subscriptions, 2);
        client.disconnect().await;
    }
}

#[tokio::test]
async fn a_will_is_asked_about_at_connect_and_again_when_it_is_due() {
    let (engine, rules) = start().await;
    let mut watcher = Client::connect(&engine, Conn::v4("watcher")).await;
    watcher.subscribe(&[("gone", 0)]).await;
    let conn = Conn::v5("w").will(Pub::new("gone", "w", 0, 0), vec![]);
    let client = Client::connect(&engine, conn.clone()).await;
    rules.deny("publish gone");
    drop(client);
    until(|| engine.metrics().connections == 1).await;
    watcher.expect_nothing().await;
    let refused = Client::try_connect(&engine, conn).await;
    assert!(matches!(
        refused.connack,
        Packet::ConnAck { code: 0x87, .. }
    ));
}

#[tokio::test]
async fn decisions_are_remembered_until_the_revision_changes() {
    let (engine, rules) = start().await;
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    for _ in 0..10 {
        client.publish_done("t", "x", 1).await;
        client.publish_done("u", "x", 1).await;
    }
    assert_eq!(rules.asked.load(Relaxed), 2);
    rules.deny("publish t");
    // The change travels by a task of its own.
    let denied = async {
        loop {
            client.publish(&Pub::new("t", "x", 1, 9)).await;
            if client.read().await == Packet::PubAck(9, 0x87) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, denied)
        .await
        .expect("the change arrives");
}

#[tokio::test]
async fn live_sessions_lose_what_policy_takes_away() {
    let (engine, rules) = start().await;
    let mut events = engine.events();
    let mut client = Client::connect(&engine, Conn::v5("c")).await;
    client
        .subscribe(&[("a", 0), ("b", 0), ("$share/g/a", 0)])
        .await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    rules.deny("subscribe a");
    until(|| engine.metrics().subscriptions == 1).await;
    publisher.publish_done("a", "x", 1).await;
    publisher.publish_done("b", "y", 1).await;
    assert_eq!(client.message().await.text(), "y");
    rules.deny("client c");
    assert_eq!(client.read().await, Packet::Disconnect(0x87));
    publisher.ping().await;
    let mut unsubscribed: Vec<ByteString> = Vec::new();
    loop {
        match events.recv().await.unwrap() {
            Event::Unsubscribed { filters, .. } => unsubscribed.extend(filters),
            Event::Disconnected { identity, cause } => {
                assert_eq!(
                    (&*identity.client_id, cause),
                    ("c", DisconnectCause::NotAuthorized)
                );
                break;
            }
            _ => {}
        }
    }
    unsubscribed.sort();
    assert_eq!(unsubscribed, ["$share/g/a", "a"]);
}

#[tokio::test]
async fn a_resumed_session_is_looked_at_before_anything_is_sent() {
    let (engine, rules) = start().await;
    let mut client = Client::connect(&engine, Conn::v5("c").lasting()).await;
    client.subscribe(&[("a", 1), ("b", 1)]).await;
    drop(client);
    until(|| engine.metrics().connections == 0).await;
    rules.deny("subscribe a");
    let _client = Client::connect(&engine, Conn::v5("c").lasting()).await;
    until(|| engine.metrics().subscriptions == 1).await;
}

#[tokio::test]
async fn a_message_that_may_not_be_received_is_not_sent_and_holds_nothing() {
    let (engine, rules) = start().await;
    rules.deny("receive secret");
    let mut client =
        Client::connect(&engine, Conn::v5("c").with(Prop::Two(RECEIVE_MAXIMUM, 1))).await;
    client.subscribe(&[("+", 1)]).await;
    let mut publisher = Client::connect(&engine, Conn::v5("p")).await;
    publisher.publish_done("secret", "x", 1).await;
    publisher.publish_done("open", "y", 1).await;
    assert_eq!(client.message_done().await.text(), "y");
    assert_eq!(engine.metrics().denied_receive, 1);
    until(|| engine.metrics().queued_bytes == 0).await;
}
