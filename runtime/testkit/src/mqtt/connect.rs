//! Connections one after the other, some at a time: how many a second, and how long from the first packet to CONNACK. With TLS,
//! each is a full handshake with both certificates.

use super::{
    frame::{self, Connect, Frame, Version},
    link::Where,
    turns::{Handler, Turns},
    usage,
};
use crate::{
    PATIENCE,
    latencies::{Latencies, Ranks},
    now,
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

/// How many.
#[derive(Args, Clone, Debug)]
pub struct Rate {
    #[command(flatten)]
    to: Where,
    /// The protocol version.
    #[arg(long, value_enum, default_value = "3.1.1")]
    version: Version,
    /// Connections in all.
    #[arg(long, default_value_t = 500)]
    connections: usize,
    /// Connections at a time.
    #[arg(long, default_value_t = 16)]
    at_a_time: usize,
    /// The broker's process, to tell what it used.
    #[arg(long)]
    server: Option<u32>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    connections_per_second: f64,
    #[serde(flatten)]
    ranks: Ranks,
    /// Of one core.
    load_cpu: f64,
    server_ms_per_connection: Option<f64>,
}

struct Run {
    version: Version,
    began: BTreeMap<usize, Duration>,
    done: Vec<usize>,
    latencies: Latencies,
}

impl Handler for Run {
    fn frame(&mut self, link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        frame::accepted(frame, self.version)?;
        let began = self
            .began
            .remove(&link)
            .context("an answer to no question")?;
        self.latencies.add(now() - began);
        frame::disconnect(out);
        self.done.push(link);
        Ok(())
    }

    fn ended(&mut self, link: usize, why: &io::Error) -> anyhow::Result<()> {
        if self.began.contains_key(&link) {
            bail!("a connection was lost before its answer: {why}");
        }
        Ok(())
    }
}

/// Runs it.
pub fn run(how: &Rate) -> anyhow::Result<Report> {
    let target = how.to.target()?;
    let mut turns = Turns::new()?;
    let mut run = Run {
        version: how.version,
        began: BTreeMap::new(),
        done: Vec::new(),
        latencies: Latencies::default(),
    };
    let server = how.server.map(usage::of).transpose()?;
    let (began, own) = (Instant::now(), usage::own());
    let (mut opened, mut progress) = (0, (Instant::now(), 0));
    while run.latencies.len() < how.connections {
        while opened < how.connections && run.began.len() < how.at_a_time {
            let link = turns.open(&target)?;
            run.began.insert(link, now());
            let connect = Connect {
                version: how.version,
                client_id: &format!("rate-{opened}"),
                clean: true,
                keep_alive: 60,
            };
            frame::connect(turns.out(link).context("it was just opened")?, &connect);
            turns.flush(link, &mut run)?;
            opened += 1;
        }
        turns.turn(Duration::from_millis(100), &mut run)?;
        for link in std::mem::take(&mut run.done) {
            turns.close(link);
        }
        if run.latencies.len() != progress.1 {
            progress = (Instant::now(), run.latencies.len());
        }
        ensure!(
            progress.0.elapsed() < PATIENCE,
            "no answer to any connection for {} s",
            PATIENCE.as_secs()
        );
    }
    let seconds = began.elapsed().as_secs_f64();
    let count = how.connections as f64;
    let after = how.server.map(usage::of).transpose()?;
    let used = server.zip(after).map(|(before, after)| after - before);
    Ok(Report {
        connections_per_second: count / seconds,
        ranks: run.latencies.ranks(),
        load_cpu: (usage::own() - own).as_secs_f64() / seconds,
        server_ms_per_connection: used.map(|used| used.as_secs_f64() * 1e3 / count),
    })
}
