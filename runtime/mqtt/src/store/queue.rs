//! What is known in memory of each session's queue: numbers and sizes, against the limits. Pure.

use super::{Options, Seq, SessionId, record::DropPolicy, record::Refused};
use std::collections::{BTreeMap, HashMap};

/// One session's queue.
#[derive(Debug)]
pub(super) struct Queue {
    sizes: BTreeMap<Seq, u32>,
    next: Seq,
    /// All before were sent, or are gone.
    unsent: Seq,
    bytes: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            sizes: BTreeMap::new(),
            next: 1,
            unsent: 1,
            bytes: 0,
        }
    }
}

/// All queues.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: HashMap<SessionId, Queue>,
    pub messages: usize,
    pub bytes: u64,
}

impl Queues {
    pub fn add(&mut self, session: SessionId) {
        self.queues.entry(session).or_default();
    }

    pub fn len(&self) -> usize {
        self.queues.len()
    }

    pub fn contains(&self, session: SessionId, seq: Seq) -> bool {
        let queue = self.queues.get(&session);
        queue.is_some_and(|queue| queue.sizes.contains_key(&seq))
    }

    pub fn has(&self, session: SessionId) -> bool {
        self.queues.contains_key(&session)
    }

    /// Messages and bytes of one session.
    pub fn load_of(&self, session: SessionId) -> (usize, u64) {
        let queue = self.queues.get(&session);
        queue.map_or((0, 0), |queue| (queue.sizes.len(), queue.bytes))
    }

    /// Counts a message that is in the file.
    pub fn load(&mut self, session: SessionId, seq: Seq, size: u32, sent: bool) {
        if let Some(queue) = self.queues.get_mut(&session) {
            queue.sizes.insert(seq, size);
            queue.bytes += u64::from(size);
            queue.next = queue.next.max(seq + 1);
            if sent {
                queue.unsent = queue.unsent.max(seq + 1);
            }
            self.messages += 1;
            self.bytes += u64::from(size);
        }
    }

    /// Finds a place for a message; the second value are those that must go for it.
    pub fn push(
        &mut self,
        session: SessionId,
        size: u32,
        options: &Options,
    ) -> Result<(Seq, Vec<Seq>), Refused> {
        let queue = self.queues.get_mut(&session).ok_or(Refused::NoSession)?;
        let size = u64::from(size);
        if size > options.session_bytes {
            // Would not fit an empty queue either.
            return Err(Refused::SessionFull);
        }
        let mut count = 0;
        let mut freed = 0;
        let mut oldest = queue.sizes.range(queue.unsent..);
        let mut dropped = Vec::new();
        loop {
            let session_full = queue.sizes.len() - count >= options.session_messages
                || queue.bytes - freed + size > options.session_bytes;
            let store_full = self.messages - count >= options.total_messages
                || self.bytes - freed + size > options.total_bytes;
            let refused = match (session_full, store_full) {
                (false, false) => break,
                (true, _) => Refused::SessionFull,
                (false, true) => Refused::StoreFull,
            };
            if options.drop == DropPolicy::Newest {
                return Err(refused);
            }
            let Some((seq, size)) = oldest.next() else {
                return Err(refused);
            };
            dropped.push(*seq);
            count += 1;
            freed += u64::from(*size);
        }
        let seq = queue.next;
        queue.next += 1;
        for seq in &dropped {
            queue.sizes.remove(seq);
        }
        queue
            .sizes
            .insert(seq, u32::try_from(size).unwrap_or(u32::MAX));
        queue.bytes = queue.bytes - freed + size;
        self.messages = self.messages - count + 1;
        self.bytes = self.bytes - freed + size;
        Ok((seq, dropped))
    }

    /// It is on its way: no longer dropped for others.
    pub fn sent(&mut self, session: SessionId, seq: Seq) {
        if let Some(queue) = self.queues.get_mut(&session) {
            queue.unsent = queue.unsent.max(seq + 1);
        }
    }

    /// Returns whether it was there.
    pub fn remove(&mut self, session: SessionId, seq: Seq) -> bool {
        let Some(queue) = self.queues.get_mut(&session) else {
            return false;
        };
        let Some(size) = queue.sizes.remove(&seq) else {
            return false;
        };
        queue.bytes -= u64::from(size);
        self.messages -= 1;
        self.bytes -= u64::from(size);
        true
    }

    /// Returns whether there was such a session.
    pub fn end(&mut self, session: SessionId) -> bool {
        let Some(queue) = self.queues.remove(&session) else {
            return false;
        };
        self.messages -= queue.sizes.len();
        self.bytes -= queue.bytes;
        true
    }
}
