//! SUBSCRIBE, UNSUBSCRIBE, and what a change of policy takes away.

use super::{
    Event,
    connect::own,
    connection::Connected,
    deliver::Job,
    durable::Ticket,
    metrics::{add, sub},
    packets::Answer,
    registry::End,
    seat::{Options, Target},
};
use crate::{
    QoS,
    packet::{PacketId, RetainHandling, SubscribeFilter, Version, reason},
    topic::Filter,
};
use bytestring::ByteString;
use std::sync::{Arc, atomic::Ordering};

impl<S> Connected<S> {
    fn target(&self) -> Target {
        Target::Seat(Arc::clone(&self.seat))
    }

    pub(super) fn on_subscribe(
        &mut self,
        id: PacketId,
        filters: &[SubscribeFilter],
        identifier: Option<u32>,
    ) -> Result<(), End> {
        let mut ticket = Ticket::default();
        let mut codes = Vec::with_capacity(filters.len());
        let mut jobs = Vec::new();
        let mut granted = Vec::new();
        for (number, wanted) in filters.iter().enumerate() {
            // One packet may bring more filters than a session may have; they are not worth a look.
            if number >= self.shared.options.max_subscriptions {
                codes.push(if self.encoder.version() == Version::V5 {
                    reason::QUOTA_EXCEEDED
                } else {
                    0x80
                });
                continue;
            }
            match self.subscribe(wanted, identifier, &mut ticket)? {
                Ok(job) => {
                    jobs.extend(job);
                    granted.push((own(&wanted.filter), wanted.qos));
                    codes.push(wanted.qos as u8);
                }
                Err(code) => codes.push(if self.encoder.version() == Version::V5 {
                    code
                } else {
                    0x80
                }),
            }
        }
        if !granted.is_empty() {
            let identity = &self.identity;
            self.shared.events.emit(|| Event::Subscribed {
                identity: Arc::clone(identity),
                filters: granted,
            });
        }
        self.answer(ticket, Answer::SubAck(id, codes, jobs))
    }

    /// The inner error is the filter's reason code.
    fn subscribe(
        &mut self,
        wanted: &SubscribeFilter,
        identifier: Option<u32>,
        ticket: &mut Ticket,
    ) -> Result<Result<Option<Job>, u8>, End> {
        let Ok(filter) = Filter::parse(&wanted.filter) else {
            return Ok(Err(reason::TOPIC_FILTER_INVALID));
        };
        if filter.group.is_some() && wanted.no_local {
            return Err(End::protocol(
                reason::PROTOCOL_ERROR,
                "no local on a shared subscription",
            ));
        }
        if !self
            .shared
            .policy
            .subscribe(&self.identity, filter.filter, wanted.qos)
        {
            add(&self.shared.metrics.denied_subscribe, 1);
            let level = self.denial_level();
            log::log!(level, client = &*self.identity.client_id, filter = &*wanted.filter; "policy refused a subscription");
            return Ok(Err(reason::NOT_AUTHORIZED));
        }
        let target = self.target();
        let options = Options {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            identifier,
            group: filter.group.map(|_| Arc::from(&*wanted.filter)),
        };
        let mut tree = self.shared.write_subscriptions();
        let is_new = tree.get(&target, filter).is_none();
        let mut state = self.seat.lock();
        if state.generation != self.generation {
            // A connection that was replaced must not subscribe for a session that has ended.
            return Ok(Err(reason::SESSION_TAKEN_OVER));
        }
        if is_new && state.subscriptions >= self.shared.options.max_subscriptions {
            return Ok(Err(reason::QUOTA_EXCEEDED));
        }
        if tree.insert(&target, filter, options.clone()).is_err() {
            return Ok(Err(reason::TOPIC_FILTER_INVALID));
        }
        state.subscriptions += usize::from(is_new);
        if let Some(stored) = state.stored {
            let handling = wanted.retain_handling;
            ticket.join_store(self.shared.durable.subscribe(
                stored,
                &wanted.filter,
                &options,
                handling,
            ));
        }
        drop(state);
        drop(tree);
        if is_new {
            add(&self.shared.metrics.subscriptions, 1);
        }
        let retained = match wanted.retain_handling {
            _ if filter.group.is_some() => false,
            RetainHandling::Always => true,
            RetainHandling::New => is_new,
            RetainHandling::Never => false,
        };
        Ok(Ok(retained.then(|| Job {
            filter: ByteString::from(filter.filter),
            qos: wanted.qos,
            identifier,
            cursor: None,
        })))
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        id: PacketId,
        filters: &[ByteString],
    ) -> Result<(), End> {
        let mut ticket = Ticket::default();
        let mut codes = Vec::with_capacity(filters.len());
        let mut removed = Vec::new();
        for text in filters {
            let code = match Filter::parse(text) {
                Err(_) => reason::TOPIC_FILTER_INVALID,
                Ok(filter) if self.unsubscribe(filter, text, &mut ticket) => {
                    self.jobs
                        .retain(|job| *job.filter != *filter.filter || filter.group.is_some());
                    removed.push(own(text));
                    reason::SUCCESS
                }
                Ok(_) => reason::NO_SUBSCRIPTION_EXISTED,
            };
            codes.push(code);
        }
        self.tell_unsubscribed(removed);
        self.answer(ticket, Answer::UnsubAck(id, codes))
    }

    fn unsubscribe(&self, filter: Filter<'_>, text: &str, ticket: &mut Ticket) -> bool {
        let mut tree = self.shared.write_subscriptions();
        let found = tree.remove(&self.target(), filter).is_some();
        if found {
            let mut state = self.seat.lock();
            state.subscriptions -= 1;
            if let Some(stored) = state.stored {
                ticket.join_store(self.shared.durable.unsubscribe(stored, text));
            }
            sub(&self.shared.metrics.subscriptions, 1);
        }
        found
    }

    fn tell_unsubscribed(&self, filters: Vec<ByteString>) {
        if !filters.is_empty() {
            let identity = &self.identity;
            self.shared.events.emit(|| Event::Unsubscribed {
                identity: Arc::clone(identity),
                filters,
            });
        }
    }

    /// Asks policy anew when its revision has changed, or for a session from an earlier connection.
    pub(super) fn review(&mut self) -> Result<(), End> {
        let revision = self.shared.revision.load(Ordering::Relaxed);
        if revision == self.revision {
            return Ok(());
        }
        self.revision = revision;
        self.cache = None;
        let shared = Arc::clone(&self.shared);
        if !shared.policy.keep(&self.identity) {
            log::info!(client = &*self.identity.client_id; "policy no longer allows the client");
            return Err(End::denied());
        }
        let subscriptions: Vec<(Option<String>, String, QoS)> = {
            let tree = shared.read_subscriptions();
            let target = self.target();
            let all = tree.of(&target);
            all.map(|one| (one.group.map(str::to_owned), one.filter, one.options.qos))
                .collect()
        };
        // Nobody waits for it; an older ticket's group is written first in any case.
        let mut ticket = Ticket::default();
        let mut removed = Vec::new();
        for (group, filter, qos) in subscriptions {
            if shared.policy.subscribe(&self.identity, &filter, qos) {
                continue;
            }
            let text = match &group {
                Some(group) => format!("$share/{group}/{filter}"),
                None => filter.clone(),
            };
            if self.unsubscribe(
                Filter {
                    group: group.as_deref(),
                    filter: &filter,
                },
                &text,
                &mut ticket,
            ) {
                add(&shared.metrics.denied_subscribe, 1);
                self.jobs.retain(|job| *job.filter != *filter);
                removed.push(ByteString::from(text));
            }
        }
        self.tell_unsubscribed(removed);
        Ok(())
    }
}
