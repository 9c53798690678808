//! The vocabulary of the store.

use super::Ticket;
use crate::{
    Message, QoS,
    packet::{PacketId, RetainHandling, Will},
};
use bytestring::ByteString;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// A session's number in the store; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(super) u64);

/// A message's place in its session's queue. Grows by one with each message; the first is 1.
pub type Seq = u64;

/// What is kept of a session besides its queue and subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The client identifier.
    pub client_id: ByteString,
    /// Seconds that the session outlives its connection; `u32::MAX` is for ever.
    pub expiry: u32,
    /// Since when the client has been away, wall clock. `None`: it was connected when this was written, and after a restart
    /// it is away since nobody knows when.
    pub away_since: Option<SystemTime>,
    /// The will that is to be published if the connection is lost, or that already waits for its delay.
    pub will: Option<StoredWill>,
}

/// A will in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// As CONNECT gave it.
    pub will: Will,
    /// Once the connection is lost: when to publish, wall clock.
    pub due: Option<SystemTime>,
}

/// A subscription's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// As granted.
    pub qos: QoS,
    /// Own messages are not wanted back.
    pub no_local: bool,
    /// Keep the retain flag as published.
    pub retain_as_published: bool,
    /// Which retained messages come upon SUBSCRIBE.
    pub retain_handling: RetainHandling,
    /// Subscription identifier, 1..=268435455.
    pub identifier: Option<u32>,
}

/// How one session gets a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The lower of the publisher's and the subscription's; QoS 0 is not for the store.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
    /// Identifiers of the matching subscriptions; empty mostly, which allocates nothing.
    pub identifiers: Vec<u32>,
}

/// How far a message has come on its way to its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not sent yet.
    #[default]
    Queued,
    /// Sent under this identifier; no PUBACK or PUBREC yet.
    Sent(PacketId),
    /// PUBREC has come: only PUBREL and PUBCOMP are left, and the content is gone.
    Released(PacketId),
}

impl State {
    /// What it becomes: a released message stays released, since its content is gone.
    pub(super) fn advance(&mut self, to: Self) {
        if !matches!(
            (&*self, to),
            (Self::Released(_), Self::Queued | Self::Sent(_))
        ) {
            *self = to;
        }
    }
}

/// A queued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue.
    pub seq: Seq,
    /// How far it has come.
    pub state: State,
    /// Quality, retain flag and subscription identifiers for this session.
    pub delivery: Delivery,
    /// The message; `None` when released. Its `qos` and `retain` are the delivery's.
    pub message: Option<Message>,
}

/// A message to be stored for one or many sessions, once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Body(pub(super) Arc<BodyInner>);

#[derive(Debug)]
pub(super) struct BodyInner {
    pub id: u64,
    pub message: Message,
    /// How many sessions it was enqueued for.
    uses: AtomicUsize,
}

impl Body {
    pub(super) fn new(id: u64, message: Message) -> Self {
        Self(Arc::new(BodyInner {
            id,
            message,
            uses: AtomicUsize::new(0),
        }))
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.0.message
    }

    pub(super) fn count_use(&self) {
        self.0.uses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.0.uses.load(Ordering::Relaxed) > 1
    }
}

/// A message was noted for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its place.
    pub seq: Seq,
    /// Done when it is durable, or acknowledged.
    pub ticket: Ticket,
    /// Older messages of the session that were dropped to make room; none has been sent.
    pub dropped: Vec<Seq>,
}

/// A message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session's queue is full. The drop is counted; the publisher is answered as if it had been stored.
    #[error("the session's queue is full")]
    SessionFull,
    /// All queues together are full. Counted, and answered likewise.
    #[error("all queues together are full")]
    StoreFull,
    /// The session has ended.
    #[error("the session has ended")]
    NoSession,
    /// The disk refuses and too much is waiting for it. The publisher must not be told that the message is safe.
    #[error("the store cannot write at present")]
    Unavailable,
}

/// Which message goes when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropPolicy {
    /// The new one.
    #[default]
    Newest,
    /// The oldest ones of that session that have not been sent.
    Oldest,
}

/// Limits and times of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages in one session's queue, in-flight ones included.
    pub session_messages: usize,
    /// Bytes in one session's queue: topics, payloads, properties and 100 for each message.
    pub session_bytes: u64,
    /// Messages in all queues together.
    pub total_messages: usize,
    /// Bytes in all queues together; a message counts once for each session.
    pub total_bytes: u64,
    /// Which message goes when one of the above is reached.
    pub drop: DropPolicy,
    /// Bytes that may wait for the disk, counted as above, before [`super::Store::ready`] holds publishers back.
    pub pending_bytes: usize,
    /// How long the first change of a group waits for others.
    pub linger: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            session_messages: 100_000,
            session_bytes: 64 << 20,
            total_messages: 500_000,
            total_bytes: 512 << 20,
            drop: DropPolicy::Newest,
            pending_bytes: 8 << 20,
            linger: Duration::from_millis(2),
        }
    }
}

/// Counters since the start, and what there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Sessions.
    pub sessions: usize,
    /// Messages in all queues.
    pub messages: usize,
    /// Bytes in all queues, as counted against the limits.
    pub bytes: u64,
    /// Bytes that wait for the disk.
    pub pending_bytes: usize,
    /// New messages dropped because a queue was full.
    pub dropped_newest: usize,
    /// Old messages dropped for new ones.
    pub dropped_oldest: usize,
    /// Messages that expired in a queue on the disk.
    pub expired: usize,
    /// Messages that were acknowledged before they touched the disk.
    pub cancelled: usize,
    /// Ended sessions whose queues are still being removed from the file.
    pub purging: usize,
    /// Groups committed.
    pub commits: usize,
    /// Groups that the disk refused; each is tried again.
    pub failures: usize,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// How long the last commit took.
    pub last_commit: Duration,
    /// How long the longest took.
    pub longest_commit: Duration,
}
