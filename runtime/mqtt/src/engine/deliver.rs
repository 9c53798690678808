//! From the seat's queue to the wire.

use super::{
    DisconnectCause,
    connect::own,
    connection::Connected,
    durable::Ticket,
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

/// What a look at the queue found besides messages.
#[derive(Default)]
struct Look {
    /// QoS 2 messages are among those taken.
    noted: Option<Ticket>,
    /// There is room for a page of retained messages.
    page: bool,
    /// More of the queue is in the store.
    spilled: bool,
}

/// Packets that go out once their ticket is ready.
pub(crate) struct Prepared {
    ticket: Ticket,
    steps: Vec<Step<Item>>,
}

impl<S> Connected<S> {
    /// Fills the write buffer.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Some(front) = self.pending.front_mut() {
            let Poll::Ready(safe) = front.ticket.poll(&self.shared.durable, cx) else {
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
        if self.loading.is_some() {
            self.poll_spill(cx)?;
        }
        let mut pages = 0;
        while self.unwritten() < BATCH {
            if self.prepared.is_some() && !self.poll_prepared(cx)? {
                return Ok(());
            }
            let look = self.take_steps(cx, steps)?;
            if let Some(ticket) = look.noted {
                self.prepared = Some(Box::new(Prepared {
                    ticket,
                    steps: std::mem::take(steps),
                }));
                continue;
            }
            if !steps.is_empty() {
                self.write_steps(steps);
                continue;
            }
            if look.spilled && self.loading.is_none() {
                self.poll_spill(cx)?;
                if self.loading.is_none() {
                    continue;
                }
            }
            if !look.page {
                return Ok(());
            }
            if pages == PAGES {
                self.again = true;
                return Ok(());
            }
            pages += 1;
            self.page();
        }
        Ok(())
    }

    /// A QoS 2 message goes out only once its identifier is safe: after a crash another one would make it a second message.
    /// True: it has gone into the buffer.
    fn poll_prepared(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(prepared) = &mut self.prepared else {
            return Ok(true);
        };
        let Poll::Ready(safe) = prepared.ticket.poll(&self.shared.durable, cx) else {
            return Ok(false);
        };
        if safe.is_err() {
            return Err(End {
                cause: DisconnectCause::Server(reason::SERVER_UNAVAILABLE),
                tell: Some(reason::UNSPECIFIED_ERROR),
                text: Some("the store cannot write"),
                will: true,
            });
        }
        if let Some(mut prepared) = self.prepared.take() {
            self.write_steps(&mut prepared.steps);
        }
        Ok(true)
    }

    /// Takes what can be sent out of the queue.
    fn take_steps(
        &mut self,
        cx: &mut Context<'_>,
        steps: &mut Vec<Step<Item>>,
    ) -> Result<Look, End> {
        let room = BATCH - self.unwritten();
        let (mut taken, mut given_back, mut expired) = (0, 0, 0);
        let mut look = Look::default();
        let mut now = None;
        let mut guard = self.seat.lock();
        let state = &mut *guard;
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
            match (step, state.stored) {
                (None, _) => break,
                (Some(Step::Stale { qos, key, body }), stored) => {
                    given_back += body.routed.cost();
                    expired += 1;
                    if let Some(stored) = stored.filter(|_| qos != QoS::AtMostOnce) {
                        self.shared.durable.done(stored, key);
                    }
                }
                (Some(step), stored) => {
                    if let Step::Publish {
                        id,
                        qos,
                        key,
                        body,
                        dup,
                    } = &step
                    {
                        taken += body.routed.cost();
                        match (id, stored) {
                            (None, _) => given_back += body.routed.cost(),
                            (Some(id), Some(stored)) if !dup || *qos == QoS::ExactlyOnce => {
                                let noted = self.shared.durable.sent(stored, *key, *id);
                                if *qos == QoS::ExactlyOnce {
                                    look.noted.get_or_insert_default().join_store(noted);
                                }
                            }
                            _ => {}
                        }
                    }
                    steps.push(step);
                }
            }
        }
        look.page =
            !self.jobs.is_empty() && state.session.outbox.len() < self.shared.options.retained_page;
        look.spilled = state.wants_page();
        let relieved = state.relieve(self.shared.options.high_water);
        if steps.is_empty()
            && let Some(link) = state.link.as_deref_mut()
        {
            let done = self.pending.is_empty() && self.unwritten() == 0 && state.spill.is_none();
            if link.leave && done {
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
        drop(guard);
        relieved.into_iter().for_each(|waker| wake(Some(waker)));
        self.shared.give_back(given_back);
        add(&self.shared.metrics.dropped_expired, expired);
        Ok(look)
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
                    key,
                    body,
                } => {
                    if self.write_publish(id, dup, qos, &body) {
                        sent += 1;
                    } else if let Some(id) = id {
                        self.let_go(id, key);
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
    fn let_go(&mut self, id: PacketId, key: u64) {
        let mut state = self.seat.lock();
        if state.generation != self.generation {
            return;
        }
        if let Acked::Done { cost, .. } = state.session.window.discard(id) {
            if let Some(stored) = state.stored {
                self.shared.durable.done(stored, key);
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
            shared.deliver_one(&self.seat, qos, item);
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
                    let mut state = self.seat.lock();
                    // Another connection may have taken the same message again, and safely.
                    if state.generation == self.generation {
                        state.session.inbound.release(id);
                        if let Some(stored) = state.stored {
                            self.shared.durable.forget(stored, id);
                        }
                    }
                }
                encoder.pubrec(id, failed(code), out);
            }
            Answer::PubRel(id, code) => encoder.pubrel(id, code, out),
            Answer::PubComp(id, code) => encoder.pubcomp(id, code, out),
            Answer::SubAck(id, codes, jobs) => {
                encoder.suback(id, &codes, out);
                for job in jobs {
                    // Asked for again while it is still being answered: from the beginning, but once.
                    self.jobs.retain(|before| before.filter != job.filter);
                    self.jobs.push_back(job);
                }
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
