//! One side alone: a publisher at its own pace, or a subscriber, in processes of their own.

use crate::{
    connection,
    latencies::{Latencies, Report},
    message::Message,
    now,
};
use anyhow::Context;
use clap::Args;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// A publisher.
#[derive(Args, Clone, Debug)]
pub struct Publish {
    /// Names the run in its report.
    #[arg(long, default_value = "publish")]
    label: String,
    /// The topic.
    #[arg(long, default_value = "load/stream")]
    topic: String,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Messages in all; without end if this is not said.
    #[arg(long)]
    messages: Option<usize>,
    /// Milliseconds from one message to the next; as soon as the last is answered if this is not said.
    #[arg(long)]
    every: Option<u64>,
}

/// A subscriber.
#[derive(Args, Clone, Debug)]
pub struct Subscribe {
    /// Names the run in its report.
    #[arg(long, default_value = "subscribe")]
    label: String,
    /// The topic.
    #[arg(long, default_value = "load/stream")]
    topic: String,
    /// Messages in all; without end if this is not said.
    #[arg(long)]
    messages: Option<usize>,
}

/// Publishes; a latency here is the time from a request to its answer.
pub async fn publish(how: &Publish) -> anyhow::Result<Report> {
    let client = connection::as_component().await?;
    let mut pace = how
        .every
        .map(|every| interval(Duration::from_millis(every.max(1))));
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    }
    let (mut latencies, began, mut sent) = (Latencies::default(), now(), 0);
    while how.messages != Some(sent) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let message = Message {
            sender: 0,
            sent: now(),
        };
        client
            .publish_binary(&how.topic, &message.to_bytes(how.size))
            .await?;
        sent += 1;
        // A run without end keeps nothing: nobody will ask.
        if how.messages.is_some() {
            latencies.add(now().saturating_sub(message.sent));
        }
    }
    Ok(latencies.report(how.label.clone(), sent, now() - began))
}

/// Subscribes; a latency here is the time from a publisher's request, in whatever process, to the message's arrival.
pub async fn subscribe(how: &Subscribe) -> anyhow::Result<Report> {
    let client = connection::as_component().await?;
    let mut events = client.subscribe_to_topic(&how.topic).await?;
    println!("subscribed");
    let (mut latencies, mut began, mut received) = (Latencies::default(), now(), 0);
    while how.messages != Some(received) {
        let event = events
            .next()
            .await
            .context("the subscription has ended")??;
        let message = Message::from_event(&event)?;
        if received == 0 {
            began = message.sent;
        }
        received += 1;
        if how.messages.is_some() {
            latencies.add(now().saturating_sub(message.sent));
        }
    }
    Ok(latencies.report(how.label.clone(), received, now().saturating_sub(began)))
}
