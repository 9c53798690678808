//! Connections that do nothing, each with a subscription: for the broker's memory, looked at from outside while they stay.

use super::{
    frame::{self, Frame, Version},
    link::Where,
    opening::{self, Manner, Wanted},
    turns::{Handler, Turns},
};
use clap::Args;
use serde::Serialize;
use std::{
    collections::HashSet,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
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
    /// What client ids begin with; a number follows.
    #[arg(long, default_value = "idle-")]
    prefix: String,
    /// What each subscribes to; `{id}` is its client id.
    #[arg(long, default_value = "idle/{id}/commands")]
    filter: String,
    /// Say so, in a line of its own, when each has been sent a message.
    #[arg(long)]
    messages: bool,
}

/// The first line says that they are there; the second, when standard input has ended, whether they still were.
#[derive(Debug, Serialize)]
pub struct Report {
    connected: usize,
    seconds: f64,
}

/// Each has been sent a message.
#[derive(Debug, Serialize)]
struct Told {
    told: usize,
    /// Seconds since 1970.
    at: f64,
}

struct Quiet {
    lost: usize,
    told: HashSet<usize>,
    /// How many are waited for; none when nobody asked.
    wanted: Option<usize>,
}

impl Handler for Quiet {
    fn frame(&mut self, link: usize, frame: Frame<'_>, _: &mut Vec<u8>) -> anyhow::Result<()> {
        if frame.kind() == frame::PUBLISH && self.told.insert(link) {
            self.say()?;
        }
        Ok(())
    }

    fn ended(&mut self, _: usize, _: &io::Error) -> anyhow::Result<()> {
        self.lost += 1;
        Ok(())
    }
}

impl Quiet {
    fn say(&mut self) -> anyhow::Result<()> {
        if self.wanted != Some(self.told.len()) {
            return Ok(());
        }
        let told = Told {
            told: self.told.len(),
            at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)?
                .as_secs_f64(),
        };
        println!("{}", serde_json::to_string(&told)?);
        io::stdout().flush()?;
        // Once is enough.
        self.wanted = None;
        Ok(())
    }
}

/// Connects them, says so on standard output, and holds them until standard input ends.
pub fn run(how: &Idle) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut turns = Turns::new()?;
    let wanted: Vec<_> = (0..how.connections)
        .map(|n| {
            let client_id = format!("{}{n}", how.prefix);
            let filter = how.filter.replace("{id}", &client_id);
            Wanted {
                client_id,
                subscription: Some((filter, 1)),
            }
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
    let mut quiet = Quiet {
        lost: 0,
        told: HashSet::new(),
        wanted: how.messages.then_some(how.connections),
    };
    while !over.load(Ordering::Relaxed) {
        turns.turn(Duration::from_millis(100), &mut quiet)?;
    }
    Ok(Report {
        connected: how.connections - quiet.lost,
        seconds: began.elapsed().as_secs_f64(),
    })
}
