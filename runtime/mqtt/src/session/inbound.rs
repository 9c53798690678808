//! QoS 2 messages from a client that were taken but not yet released: a second PUBLISH with such an identifier is the same message.

use crate::packet::PacketId;

/// What a QoS 2 PUBLISH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// To be published.
    New,
    /// Taken before: only acknowledged again.
    Duplicate,
}

/// The identifiers, sorted: they come in order nearly always.
#[derive(Debug, Default)]
pub struct Inbound(Vec<PacketId>);

impl Inbound {
    /// PUBLISH with QoS 2.
    pub fn receive(&mut self, id: PacketId) -> Received {
        match self.0.binary_search(&id) {
            Ok(_) => Received::Duplicate,
            Err(at) => {
                self.0.insert(at, id);
                Received::New
            }
        }
    }

    /// PUBREL, or a message that was refused after all. False: not known.
    pub fn release(&mut self, id: PacketId) -> bool {
        match self.0.binary_search(&id) {
            Ok(at) => {
                self.0.remove(at);
                if self.0.is_empty() && self.0.capacity() > 32 {
                    self.0 = Vec::new();
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the identifier waits for its release.
    pub fn contains(&self, id: PacketId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// How many wait for their release.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
