//! The way to subscribers inside this process: rumqttd's router as a bus.
//!
//! ```text
//! publisher's task: parcel into the table, seq into the queue -> pump task -> ingress link -> Router thread
//!     -> a link for each subscription -> its reader task -> recv() -> ack(seq) -> parcel leaves the table, publisher's PUBACK
//! ```
//! The router's logs are lossy: a reader that falls behind by more than they hold misses messages without being told. So no more than
//! [`crate::engine::Options::bus_bytes`] are in the router at a time, counted until every link has read its copies, and its logs hold
//! at least that much. What is not yet read by everyone is in the table too, so a router that dies is replaced and given it again.

mod envelope;
mod router;
mod subscription;
mod table;

#[cfg(test)]
mod tests;

pub use subscription::{Acknowledgement, Delivery, Subscription};
pub(crate) use subscription::{Receipt, Subscriber};

use crate::{
    Identity, Message, QoS,
    engine::{Shared, SubscribeError},
};
use envelope::on_bus;
use router::Running;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use subscription::{Ending, Takes};
use table::{Parcel, Share, Table};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};

/// The bus of one engine.
pub(crate) struct Bus {
    budget: usize,
    state: Mutex<State>,
    /// There is something for the pump.
    news: Arc<Notify>,
    /// One start of a router at a time.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    table: Table,
    subscribers: HashMap<usize, Arc<Subscriber>>,
    next_subscriber: usize,
    running: Option<Running>,
    /// Counts routers; readers of an older one are ignored.
    epoch: usize,
    restarts: usize,
    stopped: bool,
}

/// What happened to a published message.
pub(crate) struct Sent {
    /// In-process subscribers that did not take it (QoS 0).
    pub dropped: usize,
    /// A QoS 1 or 2 message did not fit.
    pub refused: bool,
    /// Whom the publisher should wait for.
    pub full: Option<Arc<Subscriber>>,
    pub receipt: Option<Arc<Receipt>>,
}

impl Bus {
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            budget: budget.max(4096),
            state: Mutex::default(),
            news: Arc::default(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes in the router, and routers replaced.
    pub fn gauges(&self) -> (usize, usize) {
        let state = self.state();
        (state.table.in_router(), state.restarts)
    }

    /// Sends a message to the subscribers that match; one entry in `hits` for each filter that does.
    pub fn publish(
        &self,
        message: &Message,
        identity: Option<&Arc<Identity>>,
        hits: &mut [(Arc<Subscriber>, QoS)],
    ) -> Sent {
        let mut sent = Sent {
            dropped: 0,
            refused: false,
            full: None,
            receipt: None,
        };
        let client_id = identity.map_or("", |identity| &*identity.client_id);
        let size = envelope::size(client_id, message);
        hits.sort_by_key(|(subscriber, _)| subscriber.number);
        let mut shares = Vec::new();
        for same in hits.chunk_by(|(one, _), (other, _)| one.number == other.number) {
            let Some((subscriber, granted)) = same.first() else {
                continue;
            };
            let qos = message.qos.min(*granted);
            let mut share = Share::new(Arc::clone(subscriber), same.len(), qos);
            match subscriber.take(size, qos) {
                Takes::Yes => {}
                Takes::Last => sent.full = Some(Arc::clone(subscriber)),
                Takes::No if qos == QoS::AtMostOnce => {
                    sent.dropped += 1;
                    share.skip();
                }
                Takes::No => {
                    sent.refused = true;
                    sent.full = Some(Arc::clone(subscriber));
                    share.skip();
                }
            }
            shares.push(share);
        }
        if shares.iter().all(Share::is_skipped) {
            return sent;
        }
        if shares.iter().any(Share::is_assured) {
            sent.receipt = Some(Arc::default());
        }
        let mut state = self.state();
        if state.stopped {
            shares
                .iter()
                .filter(|share| !share.is_skipped())
                .for_each(|share| share.subscriber.give_back(size));
            sent.refused = sent.receipt.take().is_some();
            return sent;
        }
        let seq = state.table.next_seq();
        let parcel = Parcel {
            topic: on_bus(&message.topic).into(),
            sealed: envelope::seal(seq, client_id, message),
            identity: identity.cloned(),
            size,
            shares,
            receipt: sent.receipt.clone(),
            in_router: false,
        };
        state.table.add(seq, parcel);
        drop(state);
        self.news.notify_one();
        sent
    }

    /// Makes a subscription; starts the router for the first one.
    pub async fn subscribe(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        filters: &[&str],
        qos: QoS,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let on_router = filters.iter().map(|filter| on_bus(filter)).collect();
        let subscriber = {
            let mut state = self.state();
            let number = state.next_subscriber;
            state.next_subscriber += 1;
            Arc::new(Subscriber::new(number, on_router, qos, capacity, sender))
        };
        router::attach(self, &subscriber)
            .await
            .map_err(SubscribeError::Router)?;
        let mut unique: Vec<&str> = filters.to_vec();
        unique.sort_unstable();
        unique.dedup();
        if let Err(error) = shared.subscribe_bus(&subscriber, &unique) {
            self.close(&subscriber);
            return Err(error);
        }
        let (bus, engine) = (Arc::downgrade(self), Arc::downgrade(shared));
        let end = move || {
            if let Some(engine) = Weak::upgrade(&engine) {
                engine.unsubscribe_bus(&subscriber);
            }
            if let Some(bus) = Weak::upgrade(&bus) {
                bus.close(&subscriber);
            }
        };
        Ok(Subscription {
            receiver,
            _end: Ending(Some(Box::new(end))),
        })
    }

    /// The subscription is gone: what waits for it is done with.
    fn close(&self, subscriber: &Arc<Subscriber>) {
        let settled = {
            let mut state = self.state();
            state.subscribers.remove(&subscriber.number);
            state.table.forget(subscriber.number)
        };
        subscriber.close();
        settled.into_iter().for_each(|receipt| receipt.settle(true));
        self.news.notify_one();
    }

    /// A reader got a copy of a message out of the router.
    fn arrived(
        self: &Arc<Self>,
        epoch: usize,
        subscriber: &Subscriber,
        topic: &bytes::Bytes,
        sealed: bytes::Bytes,
    ) {
        let Some(opened) = envelope::open(topic, sealed) else {
            log::error!("a message on the bus could not be read");
            return;
        };
        let seq = opened.seq;
        let mut state = self.state();
        if state.epoch != epoch {
            return;
        }
        let arrival = state.table.arrived(seq, subscriber.number);
        drop(state);
        if arrival.freed {
            self.news.notify_one();
        }
        let Some((qos, publisher)) = arrival.deliver else {
            return;
        };
        let mut message = opened.message;
        message.qos = qos;
        let acknowledgement = Acknowledgement {
            bus: Arc::downgrade(self),
            seq,
            subscriber: subscriber.number,
        };
        // If nobody receives any more, the delivery is dropped here, which acknowledges it.
        let _ = subscriber.sender.send(Delivery {
            message,
            publisher,
            acknowledgement,
        });
    }

    fn acknowledged(&self, seq: u64, subscriber: usize) {
        let receipt = self.state().table.acknowledged(seq, subscriber);
        if let Some(receipt) = receipt {
            receipt.settle(true);
        }
    }

    /// Ends all subscriptions; publishers that wait are told that their messages were not taken.
    pub fn stop(&self) {
        let (subscribers, receipts) = {
            let mut state = self.state();
            state.stopped = true;
            state.running = None;
            (std::mem::take(&mut state.subscribers), state.table.clear())
        };
        receipts
            .into_iter()
            .for_each(|receipt| receipt.settle(false));
        subscribers
            .values()
            .for_each(|subscriber| subscriber.close());
        self.news.notify_one();
    }

    /// For tests of what follows: the router's thread ends as if by a fault of its own.
    #[doc(hidden)]
    pub fn break_router(&self) {
        if let Some(running) = &self.state().running {
            running.break_it();
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.news.notify_one();
    }
}

/// Where reader and pump tasks run.
fn runtime() -> Result<Handle, String> {
    Handle::try_current().map_err(|error| error.to_string())
}
