//! PUBLISH. A message that goes to many is encoded once for each version and with or without packet identifier; the
//! copies differ in a few bits and the identifier, which are patched:
//!
//! ```text
//! 0011dqqr | remaining length 1..4 | topic length 2 | topic | identifier 2 (QoS 1, 2) | MQTT 5: properties | payload
//!     ^^^^ patched                                            ^^^^^^^^^^^^ patched
//! ```

use super::{
    EncodeError, Version,
    encode::{LONGEST_FIELD, write},
};
use crate::{Message, Properties};
use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::protocol::{self as wire, Packet};

/// How a message goes to one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// Packet identifier.
        id: super::PacketId,
        /// It was sent before.
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// Packet identifier.
        id: super::PacketId,
        /// It was sent before.
        dup: bool,
    },
}

/// A topic alias (MQTT 5 section 3.3.2.3.4) in a packet that we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias {
    /// Topic and alias are sent: from now on the alias stands for the topic.
    Announce(u16),
    /// The alias is sent in place of the topic.
    Use(u16),
}

/// PUBLISH to one subscriber. What only MQTT 5 has is left out in 3.1.1.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingPublish<'a> {
    /// QoS, packet identifier, DUP.
    pub delivery: Delivery,
    /// The retain flag as this subscriber shall see it.
    pub retain: bool,
    /// Topic alias.
    pub alias: Option<Alias>,
    /// The identifiers of all subscriptions that match, 1..=268435455.
    pub subscription_identifiers: &'a [u32],
    /// What is left of the message expiry interval, seconds.
    pub expiry: Option<u32>,
}

/// An encoded PUBLISH, cheap to clone.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: Bytes,
    /// Where the packet identifier is.
    id_at: Option<usize>,
}

impl Frame {
    /// Encodes a message. `acknowledged` is for QoS 1 and 2: such a frame has a packet identifier. `expiry` is what is
    /// left of the message expiry interval, seconds.
    ///
    /// # Errors
    ///
    /// When a field is longer than the wire can say.
    pub fn new(
        version: Version,
        message: &Message,
        acknowledged: bool,
        expiry: Option<u32>,
    ) -> Result<Self, EncodeError> {
        let delivery = if acknowledged {
            Delivery::AtLeastOnce {
                id: super::PacketId::MIN,
                dup: false,
            }
        } else {
            Delivery::AtMostOnce
        };
        let outgoing = OutgoingPublish {
            delivery,
            retain: false,
            alias: None,
            subscription_identifiers: &[],
            expiry,
        };
        let mut out = BytesMut::new();
        encode(version, message, &outgoing, &mut out)?;
        let id_at = acknowledged.then(|| id_at(&out, message.topic.len()));
        Ok(Self {
            bytes: out.freeze(),
            id_at,
        })
    }

    /// The packet's size, to be held against what the client takes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a copy.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Quality`] when the delivery needs a packet identifier and the frame has none, or the other way
    /// round. Nothing is written then.
    pub fn write(
        &self,
        delivery: Delivery,
        retain: bool,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let [_, rest @ ..] = &self.bytes[..] else {
            return Err(EncodeError::Quality);
        };
        if delivery.id().is_some() != self.id_at.is_some() {
            return Err(EncodeError::Quality);
        }
        let start = out.len();
        out.reserve(self.bytes.len());
        out.put_u8(PUBLISH | delivery.flags() | u8::from(retain));
        out.extend_from_slice(rest);
        patch_id(out, self.id_at.map(|at| start + at), delivery);
        Ok(())
    }
}

const PUBLISH: u8 = 0x30;

fn patch_id(out: &mut BytesMut, at: Option<usize>, delivery: Delivery) {
    if let (Some(at), Some(id)) = (at, delivery.id())
        && let Some(place) = out.get_mut(at..at + 2)
    {
        place.copy_from_slice(&id.get().to_be_bytes());
    }
}

/// Where the packet identifier of an encoded PUBLISH is.
fn id_at(frame: &[u8], topic: usize) -> usize {
    let length_bytes = frame
        .iter()
        .skip(1)
        .take_while(|byte| *byte & 0x80 != 0)
        .count()
        + 1;
    1 + length_bytes + 2 + topic
}

/// rumqttd lets nobody outside set QoS and packet identifier of a `Publish`, but reads them from its own plain form:
/// flags, packet identifier, length of the topic.
const TEMPLATES: [&[u8; 5]; 2] = [&[0x30, 0, 0, 0, 0], &[0x32, 0, 1, 0, 0]];

/// Appends PUBLISH without regard for a maximum packet size. After an error `out` may have bytes too many.
pub(super) fn encode(
    version: Version,
    message: &Message,
    outgoing: &OutgoingPublish<'_>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let [plain, identified] = TEMPLATES;
    let template = if outgoing.delivery.id().is_some() {
        identified
    } else {
        plain
    };
    let alias = outgoing.alias.filter(|_| version == Version::V5);
    let topic = if let Some(Alias::Use(_)) = alias {
        Bytes::new()
    } else {
        message.topic.as_bytes().clone()
    };
    let topic_length = limit(topic.len(), "topic")?;
    let mut publish = wire::Publish::deserialize(Bytes::from_static(template));
    publish.topic = topic;
    publish.payload = message.payload.clone();
    let properties = match version {
        Version::V311 => None,
        Version::V5 => properties(message.properties.as_deref(), outgoing)?,
    };
    out.reserve(message.topic.len() + message.payload.len() + 16);
    let start = out.len();
    write(version, Packet::Publish(publish, properties), out)
        .map_err(|_| EncodeError::TooLong("packet"))?;
    let id_at = outgoing
        .delivery
        .id()
        .map(|_| start + id_at(&out[start..], topic_length));
    patch_id(out, id_at, outgoing.delivery);
    out[start] = PUBLISH | outgoing.delivery.flags() | u8::from(outgoing.retain);
    Ok(())
}

fn limit(length: usize, what: &'static str) -> Result<usize, EncodeError> {
    if length > LONGEST_FIELD {
        Err(EncodeError::TooLong(what))
    } else {
        Ok(length)
    }
}

fn properties(
    passing: Option<&Properties>,
    outgoing: &OutgoingPublish<'_>,
) -> Result<Option<wire::PublishProperties>, EncodeError> {
    let alias = outgoing
        .alias
        .map(|(Alias::Announce(alias) | Alias::Use(alias))| alias);
    if passing.is_none()
        && alias.is_none()
        && outgoing.expiry.is_none()
        && outgoing.subscription_identifiers.is_empty()
    {
        return Ok(None);
    }
    let mut properties = wire::PublishProperties {
        message_expiry_interval: outgoing.expiry,
        topic_alias: alias,
        subscription_identifiers: outgoing
            .subscription_identifiers
            .iter()
            .filter_map(|id| usize::try_from(*id).ok())
            .collect(),
        ..wire::PublishProperties::default()
    };
    if let Some(passing) = passing {
        let text = |text: &str, what| limit(text.len(), what).map(|_| text.to_owned());
        properties.payload_format_indicator = passing.payload_format;
        properties.content_type = passing
            .content_type
            .as_deref()
            .map(|found| text(found, "content type"))
            .transpose()?;
        properties.response_topic = passing
            .response_topic
            .as_deref()
            .map(|found| text(found, "response topic"))
            .transpose()?;
        if let Some(data) = &passing.correlation_data {
            limit(data.len(), "correlation data")?;
            properties.correlation_data = Some(data.clone());
        }
        for (name, value) in &passing.user {
            properties
                .user_properties
                .push((text(name, "user property")?, text(value, "user property")?));
        }
    }
    Ok(Some(properties))
}
