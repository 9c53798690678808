//! Messages from the server that nobody has acknowledged yet: what is new, what is a repetition, what is answered when.
//!
//! A QoS 1 or 2 message is answered once its consumers are done with it. If the connection breaks before, the server sends
//! it again under its old id; a consumer that still holds it is not given it twice.

use super::wire::{Publication, WireError};
use crate::{Message, QoS, packet::PacketId};
use bytestring::ByteString;
use std::collections::HashMap;

/// Names one delivery for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    id: PacketId,
    serial: u32,
}

/// What a PUBLISH leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it to the consumers; the token acknowledges it. QoS 0 has none.
    Deliver(Message, Option<Token>),
    /// A consumer still has it.
    Repetition,
    /// Answer at once, the consumers were done with it.
    Answer(Answer),
}

/// An answer to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// PUBACK.
    Ack(PacketId),
    /// PUBREC.
    Received(PacketId),
    /// PUBCOMP; `known`: the id was waiting for its release.
    Complete { id: PacketId, known: bool },
}

#[derive(Debug)]
struct Held {
    serial: u32,
    message: Message,
    state: State,
    /// Sent on this connection, so that it can be answered.
    live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Consumers have it.
    Out,
    /// Consumers are done; the answer waits for the redelivery.
    Done,
    /// QoS 2: PUBREC sent, PUBREL awaited.
    Received,
}

/// Everything unacknowledged.
#[derive(Debug)]
pub struct Incoming {
    held: HashMap<PacketId, Held>,
    aliases: Vec<Option<ByteString>>,
    serial: u32,
}

impl Incoming {
    pub fn new(aliases: u16) -> Self {
        Self {
            held: HashMap::new(),
            aliases: vec![None; aliases.into()],
            serial: 0,
        }
    }

    /// The connection is gone: nothing can be answered until the server sends it again.
    pub fn disconnected(&mut self) {
        self.aliases.fill(None);
        for held in self.held.values_mut() {
            held.live = false;
        }
    }

    /// A connection is there; without the old session the server has forgotten what it sent.
    pub fn connected(&mut self, session_present: bool) {
        if !session_present {
            self.held.clear();
        }
    }

    /// How many wait for consumers.
    pub fn outstanding(&self) -> usize {
        let out = self.held.values().filter(|held| held.state == State::Out);
        out.count()
    }

    pub fn publish(&mut self, mut publication: Publication) -> Result<Verdict, WireError> {
        self.resolve(&mut publication)?;
        let Publication {
            message, id, dup, ..
        } = publication;
        let Some(id) = id else {
            return Ok(Verdict::Deliver(message, None));
        };
        if let Some(held) = self.held.get_mut(&id)
            && held.message.qos == message.qos
            && (held.state == State::Received && message.qos == QoS::ExactlyOnce
                || dup && same(&held.message, &message))
        {
            held.live = true;
            return Ok(match held.state {
                State::Out => Verdict::Repetition,
                State::Done => match self.settle(id) {
                    Some(answer) => Verdict::Answer(answer),
                    None => Verdict::Repetition,
                },
                State::Received => Verdict::Answer(Answer::Received(id)),
            });
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let held = Held {
            serial,
            message: message.clone(),
            state: State::Out,
            live: true,
        };
        self.held.insert(id, held);
        Ok(Verdict::Deliver(message, Some(Token { id, serial })))
    }

    /// The consumers are done with it.
    pub fn acknowledged(&mut self, token: Token) -> Option<Answer> {
        let held = self.held.get_mut(&token.id)?;
        if held.serial != token.serial || held.state != State::Out {
            return None;
        }
        held.state = State::Done;
        self.settle(token.id)
    }

    /// PUBREL.
    pub fn pubrel(&mut self, id: PacketId) -> Answer {
        let known = self
            .held
            .get(&id)
            .is_some_and(|held| held.message.qos == QoS::ExactlyOnce);
        if known {
            self.held.remove(&id);
        }
        Answer::Complete { id, known }
    }

    fn settle(&mut self, id: PacketId) -> Option<Answer> {
        let held = self.held.get_mut(&id)?;
        if !held.live {
            return None;
        }
        if held.message.qos == QoS::ExactlyOnce {
            held.state = State::Received;
            // Only the id matters from here on.
            held.message.payload = bytes::Bytes::new();
            held.message.properties = None;
            return Some(Answer::Received(id));
        }
        self.held.remove(&id);
        Some(Answer::Ack(id))
    }

    fn resolve(&mut self, publication: &mut Publication) -> Result<(), WireError> {
        let Some(alias) = publication.alias else {
            return Ok(());
        };
        let wrong = WireError {
            reason: super::Reason::TOPIC_ALIAS_INVALID,
            what: "a topic alias that we did not offer or do not know",
        };
        let slot = usize::from(alias).checked_sub(1);
        let slot = slot
            .and_then(|slot| self.aliases.get_mut(slot))
            .ok_or(wrong)?;
        let topic = &mut publication.message.topic;
        if topic.is_empty() {
            *topic = slot.clone().ok_or(wrong)?;
        } else {
            *slot = Some(topic.clone());
        }
        Ok(())
    }
}

fn same(old: &Message, new: &Message) -> bool {
    old.topic == new.topic && old.payload == new.payload
}
