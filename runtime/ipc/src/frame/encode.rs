//! From messages to bytes. The head of a frame is written apart from its payload, so that one payload can go to many
//! subscribers without being copied or built again for each.

use super::{
    CONTENT_TYPE, Flags, Kind, MESSAGE_FLAGS, MESSAGE_TYPE, MODEL, OPERATION, OVERHEAD, PRELUDE,
    PROTOCOL_VERSION, STREAM_ID, VERSION,
    header::{self, int_length, put_int, put_text, text_length},
};
use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;
use std::borrow::Cow;

const JSON: &str = "application/json";

/// One message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: Flags,
    /// The stream it belongs to.
    pub stream: i32,
    /// What its headers say besides.
    pub headers: Headers,
    /// The payload; clones share it.
    pub payload: Bytes,
}

/// The headers of a message besides type, flags and stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Headers {
    /// None.
    Bare,
    /// A JSON payload of this shape: responses, events and errors.
    Model(&'static str),
    /// A request: JSON for this operation.
    Request(Cow<'static, str>),
    /// A CONNECT.
    Connect,
    /// Headers as they came, for the answer to a PING.
    Echo(Bytes),
}

impl Headers {
    fn length(&self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Model(model) => text_length(CONTENT_TYPE, JSON) + text_length(MODEL, model),
            Self::Request(operation) => {
                text_length(CONTENT_TYPE, JSON)
                    + text_length(OPERATION, operation)
                    + text_length(MODEL, operation)
                    + REQUEST.len()
            }
            Self::Connect => text_length(PROTOCOL_VERSION, VERSION),
            Self::Echo(headers) => headers.len(),
        }
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Bare => {}
            Self::Model(model) => {
                put_text(out, CONTENT_TYPE, JSON);
                put_text(out, MODEL, model);
            }
            Self::Request(operation) => {
                put_text(out, CONTENT_TYPE, JSON);
                put_text(out, OPERATION, operation);
                put_text(out, MODEL, &format!("{operation}{REQUEST}"));
            }
            Self::Connect => put_text(out, PROTOCOL_VERSION, VERSION),
            Self::Echo(headers) => out.put_slice(headers),
        }
    }
}

const REQUEST: &str = "Request";

impl Message {
    /// How many bytes the frame has.
    pub fn length(&self) -> usize {
        OVERHEAD + self.headers_length() + self.payload.len()
    }

    fn headers_length(&self) -> usize {
        const FIXED: usize =
            int_length(MESSAGE_TYPE) + int_length(MESSAGE_FLAGS) + int_length(STREAM_ID);
        FIXED + self.headers.length()
    }

    /// The headers of a PING that its answer repeats: those that are not the protocol's own.
    pub fn echoed(headers: &Bytes) -> Bytes {
        let mut kept = BytesMut::new();
        let mut rest = &headers[..];
        loop {
            let before = rest;
            match header::next(&mut rest) {
                Ok(Some(found)) if !found.name.starts_with(b":") => {
                    kept.extend_from_slice(&before[..before.len() - rest.len()]);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return kept.freeze(),
            }
        }
    }
}

/// Writes the lengths and headers. The payload is to follow, then the returned checksum of both.
pub fn encode_head(message: &Message, out: &mut BytesMut) -> u32 {
    let headers = message.headers_length();
    let length = OVERHEAD + headers + message.payload.len();
    let start = out.len();
    out.reserve(PRELUDE + headers);
    out.put_u32(u32::try_from(length).expect("messages are held below the largest frame"));
    out.put_u32(u32::try_from(headers).expect("headers are shorter than their frame"));
    out.put_u32(crc32fast::hash(&out[start..]));
    put_int(out, MESSAGE_TYPE, message.kind as i32);
    put_int(out, MESSAGE_FLAGS, message.flags.0);
    put_int(out, STREAM_ID, message.stream);
    message.headers.put(out);
    let mut checksum = Hasher::new();
    checksum.update(&out[start..]);
    checksum.update(&message.payload);
    checksum.finalize()
}

/// Writes a whole frame.
pub fn encode(message: &Message, out: &mut BytesMut) {
    let checksum = encode_head(message, out);
    out.reserve(message.payload.len() + 4);
    out.put_slice(&message.payload);
    out.put_u32(checksum);
}
