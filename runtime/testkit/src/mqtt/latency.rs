//! How long messages take at a steady rate: one publisher, sent whenever a timer says so, whatever has arrived.

use super::{
    frame::{self, Frame, Publish, Version},
    link::Where,
    opening::{self, Manner, Wanted},
    stamp::{self, Stamp},
    turns::{Handler, Turns},
    usage,
};
use crate::{
    latencies::{Latencies, Ranks},
    now,
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use serde::Serialize;
use std::{
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

/// How much.
#[derive(Args, Clone, Debug)]
pub struct Latency {
    #[command(flatten)]
    to: Where,
    /// The protocol version of all clients.
    #[arg(long, value_enum, default_value = "3.1.1")]
    version: Version,
    /// Subscribers.
    #[arg(long, default_value_t = 1)]
    subscribers: usize,
    /// Quality of service of messages and subscriptions: 0 or 1.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Messages per second.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long it runs before.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    ranks: Ranks,
    deliveries: usize,
    missing: u64,
    /// Of one core.
    load_cpu: f64,
}

struct Run<'a> {
    how: &'a Latency,
    latencies: Latencies,
    deliveries: u64,
    measuring: Duration,
}

impl Handler for Run<'_> {
    fn frame(&mut self, _link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        match frame.kind() {
            frame::PUBLISH => {
                let message = frame.delivered(self.how.version)?;
                if let Some(id) = message.id {
                    frame::puback(out, id);
                }
                let sent = Stamp::read(message.payload)?.sent;
                self.deliveries += 1;
                if sent >= self.measuring {
                    self.latencies.add(now().saturating_sub(sent));
                }
                Ok(())
            }
            frame::PUBACK => Ok(()),
            kind => bail!("a packet of type {kind} while measuring"),
        }
    }

    fn ended(&mut self, link: usize, why: &io::Error) -> anyhow::Result<()> {
        bail!("connection {link} was lost while measuring: {why}")
    }
}

/// Runs it.
pub fn run(how: &Latency) -> anyhow::Result<Report> {
    ensure!(how.subscribers > 0, "there is nobody to send to");
    let mut turns = Turns::new()?;
    let mut wanted = vec![Wanted {
        client_id: "load-publisher".into(),
        subscription: None,
    }];
    wanted.extend((0..how.subscribers).map(|n| Wanted {
        client_id: format!("load-subscriber-{n}"),
        subscription: Some(("load/latency".into(), how.qos)),
    }));
    let manner = Manner {
        version: how.version,
        clean: true,
    };
    opening::open(&mut turns, &how.to.target()?, manner, &wanted)?;
    let pace = Duration::from_secs_f64(1.0 / f64::from(how.rate));
    let spec = Timespec {
        tv_sec: i64::try_from(pace.as_secs())?,
        tv_nsec: pace.subsec_nanos().into(),
    };
    let timer = timerfd_create(
        TimerfdClockId::Monotonic,
        TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
    )?;
    let spec = Itimerspec {
        it_interval: spec,
        it_value: spec,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
    turns.watch(timer.as_raw_fd())?;

    let mut payload = vec![0; how.size.max(stamp::LEAST)];
    let measuring = now() + Duration::from_secs_f64(how.warm_up);
    let over = measuring + Duration::from_secs_f64(how.seconds);
    let mut run = Run {
        how,
        latencies: Latencies::default(),
        deliveries: 0,
        measuring,
    };
    let mut sent: u32 = 0;
    let cpu = (usage::own(), Instant::now());
    while now() < over {
        turns.turn(Duration::from_millis(50), &mut run)?;
        let mut due = [0; 8];
        match rustix::io::read(&timer, &mut due) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(error).context("the timer"),
        }
        for _ in 0..u64::from_ne_bytes(due) {
            Stamp {
                publisher: 0,
                sequence: sent,
                sent: now(),
            }
            .write(&mut payload);
            let message = Publish {
                topic: "load/latency",
                id: (how.qos > 0).then(|| (sent % 65_535 + 1) as u16),
                again: false,
                payload: &payload,
            };
            sent += 1;
            let out = turns.out(0).context("the publisher is gone")?;
            frame::publish(out, how.version, &message);
            turns.flush(0, &mut run)?;
        }
    }
    let load_cpu = (usage::own() - cpu.0).as_secs_f64() / cpu.1.elapsed().as_secs_f64();
    let all = u64::from(sent) * how.subscribers as u64;
    let last = Instant::now();
    while run.deliveries < all && last.elapsed() < Duration::from_secs(2) {
        turns.turn(Duration::from_millis(20), &mut run)?;
    }
    Ok(Report {
        deliveries: run.latencies.len(),
        ranks: run.latencies.ranks(),
        missing: all.saturating_sub(run.deliveries),
        load_cpu,
    })
}
