//! MQTT 5 properties: identifiers, their types, and where each may stand.

use super::WireError;
use bytes::{Buf, Bytes};
use bytestring::ByteString;

pub const PAYLOAD_FORMAT: u8 = 1;
pub const MESSAGE_EXPIRY: u8 = 2;
pub const CONTENT_TYPE: u8 = 3;
pub const RESPONSE_TOPIC: u8 = 8;
pub const CORRELATION_DATA: u8 = 9;
pub const SUBSCRIPTION_IDENTIFIER: u8 = 11;
pub const SESSION_EXPIRY: u8 = 17;
pub const ASSIGNED_CLIENT_ID: u8 = 18;
pub const SERVER_KEEP_ALIVE: u8 = 19;
pub const AUTHENTICATION_METHOD: u8 = 21;
pub const AUTHENTICATION_DATA: u8 = 22;
pub const WILL_DELAY: u8 = 24;
pub const RESPONSE_INFORMATION: u8 = 26;
pub const SERVER_REFERENCE: u8 = 28;
pub const REASON_STRING: u8 = 31;
pub const RECEIVE_MAXIMUM: u8 = 33;
pub const TOPIC_ALIAS_MAXIMUM: u8 = 34;
pub const TOPIC_ALIAS: u8 = 35;
pub const MAXIMUM_QOS: u8 = 36;
pub const RETAIN_AVAILABLE: u8 = 37;
pub const USER: u8 = 38;
pub const MAXIMUM_PACKET_SIZE: u8 = 39;
pub const WILDCARDS_AVAILABLE: u8 = 40;
pub const IDENTIFIERS_AVAILABLE: u8 = 41;
pub const SHARED_AVAILABLE: u8 = 42;

/// A set of property identifiers, for what a packet may carry.
const fn set(ids: &[u8]) -> u64 {
    let mut bits = 0;
    let mut at = 0;
    while at < ids.len() {
        bits |= 1 << ids[at];
        at += 1;
    }
    bits
}

pub const OF_ACK: u64 = set(&[REASON_STRING, USER]);
pub const OF_DISCONNECT: u64 = set(&[REASON_STRING, USER, SERVER_REFERENCE]);
pub const OF_PUBLISH: u64 = set(&[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    SUBSCRIPTION_IDENTIFIER,
    TOPIC_ALIAS,
    USER,
]);
pub const OF_CONNACK: u64 = set(&[
    SESSION_EXPIRY,
    RECEIVE_MAXIMUM,
    MAXIMUM_QOS,
    RETAIN_AVAILABLE,
    MAXIMUM_PACKET_SIZE,
    ASSIGNED_CLIENT_ID,
    TOPIC_ALIAS_MAXIMUM,
    REASON_STRING,
    USER,
    WILDCARDS_AVAILABLE,
    IDENTIFIERS_AVAILABLE,
    SHARED_AVAILABLE,
    SERVER_KEEP_ALIVE,
    RESPONSE_INFORMATION,
    SERVER_REFERENCE,
    AUTHENTICATION_METHOD,
    AUTHENTICATION_DATA,
]);

/// A property's value.
#[derive(Debug)]
pub enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Text(ByteString),
    Binary(Bytes),
    Pair(ByteString, ByteString),
}

impl Value {
    /// A byte that only says yes or no.
    pub fn flag(&self) -> Result<bool, WireError> {
        match self {
            Self::Byte(0) => Ok(false),
            Self::Byte(1) => Ok(true),
            _ => Err(WireError::protocol("a flag property is neither 0 nor 1")),
        }
    }
}

/// Reads a packet's body; every read checks that the bytes are there.
pub struct Reader(pub Bytes);

const SHORT: WireError = WireError::malformed("a packet is shorter than its fields");

impl Reader {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(|_| SHORT)
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.0.try_get_u16().map_err(|_| SHORT)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.0.try_get_u32().map_err(|_| SHORT)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, WireError> {
        if self.0.len() < length {
            return Err(SHORT);
        }
        Ok(self.0.split_to(length))
    }

    pub fn variable(&mut self) -> Result<u32, WireError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::malformed("a length has more than four bytes"))
    }

    pub fn binary(&mut self) -> Result<Bytes, WireError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    pub fn text(&mut self) -> Result<ByteString, WireError> {
        let text = ByteString::try_from(self.binary()?)
            .map_err(|_| WireError::malformed("a string is not UTF-8"))?;
        if text.contains('\0') {
            return Err(WireError::malformed("a string contains U+0000"));
        }
        Ok(text)
    }

    /// Calls `each` with every property; refuses those outside `allowed` and those that come twice.
    pub fn properties(
        &mut self,
        allowed: u64,
        mut each: impl FnMut(u8, Value) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let length = self.variable()?;
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        let mut reader = Self(self.take(length)?);
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let id = reader.u8()?;
            if id > SHARED_AVAILABLE || allowed & (1 << id) == 0 {
                return Err(WireError::protocol("a property that does not belong here"));
            }
            let repeats = matches!(id, USER | SUBSCRIPTION_IDENTIFIER);
            if seen & (1 << id) != 0 && !repeats {
                return Err(WireError::protocol("a property comes twice"));
            }
            seen |= 1 << id;
            let value = reader.value(id)?;
            each(id, value)?;
        }
        Ok(())
    }

    fn value(&mut self, id: u8) -> Result<Value, WireError> {
        Ok(match id {
            PAYLOAD_FORMAT
            | MAXIMUM_QOS
            | RETAIN_AVAILABLE
            | WILDCARDS_AVAILABLE
            | IDENTIFIERS_AVAILABLE
            | SHARED_AVAILABLE => Value::Byte(self.u8()?),
            SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => {
                Value::Two(self.u16()?)
            }
            MESSAGE_EXPIRY | SESSION_EXPIRY | MAXIMUM_PACKET_SIZE => Value::Four(self.u32()?),
            SUBSCRIPTION_IDENTIFIER => Value::Four(self.variable()?),
            CORRELATION_DATA | AUTHENTICATION_DATA => Value::Binary(self.binary()?),
            USER => Value::Pair(self.text()?, self.text()?),
            _ => Value::Text(self.text()?),
        })
    }
}
