//! Between the task and the consumers: a queue for each subscription, and the bell by which consumers call the task.

use super::{SubscribeError, SubscribeOptions, incoming::Token};
use crate::Message;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Names a subscription.
pub type SubscriberId = usize;

/// What consumers tell the task.
#[derive(Debug, Default)]
pub struct Bell {
    calls: Mutex<Calls>,
    ring: Notify,
}

/// Calls since the task last looked.
#[derive(Debug, Default)]
pub struct Calls {
    /// Deliveries that consumers are done with.
    pub done: Vec<Token>,
    /// Subscriptions that were dropped.
    pub dropped: Vec<SubscriberId>,
}

impl Bell {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, token: Token) {
        self.calls().done.push(token);
        self.ring.notify_one();
    }

    /// A subscription is gone.
    pub fn dropped(&self, id: SubscriberId) {
        self.calls().dropped.push(id);
        self.ring.notify_one();
    }

    /// Everything since the last look.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut *self.calls())
    }

    /// Waits for a call; one that came before counts.
    pub async fn rung(&self) {
        self.ring.notified().await;
    }
}

/// Acknowledges a message when the last of its consumers is done with it.
#[derive(Debug)]
pub struct Receipt {
    token: Token,
    open: AtomicUsize,
    bell: Arc<Bell>,
}

impl Receipt {
    /// For that many consumers.
    pub fn new(token: Token, consumers: usize, bell: Arc<Bell>) -> Arc<Self> {
        let open = AtomicUsize::new(consumers);
        Arc::new(Self { token, open, bell })
    }

    /// One consumer is done.
    pub fn sign(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.bell.done(self.token);
        }
    }
}

/// A message in a queue.
#[derive(Debug)]
pub struct Item {
    pub message: Message,
    /// `None` for QoS 0.
    pub receipt: Option<Arc<Receipt>>,
}

/// One subscription's queue.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    filled: Notify,
    bell: Arc<Bell>,
    limit: usize,
    limit_bytes: usize,
    /// How long it is waited for.
    pub patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    dropped: usize,
    /// The task waits for room: ring when there is some.
    awaited: bool,
    /// Waited for in vain since the consumer last took something.
    slow: bool,
    ended: Option<SubscribeError>,
    /// The consumer is gone.
    closed: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued, dropped for a slow consumer, or not wanted any more.
    Settled,
    /// The queue is full; rings when there is room.
    Full,
}

impl Queue {
    pub fn new(options: &SubscribeOptions, bell: Arc<Bell>) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            bell,
            limit: options.queue.max(1),
            limit_bytes: options.queue_bytes,
            patience: options.patience,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message. QoS 0 stays below the limit; what will be acknowledged may exceed it, up to `excess` messages: the
    /// server's window bounds it.
    pub fn push(&self, message: &Message, receipt: Option<&Arc<Receipt>>, excess: usize) -> Pushed {
        let mut state = self.state();
        if state.closed {
            if let Some(receipt) = receipt {
                drop(state);
                receipt.sign();
            }
            return Pushed::Settled;
        }
        let size = message.payload.len();
        let fits = if receipt.is_some() {
            state.items.len() < self.limit.saturating_add(excess)
        } else {
            let fits_bytes = state.bytes + size <= self.limit_bytes || state.items.is_empty();
            state.items.len() < self.limit && fits_bytes
        };
        if !fits {
            if state.slow && receipt.is_none() {
                state.dropped += 1;
                return Pushed::Settled;
            }
            state.awaited = true;
            return Pushed::Full;
        }
        state.bytes += size;
        state.items.push_back(Item {
            message: message.clone(),
            receipt: receipt.cloned(),
        });
        drop(state);
        self.filled.notify_one();
        Pushed::Settled
    }

    /// The consumer has not taken anything while it was waited for: from now on QoS 0 messages are dropped. Returns whether
    /// that is new.
    pub fn give_up(&self) -> bool {
        let mut state = self.state();
        !std::mem::replace(&mut state.slow, true)
    }

    /// The next message, once there is one.
    pub async fn next(&self) -> Result<Item, SubscribeError> {
        loop {
            // Registered before looking: what comes in between is not missed.
            let filled = self.filled.notified();
            if let Some(next) = self.try_next() {
                return next;
            }
            filled.await;
        }
    }

    /// The next message if there is one.
    pub fn try_next(&self) -> Option<Result<Item, SubscribeError>> {
        let mut state = self.state();
        let Some(item) = state.items.pop_front() else {
            return state.ended.clone().map(Err);
        };
        state.bytes -= item.message.payload.len();
        state.slow = false;
        let awaited = std::mem::take(&mut state.awaited);
        drop(state);
        if awaited {
            self.bell.ring.notify_one();
        }
        Some(Ok(item))
    }

    /// Nothing more comes; what is queued can still be taken.
    pub fn end(&self, why: SubscribeError) {
        self.state().ended.get_or_insert(why);
        self.filled.notify_one();
    }

    /// How many QoS 0 messages the consumer was too slow for.
    pub fn dropped(&self) -> usize {
        self.state().dropped
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// The consumer is gone: what it did not take needs nobody any more, so it is acknowledged.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        for receipt in items.into_iter().filter_map(|item| item.receipt) {
            receipt.sign();
        }
        self.bell.ring.notify_one();
    }
}
