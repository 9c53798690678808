//! What a client's packets do.

use super::{
    DisconnectCause,
    connection::{Connected, Pending, WORK},
    deliver::Job,
    durable::Ticket,
    hold::Hold,
    metrics::add,
    registry::{End, TAKEN_OVER},
    route::Origin,
    seat::State,
};
use crate::{
    Message, QoS,
    packet::{Incoming, PacketId, Version, reason},
    session::{Acked, Recd},
};
use bytestring::ByteString;
use std::{
    sync::{Arc, MutexGuard},
    task::{Context, Poll, Waker},
};

/// What is sent back once the ticket is ready.
pub(super) enum Answer {
    PubAck(PacketId, u8),
    PubRec(PacketId, u8),
    PubRel(PacketId, u8),
    PubComp(PacketId, u8),
    /// Retained messages follow it.
    SubAck(PacketId, Vec<u8>, Vec<Job>),
    UnsubAck(PacketId, Vec<u8>),
}

/// Packets and deliveries of one reading whose receivers go before the sender's answer.
const FEW: usize = 8;

impl<S> Connected<S> {
    /// Handles packets until the buffer is empty or something says wait.
    pub(super) fn take_packets(&mut self) -> Result<(), End> {
        let mut published = 0;
        let seat = Arc::clone(&self.seat);
        let _turn = seat.turn();
        drop(self.state()?);
        let taken = self.take_some(&mut published);
        if published > 0 {
            add(&self.shared.metrics.messages_in, published);
        }
        taken
    }

    fn take_some(&mut self, published: &mut usize) -> Result<(), End> {
        let mut work = 0;
        while self.hold.is_none() && self.may_answer() {
            if work >= WORK {
                return Ok(());
            }
            match self.codec.decode(&mut self.input) {
                Ok(Some(packet)) => {
                    *published += usize::from(matches!(packet, Incoming::Publish { .. }));
                    work += 1 + self.packet(packet)?;
                }
                Ok(None) => {
                    self.more = false;
                    self.step_aside = *published > 0 && work <= FEW && self.unwritten() > 0;
                    return Ok(());
                }
                Err(error) => {
                    log::info!(client = &*self.identity.client_id, error = error.to_string(); "closing: bad packet");
                    return Err(End::protocol(error.reason, error.text));
                }
            }
        }
        Ok(())
    }

    /// Returns how many deliveries it made.
    fn packet(&mut self, packet: Incoming) -> Result<usize, End> {
        match packet {
            Incoming::Publish {
                message, id, alias, ..
            } => return self.on_publish(message, id, alias),
            Incoming::PubAck(id, _) => self.on_acked(|state| state.session.window.puback(id))?,
            Incoming::PubRec(id, code) => self.on_pubrec(id, code)?,
            Incoming::PubComp(id, _) => self.on_acked(|state| state.session.window.pubcomp(id))?,
            Incoming::PubRel(id, _) => self.on_pubrel(id)?,
            Incoming::Subscribe {
                id,
                filters,
                identifier,
            } => self.on_subscribe(id, &filters, identifier)?,
            Incoming::Unsubscribe { id, filters } => self.on_unsubscribe(id, &filters)?,
            Incoming::PingReq => {
                if self.out.capacity() == 0 {
                    self.out = super::scratch::take();
                }
                self.encoder.pingresp(&mut self.out);
            }
            Incoming::Disconnect {
                reason,
                session_expiry,
            } => return Err(self.on_disconnect(reason, session_expiry)),
            Incoming::Connect(_) => {
                return Err(End::protocol(reason::PROTOCOL_ERROR, "a second CONNECT"));
            }
            Incoming::Auth => {
                return Err(End::protocol(
                    reason::PROTOCOL_ERROR,
                    "AUTH without an authentication method",
                ));
            }
        }
        Ok(0)
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, End> {
        let state = self.seat.lock();
        if state.generation == self.generation {
            return Ok(state);
        }
        drop(state);
        Err(End {
            cause: DisconnectCause::TakenOver,
            tell: Some(reason::SESSION_TAKEN_OVER),
            text: Some(TAKEN_OVER),
            will: false,
        })
    }

    fn on_acked(&self, ack: impl FnOnce(&mut State) -> Acked) -> Result<(), End> {
        let mut state = self.state()?;
        match ack(&mut state) {
            Acked::Done { key, cost } => {
                if let Some(stored) = state.stored {
                    self.shared.durable.done(stored, key);
                }
                drop(state);
                self.shared.give_back(cost);
                Ok(())
            }
            // An answer to an earlier connection's message, or a repeated one.
            Acked::Unknown => Ok(()),
            Acked::Mismatch => Err(End::protocol(
                reason::PROTOCOL_ERROR,
                "the wrong acknowledgement for this message",
            )),
        }
    }

    fn on_pubrec(&mut self, id: PacketId, code: u8) -> Result<(), End> {
        let mut state = self.state()?;
        let recd = state.session.window.pubrec(id, code >= 0x80);
        let mut ticket = Ticket::default();
        match (&recd, state.stored) {
            // Not before the release is safe: after a crash the message would be sent again as a new one.
            (Recd::Release { key, .. }, Some(stored)) => {
                ticket.join_store(self.shared.durable.released(stored, *key, id));
            }
            (Recd::Refused { key, .. }, Some(stored)) => self.shared.durable.done(stored, *key),
            _ => {}
        }
        drop(state);
        match recd {
            Recd::Release { cost, .. } => {
                self.shared.give_back(cost);
                self.answer(ticket, Answer::PubRel(id, reason::SUCCESS))
            }
            Recd::Refused { cost, .. } => {
                self.shared.give_back(cost);
                Ok(())
            }
            Recd::Unknown => self.answer(
                ticket,
                Answer::PubRel(id, reason::PACKET_IDENTIFIER_NOT_FOUND),
            ),
            Recd::Mismatch => Err(End::protocol(
                reason::PROTOCOL_ERROR,
                "PUBREC for a QoS 1 message",
            )),
        }
    }

    fn on_pubrel(&mut self, id: PacketId) -> Result<(), End> {
        let mut state = self.state()?;
        let known = state.session.inbound.release(id);
        let mut ticket = Ticket::default();
        if let Some(stored) = state.stored {
            // The client may use the identifier again once it has PUBCOMP; an earlier release may still be on its way.
            ticket.join_store(self.shared.durable.forget(stored, id));
        }
        drop(state);
        let code = if known {
            reason::SUCCESS
        } else {
            reason::PACKET_IDENTIFIER_NOT_FOUND
        };
        self.answer(ticket, Answer::PubComp(id, code))
    }

    fn on_publish(
        &mut self,
        mut message: Message,
        id: Option<PacketId>,
        alias: Option<u16>,
    ) -> Result<usize, End> {
        self.resolve(&mut message, alias)?;
        if let Some(id) = id
            && !self.admit(&message, id)?
        {
            return self.repeat(id).map(|()| 0);
        }
        let cache = self.cache.get_or_insert_default();
        let policy = &*self.shared.policy;
        if !cache.may_publish(
            policy,
            &self.identity,
            &message.topic,
            message.qos,
            message.retain,
        ) {
            return self.deny_publish(&message, id).map(|()| 0);
        }
        let qos = message.qos;
        let mut remembered = None;
        if let (QoS::ExactlyOnce, Some(id)) = (qos, id) {
            let mut state = self.state()?;
            state.session.inbound.receive(id);
            if let Some(stored) = state.stored {
                remembered = Some(self.shared.durable.remember(stored, id));
            }
        }
        let origin = Origin {
            seat: Some(&self.seat),
            identity: Some(&self.identity),
            chunk: self.chunk,
        };
        let mut routing = self.shared.publish(message, &origin);
        self.hold = Hold::new(
            &self.shared,
            routing.congested.take(),
            routing.full.take(),
            Some(&self.seat),
        )
        .map(Box::new);
        let Some(id) = id else {
            return Ok(routing.matched);
        };
        let v5 = self.encoder.version() == Version::V5;
        let code = match routing.matched {
            _ if routing.quota || (routing.unretained && v5) => reason::QUOTA_EXCEEDED,
            0 if v5 => reason::NO_MATCHING_SUBSCRIBERS,
            _ => reason::SUCCESS,
        };
        if routing.quota && !v5 {
            return Err(End::protocol(
                reason::QUOTA_EXCEEDED,
                "no room for the message",
            ));
        }
        if qos == QoS::ExactlyOnce {
            if code >= 0x80 {
                let mut state = self.state()?;
                state.session.inbound.release(id);
                if let Some(stored) = state.stored {
                    self.shared.durable.forget(stored, id);
                }
            } else if let Some(ticket) = remembered {
                routing.ticket.join_store(ticket);
            }
            self.answer(routing.ticket, Answer::PubRec(id, code))?;
        } else {
            self.unacked += 1;
            self.answer(routing.ticket, Answer::PubAck(id, code))?;
        }
        Ok(routing.matched)
    }

    /// A QoS 2 message that was taken before is acknowledged again, once the first time is safe.
    fn repeat(&mut self, id: PacketId) -> Result<(), End> {
        let mut ticket = Ticket::default();
        if let Some(stored) = self.state()?.stored {
            ticket.join_store(self.shared.durable.remember(stored, id));
        }
        self.answer(ticket, Answer::PubRec(id, reason::SUCCESS))
    }

    /// Puts the topic in place of its alias.
    fn resolve(&mut self, message: &mut Message, alias: Option<u16>) -> Result<(), End> {
        let Some(alias) = alias else {
            if message.topic.is_empty() {
                return Err(End::protocol(
                    reason::PROTOCOL_ERROR,
                    "neither a topic nor an alias",
                ));
            }
            return Ok(());
        };
        if alias == 0 || alias > self.shared.options.topic_alias_maximum {
            return Err(End::protocol(
                reason::TOPIC_ALIAS_INVALID,
                "a topic alias above the maximum",
            ));
        }
        let index = usize::from(alias - 1);
        if message.topic.is_empty() {
            let known = self.aliases_in.get(index).and_then(Option::as_ref);
            message.topic = known.cloned().ok_or(End::protocol(
                reason::PROTOCOL_ERROR,
                "a topic alias that was not set",
            ))?;
            return Ok(());
        }
        if self.aliases_in.len() <= index {
            self.aliases_in.resize(index + 1, None);
        }
        self.aliases_in[index] = Some(ByteString::from(&*message.topic));
        Ok(())
    }

    /// Checks what the client has under way. False: a QoS 2 message that was taken before.
    fn admit(&self, message: &Message, id: PacketId) -> Result<bool, End> {
        let state = self.state()?;
        if message.qos == QoS::ExactlyOnce && state.session.inbound.contains(id) {
            return Ok(false);
        }
        let maximum = usize::from(self.shared.options.receive_maximum);
        let unreleased = state.session.inbound.len();
        match self.encoder.version() {
            Version::V5 if self.unacked + unreleased >= maximum => Err(End::protocol(
                reason::RECEIVE_MAXIMUM_EXCEEDED,
                "more unacknowledged messages than the receive maximum",
            )),
            // 3.1.1 knows no receive maximum; but nobody needs so many messages half-way.
            Version::V311
                if message.qos == QoS::ExactlyOnce && unreleased >= maximum.max(20) * 10 =>
            {
                Err(End::protocol(
                    reason::RECEIVE_MAXIMUM_EXCEEDED,
                    "too many unreleased messages",
                ))
            }
            _ => Ok(true),
        }
    }

    /// See the table in [`crate::policy`].
    fn deny_publish(&mut self, message: &Message, id: Option<PacketId>) -> Result<(), End> {
        add(&self.shared.metrics.denied_publish, 1);
        let level = self.denial_level();
        log::log!(level, client = &*self.identity.client_id, topic = &*message.topic; "policy refused a message");
        match (self.encoder.version(), message.qos, id) {
            (Version::V5, QoS::AtLeastOnce, Some(id)) => {
                self.unacked += 1;
                self.answer(
                    Ticket::default(),
                    Answer::PubAck(id, reason::NOT_AUTHORIZED),
                )
            }
            (Version::V5, QoS::ExactlyOnce, Some(id)) => self.answer(
                Ticket::default(),
                Answer::PubRec(id, reason::NOT_AUTHORIZED),
            ),
            _ => Err(End::denied()),
        }
    }

    /// The first denial of a connection is told to people; a client that goes on trying shall not fill their log.
    pub(super) fn denial_level(&mut self) -> log::Level {
        if std::mem::replace(&mut self.denied, true) {
            log::Level::Debug
        } else {
            log::Level::Info
        }
    }

    fn on_disconnect(&mut self, code: u8, session_expiry: Option<u32>) -> End {
        if let Some(wanted) = session_expiry {
            if self.expiry == 0 && wanted > 0 {
                return End::protocol(
                    reason::PROTOCOL_ERROR,
                    "a session expiry where CONNECT had none",
                );
            }
            let maximum = self.shared.options.max_session_expiry.as_secs();
            self.changed_expiry = Some(wanted.min(u32::try_from(maximum).unwrap_or(u32::MAX)));
        }
        End {
            cause: DisconnectCause::Client(code),
            tell: None,
            text: None,
            will: code != reason::SUCCESS,
        }
    }

    /// Sends an answer now if it can be, else when its ticket is ready; in the order of the client's packets.
    pub(super) fn answer(&mut self, mut ticket: Ticket, answer: Answer) -> Result<(), End> {
        if self.pending.is_empty() {
            let mut nobody = Context::from_waker(Waker::noop());
            if let Poll::Ready(safe) = ticket.poll(&self.shared.durable, &mut nobody) {
                return self.write_answer(answer, safe.is_ok());
            }
        }
        self.pending.push_back(Pending { ticket, answer });
        // The ticket must learn who waits.
        self.again = true;
        Ok(())
    }
}
