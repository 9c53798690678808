//! Where in-flight messages are noted down so that they survive this process: a trait that the spool implements.

use super::{PublishError, error::PubAck};
use crate::{Message, packet::PacketId};
use std::io;

/// Notes what is under way. The client itself keeps in-flight messages in memory and redelivers them after a reconnect; a
/// journal is for redelivery after a restart of the process, under the old packet ids.
///
/// Called by the client's task between packets: an implementation that writes to a disk hands that to a thread of its own,
/// or is quick.
pub trait Journal: Send + 'static {
    /// A QoS 1 or 2 message goes out for the first time. It keeps its id when it is sent again, also when the server has lost
    /// the session. `tag` is what the publisher gave, for finding the record. An error keeps the message from being sent.
    fn sending(&mut self, id: PacketId, message: &Message, tag: Option<u64>) -> io::Result<()>;

    /// PUBREC has come: the server owns the QoS 2 message, only its packet id is still to be released.
    fn received(&mut self, id: PacketId, tag: Option<u64>);

    /// The exchange is over: the server has the message, or it will never be sent. The id is free again.
    fn finished(&mut self, id: PacketId, tag: Option<u64>, outcome: Result<&PubAck, &PublishError>);

    /// What was under way when the last process ended, oldest first; asked once, before the first connection.
    fn pending(&mut self) -> Vec<Pending>;
}

/// A message that was under way when the last process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The packet id it went out under.
    pub id: PacketId,
    /// The publisher's tag.
    pub tag: Option<u64>,
    /// How far it came. `None`: PUBREC had come, see [`Journal::received`].
    pub message: Option<Message>,
}

/// Notes nothing: in-flight messages end with the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn sending(&mut self, _: PacketId, _: &Message, _: Option<u64>) -> io::Result<()> {
        Ok(())
    }

    fn received(&mut self, _: PacketId, _: Option<u64>) {}

    fn finished(&mut self, _: PacketId, _: Option<u64>, _: Result<&PubAck, &PublishError>) {}

    fn pending(&mut self) -> Vec<Pending> {
        Vec::new()
    }
}
