//! Event-stream frames: what travels on the socket, in both directions.
//!
//! ```text
//! u32 length of all | u32 length of headers | u32 CRC of the first 8 bytes | headers | payload | u32 CRC of all before
//! header = u8 length | name | u8 type | value       integers are big-endian, the CRC is CRC-32 (IEEE)
//! ```

mod decode;
mod encode;
mod header;

pub use decode::{Decoder, FrameError};
pub use encode::{Headers, Message, encode, encode_head};
pub use header::Header;

use bytes::Bytes;

/// The largest frame: what the SDKs' own runtime (aws-c-event-stream) sends and takes at most.
pub const MAX_FRAME: usize = 24 * 1024 * 1024;
/// The largest block of headers, as there.
pub const MAX_HEADERS: usize = 128 * 1024;
/// The largest frame before a connection is accepted: a CONNECT holds a token.
pub const MAX_CONNECT: usize = 16 * 1024;
/// The protocol's version, in the header `:version` of a CONNECT.
pub const VERSION: &str = "0.1.0";

/// The first two lengths and their CRC.
const PRELUDE: usize = 12;
/// All that is neither headers nor payload.
const OVERHEAD: usize = PRELUDE + 4;

const MESSAGE_TYPE: &[u8] = b":message-type";
const MESSAGE_FLAGS: &[u8] = b":message-flags";
const STREAM_ID: &[u8] = b":stream-id";
const PROTOCOL_VERSION: &[u8] = b":version";
const CONTENT_TYPE: &[u8] = b":content-type";
const OPERATION: &[u8] = b"operation";
const MODEL: &[u8] = b"service-model-type";

/// The header `:message-type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the protocol's own words
pub enum Kind {
    ApplicationMessage = 0,
    ApplicationError = 1,
    Ping = 2,
    PingResponse = 3,
    Connect = 4,
    ConnectAck = 5,
    ProtocolError = 6,
    InternalError = 7,
}

impl Kind {
    fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::ApplicationMessage,
            1 => Self::ApplicationError,
            2 => Self::Ping,
            3 => Self::PingResponse,
            4 => Self::Connect,
            5 => Self::ConnectAck,
            6 => Self::ProtocolError,
            7 => Self::InternalError,
            _ => return None,
        })
    }
}

/// The header `:message-flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(i32);

impl Flags {
    /// Nothing set.
    pub const NONE: Self = Self(0);
    /// In a CONNECT_ACK: welcome.
    pub const ACCEPTED: Self = Self(1);
    /// The last message of its stream.
    pub const TERMINATE: Self = Self(2);

    /// Whether all of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One frame as it was received. Its parts share the receive buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The stream it belongs to; 0 is the connection itself.
    pub stream: i32,
    /// The header `operation`, for example `aws.greengrass#PublishToTopic`.
    pub operation: Option<Bytes>,
    /// The header `service-model-type`.
    pub model: Option<Bytes>,
    /// The header `:version`.
    pub version: Option<Bytes>,
    /// All headers as they came.
    pub headers: Bytes,
    /// The payload, JSON as a rule.
    pub payload: Bytes,
}
