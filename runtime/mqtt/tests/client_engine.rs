//! Both halves of this crate against each other: the client on the engine, with connections cut under way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client_support;

use async_trait::async_trait;
use client_support::{SOON, message, status};
use mqtt::{
    QoS,
    client::{
        BackOff, Client, Dial, DialError, Options, PublishOptions, Reason, Status, Stream,
        SubscribeOptions, Timeouts,
    },
    engine::{self, Engine, Peer},
    packet::Version,
    policy::AllowAll,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::AbortHandle, time::timeout};

/// Dials into an engine of this process; the connection can be cut.
#[derive(Clone)]
struct Inside {
    engine: Engine,
    connection: Arc<Mutex<Option<AbortHandle>>>,
}

impl Inside {
    fn new(engine: &Engine) -> Self {
        Self {
            engine: engine.clone(),
            connection: Arc::default(),
        }
    }

    fn cut(&self) {
        if let Some(connection) = self.connection.lock().unwrap().take() {
            connection.abort();
        }
    }
}

#[async_trait]
impl Dial for Inside {
    async fn dial(&self, _: &Timeouts) -> Result<Box<dyn Stream>, DialError> {
        // Small: packets are cut in the middle.
        let (ours, theirs) = tokio::io::duplex(100);
        let peer = Peer {
            address: None,
            certificate: None,
        };
        let task = tokio::spawn(self.engine.connection(theirs, peer));
        *self.connection.lock().unwrap() = Some(task.abort_handle());
        Ok(Box::new(ours))
    }
}

async fn engine() -> Engine {
    let options = engine::Options::default();
    Engine::start(options, Arc::new(AllowAll), None)
        .await
        .unwrap()
}

fn client(
    way: &Inside,
    client_id: &str,
    version: Version,
) -> (Client, impl Future<Output = ()> + Send + 'static) {
    let options = Options {
        version,
        back_off: BackOff {
            initial: Duration::from_millis(2),
            max: Duration::from_millis(10),
            duplicate_client_id: Duration::from_millis(2),
            ..BackOff::default()
        },
        ..Options::new(client_id.to_owned())
    };
    Client::start(options, way.clone(), None)
}

fn start(way: &Inside, client_id: &str, version: Version) -> Client {
    let (client, task) = client(way, client_id, version);
    tokio::spawn(task);
    client
}

fn start_elsewhere(way: &Inside, client_id: &str, version: Version) -> Client {
    let (client, task) = client(way, client_id, version);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    std::thread::spawn(move || runtime.unwrap().block_on(task));
    client
}

#[tokio::test]
async fn cuts_on_both_sides_lose_nothing_at_qos_1_and_double_nothing_at_qos_2() {
    send_over_cuts(start).await;
}

#[tokio::test]
async fn nor_do_they_with_every_client_on_a_thread_of_its_own() {
    send_over_cuts(start_elsewhere).await;
}

async fn send_over_cuts(start: fn(&Inside, &str, Version) -> Client) {
    for (version, qos) in [
        (Version::V5, QoS::AtLeastOnce),
        (Version::V311, QoS::AtLeastOnce),
        (Version::V5, QoS::ExactlyOnce),
        (Version::V311, QoS::ExactlyOnce),
    ] {
        let engine = engine().await;
        let (to_receiver, to_sender) = (Inside::new(&engine), Inside::new(&engine));
        let receiver = start(&to_receiver, "receiver", version);
        let mut subscription = receiver
            .subscribe("n/#", SubscribeOptions::from(qos))
            .await
            .unwrap();
        let sender = start(&to_sender, "sender", version);
        let count = 1000_u32;
        let publishing = tokio::spawn(async move {
            let mut acknowledgements = Vec::new();
            for n in 0..count {
                let next = message("n/n", n.to_string(), qos);
                let sent = sender.send(next, PublishOptions::default()).await.unwrap();
                acknowledgements.push(sent);
                if n % 97 == 96 {
                    to_sender.cut();
                }
            }
            for acknowledgement in acknowledgements {
                acknowledgement.await.unwrap();
            }
        });
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        let mut deliveries = 0;
        while seen.len() < count as usize {
            let delivery = timeout(SOON, subscription.recv())
                .await
                .expect("a message in time")
                .unwrap();
            let payload = std::str::from_utf8(&delivery.message.payload).unwrap();
            *seen.entry(payload.parse().unwrap()).or_default() += 1;
            deliveries += 1;
            if deliveries % 61 == 0 {
                to_receiver.cut();
            }
            delivery.ack();
            // Leaves time for what cuts shall hit: acknowledgements on their way.
            tokio::task::yield_now().await;
        }
        timeout(SOON, publishing)
            .await
            .expect("all acknowledged")
            .unwrap();
        if qos == QoS::ExactlyOnce {
            assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        }
        receiver.disconnect(SOON).await;
        assert!(
            subscription
                .try_recv()
                .is_none_or(|rest| qos == QoS::AtLeastOnce || rest.is_err())
        );
    }
}

#[tokio::test]
async fn the_engine_says_that_a_client_id_was_taken_over() {
    let engine = engine().await;
    let one = start(&Inside::new(&engine), "twin", Version::V5);
    status(&one, Status::is_connected).await;
    let two = start(&Inside::new(&engine), "twin", Version::V5);
    let told = |status: &Status| match status {
        Status::Disconnected {
            cause,
            duplicate_client_id,
            ..
        } => *duplicate_client_id && cause.reason() == Some(Reason::SESSION_TAKEN_OVER),
        Status::Connecting { after, .. } => {
            after.as_ref().and_then(|cause| cause.reason()) == Some(Reason::SESSION_TAKEN_OVER)
        }
        _ => false,
    };
    status(&one, told).await;
    drop(two);
}
