//! What is subscribed to: filters counted by their subscribers, and what the server is still to be told. No I/O.

use super::{
    Reason, SubscribeError,
    options::SubscribeOptions,
    queue::{Queue, SubscriberId},
    wire::WireError,
};
use crate::{
    QoS,
    packet::{PacketId, SubscribeFilter},
    topic::{self, Filter},
};
use bytestring::ByteString;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// First and longest wait before a refused resubscription is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

type Reply = oneshot::Sender<Result<QoS, SubscribeError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server is to be told.
    Unsent,
    /// Under way in that packet.
    Sent(PacketId),
    /// Granted.
    Active(QoS),
    /// Refused for a passing reason after it had been granted before.
    Refused { again: Instant },
}

#[derive(Debug)]
struct Entry {
    options: SubscribeOptions,
    state: State,
    /// Granted at least once: a refusal now does not end it at once.
    proven: bool,
    retry: Duration,
    members: Vec<(SubscriberId, Arc<Queue>)>,
    waiting: Vec<Reply>,
}

/// All subscriptions of a connection.
#[derive(Debug)]
pub struct Subscriptions {
    entries: BTreeMap<ByteString, Entry>,
    of_subscriber: HashMap<SubscriberId, ByteString>,
    /// Filters that the server is to forget.
    leaving: BTreeSet<ByteString>,
    sent: HashMap<PacketId, Vec<ByteString>>,
    limit: usize,
}

impl Subscriptions {
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            of_subscriber: HashMap::new(),
            leaving: BTreeSet::new(),
            sent: HashMap::new(),
            limit,
        }
    }

    /// One more subscriber. `reply` hears when the server has granted the filter.
    pub fn add(
        &mut self,
        id: SubscriberId,
        filter: ByteString,
        options: SubscribeOptions,
        queue: Arc<Queue>,
        reply: Reply,
    ) {
        // Given up before we came to it.
        if queue.is_closed() {
            return;
        }
        // A reply that nobody waits for needs nobody.
        if Filter::parse(&filter).is_err() {
            let _ = reply.send(Err(SubscribeError::InvalidFilter(filter)));
            return;
        }
        let full = self.entries.len() >= self.limit && !self.entries.contains_key(&filter);
        if full {
            let limit = self.limit;
            let _ = reply.send(Err(SubscribeError::TooMany { limit }));
            return;
        }
        self.of_subscriber.insert(id, filter.clone());
        self.leaving.remove(&filter);
        let entry = self.entries.entry(filter).or_insert_with(|| Entry {
            options,
            state: State::Unsent,
            proven: false,
            retry: FIRST_RETRY,
            members: Vec::new(),
            waiting: Vec::new(),
        });
        entry.members.push((id, queue));
        if options.qos > entry.options.qos {
            entry.options.qos = options.qos;
            entry.state = State::Unsent;
        }
        match entry.state {
            State::Active(granted) => {
                let _ = reply.send(Ok(granted));
            }
            _ => entry.waiting.push(reply),
        }
    }

    /// A subscriber is gone; with the last one the filter goes.
    pub fn remove(&mut self, id: SubscriberId) {
        let Some(filter) = self.of_subscriber.remove(&id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&filter) else {
            return;
        };
        entry.members.retain(|(member, _)| *member != id);
        if entry.members.is_empty() {
            let told = entry.proven || entry.state != State::Unsent;
            self.entries.remove(&filter);
            if told {
                self.leaving.insert(filter);
            }
        }
    }

    /// Whom a message on `topic` goes to.
    pub fn matching(&self, topic: &str) -> Vec<(SubscriberId, Arc<Queue>)> {
        let entries = self.entries.iter();
        entries
            .filter(|(filter, _)| matches(filter, topic))
            .flat_map(|(_, entry)| entry.members.iter().cloned())
            .collect()
    }

    /// A connection is there: without the old session the server is told everything anew.
    pub fn connected(&mut self, session_present: bool) {
        self.sent.clear();
        for entry in self.entries.values_mut() {
            match entry.state {
                State::Active(_) if session_present => {}
                _ => entry.state = State::Unsent,
            }
        }
        if !session_present {
            self.leaving.clear();
        }
    }

    /// What the server is to be told next: up to `most` filters for one SUBSCRIBE.
    pub fn next_to_subscribe(&mut self, most: usize, now: Instant) -> Vec<SubscribeFilter> {
        let mut filters = Vec::new();
        for (filter, entry) in &self.entries {
            let due = match entry.state {
                State::Unsent => true,
                State::Refused { again } => again <= now,
                _ => false,
            };
            if due && filters.len() < most.max(1) {
                filters.push(SubscribeFilter {
                    filter: filter.clone(),
                    qos: entry.options.qos,
                    no_local: entry.options.no_local && !is_shared(filter),
                    retain_as_published: entry.options.retain_as_published,
                    retain_handling: entry.options.retain_handling,
                });
            }
        }
        filters
    }

    /// They went out.
    pub fn subscribing(&mut self, id: PacketId, filters: &[SubscribeFilter]) {
        for filter in filters {
            if let Some(entry) = self.entries.get_mut(&filter.filter) {
                entry.state = State::Sent(id);
            }
        }
        let filters = filters.iter().map(|filter| filter.filter.clone()).collect();
        self.sent.insert(id, filters);
    }

    /// Up to `most` filters for one UNSUBSCRIBE.
    pub fn next_to_unsubscribe(&mut self, most: usize) -> Vec<ByteString> {
        let mut filters = Vec::new();
        while filters.len() < most.max(1) {
            let Some(filter) = self.leaving.pop_first() else {
                break;
            };
            filters.push(filter);
        }
        filters
    }

    /// UNSUBSCRIBE went out and its answer is awaited, for nothing but the packet id.
    pub fn unsubscribing(&mut self, id: PacketId, filters: Vec<ByteString>) {
        self.sent.insert(id, filters);
    }

    /// Connection lost: what was not confirmed as forgotten is to be told again, should the session be kept.
    pub fn disconnected(&mut self) {
        for (_, filters) in self.sent.drain() {
            for filter in filters {
                if !self.entries.contains_key(&filter) {
                    self.leaving.insert(filter);
                }
            }
        }
    }

    /// UNSUBACK.
    pub fn unsubscribed(&mut self, id: PacketId) {
        self.sent.remove(&id);
    }

    /// SUBACK: a reason for each filter.
    pub fn subscribed(
        &mut self,
        id: PacketId,
        reasons: &[Reason],
        text: Option<&ByteString>,
        now: Instant,
    ) -> Result<(), WireError> {
        let Some(filters) = self.sent.remove(&id) else {
            return Ok(());
        };
        if filters.len() != reasons.len() {
            let what = "SUBACK with another number of reasons than filters";
            return Err(WireError::protocol(what));
        }
        for (filter, reason) in filters.iter().zip(reasons) {
            // Asked again in the meantime, with another QoS: that answer counts.
            let current = |entry: &&mut Entry| entry.state == State::Sent(id);
            let Some(entry) = self.entries.get_mut(filter).filter(current) else {
                continue;
            };
            match QoS::from_bits(reason.0) {
                Some(granted) => {
                    entry.state = State::Active(granted);
                    entry.proven = true;
                    entry.retry = FIRST_RETRY;
                    for reply in entry.waiting.drain(..) {
                        let _ = reply.send(Ok(granted));
                    }
                }
                None if !reason.is_failure() => {
                    return Err(WireError::protocol("SUBACK with an unknown reason"));
                }
                None if entry.proven && reason.is_passing() => {
                    log::warn!(filter = &**filter, reason:% = reason; "Resubscribing was refused, trying again");
                    let wait = entry.retry;
                    let again = now + wait;
                    entry.state = State::Refused { again };
                    entry.retry = (wait * 2).min(LONGEST_RETRY);
                }
                None => self.refuse(filter, *reason, text),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, filter: &ByteString, reason: Reason, text: Option<&ByteString>) {
        let Some(entry) = self.entries.remove(filter) else {
            return;
        };
        let text = text.cloned();
        let error = SubscribeError::Refused { reason, text };
        log::warn!(filter = &**filter, reason:% = reason; "A subscription was refused");
        for reply in entry.waiting {
            let _ = reply.send(Err(error.clone()));
        }
        for (id, queue) in entry.members {
            self.of_subscriber.remove(&id);
            queue.end(error.clone());
        }
    }

    /// When a refused filter is to be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        let states = self.entries.values().map(|entry| entry.state);
        states
            .filter_map(|state| match state {
                State::Refused { again } => Some(again),
                _ => None,
            })
            .min()
    }

    /// The client ends.
    pub fn stop(&mut self) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            for reply in entry.waiting {
                let _ = reply.send(Err(SubscribeError::Stopped));
            }
            for (_, queue) in entry.members {
                queue.end(SubscribeError::Stopped);
            }
        }
    }
}

/// Whether a message on `topic` comes by the subscription `filter`, which is valid and may be shared.
pub fn matches(filter: &str, topic: &str) -> bool {
    Filter::parse(filter).is_ok_and(|filter| topic::matches(filter.filter, topic))
}

/// No Local on a shared subscription is a protocol error (MQTT 5, 3.8.3.1).
fn is_shared(filter: &str) -> bool {
    Filter::parse(filter).is_ok_and(|filter| filter.group.is_some())
}
