//! Connections that do nothing, each with a subscription: for the broker's memory, looked at from outside while they stay.

use super::{
    frame::{Frame, Version},
    link::Where,
    opening::{self, Manner, Wanted},
    turns::{Handler, Turns},
};
use clap::Args;
use serde::Serialize;
use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How many.
#[derive(Args, Clone, Debug)]
pub struct Idle {
    #[command(flatten)]
    to: Where,
    /// The protocol version of all clients.
    #[arg(long, value_enum, default_value = "3.1.1")]
    version: Version,
    /// Connections.
    #[arg(long, default_value_t = 100)]
    connections: usize,
}

/// The first line says that they are there; the second, when standard input has ended, whether they still were.
#[derive(Debug, Serialize)]
pub struct Report {
    connected: usize,
    seconds: f64,
}

struct Quiet {
    lost: usize,
}

impl Handler for Quiet {
    fn frame(&mut self, _: usize, _: Frame<'_>, _: &mut Vec<u8>) -> anyhow::Result<()> {
        Ok(())
    }

    fn ended(&mut self, _: usize, _: &io::Error) -> anyhow::Result<()> {
        self.lost += 1;
        Ok(())
    }
}

/// Connects them, says so on standard output, and holds them until standard input ends.
pub fn run(how: &Idle) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut turns = Turns::new()?;
    let wanted: Vec<_> = (0..how.connections)
        .map(|n| Wanted {
            client_id: format!("idle-{n}"),
            subscription: Some((format!("idle/{n}/commands"), 1)),
        })
        .collect();
    let manner = Manner {
        version: how.version,
        clean: true,
    };
    opening::open(&mut turns, &how.to.target()?, manner, &wanted)?;
    let there = Report {
        connected: turns.alive(),
        seconds: began.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&there)?);
    io::stdout().flush()?;
    let over = Arc::new(AtomicBool::new(false));
    thread::spawn({
        let over = over.clone();
        move || {
            // Ended or broken, both mean that whoever held it is done.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
        }
    });
    let mut quiet = Quiet { lost: 0 };
    while !over.load(Ordering::Relaxed) {
        turns.turn(Duration::from_millis(100), &mut quiet)?;
    }
    Ok(Report {
        connected: how.connections - quiet.lost,
        seconds: began.elapsed().as_secs_f64(),
    })
}
