//! From bytes to frames. Lengths are believed only once their own CRC is right, so a stray byte never makes us wait
//! for gigabytes.

use super::{
    Flags, Frame, Kind, MAX_HEADERS, MESSAGE_FLAGS, MESSAGE_TYPE, MODEL, OPERATION, OVERHEAD,
    PRELUDE, PROTOCOL_VERSION, STREAM_ID,
    header::{self, Value},
};
use bytes::{Buf, Bytes, BytesMut};

/// Why bytes are not a frame. None of these can be recovered from: the connection ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A checksum does not fit.
    #[error("the checksum of the {0} is wrong")]
    Checksum(&'static str),
    /// Longer than is taken here.
    #[error("a frame of {length} bytes is longer than the {limit} allowed")]
    TooLong {
        /// What it says it has.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Lengths that contradict each other.
    #[error("a frame of {length} bytes cannot have {headers} bytes of headers")]
    Lengths {
        /// Of all.
        length: usize,
        /// Of the headers.
        headers: usize,
    },
    /// Something is wrong with the headers.
    #[error("the frame has {0}")]
    Header(&'static str),
    /// A header that every frame needs.
    #[error("the frame lacks the header {0}")]
    Missing(&'static str),
    /// `:message-type` names no type.
    #[error("{0} is not a type of message")]
    Kind(i32),
}

/// Cuts frames off a receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Longer frames are refused.
    pub limit: usize,
}

impl Decoder {
    /// The next frame, or `None` when more bytes are needed.
    pub fn decode(self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.length(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < length {
            return Ok(None);
        }
        let frame = buffer.split_to(length).freeze();
        let body = length - 4;
        if crc32fast::hash(&frame[..body]) != (&frame[body..]).get_u32() {
            return Err(FrameError::Checksum("frame"));
        }
        let headers = PRELUDE + word(&frame, 4);
        parse(frame.slice(PRELUDE..headers), frame.slice(headers..body)).map(Some)
    }

    /// How long the frame at the head of the buffer is, once that can be told.
    pub fn length(self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        if buffer.len() < PRELUDE {
            return Ok(None);
        }
        if crc32fast::hash(&buffer[..8]) != (&buffer[8..]).get_u32() {
            return Err(FrameError::Checksum("lengths"));
        }
        let (length, headers) = (word(buffer, 0), word(buffer, 4));
        if length > self.limit {
            let limit = self.limit;
            return Err(FrameError::TooLong { length, limit });
        }
        if headers > MAX_HEADERS || headers.saturating_add(OVERHEAD) > length {
            return Err(FrameError::Lengths { length, headers });
        }
        Ok(Some(length))
    }
}

/// A length; saturates where `usize` has 16 bits, which then is too long anyway.
fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from((&bytes[at..]).get_u32()).unwrap_or(usize::MAX)
}

fn parse(headers: Bytes, payload: Bytes) -> Result<Frame, FrameError> {
    let (mut kind, mut flags, mut stream) = (None, None, None);
    let (mut operation, mut model, mut version) = (None, None, None);
    let mut rest = &headers[..];
    while let Some(found) = header::next(&mut rest)? {
        match (found.name, found.value) {
            (MESSAGE_TYPE, Value::Int(value)) => kind = Some(value),
            (MESSAGE_FLAGS, Value::Int(value)) => flags = Some(value),
            (STREAM_ID, Value::Int(value)) => stream = Some(value),
            (OPERATION, Value::Text(text)) => operation = Some(headers.slice_ref(text)),
            (MODEL, Value::Text(text)) => model = Some(headers.slice_ref(text)),
            (PROTOCOL_VERSION, Value::Text(text)) => version = Some(headers.slice_ref(text)),
            (
                MESSAGE_TYPE | MESSAGE_FLAGS | STREAM_ID | OPERATION | MODEL | PROTOCOL_VERSION,
                _,
            ) => {
                return Err(FrameError::Header("a header of the wrong type"));
            }
            _ => {}
        }
    }
    let kind = kind.ok_or(FrameError::Missing(":message-type"))?;
    Ok(Frame {
        kind: Kind::from_code(kind).ok_or(FrameError::Kind(kind))?,
        flags: Flags(flags.ok_or(FrameError::Missing(":message-flags"))?),
        stream: stream.ok_or(FrameError::Missing(":stream-id"))?,
        operation,
        model,
        version,
        headers,
        payload,
    })
}
