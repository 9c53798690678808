//! Gets many connections to the point where load can begin: connected, and subscribed where they are to be.

use super::{
    frame::{self, Connect, Frame, Version},
    link::Target,
    turns::{Handler, Turns},
};
use crate::PATIENCE;
use anyhow::{Context, bail, ensure};
use std::{
    io,
    time::{Duration, Instant},
};

/// Handshakes at a time: enough to keep a broker busy, less than the shortest queue of a listening socket.
const AT_A_TIME: usize = 64;

/// One connection that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who it is.
    pub client_id: String,
    /// What it subscribes to, and with which QoS.
    pub subscription: Option<(String, u8)>,
}

/// What they have in common.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Which version all speak.
    pub version: Version,
    /// Whether sessions begin and end with the connection.
    pub clean: bool,
}

struct Opening<'a> {
    manner: Manner,
    wanted: &'a [Wanted],
    /// By connection: which of the wanted it is.
    whose: Vec<usize>,
    pending: usize,
}

impl Handler for Opening<'_> {
    fn frame(&mut self, link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let wanted = &self.wanted[self.whose[link]];
        frame::accepted(frame, self.manner.version).with_context(|| wanted.client_id.clone())?;
        match &wanted.subscription {
            Some((filter, qos)) if frame.kind() == frame::CONNACK => {
                frame::subscribe(out, self.manner.version, 1, filter, *qos);
            }
            _ => self.pending -= 1,
        }
        Ok(())
    }

    fn ended(&mut self, link: usize, why: &io::Error) -> anyhow::Result<()> {
        let who = &self.wanted[self.whose[link]].client_id;
        bail!("{who} lost its connection before it was ready: {why}")
    }
}

/// Opens all of them, on a loop that has none yet: the first gets number 0, and so on.
pub fn open(
    turns: &mut Turns,
    to: &Target,
    manner: Manner,
    wanted: &[Wanted],
) -> anyhow::Result<()> {
    let mut opening = Opening {
        manner,
        wanted,
        whose: Vec::new(),
        pending: 0,
    };
    let mut progress = (Instant::now(), 0);
    for (number, one) in wanted.iter().enumerate() {
        while opening.pending >= AT_A_TIME {
            turn(turns, &mut opening, &mut progress)?;
        }
        let link = turns.open(to)?;
        ensure!(link == number, "the loop was not empty");
        opening.whose.push(number);
        opening.pending += 1;
        let connect = Connect {
            version: manner.version,
            client_id: &one.client_id,
            clean: manner.clean,
            keep_alive: 1200,
        };
        frame::connect(turns.out(link).context("it was just opened")?, &connect);
        turns.flush(link, &mut opening)?;
    }
    while opening.pending > 0 {
        turn(turns, &mut opening, &mut progress)?;
    }
    Ok(())
}

fn turn(
    turns: &mut Turns,
    opening: &mut Opening<'_>,
    progress: &mut (Instant, usize),
) -> anyhow::Result<()> {
    turns.turn(Duration::from_millis(100), opening)?;
    let ready = opening.whose.len() - opening.pending;
    if ready != progress.1 {
        *progress = (Instant::now(), ready);
    }
    ensure!(
        progress.0.elapsed() < PATIENCE,
        "only {ready} of {} connections came to be",
        opening.wanted.len()
    );
    Ok(())
}
