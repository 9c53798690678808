//! Connections that break at any moment, on several threads: QoS 2 messages arrive once and in their publisher's order all the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod engine_support;

use engine_support::*;
use mqtt::{
    engine::{Engine, Options},
    policy::AllowAll,
    store::{self, Store},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

const PUBLISHERS: usize = 3;
const EACH: usize = 300;
const SUBSCRIBERS: usize = 3;
/// Messages a publisher has under way.
const WINDOW: usize = 8;

/// A generator of small numbers; the seed makes a run repeatable as far as the scheduler is.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

enum Stage {
    Sent,
    Received,
}

async fn publish_all(engine: Engine, publisher: usize) {
    let mut dice = Dice(publisher as u64 + 7);
    let mut open: VecDeque<(u16, usize, Stage)> = VecDeque::new();
    let (mut next, mut first) = (0, true);
    let topic = format!("chaos/{publisher}");
    while next < EACH || !open.is_empty() {
        let mut client =
            Client::connect(&engine, Conn::v5(&format!("p{publisher}")).lasting()).await;
        assert_eq!(client.session_present(), !first);
        first = false;
        for (id, number, stage) in &open {
            match stage {
                Stage::Sent => {
                    client
                        .publish(&Pub::new(&topic, number.to_string(), 2, *id).dup())
                        .await;
                }
                Stage::Received => client.ack(6, *id).await,
            }
        }
        for _ in 0..dice.below(60) {
            while next < EACH && open.len() < WINDOW {
                let id = (next % 60_000 + 1) as u16;
                client
                    .publish(&Pub::new(&topic, next.to_string(), 2, id))
                    .await;
                open.push_back((id, next, Stage::Sent));
                next += 1;
            }
            if open.is_empty() {
                break;
            }
            match client.read().await {
                Packet::PubRec(id, code) => {
                    assert!(code < 0x80, "{code:#x}");
                    let entry = open
                        .iter_mut()
                        .find(|entry| entry.0 == id)
                        .expect("a message under way");
                    entry.2 = Stage::Received;
                    client.ack(6, id).await;
                }
                Packet::PubComp(id, _) => open.retain(|entry| entry.0 != id),
                other => panic!("{other:?}"),
            }
        }
        // The connection breaks here, with whatever is on it.
    }
}

async fn receive_all(engine: Engine, subscriber: usize) {
    let mut dice = Dice(subscriber as u64 + 99);
    let mut next = [0; PUBLISHERS];
    let mut unreleased = HashSet::new();
    let conn = Conn::v5(&format!("s{subscriber}")).lasting();
    while next.iter().any(|count| *count < EACH) || !unreleased.is_empty() {
        let conn = conn
            .clone()
            .with(Prop::Two(RECEIVE_MAXIMUM, dice.below(20) as u16 + 1));
        let mut client = Client::connect(&engine, conn).await;
        assert!(client.session_present());
        for _ in 0..dice.below(80) {
            let Ok(packet) = timeout(Duration::from_millis(50), client.read()).await else {
                break;
            };
            match packet {
                Packet::Publish(message) => {
                    assert_eq!(message.qos, 2);
                    if unreleased.insert(message.id) {
                        let publisher: usize = message
                            .topic
                            .strip_prefix("chaos/")
                            .unwrap()
                            .parse()
                            .unwrap();
                        assert_eq!(
                            message.text(),
                            next[publisher].to_string(),
                            "lost, doubled or out of order"
                        );
                        next[publisher] += 1;
                    } else {
                        assert!(message.dup);
                    }
                    client.ack(5, message.id).await;
                }
                Packet::PubRel(id, _) => {
                    unreleased.remove(&id);
                    client.ack(7, id).await;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn play(engine: &Engine) {
    for subscriber in 0..SUBSCRIBERS {
        let mut client =
            Client::connect(engine, Conn::v5(&format!("s{subscriber}")).lasting()).await;
        client.subscribe(&[("chaos/+", 2)]).await;
        client.disconnect().await;
    }
    let mut tasks = Vec::new();
    for subscriber in 0..SUBSCRIBERS {
        tasks.push(tokio::spawn(receive_all(engine.clone(), subscriber)));
    }
    for publisher in 0..PUBLISHERS {
        tasks.push(tokio::spawn(publish_all(engine.clone(), publisher)));
    }
    for task in tasks {
        timeout(Duration::from_secs(60), task)
            .await
            .expect("all is delivered in time")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    let options = Options {
        high_water: 2000,
        ..Options::default()
    };
    let engine = engine(options).await;
    play(&engine).await;
    for client in engine.clients() {
        engine.end_session(&client.client_id);
    }
    until(|| engine.metrics().connections == 0 && engine.metrics().queued_bytes == 0).await;
    assert_eq!(
        (engine.metrics().sessions, engine.metrics().subscriptions),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_store_whose_queues_do_not_fit_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (store, loaded, _) =
        Store::open(&folder.path().join("mqtt.db"), store::Options::default()).unwrap();
    let options = Options {
        high_water: 2000,
        ..Options::default()
    };
    let engine = Engine::start(options, Arc::new(AllowAll), Some((store, loaded)))
        .await
        .unwrap();
    play(&engine).await;
    until(|| engine.store_metrics().unwrap().messages == 0).await;
    until(|| engine.metrics().queued_bytes == 0).await;
}
