//! QoS 1 and 2 messages under way to a client, in the order sent, acknowledged in any order.
//!
//! Packet identifiers go round 1..=65535. Each entry keeps the running number from which its identifier came, so entries are sorted by it
//! and an acknowledgement finds its entry by binary search.

use super::Step;
use crate::{QoS, packet::PacketId};
use std::collections::VecDeque;

const IDS: u64 = 65535;
/// Entries that an empty window may keep room for.
const KEEP: usize = 16;

/// How far a message has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage<B> {
    /// PUBLISH went out; PUBACK or PUBREC is awaited.
    Published {
        /// 1 or 2.
        qos: QoS,
        /// The message, for redelivery.
        body: B,
    },
    /// PUBREL went out; PUBCOMP is awaited. The client has the message.
    Released,
}

/// One message under way.
#[derive(Clone, Debug)]
pub struct InFlight<B> {
    number: u64,
    /// The store's name for it; 0 when it has none.
    pub key: u64,
    /// What it counts for, bytes.
    pub cost: usize,
    /// How far it has come.
    pub stage: Stage<B>,
}

impl<B> InFlight<B> {
    /// Its packet identifier.
    pub fn id(&self) -> PacketId {
        id_of(self.number)
    }
}

fn id_of(number: u64) -> PacketId {
    let id = u16::try_from(number % IDS).unwrap_or(0) + 1;
    PacketId::new(id).unwrap_or(PacketId::MIN)
}

/// What an acknowledgement that ends a delivery did.
#[derive(Debug, PartialEq, Eq)]
pub enum Acked {
    /// The message is done with.
    Done {
        /// The store's name for it; 0 when it has none.
        key: u64,
        /// Bytes given back.
        cost: usize,
    },
    /// No such packet identifier: an answer to what was done with before.
    Unknown,
    /// The wrong packet for this message's stage.
    Mismatch,
}

/// What PUBREC did.
#[derive(Debug, PartialEq, Eq)]
pub enum Recd {
    /// Answer with PUBREL; `first` the first time.
    Release {
        /// The store's name for it; 0 when it has none.
        key: u64,
        /// Bytes given back.
        cost: usize,
        /// False for a repeated PUBREC.
        first: bool,
    },
    /// The client refused the message: done with.
    Refused {
        /// The store's name for it; 0 when it has none.
        key: u64,
        /// Bytes given back.
        cost: usize,
    },
    /// No such packet identifier: answer with PUBREL 0x92.
    Unknown,
    /// A QoS 1 message has no PUBREC.
    Mismatch,
}

/// The window.
#[derive(Debug)]
pub struct Window<B> {
    entries: VecDeque<InFlight<B>>,
    /// The number for the next message.
    pub(super) next: u64,
    /// Entries before this index have been sent on this connection.
    sent: usize,
    maximum: usize,
    bytes: usize,
}

impl<B> Default for Window<B> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            next: 0,
            sent: 0,
            maximum: 0,
            bytes: 0,
        }
    }
}

impl<B> Window<B> {
    /// Messages under way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages under way that were sent on this connection.
    pub fn outstanding(&self) -> usize {
        self.sent
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &InFlight<B>> {
        self.entries.iter()
    }

    /// A connection begins.
    pub fn attach(&mut self, receive_maximum: u16) {
        self.maximum = usize::from(receive_maximum.max(1));
        self.sent = 0;
    }

    /// Whether a new message may be sent: all old ones are out again, and fewer than the maximum unacknowledged.
    pub fn has_room(&self) -> bool {
        self.sent == self.entries.len() && self.sent < self.maximum
    }

    /// Whether [`Window::redeliver`] would give something.
    pub fn has_redelivery(&self) -> bool {
        match self.entries.get(self.sent) {
            Some(entry) => self.sent < self.maximum || matches!(entry.stage, Stage::Released),
            None => false,
        }
    }

    /// Takes a message in; returns its identifier, which no other message under way has.
    pub fn insert(&mut self, key: u64, qos: QoS, cost: usize, body: B) -> PacketId {
        debug_assert!(self.has_room());
        while self.next
            - self
                .entries
                .front()
                .map_or(self.next, |oldest| oldest.number)
            >= IDS
            && self.taken(id_of(self.next))
        {
            self.next += 1;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += cost;
        self.entries.push_back(InFlight {
            number,
            key,
            cost,
            stage: Stage::Published { qos, body },
        });
        self.sent += 1;
        id_of(number)
    }

    /// Puts back a message that the store says is under way; oldest first.
    pub fn restore(&mut self, id: PacketId, key: u64, cost: usize, stage: Stage<B>) {
        let from = self.next % IDS;
        let wanted = u64::from(id.get() - 1);
        let number = self.next + (wanted + IDS - from) % IDS;
        self.next = number + 1;
        self.bytes += cost;
        self.entries.push_back(InFlight {
            number,
            key,
            cost,
            stage,
        });
    }

    fn taken(&self, id: PacketId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: PacketId) -> Option<usize> {
        let oldest = self.entries.front()?.number;
        let newest = self.entries.back()?.number;
        let wanted = u64::from(id.get() - 1);
        let mut number = newest.checked_sub((newest % IDS + IDS - wanted) % IDS)?;
        loop {
            if let Ok(index) = self
                .entries
                .binary_search_by_key(&number, |entry| entry.number)
            {
                return Some(index);
            }
            number = number.checked_sub(IDS).filter(|number| *number >= oldest)?;
        }
    }

    fn remove(&mut self, index: usize) -> Option<InFlight<B>> {
        let entry = self.entries.remove(index)?;
        if index < self.sent {
            self.sent -= 1;
        }
        self.bytes -= entry.cost;
        if self.entries.is_empty() && self.entries.capacity() > KEEP {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }

    fn done(&mut self, index: usize) -> Acked {
        match self.remove(index) {
            Some(entry) => Acked::Done {
                key: entry.key,
                cost: entry.cost,
            },
            None => Acked::Unknown,
        }
    }

    /// PUBACK.
    pub fn puback(&mut self, id: PacketId) -> Acked {
        let Some(index) = self.find(id) else {
            return Acked::Unknown;
        };
        match self.entries[index].stage {
            Stage::Published {
                qos: QoS::AtLeastOnce,
                ..
            } => self.done(index),
            _ => Acked::Mismatch,
        }
    }

    /// PUBREC, with a reason code of 0x80 or more if `refused`.
    pub fn pubrec(&mut self, id: PacketId, refused: bool) -> Recd {
        let Some(index) = self.find(id) else {
            return Recd::Unknown;
        };
        let entry = &mut self.entries[index];
        match entry.stage {
            Stage::Published {
                qos: QoS::ExactlyOnce,
                ..
            } if refused => match self.done(index) {
                Acked::Done { key, cost } => Recd::Refused { key, cost },
                _ => Recd::Unknown,
            },
            Stage::Published {
                qos: QoS::ExactlyOnce,
                ..
            } => {
                entry.stage = Stage::Released;
                let (key, cost) = (entry.key, std::mem::take(&mut entry.cost));
                self.bytes -= cost;
                Recd::Release {
                    key,
                    cost,
                    first: true,
                }
            }
            Stage::Published { .. } => Recd::Mismatch,
            Stage::Released => Recd::Release {
                key: entry.key,
                cost: 0,
                first: false,
            },
        }
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: PacketId) -> Acked {
        let Some(index) = self.find(id) else {
            return Acked::Unknown;
        };
        match self.entries[index].stage {
            Stage::Released => self.done(index),
            Stage::Published { .. } => Acked::Mismatch,
        }
    }

    /// Lets go of a message that turned out not to fit through the connection.
    pub fn discard(&mut self, id: PacketId) -> Acked {
        match self.find(id) {
            Some(index) => self.done(index),
            None => Acked::Unknown,
        }
    }

    /// Takes out the messages not yet received by the client for which `take` holds, oldest first.
    pub fn extract(&mut self, mut take: impl FnMut(QoS, &B) -> bool) -> Vec<InFlight<B>> {
        let mut taken = Vec::new();
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            match &entry.stage {
                Stage::Published { qos, body } if take(*qos, body) => {
                    taken.extend(self.remove(index));
                }
                _ => index += 1,
            }
        }
        taken
    }
}

impl<B: Clone> Window<B> {
    /// The next message to send again after [`Window::attach`].
    pub fn redeliver(&mut self) -> Option<Step<B>> {
        if !self.has_redelivery() {
            return None;
        }
        let entry = &self.entries[self.sent];
        self.sent += 1;
        let id = entry.id();
        Some(match &entry.stage {
            Stage::Published { qos, body } => Step::Publish {
                id: Some(id),
                dup: true,
                qos: *qos,
                key: entry.key,
                body: body.clone(),
            },
            Stage::Released => Step::Release { id },
        })
    }
}
