//! The group of changes that the next commit writes. Pure.
//!
//! It holds the last word on each thing that changed, not a log: a message that is enqueued and acknowledged again leaves
//! nothing.

use super::{
    SessionId, SessionRecord, State, SubscriptionRecord,
    record::{Body, Delivery, Seq},
    ticket::{Numbers, Ticket},
};
use crate::{Message, packet::PacketId};
use bytestring::ByteString;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// What a change is counted with besides its content.
pub(super) const OVERHEAD: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct Change<T> {
    number: u32,
    pub value: T,
}

/// A new message of a queue.
#[derive(Clone, Debug)]
pub(super) struct Insert {
    pub body: Body,
    pub delivery: Delivery,
    pub state: State,
    pub size: u32,
}

#[derive(Clone, Debug)]
pub(super) enum QueueChange {
    Insert(Box<Insert>),
    State(State),
    Remove,
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub group: u64,
    numbers: Numbers,
    /// What this takes in memory, roughly.
    pub bytes: usize,
    /// `None`: ended.
    pub sessions: BTreeMap<SessionId, Change<Option<Arc<SessionRecord>>>>,
    pub subscriptions: BTreeMap<(SessionId, ByteString), Change<Option<SubscriptionRecord>>>,
    pub queue: BTreeMap<(SessionId, Seq), Change<QueueChange>>,
    pub received: BTreeMap<(SessionId, PacketId), Change<bool>>,
    pub retained: BTreeMap<ByteString, Change<Option<Message>>>,
}

impl Batch {
    pub fn new(group: u64) -> Self {
        Self {
            group,
            numbers: Numbers::default(),
            bytes: 0,
            sessions: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            queue: BTreeMap::new(),
            received: BTreeMap::new(),
            retained: BTreeMap::new(),
        }
    }

    pub fn numbers(&self) -> (u64, &Numbers) {
        (self.group, &self.numbers)
    }

    /// How many changes there are to write.
    pub fn len(&self) -> usize {
        self.sessions.len()
            + self.subscriptions.len()
            + self.queue.len()
            + self.received.len()
            + self.retained.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any ticket of this group was given out.
    pub fn was_used(&self) -> bool {
        self.numbers.issued()
    }

    pub fn session(&mut self, id: SessionId, record: Option<Arc<SessionRecord>>) -> Ticket {
        let bytes = record.as_deref().map_or(0, weight);
        let group = self.group;
        let (number, before) = put(self.sessions.entry(id), &mut self.numbers, record);
        let before = before.map(|record| record.as_deref().map_or(0, weight));
        self.count(bytes, before);
        Ticket::new(group, number)
    }

    pub fn subscription(
        &mut self,
        session: SessionId,
        filter: ByteString,
        record: Option<SubscriptionRecord>,
    ) -> Ticket {
        let bytes = filter.len();
        let (map, numbers) = (&mut self.subscriptions, &mut self.numbers);
        let (number, before) = put(map.entry((session, filter)), numbers, record);
        self.count(bytes, before.map(|_| bytes));
        Ticket::new(self.group, number)
    }

    pub fn received(&mut self, session: SessionId, id: PacketId, there: bool) -> Ticket {
        let (map, numbers) = (&mut self.received, &mut self.numbers);
        let (number, before) = put(map.entry((session, id)), numbers, there);
        self.count(0, before.map(|_| 0));
        Ticket::new(self.group, number)
    }

    pub fn retained(&mut self, topic: ByteString, message: Option<Message>) -> Ticket {
        let bytes = topic.len() + message.as_ref().map_or(0, Message::size);
        let (map, numbers) = (&mut self.retained, &mut self.numbers);
        let key_len = topic.len();
        let (number, before) = put(map.entry(topic), numbers, message);
        let before = before.map(|m| key_len + m.as_ref().map_or(0, Message::size));
        self.count(bytes, before);
        Ticket::new(self.group, number)
    }

    pub fn insert(&mut self, session: SessionId, seq: Seq, insert: Insert) -> Ticket {
        self.count(insert.size as usize, None);
        let change = QueueChange::Insert(Box::new(insert));
        let (number, _) = put(self.queue.entry((session, seq)), &mut self.numbers, change);
        Ticket::new(self.group, number)
    }

    pub fn state(&mut self, session: SessionId, seq: Seq, state: State) -> Ticket {
        let number = match self.queue.entry((session, seq)) {
            Entry::Occupied(mut entry) => {
                let change = entry.get_mut();
                match &mut change.value {
                    QueueChange::Insert(insert) => insert.state.advance(state),
                    QueueChange::State(before) => before.advance(state),
                    QueueChange::Remove => {}
                }
                change.number
            }
            entry @ Entry::Vacant(_) => {
                let (number, _) = put(entry, &mut self.numbers, QueueChange::State(state));
                self.count(0, None);
                number
            }
        };
        Ticket::new(self.group, number)
    }

    /// Takes a message out of its queue. With `Err`, it had been put in by this same group, and nothing is left of it;
    /// the flag tells whether tickets are done now that were not before.
    pub fn remove(&mut self, session: SessionId, seq: Seq) -> Result<Ticket, bool> {
        match self.queue.entry((session, seq)) {
            Entry::Occupied(mut entry) => {
                let change = entry.get_mut();
                if let QueueChange::Insert(insert) = &change.value {
                    self.bytes -= OVERHEAD + insert.size as usize;
                    let number = entry.remove().number;
                    return Err(self.numbers.finish(number));
                }
                change.value = QueueChange::Remove;
                Ok(Ticket::new(self.group, change.number))
            }
            entry @ Entry::Vacant(_) => {
                let (number, _) = put(entry, &mut self.numbers, QueueChange::Remove);
                self.count(0, None);
                Ok(Ticket::new(self.group, number))
            }
        }
    }

    /// Takes a message out that is not to be written with this group.
    pub fn extract(&mut self, session: SessionId, seq: Seq) -> Option<Insert> {
        let Entry::Occupied(entry) = self.queue.entry((session, seq)) else {
            return None;
        };
        match entry.get().value {
            QueueChange::Insert(_) => {}
            _ => return None,
        }
        let QueueChange::Insert(insert) = entry.remove().value else {
            return None;
        };
        self.bytes -= OVERHEAD + insert.size as usize;
        Some(*insert)
    }

    fn count(&mut self, bytes: usize, before: Option<usize>) {
        self.bytes += OVERHEAD + bytes;
        if let Some(before) = before {
            self.bytes -= OVERHEAD + before;
        }
    }

    /// Adds what came later to this group, whose commit failed. Its tickets are done when both are committed.
    pub fn merge(&mut self, later: Self) {
        self.group = later.group;
        for (id, change) in later.sessions {
            self.session(id, change.value);
        }
        for ((session, filter), change) in later.subscriptions {
            self.subscription(session, filter, change.value);
        }
        for ((session, id), change) in later.received {
            self.received(session, id, change.value);
        }
        for (topic, change) in later.retained {
            self.retained(topic, change.value);
        }
        for ((session, seq), change) in later.queue {
            match change.value {
                QueueChange::Insert(insert) => _ = self.insert(session, seq, *insert),
                QueueChange::State(state) => _ = self.state(session, seq, state),
                QueueChange::Remove => _ = self.remove(session, seq),
            }
        }
        self.numbers.freeze();
    }
}

fn weight(record: &SessionRecord) -> usize {
    let will = record.will.as_ref();
    record.client_id.len() + will.map_or(0, |will| will.will.message.size())
}

/// Puts the last word in, under the number of the first one; gives back what it replaces.
fn put<K: Ord, T>(
    entry: Entry<'_, K, Change<T>>,
    numbers: &mut Numbers,
    value: T,
) -> (u32, Option<T>) {
    match entry {
        Entry::Occupied(mut entry) => {
            let change = entry.get_mut();
            let before = std::mem::replace(&mut change.value, value);
            (change.number, Some(before))
        }
        Entry::Vacant(entry) => {
            let number = numbers.issue();
            entry.insert(Change { number, value });
            (number, None)
        }
    }
}
