//! Messages out and back in one process: a message is in flight until its publisher has the answer and every subscriber
//! has the message. One connection publishes; every subscriber has a connection of its own.

use crate::{
    PATIENCE, connection,
    latencies::{Latencies, Report},
    message::Message,
    now,
};
use anyhow::{Context, ensure};
use clap::Args;
use ipc::client::{Client, Events};
use std::time::Duration;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::timeout,
};

/// How much.
#[derive(Args, Clone, Debug)]
pub struct RoundTrip {
    /// Names the run in its report.
    #[arg(long, default_value = "round-trip")]
    label: String,
    /// The topic.
    #[arg(long, default_value = "load/round-trip")]
    topic: String,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Messages in all; a tenth more is sent before, to warm up.
    #[arg(long, default_value_t = 1000)]
    messages: usize,
    /// Messages in flight.
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Subscribers.
    #[arg(long, default_value_t = 1)]
    subscribers: usize,
}

/// One message after the other; there are as many of these as messages in flight.
struct Sender {
    number: u32,
    client: Client,
    arrivals: UnboundedReceiver<Duration>,
}

impl Sender {
    async fn send(&mut self, how: &RoundTrip, messages: usize) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..messages {
            let message = Message {
                sender: self.number,
                sent: now(),
            };
            let bytes = message.to_bytes(how.size);
            self.client.publish_binary(&how.topic, &bytes).await?;
            for _ in 0..how.subscribers {
                let arrival = timeout(PATIENCE, self.arrivals.recv()).await;
                let latency = arrival.context("a message did not arrive")?;
                latencies.add(latency.context("all subscriptions have ended")?);
            }
        }
        Ok(latencies)
    }
}

/// Runs it.
pub async fn run(how: &RoundTrip) -> anyhow::Result<Report> {
    ensure!(
        how.in_flight > 0 && how.messages >= how.in_flight,
        "there is nothing to send"
    );
    ensure!(how.subscribers > 0, "there is nobody to send to");
    let publisher = connection::as_component().await?;
    let (arrived, arrivals): (Vec<_>, Vec<_>) =
        (0..how.in_flight).map(|_| unbounded_channel()).unzip();
    let mut subscribers = JoinSet::new();
    for _ in 0..how.subscribers {
        let events = connection::as_component()
            .await?
            .subscribe_to_topic(&how.topic)
            .await?;
        subscribers.spawn(receive(events, arrived.clone()));
    }
    drop(arrived);
    let mut senders = Vec::new();
    for (number, arrivals) in (0..).zip(arrivals) {
        senders.push(Sender {
            number,
            client: publisher.clone(),
            arrivals,
        });
    }
    let (senders, _) = all(how, senders, how.messages.div_ceil(10)).await?;
    let began = now();
    let (_, latencies) = all(how, senders, how.messages).await?;
    Ok(latencies.report(how.label.clone(), how.messages, now() - began))
}

/// Lets the senders send `messages` between them.
async fn all(
    how: &RoundTrip,
    senders: Vec<Sender>,
    messages: usize,
) -> anyhow::Result<(Vec<Sender>, Latencies)> {
    let mut running = JoinSet::new();
    for (number, mut sender) in senders.into_iter().enumerate() {
        let how = how.clone();
        let share = messages / how.in_flight + usize::from(number < messages % how.in_flight);
        running.spawn(async move {
            let latencies = sender.send(&how, share).await;
            latencies.map(|latencies| (sender, latencies))
        });
    }
    let (mut senders, mut latencies) = (Vec::new(), Latencies::default());
    while let Some(done) = running.join_next().await {
        let (sender, its) = done??;
        senders.push(sender);
        latencies.append(its);
    }
    Ok((senders, latencies))
}

/// Tells each message's sender how long it took.
async fn receive(
    mut events: Events,
    arrived: Vec<UnboundedSender<Duration>>,
) -> anyhow::Result<()> {
    while let Some(event) = events.next().await {
        let message = Message::from_event(&event?)?;
        let sender = usize::try_from(message.sender)
            .ok()
            .and_then(|n| arrived.get(n));
        let sender = sender.context("a message of another process")?;
        // A sender that has had all it waited for is gone.
        let _ = sender.send(now().saturating_sub(message.sent));
    }
    Ok(())
}
