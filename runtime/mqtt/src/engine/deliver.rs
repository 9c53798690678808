//! From the seat's queue to the wire.

use super::{
    DisconnectCause,
    connect::own,
    connection::Connected,
    metrics::add,
    packets::Answer,
    registry::End,
    scratch,
    seat::{Identifiers, Item, Kick, Routed, wake},
};
use crate::{
    Message, QoS,
    packet::{Alias, Delivery, EncodeError, OutgoingPublish, PacketId, Version, reason},
    session::{Acked, Step},
    topic::Cursor,
};
use bytestring::ByteString;
use std::{
    cell::Cell,
    collections::HashMap,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

/// Bytes put together for one write.
const BATCH: usize = 32 << 10;
/// Messages taken out of the queue under one lock.
const STEPS: usize = 64;
/// Pages of retained messages in one round.
const PAGES: usize = 4;
/// A shorter topic is not worth an alias.
const SHORTEST_ALIASED: usize = 4;

thread_local! {
    static TAKEN: Cell<Vec<Step<Item>>> = const { Cell::new(Vec::new()) };
}

/// Retained messages still to be sent for one subscription.
pub(crate) struct Job {
    /// Without `$share/`.
    pub filter: ByteString,
    pub qos: QoS,
    pub identifier: Option<u32>,
    pub cursor: Option<Cursor>,
}

/// Aliases given to a client: the first topics get them.
pub(crate) struct Aliases {
    known: HashMap<ByteString, u16>,
    maximum: u16,
}

impl Aliases {
    pub fn new(maximum: u16) -> Self {
        Self {
            known: HashMap::new(),
            maximum,
        }
    }

    fn alias(&mut self, topic: &ByteString) -> Option<Alias> {
        if let Some(alias) = self.known.get(topic) {
            return Some(Alias::Use(*alias));
        }
        let next = u16::try_from(self.known.len() + 1)
            .ok()
            .filter(|next| *next <= self.maximum)?;
        if topic.len() < SHORTEST_ALIASED {
            return None;
        }
        self.known.insert(own(topic), next);
        Some(Alias::Announce(next))
    }

    fn forget(&mut self, topic: &ByteString) {
        self.known.remove(topic);
    }
}

/// Whole seconds left, rounded up; `None` when the message does not expire.
fn seconds_left(message: &Message, now: SystemTime) -> Option<u32> {
    let left = message
        .expires?
        .duration_since(now)
        .unwrap_or(Duration::ZERO);
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

impl<S> Connected<S> {
    /// Fills the write buffer.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Some(front) = self.pending.front_mut() {
            let Poll::Ready(safe) = front.ticket.poll(cx) else {
                break;
            };
            if let Some(pending) = self.pending.pop_front() {
                self.write_answer(pending.answer, safe.is_ok())?;
            }
        }
        if self.pending.is_empty() && self.pending.capacity() > 16 {
            self.pending = std::collections::VecDeque::new();
        }
        let mut steps = TAKEN.take();
        let filled = self.drain(cx, &mut steps);
        steps.clear();
        TAKEN.set(steps);
        filled
    }

    fn drain(&mut self, cx: &mut Context<'_>, steps: &mut Vec<Step<Item>>) -> Result<(), End> {
        let mut pages = 0;
        while self.unwritten() < BATCH {
            let wants_page = self.take_steps(cx, steps)?;
            if steps.is_empty() {
                if !wants_page {
                    return Ok(());
                }
                if pages == PAGES {
                    self.again = true;
                    return Ok(());
                }
                pages += 1;
                self.page();
                continue;
            }
            self.write_steps(steps);
        }
        Ok(())
    }

    /// Takes what can be sent out of the queue. True: there is room for a page of retained messages.
    fn take_steps(
        &mut self,
        cx: &mut Context<'_>,
        steps: &mut Vec<Step<Item>>,
    ) -> Result<bool, End> {
        let room = BATCH - self.unwritten();
        let (mut taken, mut given_back, mut expired) = (0, 0, 0);
        let mut now = None;
        let mut state = self.seat.lock();
        let state = &mut *state;
        let kick = match &state.link {
            Some(link) if state.generation == self.generation => link.kick,
            _ => Some(Kick {
                reason: reason::SESSION_TAKEN_OVER,
                cause: DisconnectCause::TakenOver,
            }),
        };
        if let Some(kick) = kick {
            return Err(End::kicked(kick));
        }
        while taken < room && steps.len() < STEPS {
            let step = state.session.next(|item| {
                item.routed
                    .message
                    .expires
                    .is_some_and(|at| at <= *now.get_or_insert_with(SystemTime::now))
            });
            match step {
                None => break,
                Some(Step::Stale { qos, order, body }) => {
                    given_back += body.routed.cost();
                    expired += 1;
                    if state.stored && qos != QoS::AtMostOnce {
                        self.shared.durable.done(&self.seat.client_id, order);
                    }
                }
                Some(step) => {
                    if let Step::Publish {
                        id,
                        order,
                        body,
                        dup,
                        ..
                    } = &step
                    {
                        taken += body.routed.cost();
                        match id {
                            None => given_back += body.routed.cost(),
                            Some(id) if state.stored && !dup => {
                                self.shared.durable.sent(&self.seat.client_id, *order, *id);
                            }
                            Some(_) => {}
                        }
                    }
                    steps.push(step);
                }
            }
        }
        let wants_page =
            !self.jobs.is_empty() && state.session.outbox.len() < self.shared.options.retained_page;
        let relieved = state.relieve(self.shared.options.high_water);
        if steps.is_empty()
            && let Some(link) = state.link.as_deref_mut()
        {
            if link.leave && self.pending.is_empty() && self.unwritten() == 0 {
                let reason = reason::SERVER_SHUTTING_DOWN;
                return Err(End::kicked(Kick {
                    reason,
                    cause: DisconnectCause::Server(reason),
                }));
            }
            if !link
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                link.waker = Some(cx.waker().clone());
            }
        }
        relieved.into_iter().for_each(|waker| wake(Some(waker)));
        self.shared.give_back(given_back);
        add(&self.shared.metrics.dropped_expired, expired);
        Ok(wants_page)
    }

    fn write_steps(&mut self, steps: &mut Vec<Step<Item>>) {
        if self.out.capacity() == 0 {
            self.out = scratch::take();
        }
        let mut sent = 0;
        for step in steps.drain(..) {
            match step {
                Step::Publish {
                    id,
                    dup,
                    qos,
                    order,
                    body,
                } => {
                    if self.write_publish(id, dup, qos, &body) {
                        sent += 1;
                    } else if let Some(id) = id {
                        self.let_go(id, order);
                    }
                }
                Step::Release { id } => self.encoder.pubrel(id, reason::SUCCESS, &mut self.out),
                Step::Stale { .. } => {}
            }
        }
        add(&self.shared.metrics.messages_out, sent);
    }

    /// False: the client must not or cannot have it.
    fn write_publish(&mut self, id: Option<PacketId>, dup: bool, qos: QoS, item: &Item) -> bool {
        let message = &item.routed.message;
        if self.ask_receive {
            let cache = self.cache.get_or_insert_default();
            if !cache.may_receive(&*self.shared.policy, &self.identity, &message.topic) {
                add(&self.shared.metrics.denied_receive, 1);
                return false;
            }
        }
        let Some(delivery) = Delivery::new(qos, id, dup) else {
            return false;
        };
        let version = self.encoder.version();
        let plain = version == Version::V311
            || (self.aliases_out.is_none() && item.identifiers == Identifiers::None);
        let result = match item.routed.frame(version, id.is_some()).filter(|_| plain) {
            Some(frame) => {
                let fits = self.encoder.fits(frame.len());
                fits.and_then(|()| frame.write(delivery, item.retain, &mut self.out))
            }
            None => self.encode(delivery, item),
        };
        if let Err(error) = result {
            log::debug!(client = &*self.identity.client_id, topic = &*message.topic, error = error.to_string(); "message not sent");
            add(&self.shared.metrics.dropped_too_large, 1);
            return false;
        }
        true
    }

    fn encode(&mut self, delivery: Delivery, item: &Item) -> Result<(), EncodeError> {
        let message = &item.routed.message;
        let alias = self
            .aliases_out
            .as_deref_mut()
            .and_then(|aliases| aliases.alias(&message.topic));
        let outgoing = OutgoingPublish {
            delivery,
            retain: item.retain,
            alias,
            subscription_identifiers: item.identifiers.as_slice(),
            expiry: message
                .expires
                .and_then(|_| seconds_left(message, SystemTime::now())),
        };
        let result = self.encoder.publish(message, &outgoing, &mut self.out);
        if result.is_err()
            && let (Some(Alias::Announce(_)), Some(aliases)) =
                (alias, self.aliases_out.as_deref_mut())
        {
            aliases.forget(&message.topic);
        }
        result
    }

    /// A QoS 1 or 2 message that was not sent counts as done.
    fn let_go(&mut self, id: PacketId, order: u64) {
        let mut state = self.seat.lock();
        if state.generation != self.generation {
            return;
        }
        if let Acked::Done { cost, .. } = state.session.window.discard(id) {
            if state.stored {
                self.shared.durable.done(&self.seat.client_id, order);
            }
            drop(state);
            self.shared.give_back(cost);
            self.again = true;
        }
    }

    /// Puts a page of retained messages into the queue. The lock on them is held meanwhile: a publisher that changes one of
    /// them routes its message after this page, so the old one never follows the new one.
    fn page(&mut self) {
        let Some(job) = self.jobs.front_mut() else {
            return;
        };
        let shared = &self.shared;
        let retained = shared
            .retained
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let page = retained.page(
            &job.filter,
            job.cursor.take(),
            SystemTime::now(),
            shared.options.retained_page,
        );
        for message in page.messages {
            let qos = message.qos.min(job.qos);
            let mut identifiers = Identifiers::None;
            identifiers.add(job.identifier);
            let item = Item {
                routed: Arc::new(Routed::new(message, false)),
                retain: true,
                identifiers,
                group: None,
            };
            shared.deliver_retained(&self.seat, qos, item);
        }
        drop(retained);
        match page.next {
            Some(cursor) => job.cursor = Some(cursor),
            None => {
                self.jobs.pop_front();
            }
        }
    }

    pub(super) fn write_answer(&mut self, answer: Answer, safe: bool) -> Result<(), End> {
        if self.out.capacity() == 0 {
            self.out = scratch::take();
        }
        let (encoder, out) = (&self.encoder, &mut self.out);
        let failed = |code: u8| {
            if safe {
                code
            } else {
                reason::IMPLEMENTATION_SPECIFIC_ERROR
            }
        };
        if !safe && encoder.version() == Version::V311 {
            // 3.1.1 has no way to refuse a message: without the acknowledgement the client sends it again.
            return Err(End::protocol(
                reason::IMPLEMENTATION_SPECIFIC_ERROR,
                "the message could not be made safe",
            ));
        }
        match answer {
            Answer::PubAck(id, code) => {
                self.unacked -= 1;
                encoder.puback(id, failed(code), out);
            }
            Answer::PubRec(id, code) => {
                if !safe {
                    self.seat.lock().session.inbound.release(id);
                }
                encoder.pubrec(id, failed(code), out);
            }
            Answer::PubRel(id, code) => encoder.pubrel(id, code, out),
            Answer::PubComp(id, code) => encoder.pubcomp(id, code, out),
            Answer::SubAck(id, codes, jobs) => {
                encoder.suback(id, &codes, out);
                self.jobs.extend(jobs);
            }
            Answer::UnsubAck(id, codes) => encoder.unsuback(id, &codes, out),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_aliases_until_the_maximum() {
        let mut aliases = Aliases::new(2);
        let topics: Vec<ByteString> = ["topic/one", "topic/two", "topic/three", "a"]
            .map(Into::into)
            .into();
        assert_eq!(
            aliases.alias(&topics[3]),
            None,
            "too short to gain anything"
        );
        assert_eq!(aliases.alias(&topics[0]), Some(Alias::Announce(1)));
        assert_eq!(aliases.alias(&topics[1]), Some(Alias::Announce(2)));
        assert_eq!(aliases.alias(&topics[2]), None);
        assert_eq!(aliases.alias(&topics[0]), Some(Alias::Use(1)));
        assert_eq!(aliases.alias(&topics[1]), Some(Alias::Use(2)));
    }

    #[test]
    fn what_is_left_of_an_expiry_is_rounded_up_and_never_negative() {
        let now = SystemTime::now();
        let mut message = Message {
            topic: "t".into(),
            payload: bytes::Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: false,
            expires: None,
            properties: None,
        };
        assert_eq!(seconds_left(&message, now), None);
        for (left, seconds) in [(1500, 2), (1000, 1), (1, 1), (0, 0)] {
            message.expires = Some(now + Duration::from_millis(left));
            assert_eq!(seconds_left(&message, now), Some(seconds));
        }
        message.expires = Some(now - Duration::from_secs(5));
        assert_eq!(seconds_left(&message, now), Some(0));
    }
}
