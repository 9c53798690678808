//! From topics that belong to services to the services, and back.

use super::port::{Devices, Outgoing, Sender};
use crate::{
    iot::{jobs, shadow},
    state::State,
};
use async_trait::async_trait;
use mqtt::{
    Message, QoS,
    engine::{Delivery, Engine, PublishError, SubscribeError},
};
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::Arc,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of requests that may wait.
const CAPACITY: usize = 4 << 20;

/// Requests under way at a time. Those about one topic keep their order.
const LANES: usize = 8;

/// Requests that wait in one lane.
const LANE: usize = 64;

/// The engine as services see it.
pub struct Outlet(pub Engine);

#[async_trait]
impl Devices for Outlet {
    async fn send(&self, message: Outgoing) {
        let topic = message.topic.clone();
        let message = Message {
            topic: message.topic.into(),
            payload: message.payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: None,
            properties: None,
        };
        match self.0.publish(message).await {
            Ok(()) | Err(PublishError::Stopped) => {}
            Err(error) => {
                log::warn!(topic = topic.as_str(); "a message to devices was not sent: {error}");
            }
        }
    }
}

/// Subscribes for all services and answers until told to stop.
pub async fn run(
    engine: Engine,
    state: Arc<State>,
    claim_uses: Option<u32>,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, SubscribeError> {
    let filters: Vec<&str> = [
        shadow::FILTERS,
        jobs::FILTERS,
        super::provisioning::FILTERS,
        crate::greengrassv2::FILTERS,
    ]
    .concat();
    let mut requests = engine
        .subscribe(&filters, QoS::AtLeastOnce, CAPACITY)
        .await?;
    Ok(async move {
        let tasks = TaskTracker::new();
        let lanes: Vec<mpsc::Sender<Delivery>> = (0..LANES)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(LANE);
                tasks.spawn(lane(receiver, Arc::clone(&state), claim_uses));
                sender
            })
            .collect();
        tasks.close();
        while let Some(Some(delivery)) = stop.run_until_cancelled(requests.recv()).await {
            let mut hasher = DefaultHasher::new();
            owner(&delivery.message.topic).hash(&mut hasher);
            let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
            // A lane ends only with its task's panic: the request is not acknowledged, and comes again.
            let _ = lanes[lane].send(delivery).await;
        }
        drop(lanes);
        tasks.wait().await;
    })
}

/// Requests about one thing keep their order.
fn owner(topic: &str) -> &str {
    let rest = topic.strip_prefix("$aws/things/").unwrap_or(topic);
    rest.split('/').next().unwrap_or(rest)
}

async fn lane(mut requests: mpsc::Receiver<Delivery>, state: Arc<State>, claim_uses: Option<u32>) {
    while let Some(delivery) = requests.recv().await {
        let sender = Sender {
            client_id: delivery
                .publisher
                .as_ref()
                .map(|who| who.client_id.to_string())
                .unwrap_or_default(),
            certificate: delivery
                .publisher
                .as_ref()
                .and_then(|who| Some(who.certificate.as_ref()?.fingerprint.clone())),
        };
        let (topic, payload) = (&delivery.message.topic, &delivery.message.payload);
        let answers = answer(&state, &sender, claim_uses, topic, payload).await;
        state.link.send_all(answers).await;
        delivery.ack();
    }
}

async fn answer(
    state: &Arc<State>,
    sender: &Sender,
    claim_uses: Option<u32>,
    topic: &str,
    payload: &[u8],
) -> Vec<Outgoing> {
    if topic.starts_with("$aws/certificates/") || topic.starts_with("$aws/provisioning-templates/")
    {
        return super::provisioning::handle(state, sender, claim_uses, topic, payload).await;
    }
    let kind = topic.splitn(4, '/').nth(3).unwrap_or_default();
    if kind.starts_with("shadow/") {
        shadow::handle(&state.shadows, topic, payload).await
    } else if kind.starts_with("jobs/") {
        jobs::handle(&state.jobs, topic, payload).await
    } else {
        crate::greengrassv2::handle(state, sender, topic, payload).await
    }
}
