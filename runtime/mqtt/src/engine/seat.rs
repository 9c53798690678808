//! A client's seat: its session, and the connection that sits in it now. Publishers push into it from their own tasks; the connection
//! takes out and writes. One short lock, never held across an await.
//!
//! Lock order: registry, a seat's turn, retained, subscriptions, a seat's state. A waker is called after the seat's lock is given back.

use super::{DisconnectCause, durable::Durable, metrics};
use crate::{
    Identity, Message, QoS,
    packet::{EncodeError, Frame, Version, Will},
    session::{Limits, Session},
    store::{self, Body, Refused, SessionId},
};
use bytestring::ByteString;
use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};
use tokio::time::Instant;

/// What a queued message counts for besides topic, payload and properties.
const OVERHEAD: usize = 96;

/// A message on its way to one or more sessions, with its encoded frames.
#[derive(Debug)]
pub(crate) struct Routed {
    pub message: Message,
    cost: usize,
    /// By version, without and with packet identifier; only for messages that go to several.
    frames: Option<Box<[OnceLock<Option<Frame>>; 4]>>,
    /// As the store keeps it, once for all sessions.
    body: OnceLock<Body>,
}

impl Routed {
    pub fn new(message: Message, several: bool) -> Self {
        let cost = message.size() + OVERHEAD;
        Self {
            message,
            cost,
            frames: several.then(Box::default),
            body: OnceLock::new(),
        }
    }

    pub fn cost(&self) -> usize {
        self.cost
    }

    pub fn body(&self, make: impl FnOnce(&Message) -> Body) -> &Body {
        self.body.get_or_init(|| make(&self.message))
    }

    /// The shared frame, if this message has one that fits every subscriber of its kind.
    pub fn frame(&self, version: Version, acknowledged: bool) -> Option<&Frame> {
        let frames = self.frames.as_deref()?;
        if version == Version::V5 && self.message.expires.is_some() {
            return None;
        }
        let index = usize::from(version == Version::V5) * 2 + usize::from(acknowledged);
        frames[index]
            .get_or_init(|| {
                let frame: Result<Frame, EncodeError> =
                    Frame::new(version, &self.message, acknowledged, None);
                frame.ok()
            })
            .as_ref()
    }
}

/// Subscription identifiers of the filters that matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Identifiers {
    #[default]
    None,
    One(u32),
    Many(Arc<[u32]>),
}

impl Identifiers {
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub fn add(&mut self, identifier: Option<u32>) {
        let Some(identifier) = identifier else { return };
        *self = match self {
            Self::None => Self::One(identifier),
            _ if self.as_slice().contains(&identifier) => return,
            _ => Self::Many(
                self.as_slice()
                    .iter()
                    .copied()
                    .chain([identifier])
                    .collect(),
            ),
        };
    }

    pub fn from_slice(identifiers: &[u32]) -> Self {
        match identifiers {
            [] => Self::None,
            [one] => Self::One(*one),
            many => Self::Many(many.into()),
        }
    }
}

/// A message in one session's queue.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub routed: Arc<Routed>,
    /// The retain flag as this subscriber sees it.
    pub retain: bool,
    pub identifiers: Identifiers,
    /// The `$share/<group>/<filter>` by which it came here.
    pub group: Option<Arc<str>>,
}

/// How a connection is told to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kick {
    pub reason: u8,
    pub cause: DisconnectCause,
}

/// The connection that sits in a seat.
#[derive(Debug)]
pub(crate) struct Link {
    pub identity: Arc<Identity>,
    pub version: Version,
    pub will: Option<Box<Will>>,
    /// The connection's task, when it waits for messages.
    pub waker: Option<Waker>,
    pub kick: Option<Kick>,
    /// Stop was asked for: write what waits, then go.
    pub leave: bool,
    /// The last time a write went on.
    pub progress: Instant,
    /// Since when more waits than the high-water mark.
    pub congested: Option<Instant>,
    /// Nobody waits for it, QoS 0 is dropped above the high-water mark.
    pub slow: bool,
    /// Publishers that wait for room.
    pub waiting: Vec<Waker>,
}

/// What the lock of a seat guards.
#[derive(Debug)]
pub(crate) struct State {
    pub session: Session<Item>,
    /// Counts connections; one that finds another number here has been replaced.
    pub generation: u32,
    pub link: Option<Box<Link>>,
    /// Seconds that the session outlives its connection.
    pub expiry: u32,
    /// The session is gone; the seat takes nothing any more.
    pub ended: bool,
    /// The session's number in the store.
    pub stored: Option<SessionId>,
    /// How many subscriptions the session has.
    pub subscriptions: usize,
    /// The newest message of the queue's tail, which is only in the store.
    pub spill: Option<u64>,
    /// The newest message of the store's queue that was in memory.
    pub last_key: u64,
    /// A will that waits for its delay.
    pub will: Option<Box<Will>>,
    /// Timers of the will and of the session's end.
    pub timers: Vec<super::clock::Key>,
}

/// See the head of this file.
pub(crate) struct Seat {
    /// Unique in this process.
    pub number: usize,
    pub client_id: ByteString,
    /// A hint, so that shared groups can choose without locking.
    pub connected: AtomicBool,
    state: Mutex<State>,
    /// Held while the client's packets are handled.
    turn: Mutex<()>,
}

impl Seat {
    pub fn new(number: usize, client_id: ByteString) -> Self {
        Self {
            number,
            client_id,
            connected: AtomicBool::new(false),
            turn: Mutex::default(),
            state: Mutex::new(State {
                session: Session::default(),
                generation: 0,
                link: None,
                expiry: 0,
                ended: false,
                stored: None,
                subscriptions: 0,
                spill: None,
                last_key: 0,
                will: None,
                timers: Vec::new(),
            }),
        }
    }

    /// The right to handle the client's packets. Whoever takes the seat over waits for it: otherwise messages that the old connection
    /// has in hand could follow those of the new one, or one be answered as a duplicate before it is published.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Tells the connection to end; its task does the rest.
    pub fn kick(&self, kick: Kick) -> bool {
        let waker = {
            let mut state = self.lock();
            let Some(link) = state.link.as_deref_mut() else {
                return false;
            };
            link.kick.get_or_insert(kick);
            link.waker.take()
        };
        wake(waker);
        true
    }

    /// The connection has written something.
    pub fn progress(&self) {
        if let Some(link) = self.lock().link.as_deref_mut()
            && link.congested.is_some()
        {
            link.progress = Instant::now();
        }
    }

    /// Asks the connection to end once it has written what waits.
    pub fn leave(&self) {
        let waker = self.lock().link.as_deref_mut().and_then(|link| {
            link.leave = true;
            link.waker.take()
        });
        wake(waker);
    }

    /// Makes the connection look at its seat again.
    pub fn nudge(&self) {
        let waker = self
            .lock()
            .link
            .as_deref_mut()
            .and_then(|link| link.waker.take());
        wake(waker);
    }
}

pub(crate) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Why a message did not get into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// QoS 0 for a client that is away: nothing to count.
    Away,
    Slow,
    Full,
    /// The budget of all queues is used up.
    Memory,
    Ended,
    /// The store cannot write: the publisher may not be told that the message is safe.
    Unsafe,
}

/// What a push did.
pub(crate) struct Pushed {
    /// Bytes held in memory.
    pub held: usize,
    /// The store's, if the message went there.
    pub ticket: Option<store::Ticket>,
    pub waker: Option<Waker>,
    /// The publisher should wait for this seat.
    pub congested: bool,
}

/// What a queue may hold, and what is left of all queues' budget.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub limits: Limits,
    pub high_water: usize,
    pub left: usize,
}

impl State {
    /// Puts a message into the queue.
    pub fn push(
        &mut self,
        qos: QoS,
        item: Item,
        room: &Room,
        durable: &Durable,
    ) -> Result<Pushed, Dropped> {
        if self.ended {
            return Err(Dropped::Ended);
        }
        let plain = qos == QoS::AtMostOnce;
        match &self.link {
            None if plain => return Err(Dropped::Away),
            Some(link) if plain && link.slow && self.is_above(room) => return Err(Dropped::Slow),
            _ => {}
        }
        let (mut held, mut ticket) = (item.routed.cost(), None);
        match self.stored {
            Some(id) if !plain => {
                // Under the lock: the connection may not report the message as done before the store has heard of it.
                let enqueued =
                    durable
                        .enqueue(id, qos, &item)
                        .map_err(|refused| match refused {
                            Refused::SessionFull | Refused::StoreFull => Dropped::Full,
                            Refused::NoSession => Dropped::Ended,
                            Refused::Unavailable => Dropped::Unsafe,
                        })?;
                ticket = Some(enqueued.ticket);
                if !enqueued.dropped.is_empty() {
                    let dropped = self
                        .session
                        .outbox
                        .extract(|waiting| enqueued.dropped.contains(&waiting.key));
                    let freed: usize = dropped.iter().map(|waiting| waiting.cost).sum();
                    held = held.saturating_sub(freed);
                }
                if self.spill.is_some() || self.is_above(room) || room.left < item.routed.cost() {
                    self.spill = Some(enqueued.seq);
                    held = 0;
                } else {
                    self.last_key = enqueued.seq;
                    self.session
                        .outbox
                        .push(qos, item.routed.cost(), enqueued.seq, item);
                }
            }
            _ => {
                if room.left < held {
                    return Err(Dropped::Memory);
                }
                let full = if plain { Dropped::Slow } else { Dropped::Full };
                self.session
                    .push(qos, held, 0, item, &room.limits)
                    .map_err(|_| full)?;
            }
        }
        let above = self.is_above(room);
        let (mut waker, mut congested) = (None, false);
        if let Some(link) = self.link.as_deref_mut() {
            waker = link.waker.take();
            if above && !link.slow {
                if link.congested.is_none() {
                    let now = Instant::now();
                    link.congested = Some(now);
                    // Before this nothing hung on its progress.
                    link.progress = now;
                }
                congested = true;
            }
        }
        Ok(Pushed {
            held,
            ticket,
            waker,
            congested,
        })
    }

    fn is_above(&self, room: &Room) -> bool {
        self.session.outbox.bytes() > room.high_water
            || (self.spill.is_some() && self.link.is_some())
    }

    /// After messages were taken out: lets publishers go on below half the mark.
    pub fn relieve(&mut self, high_water: usize) -> Vec<Waker> {
        let below = self.session.outbox.bytes() <= high_water / 2 && self.spill.is_none();
        match self.link.as_deref_mut() {
            Some(link) if below && link.congested.is_some() => {
                link.congested = None;
                link.slow = false;
                std::mem::take(&mut link.waiting)
            }
            _ => Vec::new(),
        }
    }
}

impl Dropped {
    pub fn counter(self, counters: &metrics::Counters) -> Option<&std::sync::atomic::AtomicUsize> {
        match self {
            Self::Away | Self::Ended | Self::Unsafe => None,
            Self::Memory => Some(&counters.dropped_memory),
            Self::Slow => Some(&counters.dropped_slow),
            Self::Full => Some(&counters.dropped_queue_full),
        }
    }
}

/// Who a subscription belongs to.
#[derive(Clone)]
pub(crate) enum Target {
    Seat(Arc<Seat>),
    /// An in-process subscriber.
    Bus(Arc<crate::bus::Subscriber>),
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Seat(one), Self::Seat(other)) => one.number == other.number,
            (Self::Bus(one), Self::Bus(other)) => one.number == other.number,
            _ => false,
        }
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Seat(seat) => seat.number.hash(state),
            Self::Bus(subscriber) => (usize::MAX - subscriber.number).hash(state),
        }
    }
}

/// A subscription's options in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
    /// `$share/<group>/<filter>` of a shared one.
    pub group: Option<Arc<str>>,
}
