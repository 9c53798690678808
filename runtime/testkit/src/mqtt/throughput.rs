//! As many messages as the broker takes: each publisher has a window of messages that not all subscribers have yet.

use super::{
    frame::{self, Frame, Publish, Version},
    link::Where,
    opening::{self, Manner, Wanted},
    stamp::{self, Stamp},
    turns::{Handler, Turns},
    usage,
};
use crate::PATIENCE;
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::{
    io,
    time::{Duration, Instant},
};

/// How much.
#[derive(Args, Clone, Debug)]
pub struct Throughput {
    #[command(flatten)]
    to: Where,
    /// The protocol version of all clients.
    #[arg(long, value_enum, default_value = "3.1.1")]
    version: Version,
    /// Publishers, each with a topic of its own.
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Subscribers, each to all topics.
    #[arg(long, default_value_t = 1)]
    subscribers: usize,
    /// Quality of service of messages and subscriptions: 0 or 1.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Messages that a publisher has under way: sent, and not yet with all subscribers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    window: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How long it runs before.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Sessions outlive their connections: the broker has to keep what it is to deliver.
    #[arg(long)]
    persistent: bool,
    /// The broker's process, to tell what it used.
    #[arg(long)]
    server: Option<u32>,
}

/// What came of it. `lost` and `repeated` are of the whole run, the rest of the part that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    deliveries_per_second: f64,
    published_per_second: f64,
    deliveries: u64,
    lost: u64,
    repeated: u64,
    /// Of one core.
    load_cpu: f64,
    server_cpu: Option<f64>,
    server_us_per_delivery: Option<f64>,
}

/// Without any delivery for so long, what is under way counts as lost.
const STALL: Duration = Duration::from_secs(2);
/// Bytes that are prepared for one publisher at a time.
const BATCH: usize = 64 * 1024;

#[derive(Clone, Default)]
struct Publisher {
    sent: u32,
    acknowledged: u32,
    /// Deliveries that have come or are known not to come.
    settled: u64,
}

struct Run<'a> {
    how: &'a Throughput,
    publishers: Vec<Publisher>,
    /// By subscriber and publisher: the next sequence number.
    next: Vec<u32>,
    deliveries: u64,
    lost: u64,
    repeated: u64,
}

impl Run<'_> {
    fn delivered(&mut self, subscriber: usize, stamp: Stamp) -> anyhow::Result<()> {
        let number = stamp.publisher as usize;
        let publisher = self
            .publishers
            .get_mut(number)
            .context("a message of nobody")?;
        let next = &mut self.next[subscriber * self.how.publishers + number];
        if stamp.sequence < *next {
            self.repeated += 1;
            return Ok(());
        }
        let missed = u64::from(stamp.sequence - *next);
        *next = stamp.sequence + 1;
        self.deliveries += 1;
        self.lost += missed;
        publisher.settled += 1 + missed;
        Ok(())
    }

    /// Whether a publisher may send one more.
    fn may(&self, number: usize) -> bool {
        let publisher = &self.publishers[number];
        let subscribers = self.how.subscribers as u64;
        let all = u64::from(publisher.sent) * subscribers;
        let window = u64::from(self.how.window);
        all - publisher.settled < window * subscribers
            && (self.how.qos == 0 || publisher.sent - publisher.acknowledged < self.how.window)
    }

    fn under_way(&self) -> u64 {
        let subscribers = self.how.subscribers as u64;
        let each = self.publishers.iter();
        each.map(|p| u64::from(p.sent) * subscribers - p.settled)
            .sum()
    }

    /// Gives up on all that is under way.
    fn give_up(&mut self) {
        self.lost += self.under_way();
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.settled = u64::from(publisher.sent) * self.how.subscribers as u64;
            publisher.acknowledged = publisher.sent;
            for subscriber in 0..self.how.subscribers {
                self.next[subscriber * self.how.publishers + number] = publisher.sent;
            }
        }
    }
}

impl Handler for Run<'_> {
    fn frame(&mut self, link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        match frame.kind() {
            frame::PUBLISH => {
                let subscriber = link
                    .checked_sub(self.how.publishers)
                    .context("a message for a publisher")?;
                let message = frame.delivered(self.how.version)?;
                if let Some(id) = message.id {
                    frame::puback(out, id);
                }
                self.delivered(subscriber, Stamp::read(message.payload)?)
            }
            frame::PUBACK => {
                let publisher = self.publishers.get_mut(link).context("not a publisher")?;
                publisher.acknowledged = (publisher.acknowledged + 1).min(publisher.sent);
                Ok(())
            }
            kind => bail!("a packet of type {kind} while measuring"),
        }
    }

    fn ended(&mut self, link: usize, why: &io::Error) -> anyhow::Result<()> {
        bail!("connection {link} was lost while measuring: {why}")
    }
}

#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    deliveries: u64,
    sent: u64,
    own: Duration,
    server: Option<Duration>,
}

fn mark(run: &Run<'_>) -> anyhow::Result<Mark> {
    Ok(Mark {
        at: Instant::now(),
        deliveries: run.deliveries,
        sent: run.publishers.iter().map(|p| u64::from(p.sent)).sum(),
        own: usage::own(),
        server: run.how.server.map(usage::of).transpose()?,
    })
}

/// Runs it.
pub fn run(how: &Throughput) -> anyhow::Result<Report> {
    ensure!(
        how.publishers > 0 && how.subscribers > 0,
        "it takes two to measure"
    );
    let mut turns = Turns::new()?;
    let publishers = (0..how.publishers).map(|n| Wanted {
        client_id: format!("load-publisher-{n}"),
        subscription: None,
    });
    let subscribers = (0..how.subscribers).map(|n| Wanted {
        client_id: format!("load-subscriber-{n}"),
        subscription: Some(("load/+".into(), how.qos)),
    });
    let wanted: Vec<_> = publishers.chain(subscribers).collect();
    let manner = Manner {
        version: how.version,
        clean: !how.persistent,
    };
    opening::open(&mut turns, &how.to.target()?, manner, &wanted)?;
    let mut run = Run {
        how,
        publishers: vec![Publisher::default(); how.publishers],
        next: vec![0; how.publishers * how.subscribers],
        deliveries: 0,
        lost: 0,
        repeated: 0,
    };
    let mut payload = vec![0; how.size.max(stamp::LEAST)];
    let topics: Vec<_> = (0..how.publishers).map(|n| format!("load/{n}")).collect();
    let warm = Instant::now() + Duration::from_secs_f64(how.warm_up);
    let over = warm + Duration::from_secs_f64(how.seconds);
    let mut began = None;
    let mut progress = (Instant::now(), 0);
    let ended = loop {
        for (number, topic) in topics.iter().enumerate() {
            fill(&mut turns, &mut run, number, topic, &mut payload)?;
        }
        turns.turn(Duration::from_millis(50), &mut run)?;
        let now = Instant::now();
        if run.deliveries != progress.1 {
            progress = (now, run.deliveries);
        } else if now - progress.0 > STALL {
            run.give_up();
            progress.0 = now;
        }
        if began.is_none() && now >= warm {
            began = Some(mark(&run)?);
        } else if now >= over {
            break mark(&run)?;
        }
    };
    drain(&mut turns, &mut run)?;
    let began = began.context("nothing was measured")?;
    let seconds = (ended.at - began.at).as_secs_f64();
    let deliveries = ended.deliveries - began.deliveries;
    let server = began.server.zip(ended.server);
    let server = server.map(|(before, after)| (after - before).as_secs_f64());
    Ok(Report {
        deliveries_per_second: deliveries as f64 / seconds,
        published_per_second: (ended.sent - began.sent) as f64 / seconds,
        deliveries,
        lost: run.lost,
        repeated: run.repeated,
        load_cpu: (ended.own - began.own).as_secs_f64() / seconds,
        server_cpu: server.map(|used| used / seconds),
        server_us_per_delivery: server.map(|used| used * 1e6 / deliveries.max(1) as f64),
    })
}

/// Lets a publisher send what its window allows.
fn fill(
    turns: &mut Turns,
    run: &mut Run<'_>,
    number: usize,
    topic: &str,
    payload: &mut [u8],
) -> anyhow::Result<()> {
    while run.may(number) && turns.waiting(number) < BATCH {
        let publisher = &mut run.publishers[number];
        let stamp = Stamp {
            publisher: u32::try_from(number)?,
            sequence: publisher.sent,
            sent: Duration::ZERO,
        };
        stamp.write(payload);
        let message = Publish {
            topic,
            // From 1 to 65535, over and over: far more than a window.
            id: (run.how.qos > 0).then(|| (publisher.sent % 65_535 + 1) as u16),
            again: false,
            payload,
        };
        publisher.sent += 1;
        let out = turns.out(number).context("a publisher is gone")?;
        frame::publish(out, run.how.version, &message);
    }
    turns.flush(number, run)
}

/// Waits for what is under way, so that losses are told from lateness.
fn drain(turns: &mut Turns, run: &mut Run<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut progress = (began, run.deliveries);
    while run.under_way() > 0 && began.elapsed() < PATIENCE {
        turns.turn(Duration::from_millis(50), run)?;
        if run.deliveries != progress.1 {
            progress = (Instant::now(), run.deliveries);
        } else if progress.0.elapsed() > STALL {
            break;
        }
    }
    run.give_up();
    Ok(())
}
