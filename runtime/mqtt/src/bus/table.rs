//! What is under way to in-process subscribers, by sequence number. Pure.

use super::{Receipt, Subscriber};
use crate::{Identity, QoS};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Messages in the router at most: fewer than its channel of events takes, so that sending never blocks.
const MOST: usize = 500;

/// One subscriber's part in a message.
pub(super) struct Share {
    pub subscriber: Arc<Subscriber>,
    /// Copies that its link gets: one for each filter that matches.
    copies: usize,
    /// Those not read yet.
    unread: usize,
    qos: QoS,
    delivered: bool,
    acked: bool,
    skipped: bool,
}

impl Share {
    pub fn new(subscriber: Arc<Subscriber>, copies: usize, qos: QoS) -> Self {
        Self {
            subscriber,
            copies,
            unread: copies,
            qos,
            delivered: false,
            acked: false,
            skipped: false,
        }
    }

    /// The subscriber does not get it, although its link does.
    pub fn skip(&mut self) {
        (self.skipped, self.delivered, self.acked) = (true, true, true);
    }

    pub fn is_skipped(&self) -> bool {
        self.skipped
    }

    pub fn is_assured(&self) -> bool {
        !self.skipped && self.qos != QoS::AtMostOnce
    }
}

pub(super) struct Parcel {
    pub topic: Bytes,
    pub sealed: Bytes,
    pub identity: Option<Arc<Identity>>,
    pub size: usize,
    pub shares: Vec<Share>,
    pub receipt: Option<Arc<Receipt>>,
    pub in_router: bool,
}

impl Parcel {
    fn is_read(&self) -> bool {
        self.shares.iter().all(|share| share.unread == 0)
    }

    fn is_acked(&self) -> bool {
        self.shares
            .iter()
            .all(|share| share.acked || !share.is_assured())
    }

    fn is_done(&self) -> bool {
        !self.in_router
            && self
                .shares
                .iter()
                .all(|share| share.acked && share.unread == 0)
    }
}

#[derive(Default)]
pub(super) struct Table {
    parcels: BTreeMap<u64, Parcel>,
    /// Not in the router yet.
    queue: VecDeque<u64>,
    next_seq: u64,
    bytes: usize,
    count: usize,
}

/// What the arrival of a copy means.
#[derive(Default)]
pub(super) struct Arrived {
    /// The router has room for more.
    pub freed: bool,
    /// The subscriber gets the message now.
    pub deliver: Option<(QoS, Option<Arc<Identity>>)>,
}

impl Table {
    pub fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Bytes in the router.
    pub fn in_router(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, seq: u64, parcel: Parcel) {
        self.parcels.insert(seq, parcel);
        self.queue.push_back(seq);
    }

    /// The next message for the router, if the budget allows.
    pub fn next(&mut self, budget: usize) -> Option<(Bytes, Bytes)> {
        loop {
            let seq = *self.queue.front()?;
            let Some(parcel) = self.parcels.get_mut(&seq) else {
                self.queue.pop_front();
                continue;
            };
            let fits = self.bytes + parcel.size <= budget && self.count < MOST;
            if !fits && self.count > 0 {
                return None;
            }
            self.queue.pop_front();
            parcel.in_router = true;
            self.bytes += parcel.size;
            self.count += 1;
            return Some((parcel.topic.clone(), parcel.sealed.clone()));
        }
    }

    pub fn arrived(&mut self, seq: u64, subscriber: usize) -> Arrived {
        let mut arrived = Arrived::default();
        let Some(parcel) = self.parcels.get_mut(&seq) else {
            return arrived;
        };
        let share = parcel
            .shares
            .iter_mut()
            .find(|share| share.subscriber.number == subscriber);
        if let Some(share) = share {
            share.unread = share.unread.saturating_sub(1);
            if !share.delivered {
                share.delivered = true;
                arrived.deliver = Some((share.qos, parcel.identity.clone()));
            }
        }
        arrived.freed = self.leave(seq);
        arrived
    }

    /// Takes a message that every link has read off the router's account. True: it was on it until now.
    fn leave(&mut self, seq: u64) -> bool {
        let Some(parcel) = self.parcels.get_mut(&seq) else {
            return false;
        };
        let leaves = parcel.in_router && parcel.is_read();
        if leaves {
            parcel.in_router = false;
            self.bytes -= parcel.size;
            self.count -= 1;
        }
        if parcel.is_done() {
            self.parcels.remove(&seq);
        }
        leaves
    }

    /// Returns the receipt once the last one who matters has acknowledged.
    pub fn acknowledged(&mut self, seq: u64, subscriber: usize) -> Option<Arc<Receipt>> {
        let parcel = self.parcels.get_mut(&seq)?;
        let share = parcel
            .shares
            .iter_mut()
            .find(|share| share.subscriber.number == subscriber)?;
        if share.acked {
            return None;
        }
        share.acked = true;
        share.subscriber.give_back(parcel.size);
        let receipt = if parcel.is_acked() {
            parcel.receipt.take()
        } else {
            None
        };
        self.leave(seq);
        receipt
    }

    /// A subscriber is gone: its shares are read and acknowledged. Returns the receipts that this settles.
    pub fn forget(&mut self, subscriber: usize) -> Vec<Arc<Receipt>> {
        let seqs: Vec<u64> = self.parcels.keys().copied().collect();
        let mut receipts = Vec::new();
        for seq in seqs {
            let Some(parcel) = self.parcels.get_mut(&seq) else {
                continue;
            };
            if let Some(share) = parcel
                .shares
                .iter_mut()
                .find(|share| share.subscriber.number == subscriber)
            {
                share.unread = 0;
                share.delivered = true;
            }
            receipts.extend(self.acknowledged(seq, subscriber));
            self.leave(seq);
        }
        receipts
    }

    /// The router is dead: everything that someone has not got yet goes into the next one, in order.
    pub fn replay(&mut self) {
        (self.bytes, self.count) = (0, 0);
        self.queue.clear();
        for (seq, parcel) in &mut self.parcels {
            parcel.in_router = false;
            if parcel.shares.iter().all(|share| share.delivered) {
                parcel.shares.iter_mut().for_each(|share| share.unread = 0);
            } else {
                parcel
                    .shares
                    .iter_mut()
                    .for_each(|share| share.unread = share.copies);
                self.queue.push_back(*seq);
            }
        }
        self.parcels.retain(|_, parcel| !parcel.is_done());
    }

    /// Forgets everything; returns the receipts that were waited for.
    pub fn clear(&mut self) -> Vec<Arc<Receipt>> {
        self.queue.clear();
        (self.bytes, self.count) = (0, 0);
        let parcels = std::mem::take(&mut self.parcels);
        parcels
            .into_values()
            .filter_map(|parcel| parcel.receipt)
            .collect()
    }
}
