//! Many clients with lasting sessions that come, go, take their own sessions over and stop reading, while all publish with QoS 1 to
//! one another: what was acknowledged must arrive, and the broker's memory must stay where it is.
//!
//! Half of the clients speak 3.1.1, half 5. A client subscribes once, in the first of its connections; later ones expect the session.

use super::{
    frame::{self, Connect, Frame, Publish, Version},
    link::{Target, Where},
    stamp::{self, Stamp},
    turns::{Handler, Turns},
    usage,
};
use crate::now;
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Serialize;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::{Duration, Instant},
};

/// How much.
#[derive(Args, Clone, Debug)]
pub struct Soak {
    #[command(flatten)]
    to: Where,
    /// Clients.
    #[arg(long, default_value_t = 2500)]
    clients: usize,
    /// Messages a second, of all clients together.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Clients a second that something happens to: a lost connection, an orderly end, a takeover, a pause in reading.
    #[arg(long, default_value_t = 20)]
    churn: u32,
    /// How long messages are sent.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// How long is waited, after that, for all to arrive.
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
    /// The broker's process, to tell what it used.
    #[arg(long)]
    server: Option<u32>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    clients: usize,
    seconds_to_connect: f64,
    sent: usize,
    acknowledged: usize,
    /// Acknowledged by the broker and never delivered.
    lost: usize,
    /// Delivered more than once, which QoS 1 allows when a connection was lost.
    repeated: usize,
    /// Delivered to another client than the one it was for.
    astray: usize,
    lost_connections: usize,
    orderly_ends: usize,
    takeovers: usize,
    /// Takeovers in which the older connection was not ended.
    takeovers_ignored: usize,
    /// Takeovers of MQTT 5 whose older connection was not told why.
    takeovers_untold: usize,
    pauses: usize,
    /// Connections that the broker ended, of its own accord.
    cut: usize,
    /// What it said to that, where it did.
    reasons: BTreeMap<String, usize>,
    refused: usize,
    /// Connections that expected a session and were told that there is none.
    sessions_lost: usize,
    /// The broker's memory in bytes: with all clients connected, at most while messages were sent, and with all delivered.
    memory_connected: Option<u64>,
    memory_most: Option<u64>,
    memory_end: Option<u64>,
    server_cpu: Option<f64>,
    load_cpu: f64,
}

/// How long a client stays away, or does not read.
const AWAY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(4);
/// How long an old connection may live on after its session was taken over.
const TAKEOVER: Duration = Duration::from_secs(10);
/// A client sends no more while so many of its messages are unanswered.
const UNANSWERED: usize = 100;
/// Clients that connect at a time.
const AT_A_TIME: usize = 64;
const TAKEN_OVER: u8 = 0x8e;

struct Message {
    to: usize,
    acknowledged: bool,
    deliveries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Down,
    Connecting,
    Up,
}

struct Client {
    state: State,
    link: Option<usize>,
    /// Has subscribed: from now on the broker keeps a session.
    known: bool,
    unanswered: BTreeMap<u16, usize>,
    next_id: u16,
}

/// What a connection is to the run.
#[derive(Clone, Copy)]
struct Owner {
    client: usize,
    /// Its session was taken over then.
    superseded: Option<Instant>,
    /// It was told so.
    told: bool,
}

struct Run<'a> {
    how: &'a Soak,
    clients: Vec<Client>,
    owners: BTreeMap<usize, Owner>,
    messages: Vec<Message>,
    topics: Vec<String>,
    payload: Vec<u8>,
    connecting: usize,
    /// Clients whose connection has just ended by no will of ours.
    fallen: Vec<usize>,
    report: Report,
}

fn version(client: usize) -> Version {
    if client.is_multiple_of(2) {
        Version::V4
    } else {
        Version::V5
    }
}

impl Run<'_> {
    fn publish(&mut self, client: usize, id: u16, again: bool, out: &mut Vec<u8>) {
        let number = self.clients[client].unanswered[&id];
        let stamp = Stamp {
            publisher: client as u32,
            sequence: number as u32,
            sent: now(),
        };
        stamp.write(&mut self.payload);
        let message = Publish {
            topic: &self.topics[self.messages[number].to],
            id: Some(id),
            again,
            payload: &self.payload,
        };
        frame::publish(out, version(client), &message);
    }

    /// A connection is fit for use: what was not answered on the last one is sent again.
    fn up(&mut self, client: usize, out: &mut Vec<u8>) {
        self.connecting -= 1;
        self.clients[client].state = State::Up;
        let ids: Vec<u16> = self.clients[client].unanswered.keys().copied().collect();
        for id in ids {
            self.publish(client, id, true, out);
        }
    }

    fn connected(
        &mut self,
        client: usize,
        frame: Frame<'_>,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        frame::accepted(frame, version(client)).with_context(|| format!("client {client}"))?;
        if self.clients[client].known {
            if frame.body.first() != Some(&1) {
                self.report.sessions_lost += 1;
            }
            self.up(client, out);
        } else {
            frame::subscribe(out, version(client), 1, &self.topics[client], 1);
        }
        Ok(())
    }

    fn delivered(
        &mut self,
        client: usize,
        frame: Frame<'_>,
        out: &mut Vec<u8>,
    ) -> anyhow::Result<()> {
        let delivered = frame.delivered(version(client))?;
        let id = delivered.id.context("a message of QoS 0: 1 was sent")?;
        frame::puback(out, id);
        let number = Stamp::read(delivered.payload)?.sequence as usize;
        let message = self.messages.get_mut(number).context("never sent")?;
        message.deliveries += 1;
        if message.to != client {
            self.report.astray += 1;
        } else if message.deliveries > 1 {
            self.report.repeated += 1;
        }
        Ok(())
    }
}

impl Handler for Run<'_> {
    fn frame(&mut self, link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let owner = self.owners[&link];
        let client = owner.client;
        match frame.kind() {
            frame::CONNACK => self.connected(client, frame, out),
            frame::SUBACK => {
                frame::accepted(frame, version(client))?;
                self.clients[client].known = true;
                self.up(client, out);
                Ok(())
            }
            frame::PUBLISH => self.delivered(client, frame, out),
            frame::PUBACK => {
                if let Some(number) = self.clients[client].unanswered.remove(&frame.id()?) {
                    self.messages[number].acknowledged = true;
                }
                Ok(())
            }
            frame::DISCONNECT => {
                let reason = frame.body.first().copied().unwrap_or_default();
                if owner.superseded.is_some() && reason == TAKEN_OVER {
                    if let Some(owner) = self.owners.get_mut(&link) {
                        owner.told = true;
                    }
                } else {
                    *self
                        .report
                        .reasons
                        .entry(format!("{reason:#04x}"))
                        .or_default() += 1;
                }
                Ok(())
            }
            kind => bail!("a packet of type {kind}"),
        }
    }

    fn ended(&mut self, link: usize, _why: &io::Error) -> anyhow::Result<()> {
        let owner = self.owners.remove(&link).context("nobody's connection")?;
        if owner.superseded.is_some() {
            if !owner.told && version(owner.client) == Version::V5 {
                self.report.takeovers_untold += 1;
            }
            return Ok(());
        }
        let client = &mut self.clients[owner.client];
        if client.state == State::Connecting {
            self.connecting -= 1;
            self.report.refused += 1;
        } else {
            self.report.cut += 1;
        }
        client.state = State::Down;
        client.link = None;
        self.fallen.push(owner.client);
        Ok(())
    }
}

/// The run and the loop it is on.
struct Soaking<'a> {
    turns: Turns,
    target: Target,
    run: Run<'a>,
    /// When something that was begun is to end: a client is to come back, or to read again.
    returns: VecDeque<(Instant, usize)>,
    wakes: VecDeque<(Instant, usize, usize)>,
    /// Who is next to publish, and to whom something happens.
    turn: usize,
    victim: usize,
}

impl Soaking<'_> {
    fn connect(&mut self, client: usize) -> anyhow::Result<()> {
        let link = self.turns.open(&self.target)?;
        let owner = Owner {
            client,
            superseded: None,
            told: false,
        };
        self.run.owners.insert(link, owner);
        self.run.clients[client].link = Some(link);
        self.run.clients[client].state = State::Connecting;
        self.run.connecting += 1;
        let connect = Connect {
            version: version(client),
            client_id: &format!("soak-{client}"),
            clean: false,
            keep_alive: 120,
        };
        let out = self.turns.out(link).context("it was just opened")?;
        frame::connect(out, &connect);
        self.turns.flush(link, &mut self.run)
    }

    /// What the passing of time brings about.
    fn due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for client in std::mem::take(&mut self.run.fallen) {
            self.returns.push_back((now + AWAY, client));
        }
        while self.run.connecting < AT_A_TIME
            && self.returns.front().is_some_and(|(when, _)| *when <= now)
        {
            let Some((_, client)) = self.returns.pop_front() else {
                break;
            };
            if self.run.clients[client].state == State::Down {
                self.connect(client)?;
            }
        }
        while let Some((when, client, link)) = self.wakes.front().copied() {
            if when > now {
                break;
            }
            self.wakes.pop_front();
            if self.run.clients[client].link == Some(link) {
                self.turns.deafen(link, false);
            }
        }
        self.ignored(now);
        Ok(())
    }

    /// Old connections that still stand long after their session was taken over.
    fn ignored(&mut self, now: Instant) {
        let late = |owner: &Owner| owner.superseded.is_some_and(|when| now - when > TAKEOVER);
        let links: Vec<_> = self
            .run
            .owners
            .iter()
            .filter(|(_, owner)| late(owner))
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.run.report.takeovers_ignored += 1;
            self.run.owners.remove(&link);
            self.turns.close(link);
        }
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        self.due()?;
        self.turns.turn(Duration::from_millis(10), &mut self.run)
    }

    /// The next client in line sends a message to another.
    fn send(&mut self) -> anyhow::Result<()> {
        let count = self.run.clients.len();
        for _ in 0..count {
            let client = self.turn % count;
            self.turn += 1;
            let its = &mut self.run.clients[client];
            let Some(link) = its.link.filter(|_| its.state == State::Up) else {
                continue;
            };
            if its.unanswered.len() >= UNANSWERED {
                continue;
            }
            its.next_id = its.next_id.checked_add(1).unwrap_or(1);
            let id = its.next_id;
            its.unanswered.insert(id, self.run.messages.len());
            // A stride that is no divisor of the count pairs everybody with everybody in time.
            self.run.messages.push(Message {
                to: (client + 1 + self.turn / count * 17) % count,
                acknowledged: false,
                deliveries: 0,
            });
            let mut out = std::mem::take(self.turns.out(link).context("it is up")?);
            self.run.publish(client, id, false, &mut out);
            *self.turns.out(link).context("it is up")? = out;
            return self.turns.flush(link, &mut self.run);
        }
        Ok(())
    }

    /// Something happens to a client.
    fn happen(&mut self) -> anyhow::Result<()> {
        let count = self.run.clients.len();
        let kind = self.victim % 4;
        // Far apart, and everybody's turn in time.
        let client = self.victim * 37 % count;
        self.victim += 1;
        let its = &mut self.run.clients[client];
        let Some(link) = its.link.filter(|_| its.state == State::Up) else {
            return Ok(());
        };
        let now = Instant::now();
        match kind {
            0 | 1 => {
                if kind == 0 {
                    self.run.report.lost_connections += 1;
                } else {
                    self.run.report.orderly_ends += 1;
                    frame::disconnect(self.turns.out(link).context("it is up")?);
                    self.turns.flush(link, &mut self.run)?;
                }
                self.turns.close(link);
                if self.run.owners.remove(&link).is_some() {
                    let its = &mut self.run.clients[client];
                    its.state = State::Down;
                    its.link = None;
                    self.returns.push_back((now + AWAY, client));
                }
            }
            2 => {
                self.run.report.takeovers += 1;
                if let Some(owner) = self.run.owners.get_mut(&link) {
                    owner.superseded = Some(now);
                }
                // One that was not reading could not see its end.
                self.turns.deafen(link, false);
                self.connect(client)?;
            }
            _ => {
                self.run.report.pauses += 1;
                self.turns.deafen(link, true);
                self.wakes.push_back((now + PAUSE, client, link));
            }
        }
        Ok(())
    }

    fn all_up(&self) -> bool {
        let mut clients = self.run.clients.iter();
        clients.all(|client| client.state == State::Up)
    }

    fn settled(&self) -> bool {
        self.all_up()
            && self.wakes.is_empty()
            && self.run.messages.iter().all(|m| m.deliveries > 0)
            && self.run.clients.iter().all(|c| c.unanswered.is_empty())
    }

    fn memory(&self) -> anyhow::Result<Option<u64>> {
        self.run.how.server.map(usage::memory).transpose()
    }
}

/// Runs it.
pub fn run(how: &Soak) -> anyhow::Result<Report> {
    ensure!(how.clients > 1 && how.rate > 0, "nothing to soak");
    let client = |_| Client {
        state: State::Down,
        link: None,
        known: false,
        unanswered: BTreeMap::new(),
        next_id: 0,
    };
    let run = Run {
        how,
        clients: (0..how.clients).map(client).collect(),
        owners: BTreeMap::new(),
        messages: Vec::new(),
        topics: (0..how.clients).map(|n| format!("soak/{n}")).collect(),
        payload: vec![0; how.size.max(stamp::LEAST)],
        connecting: 0,
        fallen: Vec::new(),
        report: Report::default(),
    };
    let began = Instant::now();
    let mut soaking = Soaking {
        turns: Turns::new()?,
        target: how.to.target()?,
        run,
        returns: (0..how.clients).map(|client| (began, client)).collect(),
        wakes: VecDeque::new(),
        turn: 0,
        victim: 0,
    };
    while !soaking.all_up() {
        soaking.turn()?;
        ensure!(
            began.elapsed() < Duration::from_secs_f64(60.0 + how.clients as f64 * 0.02),
            "not all clients got in: {} are connected, {} were refused",
            soaking.turns.alive(),
            soaking.run.report.refused
        );
    }
    soaking.run.report.seconds_to_connect = began.elapsed().as_secs_f64();
    soaking.run.report.memory_connected = soaking.memory()?;
    let server = how.server.map(usage::of).transpose()?;
    let (began, own) = (Instant::now(), usage::own());
    let (mut happened, mut looked) = (0, began);
    while began.elapsed().as_secs_f64() < how.seconds {
        let passed = began.elapsed().as_secs_f64();
        while (soaking.run.messages.len() as f64) < passed * f64::from(how.rate) {
            let before = soaking.run.messages.len();
            soaking.send()?;
            if soaking.run.messages.len() == before {
                break; // nobody can send for now
            }
        }
        while f64::from(happened) < passed * f64::from(how.churn) {
            soaking.happen()?;
            happened += 1;
        }
        soaking.turn()?;
        if looked.elapsed() > Duration::from_secs(1) {
            looked = Instant::now();
            let memory = soaking.memory()?;
            let most = &mut soaking.run.report.memory_most;
            *most = (*most).max(memory);
        }
    }
    let after = how.server.map(usage::of).transpose()?;
    let used = server.zip(after).map(|(before, after)| after - before);
    let seconds = began.elapsed().as_secs_f64();
    let load = usage::own() - own;
    let ending = Instant::now();
    while !soaking.settled() && ending.elapsed().as_secs_f64() < how.patience {
        soaking.turn()?;
    }
    let memory_end = soaking.memory()?;
    let messages = &soaking.run.messages;
    let acknowledged = || messages.iter().filter(|m| m.acknowledged);
    Ok(Report {
        clients: soaking.turns.alive(),
        sent: messages.len(),
        acknowledged: acknowledged().count(),
        lost: acknowledged().filter(|m| m.deliveries == 0).count(),
        memory_end,
        server_cpu: used.map(|used| used.as_secs_f64() / seconds),
        load_cpu: load.as_secs_f64() / seconds,
        ..soaking.run.report
    })
}
