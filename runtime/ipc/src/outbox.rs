//! What waits to be written to one connection, held within bounds.
//!
//! Replies are never dropped: when too many wait, the connection is not read from until they are written. Published messages are dropped, the oldest first, when more bytes wait than the
//! connection's budget: a subscriber that is slow, stopped or paused gets the newest messages when it reads again, it
//! never makes others wait, and what it costs is bounded.

use crate::frame::{self, Message};
use bytes::{Buf, BytesMut};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

/// Payloads up to this are copied together and written with one call; larger ones are written where they are.
const INLINE: usize = 16 * 1024;
/// One write call takes about this much.
const BATCH: usize = 64 * 1024;

/// How much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of published messages that may wait for one connection. A single larger message may wait alone.
    pub connection: usize,
    /// Bytes of published messages that may wait for all connections together. Above it each keeps only `floor`.
    pub total: usize,
    /// What each connection keeps when all together are above `total`.
    pub floor: usize,
    /// Bytes of replies that may wait for one connection before it is not read from any more.
    pub replies: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            connection: 4 * 1024 * 1024,
            total: 64 * 1024 * 1024,
            floor: 64 * 1024,
            replies: 256 * 1024,
        }
    }
}

/// Counts over all connections of a server.
#[derive(Debug, Default)]
pub struct Totals {
    waiting: AtomicUsize,
    dropped: AtomicUsize,
}

impl Totals {
    /// Bytes of published messages that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Published messages that were dropped since the start; wraps.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// What became of a published message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It waits to be written.
    Queued,
    /// It waits, and older ones had to go: the first time since the connection last kept up.
    Dropping,
    /// The connection is gone.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
    budget: Budget,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    /// Bytes of the events in the queue.
    events: usize,
    /// Bytes of the replies in the queue.
    replies: usize,
    /// Events dropped since the queue was last empty.
    dropped: usize,
    finishing: bool,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    event: bool,
}

impl Outbox {
    /// With a server's budget and counts.
    pub fn new(budget: Budget, totals: Arc<Totals>) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            budget,
            totals,
        }
    }

    /// For a client, whose program decides what it sends.
    pub fn unlimited() -> Self {
        let budget = Budget {
            connection: usize::MAX,
            total: usize::MAX,
            floor: usize::MAX,
            replies: usize::MAX,
        };
        Self::new(budget, Arc::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a reply.
    pub fn push(&self, message: Message) -> Result<(), Gone> {
        let mut state = self.state();
        if state.closed {
            return Err(Gone);
        }
        let length = message.length();
        state.replies = state.replies.saturating_add(length);
        state.queue.push_back(Entry {
            message,
            event: false,
        });
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues a published message, and drops older ones if it must.
    pub fn offer(&self, message: Message) -> Offered {
        let mut state = self.state();
        if state.closed {
            return Offered::Gone;
        }
        let length = message.length();
        let limit = if self.totals.waiting() > self.budget.total {
            self.budget.floor.min(self.budget.connection)
        } else {
            self.budget.connection
        };
        let before = state.dropped;
        while state.events > 0 && state.events.saturating_add(length) > limit {
            self.drop_oldest(&mut state);
        }
        if limit < self.budget.connection && length > limit {
            // Too large for what all together may still keep.
            state.dropped += 1;
            self.totals.dropped.fetch_add(1, Ordering::Relaxed);
            return if before == 0 {
                Offered::Dropping
            } else {
                Offered::Queued
            };
        }
        state.events += length;
        self.totals.waiting.fetch_add(length, Ordering::Relaxed);
        state.queue.push_back(Entry {
            message,
            event: true,
        });
        let offered = if before == 0 && state.dropped > 0 {
            Offered::Dropping
        } else {
            Offered::Queued
        };
        drop(state);
        self.filled.notify_one();
        offered
    }

    fn drop_oldest(&self, state: &mut State) {
        let oldest = state.queue.iter().position(|entry| entry.event);
        let entry = oldest.and_then(|at| state.queue.remove(at));
        let entry = entry.expect("bytes of events are counted only while an event waits");
        let length = entry.message.length();
        state.events -= length;
        state.dropped += 1;
        self.totals.waiting.fetch_sub(length, Ordering::Relaxed);
        self.totals.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether more replies wait than should.
    pub fn is_full(&self) -> bool {
        self.state().replies > self.budget.replies
    }

    /// Waits until replies may be queued again. For what can wait: the next request, configuration events.
    pub async fn room(&self) -> Result<(), Gone> {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            {
                let state = self.state();
                if state.closed {
                    return Err(Gone);
                }
                if state.replies <= self.budget.replies {
                    return Ok(());
                }
            }
            emptied.await;
        }
    }

    /// Drops what waits for a stream that its reader has ended.
    pub fn forget(&self, stream: i32) {
        let mut state = self.state();
        let (mut events, mut replies) = (0, 0);
        state.queue.retain(|entry| {
            let kept = entry.message.stream != stream;
            if !kept && entry.event {
                events += entry.message.length();
            } else if !kept {
                replies += entry.message.length();
            }
            kept
        });
        state.events -= events;
        state.replies -= replies;
        self.totals.waiting.fetch_sub(events, Ordering::Relaxed);
    }

    /// Nothing more is taken; what waits is still written, then [`drain`] returns.
    pub fn finish(&self) {
        self.state().finishing = true;
        self.filled.notify_one();
    }

    /// Nothing more is taken or written.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.totals
            .waiting
            .fetch_sub(state.events, Ordering::Relaxed);
        state.queue = VecDeque::new();
        (state.events, state.replies) = (0, 0);
        drop(state);
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    /// Moves about a batch out of the queue; waits until there is one. `false` at the end.
    async fn take(&self, batch: &mut Vec<Message>) -> bool {
        loop {
            {
                let mut state = self.state();
                let mut bytes = 0;
                while bytes < BATCH {
                    let Some(entry) = state.queue.pop_front() else {
                        break;
                    };
                    let length = entry.message.length();
                    bytes += length;
                    if entry.event {
                        state.events -= length;
                        self.totals.waiting.fetch_sub(length, Ordering::Relaxed);
                    } else {
                        state.replies = state.replies.saturating_sub(length);
                    }
                    batch.push(entry.message);
                }
                if state.queue.is_empty() {
                    if state.dropped > 0 {
                        log::info!(dropped = state.dropped; "a slow subscriber has caught up");
                        state.dropped = 0;
                    }
                    if state.queue.capacity() > 1024 {
                        state.queue = VecDeque::new();
                    }
                }
                if !batch.is_empty() {
                    drop(state);
                    self.emptied.notify_waiters();
                    return true;
                }
                if state.closed || state.finishing {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }
}

/// Writes what is queued until the outbox ends or the socket fails.
pub async fn drain(outbox: &Outbox, target: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut bytes = BytesMut::new();
    while outbox.take(&mut batch).await {
        for message in batch.drain(..) {
            let checksum = frame::encode_head(&message, &mut bytes);
            if message.payload.len() <= INLINE {
                bytes.extend_from_slice(&message.payload);
            } else {
                let mut both = (&bytes[..]).chain(&message.payload[..]);
                target.write_all_buf(&mut both).await?;
                bytes.clear();
            }
            bytes.extend_from_slice(&checksum.to_be_bytes());
        }
        target.write_all(&bytes).await?;
        bytes.clear();
        if bytes.capacity() > 2 * BATCH {
            bytes = BytesMut::new();
        }
    }
    target.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Flags, Headers, Kind};

    fn event(length: usize) -> Message {
        Message {
            kind: Kind::ApplicationMessage,
            flags: Flags::NONE,
            stream: 1,
            headers: Headers::Bare,
            payload: vec![0; length].into(),
        }
    }

    #[test]
    fn large_messages_of_many_connections_stay_within_the_total() {
        let budget = Budget {
            connection: 1_000,
            total: 10_000,
            floor: 500,
            replies: 1_000,
        };
        let totals = Arc::<Totals>::default();
        let all: Vec<_> = (0..100)
            .map(|_| Outbox::new(budget, totals.clone()))
            .collect();
        for outbox in &all {
            // Larger than what one connection may keep: it may wait alone as long as there is room in all.
            outbox.offer(event(5_000));
        }
        assert!(
            totals.waiting() < 10_000 + 2 * 5_100,
            "{}",
            totals.waiting()
        );
        assert!(totals.dropped() > 90);
        // Small ones still find their place.
        assert_eq!(all[99].offer(event(100)), Offered::Queued);
        assert!(all[99].state().events > 100);
    }
}
