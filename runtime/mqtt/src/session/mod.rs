//! One client's session without any I/O: what waits for it, what is under way, and which QoS 2 messages of its own it has not released.
//! `B` is the body of a message: the engine puts a shared pointer there, tests a number.
//!
//! ```text
//! push -> outbox -> next -> window (QoS>0) -> puback | pubrec, pubcomp -> done
//!                           resumed: next begins with the window again, DUP set, in the old order
//! ```

mod inbound;
mod outbox;
mod window;

#[cfg(test)]
mod model;

pub use inbound::{Inbound, Received};
pub use outbox::{Limits, Outbox, Refused, Waiting};
pub use window::{Acked, InFlight, Recd, Stage, Window};

use crate::{QoS, packet::PacketId};

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<B> {
    /// PUBLISH.
    Publish {
        /// For QoS 1 and 2.
        id: Option<PacketId>,
        /// Sent before on another connection.
        dup: bool,
        /// The quality of service of this delivery.
        qos: QoS,
        /// The store's name for it; 0 when it has none.
        key: u64,
        /// The message.
        body: B,
    },
    /// PUBREL again, after a resumed session.
    Release {
        /// Of the PUBLISH.
        id: PacketId,
    },
    /// The message lost its meaning while it waited; nothing is sent.
    Stale {
        /// Whether the store knows it.
        qos: QoS,
        /// The store's name for it; 0 when it has none.
        key: u64,
        /// The message.
        body: B,
    },
}

/// The state of one session.
#[derive(Debug)]
pub struct Session<B> {
    /// What waits.
    pub outbox: Outbox<B>,
    /// What is under way.
    pub window: Window<B>,
    /// QoS 2 messages from the client.
    pub inbound: Inbound,
}

impl<B> Default for Session<B> {
    fn default() -> Self {
        Self {
            outbox: Outbox::default(),
            window: Window::default(),
            inbound: Inbound::default(),
        }
    }
}

impl<B: Clone> Session<B> {
    /// A connection begins: at most `receive_maximum` unacknowledged messages; what was under way is sent again.
    pub fn attach(&mut self, receive_maximum: u16) {
        self.window.attach(receive_maximum);
    }

    /// The connection ended: QoS 0 is not kept for later. Returns how many messages and bytes were let go.
    pub fn detach(&mut self) -> (usize, usize) {
        self.outbox.forget_plain()
    }

    /// Bytes held for the client, waiting or under way.
    pub fn bytes(&self) -> usize {
        self.outbox.bytes() + self.window.bytes()
    }

    /// Messages held for the client.
    pub fn len(&self) -> usize {
        self.outbox.len() + self.window.len()
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.window.is_empty()
    }

    /// Puts a message at the end of the queue, if the limits on everything held allow.
    pub fn push(
        &mut self,
        qos: QoS,
        cost: usize,
        key: u64,
        body: B,
        limits: &Limits,
    ) -> Result<(), Refused> {
        self.admits(cost, limits)?;
        self.outbox.push(qos, cost, key, body);
        Ok(())
    }

    /// Whether a message of this cost may be put into the queue.
    pub fn admits(&self, cost: usize, limits: &Limits) -> Result<(), Refused> {
        limits.admit(self.len(), self.bytes(), cost)
    }

    /// The next packet to send. Order: redelivery first, then the queue; when the window is full only QoS 0 goes on.
    pub fn next(&mut self, mut stale: impl FnMut(&B) -> bool) -> Option<Step<B>> {
        if let Some(step) = self.window.redeliver() {
            return Some(step);
        }
        let waiting = self.outbox.pop(self.window.has_room())?;
        let Waiting {
            key,
            qos,
            cost,
            body,
            ..
        } = waiting;
        if stale(&body) {
            return Some(Step::Stale { qos, key, body });
        }
        let id = (qos != QoS::AtMostOnce).then(|| self.window.insert(key, qos, cost, body.clone()));
        Some(Step::Publish {
            id,
            dup: false,
            qos,
            key,
            body,
        })
    }

    /// Whether [`Session::next`] would give something.
    pub fn has_next(&self) -> bool {
        self.window.has_redelivery() || self.outbox.has_next(self.window.has_room())
    }
}
