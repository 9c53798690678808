//! What can be wrong with a packet, with the reason code that the protocol gives it.

use super::reason;

/// Why a peer's bytes were refused. The connection has to be closed; [`super::Codec::refuse`] writes the farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (0x{reason:02x})")]
pub struct DecodeError {
    /// MQTT 5 reason code for DISCONNECT or CONNACK.
    pub reason: u8,
    /// The rule that was broken; holds nothing of what the peer sent.
    pub text: &'static str,
}

impl DecodeError {
    /// An error with any other reason code.
    pub(crate) const fn new(reason: u8, text: &'static str) -> Self {
        Self { reason, text }
    }

    /// The bytes cannot be read as the specification has it.
    pub(crate) const fn malformed(text: &'static str) -> Self {
        Self::new(reason::MALFORMED_PACKET, text)
    }

    /// The bytes can be read, but say what may not be said, or not now.
    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self::new(reason::PROTOCOL_ERROR, text)
    }
}

/// Why a message cannot be sent to this peer. Nothing has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Larger than the maximum packet size that the peer announced: such a message is dropped without a word.
    #[error("the packet of {size} bytes is larger than the {maximum} that the peer takes")]
    TooLarge {
        /// The packet's size.
        size: usize,
        /// What the peer takes.
        maximum: u32,
    },
    /// A field longer than the wire can say.
    #[error("the {0} is longer than MQTT can carry")]
    TooLong(&'static str),
    /// A frame made with a packet identifier was to be written without, or the other way round.
    #[error("the frame was encoded for another quality of service")]
    Quality,
}
