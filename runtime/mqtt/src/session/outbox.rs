//! Messages that wait for a client, in the order in which they came. QoS 0 has a queue of its own so that it can pass when the window of
//! QoS 1 and 2 is full, and be dropped without touching the rest; as long as nothing is blocked the order of arrival holds across both.

use crate::QoS;
use std::collections::VecDeque;

/// Entries that an empty queue may keep room for; a burst's memory goes back.
const KEEP: usize = 32;

/// How much one session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub messages: usize,
    /// Bytes, by the cost given to each.
    pub bytes: usize,
}

impl Limits {
    /// Whether one more of `cost` bytes fits.
    pub fn admit(&self, messages: usize, bytes: usize, cost: usize) -> Result<(), Refused> {
        // A message larger than all the room is taken when nothing else is held: else it could never pass.
        if messages >= self.messages || (messages > 0 && bytes.saturating_add(cost) > self.bytes) {
            return Err(Refused);
        }
        Ok(())
    }
}

/// The session holds as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session's queue is full")]
pub struct Refused;

/// One message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<B> {
    order: u64,
    /// The store's name for it; 0 when it has none.
    pub key: u64,
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// What it counts for, bytes.
    pub cost: usize,
    /// The message.
    pub body: B,
}

/// The queue.
#[derive(Debug)]
pub struct Outbox<B> {
    plain: VecDeque<Waiting<B>>,
    assured: VecDeque<Waiting<B>>,
    bytes: usize,
    next_order: u64,
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        Self {
            plain: VecDeque::new(),
            assured: VecDeque::new(),
            bytes: 0,
            next_order: 0,
        }
    }
}

impl<B> Outbox<B> {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.plain.len() + self.assured.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.assured.is_empty()
    }

    /// Puts a message at the end.
    pub fn push(&mut self, qos: QoS, cost: usize, key: u64, body: B) {
        let order = self.next_order;
        self.next_order += 1;
        self.bytes += cost;
        let queue = if qos == QoS::AtMostOnce {
            &mut self.plain
        } else {
            &mut self.assured
        };
        queue.push_back(Waiting {
            order,
            key,
            qos,
            cost,
            body,
        });
    }

    /// QoS 1 and 2 messages that wait.
    pub fn assured(&self) -> usize {
        self.assured.len()
    }

    /// Takes the oldest message; of QoS 0 only unless `assured`.
    pub fn pop(&mut self, assured: bool) -> Option<Waiting<B>> {
        let from_plain = match (self.plain.front(), self.assured.front().filter(|_| assured)) {
            (Some(plain), Some(assured)) => plain.order < assured.order,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return None,
        };
        let queue = if from_plain {
            &mut self.plain
        } else {
            &mut self.assured
        };
        let taken = queue.pop_front()?;
        if queue.is_empty() && queue.capacity() > KEEP {
            *queue = VecDeque::new();
        }
        self.bytes -= taken.cost;
        Some(taken)
    }

    /// Whether [`Outbox::pop`] would give something.
    pub fn has_next(&self, assured: bool) -> bool {
        !self.plain.is_empty() || (assured && !self.assured.is_empty())
    }

    /// Drops all QoS 0; returns messages and bytes.
    pub fn forget_plain(&mut self) -> (usize, usize) {
        let count = self.plain.len();
        let bytes = self.plain.iter().map(|waiting| waiting.cost).sum();
        self.plain = VecDeque::new();
        self.bytes -= bytes;
        (count, bytes)
    }

    /// Takes out the QoS 1 and 2 messages for which `take` holds, in order.
    pub fn extract(&mut self, mut take: impl FnMut(&Waiting<B>) -> bool) -> Vec<Waiting<B>> {
        let all = std::mem::take(&mut self.assured);
        let mut taken = Vec::new();
        for waiting in all {
            if take(&waiting) {
                taken.push(waiting);
            } else {
                self.assured.push_back(waiting);
            }
        }
        self.bytes -= taken
            .iter()
            .map(|waiting: &Waiting<B>| waiting.cost)
            .sum::<usize>();
        taken
    }
}
