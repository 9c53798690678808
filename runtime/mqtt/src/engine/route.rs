//! From a message to the sessions and in-process subscribers it is for. Runs in the publisher's task: one hop.

use super::{
    Shared, SubscribeError,
    durable::Ticket,
    metrics::{add, sub},
    seat::{Dropped, Identifiers, Item, Options, Pushed, Room, Routed, Seat, Target, wake},
};
use crate::{
    Identity, Message, QoS,
    bus::Subscriber,
    session::Limits,
    store,
    topic::{Filter, Group, Match, Subscriptions},
};
use bytes::BytesMut;
use bytestring::ByteString;
use std::{
    cell::Cell,
    sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard, atomic::Ordering},
    time::SystemTime,
};

pub(crate) type Tree = Subscriptions<Target, Options>;

/// The high-water mark of a session when memory is short.
const LOWEST_WATER: usize = 4096;
/// Up to here duplicates are found by comparing each with each.
const FEW: usize = 16;

/// Where a message comes from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Origin<'a> {
    pub seat: Option<&'a Arc<Seat>>,
    pub identity: Option<&'a Arc<Identity>>,
    /// Bytes of the read buffer that the message's slices keep alive.
    pub chunk: usize,
}

/// What routing did.
#[derive(Default)]
pub(crate) struct Routing {
    /// Subscriptions matched.
    pub matched: usize,
    /// Ready when the message is safe.
    pub ticket: Ticket,
    /// A subscriber that the publisher should wait for.
    pub congested: Option<Arc<Seat>>,
    /// An in-process subscriber that the publisher should wait for.
    pub full: Option<Arc<Subscriber>>,
    /// The store or an in-process subscriber could not take it.
    pub quota: bool,
    /// It was to be retained and could not be.
    pub unretained: bool,
    /// Something went to the store.
    pub written: bool,
}

struct Hit {
    seat: Arc<Seat>,
    qos: QoS,
    retain: bool,
    identifiers: Identifiers,
    group: Option<Arc<str>>,
}

#[derive(Default)]
struct Hits {
    seats: Vec<Hit>,
    bus: Vec<(Arc<Subscriber>, QoS)>,
}

thread_local! {
    static HITS: Cell<Hits> = Cell::default();
}

impl Shared {
    pub(crate) fn read_subscriptions(&self) -> RwLockReadGuard<'_, Tree> {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_subscriptions(&self) -> RwLockWriteGuard<'_, Tree> {
        self.subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Retains the message if it wants to be, and sends it to everyone it is for.
    pub(crate) fn publish(self: &Arc<Self>, mut message: Message, origin: &Origin<'_>) -> Routing {
        let mut routing = Routing::default();
        if message.retain {
            compact(&mut message, origin.chunk);
            match self.retain(&message) {
                Some(ticket) => {
                    routing.written = self.durable.is_on();
                    routing.ticket.join_store(ticket);
                }
                None => routing.unretained = true,
            }
        }
        let mut hits = HITS.take();
        self.find(&message, origin, &mut hits);
        routing.matched = hits.seats.len() + hits.bus.len();
        if routing.matched > 0 && !message.retain {
            compact(&mut message, origin.chunk);
        }
        if !hits.bus.is_empty() {
            let sent = self.bus.publish(&message, origin.identity, &mut hits.bus);
            add(&self.metrics.dropped_bus, sent.dropped);
            routing.quota |= sent.refused;
            routing.full = sent.full;
            routing.ticket.join_bus(sent.receipt);
        }
        if !hits.seats.is_empty() {
            let retain = message.retain;
            let qos = message.qos;
            let routed = Arc::new(Routed::new(message, hits.seats.len() > 1));
            self.deliver_all(&routed, qos, retain, &mut hits, &mut routing);
        }
        hits.seats.clear();
        hits.bus.clear();
        HITS.set(hits);
        routing
    }

    /// Puts an in-process subscriber into the tree.
    pub(crate) fn subscribe_bus(
        &self,
        subscriber: &Arc<Subscriber>,
        filters: &[&str],
    ) -> Result<(), SubscribeError> {
        let target = Target::Bus(Arc::clone(subscriber));
        let mut tree = self.write_subscriptions();
        for filter in filters {
            let options = Options {
                qos: subscriber.qos(),
                no_local: false,
                retain_as_published: true,
                identifier: None,
                group: None,
            };
            if tree.insert(&target, Filter::own(filter), options).is_err() {
                tree.remove_all(&target);
                return Err(SubscribeError::InvalidFilter((*filter).to_owned()));
            }
        }
        Ok(())
    }

    pub(crate) fn unsubscribe_bus(&self, subscriber: &Arc<Subscriber>) {
        self.write_subscriptions()
            .remove_all(&Target::Bus(Arc::clone(subscriber)));
    }

    fn find(&self, message: &Message, origin: &Origin<'_>, hits: &mut Hits) {
        let own = origin.seat.map(|seat| seat.number);
        self.read_subscriptions().matches(&message.topic, |found| {
            let (target, options) = match found {
                Match::Own(target, options) => (target, options),
                Match::Shared(group) => match choose(group, None, false) {
                    Some(member) => (&member.0, &member.1),
                    None => return,
                },
            };
            match target {
                Target::Bus(subscriber) => hits.bus.push((Arc::clone(subscriber), options.qos)),
                Target::Seat(seat) if options.no_local && Some(seat.number) == own => {}
                Target::Seat(seat) => {
                    let mut identifiers = Identifiers::None;
                    identifiers.add(options.identifier);
                    hits.seats.push(Hit {
                        seat: Arc::clone(seat),
                        qos: options.qos,
                        retain: options.retain_as_published,
                        identifiers,
                        group: options.group.clone(),
                    });
                }
            }
        });
        merge(&mut hits.seats);
    }

    fn deliver_all(
        &self,
        routed: &Arc<Routed>,
        qos: QoS,
        retain: bool,
        hits: &mut Hits,
        routing: &mut Routing,
    ) {
        let mut room = self.room();
        // On the account before it is in a queue: a subscriber may have sent it, and given it back, at any moment after.
        let reserved = routed.cost() * hits.seats.len();
        add(&self.metrics.queued_bytes, reserved);
        let mut held = 0;
        for hit in hits.seats.drain(..) {
            let Hit {
                seat,
                qos: granted,
                retain: as_published,
                identifiers,
                group,
            } = hit;
            let item = Item {
                routed: Arc::clone(routed),
                retain: retain && as_published,
                identifiers,
                group,
            };
            match self.deliver(&seat, qos.min(granted), item, &room) {
                Ok(delivered) => {
                    held += delivered.held;
                    room.left = room.left.saturating_sub(delivered.held);
                    if let Some(ticket) = delivered.ticket {
                        routing.ticket.join_store(ticket);
                        routing.written = true;
                    }
                    if delivered.congested && routing.congested.is_none() {
                        routing.congested = Some(seat);
                    }
                }
                Err(Dropped::Unsafe) => routing.quota = true,
                Err(why) => self.count(why),
            }
        }
        self.give_back(reserved - held);
    }

    fn count(&self, why: Dropped) {
        if let Some(counter) = why.counter(&self.metrics) {
            add(counter, 1);
        }
    }

    fn room(&self) -> Room {
        let options = &self.options;
        let total = options.max_total_queued_bytes;
        let left = total.saturating_sub(self.metrics.queued_bytes.load(Ordering::Relaxed));
        Room {
            limits: Limits {
                messages: options.max_queued_messages,
                bytes: options.max_queued_bytes,
            },
            high_water: high_water(options.high_water, left, total),
            left,
        }
    }

    /// Puts one message into one queue and wakes its connection.
    fn deliver(
        &self,
        seat: &Seat,
        qos: QoS,
        item: Item,
        room: &Room,
    ) -> Result<Delivered, Dropped> {
        let mut state = seat.lock();
        let pushed = state.push(qos, item, room, &self.durable);
        drop(state);
        let Pushed {
            held,
            ticket,
            waker,
            congested,
        } = pushed?;
        wake(waker);
        Ok(Delivered {
            held,
            ticket,
            congested,
        })
    }

    /// Puts a message into one queue, apart from all others. What does not fit is counted.
    pub(crate) fn deliver_one(&self, seat: &Seat, qos: QoS, item: Item) {
        let reserved = item.routed.cost();
        let room = self.room();
        add(&self.metrics.queued_bytes, reserved);
        match self.deliver(seat, qos, item, &room) {
            Ok(delivered) => self.give_back(reserved - delivered.held),
            Err(why) => {
                self.give_back(reserved);
                self.count(why);
            }
        }
    }

    /// Sends a message that a member of a shared subscription did not finish to another one.
    pub(crate) fn route_to_group(&self, qos: QoS, mut item: Item, from: &Seat, connected: bool) {
        let mut chosen = None;
        self.read_subscriptions()
            .matches(&item.routed.message.topic, |found| {
                if let Match::Shared(group) = found
                    && same_group(group, &item)
                    && let Some((Target::Seat(seat), options)) =
                        choose(group, Some(from.number), connected)
                {
                    chosen = Some((Arc::clone(seat), options.clone()));
                }
            });
        let Some((seat, options)) = chosen else {
            return;
        };
        item.identifiers = Identifiers::None;
        item.identifiers.add(options.identifier);
        let qos = qos.min(options.qos);
        self.deliver_one(&seat, qos, item);
    }

    pub(crate) fn another_connected(&self, subscriptions: &Tree, item: &Item, from: &Seat) -> bool {
        let mut found_one = false;
        subscriptions.matches(&item.routed.message.topic, |found| {
            if let Match::Shared(group) = found {
                found_one |=
                    same_group(group, item) && choose(group, Some(from.number), true).is_some();
            }
        });
        found_one
    }

    /// `None`: no room for it.
    fn retain(&self, message: &Message) -> Option<store::Ticket> {
        let mut retained = self
            .retained
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let ticket = if !message.payload.is_empty() {
            if retained.set(message.clone()).is_err() {
                add(&self.metrics.retained_refused, 1);
                return None;
            }
            self.durable.retain(message)
        } else if retained.clear(&message.topic).is_some() {
            self.durable.unretain(&message.topic)
        } else {
            store::Ticket::default()
        };
        self.metrics
            .retained
            .store(retained.len(), Ordering::Relaxed);
        Some(ticket)
    }

    pub(crate) fn sweep_retained(&self, now: SystemTime, limit: usize) {
        let mut retained = self
            .retained
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for message in retained.expire(now, limit) {
            self.durable.unretain(&message.topic);
        }
        self.metrics
            .retained
            .store(retained.len(), Ordering::Relaxed);
    }

    /// Gives bytes back to the budget of all queues.
    pub(crate) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            sub(&self.metrics.queued_bytes, bytes);
        }
    }
}

struct Delivered {
    held: usize,
    ticket: Option<store::Ticket>,
    congested: bool,
}

/// Publishers are held back the earlier the less is left of what all queues may hold together: so a thousand subscribers that all
/// go on fill the budget no more than one does, and nothing is dropped for want of it.
fn high_water(configured: usize, left: usize, total: usize) -> usize {
    let half = total / 2;
    if left >= half {
        return configured;
    }
    let share = configured / 64 * (left / (half / 64).max(1)).min(64);
    share.max(LOWEST_WATER).min(configured)
}

fn same_group(group: &Group<Target, Options>, item: &Item) -> bool {
    let first = group.members().first();
    first.is_some_and(|(_, options)| options.group.is_some() && options.group == item.group)
}

/// The member whose turn it is: a connected one, or if there is none and `connected` does not insist, any. Who is passed over
/// has had its turn, so that the load stays even among the others.
fn choose(
    group: &Group<Target, Options>,
    not: Option<usize>,
    connected: bool,
) -> Option<&(Target, Options)> {
    let members = group.members();
    let fits = |member: &&(Target, Options)| match &member.0 {
        Target::Seat(seat) => Some(seat.number) != not,
        Target::Bus(_) => false,
    };
    let is_there = |member: &&(Target, Options)| match &member.0 {
        Target::Seat(seat) => seat.is_connected(),
        Target::Bus(_) => false,
    };
    let mut away = None;
    for _ in 0..members.len() {
        let Some(member) = members.get(group.turn()).filter(fits) else {
            continue;
        };
        if is_there(&member) {
            return Some(member);
        }
        away = away.or(Some(member));
    }
    // Turns taken by other tasks meanwhile may have left someone out.
    let left_out = || members.iter().filter(fits).find(is_there);
    left_out().or_else(|| {
        away.or_else(|| members.iter().find(fits))
            .filter(|_| !connected)
    })
}

/// Several filters of one client that match are one delivery: the highest QoS, all identifiers. Shared ones stay apart.
fn merge(hits: &mut Vec<Hit>) {
    if hits.len() < 2 {
        return;
    }
    if hits.len() > FEW {
        // Mostly sorted already, since a filter's members stand in the order in which they came.
        hits.sort_by_key(|hit| hit.seat.number);
        hits.dedup_by(|later, kept| absorb(kept, later));
        return;
    }
    let mut at = 1;
    while at < hits.len() {
        let (before, rest) = hits.split_at_mut(at);
        if before.iter_mut().any(|kept| absorb(kept, &mut rest[0])) {
            hits.remove(at);
        } else {
            at += 1;
        }
    }
}

fn absorb(kept: &mut Hit, later: &mut Hit) -> bool {
    if kept.seat.number != later.seat.number || kept.group.is_some() || later.group.is_some() {
        return false;
    }
    kept.qos = kept.qos.max(later.qos);
    kept.retain |= later.retain;
    for identifier in later.identifiers.as_slice() {
        kept.identifiers.add(Some(*identifier));
    }
    true
}

/// Copies a message out of a read buffer that is much larger than it.
fn compact(message: &mut Message, chunk: usize) {
    let (topic, payload) = (message.topic.len(), message.payload.len());
    if chunk / 4 <= topic + payload {
        return;
    }
    let mut bytes = BytesMut::with_capacity(topic + payload);
    bytes.extend_from_slice(message.topic.as_bytes());
    bytes.extend_from_slice(&message.payload);
    let bytes = bytes.freeze();
    if let Ok(text) = ByteString::try_from(bytes.slice(..topic)) {
        message.topic = text;
    }
    message.payload = bytes.slice(topic..);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_falls_as_memory_fills() {
        let mark = |left| high_water(256 << 10, left, 64 << 20);
        assert_eq!(mark(64 << 20), 256 << 10);
        assert_eq!(mark(32 << 20), 256 << 10);
        assert_eq!(mark(16 << 20), 128 << 10);
        assert_eq!(mark(0), LOWEST_WATER);
        assert_eq!(
            high_water(100, 0, 64),
            100,
            "never above what is configured"
        );
    }

    #[test]
    fn a_small_message_does_not_keep_a_large_buffer() {
        let chunk = bytes::Bytes::from(vec![b'x'; 4096]);
        let mut message = Message {
            topic: ByteString::try_from(chunk.slice(..3)).unwrap(),
            payload: chunk.slice(10..20),
            qos: QoS::AtMostOnce,
            retain: false,
            expires: None,
            properties: None,
        };
        let before = message.clone();
        compact(&mut message, chunk.len());
        assert_eq!(message, before);
        drop(before);
        assert!(chunk.try_into_mut().is_ok(), "nobody else holds the buffer");
    }
}
