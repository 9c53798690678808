//! An application message, independent of protocol version and connection.

use bytes::Bytes;
use bytestring::ByteString;
use std::{sync::Arc, time::SystemTime};

/// Quality of service, as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Fire and forget.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Acknowledged in two steps; arrives once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From the two bits of the wire; 3 is no quality of service.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// One application message. Cheap to clone: payload and topic are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A valid topic name: no wildcards, not empty, no NUL.
    pub topic: ByteString,
    /// The payload as received.
    pub payload: Bytes,
    /// What the publisher asked for.
    pub qos: QoS,
    /// Whether the message is (to be) retained.
    pub retain: bool,
    /// When the message loses its meaning (MQTT 5 message expiry); wall clock, since it may outlive a restart.
    pub expires: Option<SystemTime>,
    /// MQTT 5 properties that travel with the message; `None` when there are none.
    pub properties: Option<Arc<Properties>>,
}

impl Message {
    /// Bytes of topic, payload and properties: what the message weighs in a queue, besides a fixed overhead.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |p| p.size());
        self.topic.len() + self.payload.len() + properties
    }
}

/// The MQTT 5 properties that the broker passes through untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// 1 says that the payload is UTF-8.
    pub payload_format: Option<u8>,
    /// MIME type or any other description.
    pub content_type: Option<ByteString>,
    /// Where a response is expected.
    pub response_topic: Option<ByteString>,
    /// Ties a response to its request.
    pub correlation_data: Option<Bytes>,
    /// In the order given; names may repeat.
    pub user: Vec<(ByteString, ByteString)>,
}

impl Properties {
    /// Bytes of all values.
    pub fn size(&self) -> usize {
        let text = |text: &Option<ByteString>| text.as_ref().map_or(0, |text| text.len());
        let user = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len());
        text(&self.content_type)
            + text(&self.response_topic)
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + user.sum::<usize>()
    }
}
