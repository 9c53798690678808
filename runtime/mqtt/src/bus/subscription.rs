//! What an in-process subscriber holds, and the bus's side of it.

use super::Bus;
use crate::{Identity, Message, QoS};
use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A subscription of this process; made by [`crate::engine::Engine::subscribe`]. Dropping it unsubscribes, and acknowledges what waits.
#[derive(Debug)]
pub struct Subscription {
    pub(super) receiver: mpsc::UnboundedReceiver<Delivery>,
    pub(super) _end: Ending,
}

impl Subscription {
    /// The next message; `None` after the engine has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }
}

/// Ends the subscription when it is dropped.
pub(super) struct Ending(pub Option<Box<dyn FnOnce() + Send + Sync>>);

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ending")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A message for this process. Dropping it acknowledges it too, so that nobody waits for ever; but keep it until it is safe, since the
/// publisher of a QoS 1 or 2 message gets its PUBACK or PUBREC only then.
#[derive(Debug)]
pub struct Delivery {
    /// The message, with the lower of its own QoS and the subscription's.
    pub message: Message,
    /// The client that sent it; `None` for this process.
    pub publisher: Option<Arc<Identity>>,
    pub(super) acknowledgement: Acknowledgement,
}

impl Delivery {
    /// The message is where it cannot be lost, or done with.
    pub fn ack(self) {}

    /// Takes message and acknowledgement apart: the latter may be dropped later, somewhere else.
    pub fn into_parts(self) -> (Message, Option<Arc<Identity>>, Acknowledgement) {
        (self.message, self.publisher, self.acknowledgement)
    }
}

/// Acknowledges its message when dropped.
pub struct Acknowledgement {
    pub(super) bus: Weak<Bus>,
    pub(super) seq: u64,
    pub(super) subscriber: usize,
}

impl std::fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acknowledgement")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.acknowledged(self.seq, self.subscriber);
        }
    }
}

/// The bus's side of a subscription.
pub(crate) struct Subscriber {
    /// Unique in this process, apart from seats' numbers.
    pub number: usize,
    /// As the router knows them; no two are the same.
    pub(super) filters: HashSet<String>,
    pub(super) qos: QoS,
    pub(super) capacity: usize,
    pub(super) sender: mpsc::UnboundedSender<Delivery>,
    /// Ends its link.
    pub(super) end: CancellationToken,
    load: Mutex<Load>,
}

#[derive(Default)]
struct Load {
    bytes: usize,
    waiting: Vec<Waker>,
}

/// Whether a subscriber takes one more message.
pub(super) enum Takes {
    Yes,
    /// But its publisher should wait before the next one.
    Last,
    No,
}

impl Subscriber {
    pub(super) fn new(
        number: usize,
        filters: HashSet<String>,
        qos: QoS,
        capacity: usize,
        sender: mpsc::UnboundedSender<Delivery>,
    ) -> Self {
        Self {
            number,
            filters,
            qos,
            capacity,
            sender,
            end: CancellationToken::new(),
            load: Mutex::default(),
        }
    }

    pub(crate) fn qos(&self) -> QoS {
        self.qos
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishers are held back from three quarters of the capacity on. QoS 0 must fit; QoS 1 and 2 may exceed it up to twice.
    pub(super) fn take(&self, size: usize, qos: QoS) -> Takes {
        let mut load = self.load();
        let after = load.bytes + size;
        let most = if qos == QoS::AtMostOnce {
            self.capacity
        } else {
            self.capacity.saturating_mul(2)
        };
        if after > most && load.bytes > 0 {
            return Takes::No;
        }
        load.bytes = after;
        if after > self.capacity / 4 * 3 {
            Takes::Last
        } else {
            Takes::Yes
        }
    }

    pub(super) fn give_back(&self, size: usize) {
        let mut load = self.load();
        load.bytes -= size;
        if load.bytes <= self.capacity / 2 {
            let waiting = mem::take(&mut load.waiting);
            drop(load);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Ready when there is room again.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut load = self.load();
        if load.bytes <= self.capacity / 2 || self.end.is_cancelled() {
            return Poll::Ready(());
        }
        load.waiting.retain(|waker| !waker.will_wake(cx.waker()));
        load.waiting.push(cx.waker().clone());
        Poll::Pending
    }

    /// The subscription is over: nobody waits for it.
    pub(super) fn close(&self) {
        self.end.cancel();
        let waiting = mem::take(&mut self.load().waiting);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Tells a publisher that all subscribers have acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Receipt(Mutex<(Option<bool>, Option<Waker>)>);

impl Receipt {
    /// Ready with whether the message was taken.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.0 {
            Some(taken) => Poll::Ready(taken),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn settle(&self, taken: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.get_or_insert(taken);
        let waker = state.1.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
