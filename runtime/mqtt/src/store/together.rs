//! A QoS 2 message on its way in: all that it leads to becomes durable in one group, so that a crash leaves all or nothing.
//!
//! Were its identifier written without the message, the publisher's repetition would be taken for done and the message would
//! be lost; were the message written without the identifier, the repetition would be a second message. The writer never
//! waits: a message whose enqueueing is not complete when a group is taken moves on to the next one.

use super::{Body, Seq, SessionId, Store, Ticket, batch::Batch, handle::lock};
use crate::packet::PacketId;

/// The messages that must not be written yet.
#[derive(Debug, Default)]
pub(super) struct Open(Vec<(u64, Vec<(SessionId, Seq)>)>);

impl Open {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A message was enqueued; does nothing unless it is open.
    pub fn add(&mut self, body: &Body, session: SessionId, seq: Seq) {
        if let Some((_, entries)) = self.0.iter_mut().find(|(id, _)| *id == body.0.id) {
            entries.push((session, seq));
        }
    }

    /// Moves what is open from one group to the next.
    pub fn carry(&self, from: &mut Batch, to: &mut Batch) {
        for (session, seq) in self.0.iter().flat_map(|(_, entries)| entries) {
            if let Some(insert) = from.extract(*session, *seq) {
                to.insert(*session, *seq, insert);
            }
        }
    }
}

/// While this lives, what [`Store::enqueue`] is given of one message is not written.
#[must_use]
#[derive(Debug)]
pub struct Together {
    store: Store,
    body: u64,
}

impl Store {
    /// Begins the enqueueing of a QoS 2 message that came from a stored session; before the first [`Store::enqueue`] of it.
    pub fn together(&self, body: &Body) -> Together {
        lock(&self.shared).open.0.push((body.0.id, Vec::new()));
        Together {
            store: self.clone(),
            body: body.0.id,
        }
    }
}

impl Together {
    /// Ends it with [`Store::remember`]. The ticket is done when the identifier and all messages are durable; those of the
    /// messages alone say nothing.
    pub fn remember(self, session: SessionId, id: PacketId) -> Ticket {
        self.store.note(|inner| {
            inner.open.0.retain(|(body, _)| *body != self.body);
            inner.receipt(session, id, true)
        })
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let mut inner = lock(&self.store.shared);
        inner.open.0.retain(|(body, _)| *body != self.body);
    }
}
