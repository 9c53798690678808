//! A message on the bus: what rumqttd's PUBLISH has no room for stands before the payload.
//!
//! ```text
//! seq u64 | flags u8: QoS 2 bits, retain 4, expires 8, properties 16 | expires u64 microseconds since 1970 | client id len16
//! properties: present u8 | payload format u8 | content type, response topic len16 | correlation data len32 | user count u32, (len16 len16)*
//! payload
//! ```
//! Topics get a level in front, `m/` or, for those that begin with `$`, `d/`: so the router has none that begins with `$` or with a
//! character of more than one byte, and a wildcard never reaches over into `$` topics.

use crate::{Message, Properties, QoS};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const RETAIN: u8 = 4;
const EXPIRES: u8 = 8;
const PROPERTIES: u8 = 16;

/// All fixed fields and what the router adds, with room to spare.
const OVERHEAD: usize = 128;

/// What the envelope says besides the message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub seq: u64,
    pub client_id: ByteString,
    pub message: Message,
}

/// A topic or filter as the router knows it.
pub(super) fn on_bus(topic: &str) -> String {
    let prefix = if topic.starts_with('$') { "d/" } else { "m/" };
    [prefix, topic].concat()
}

/// What a message counts for: never less than it takes in the router's logs.
pub(super) fn size(client_id: &str, message: &Message) -> usize {
    let users = message
        .properties
        .as_deref()
        .map_or(0, |properties| properties.user.len());
    client_id.len() + message.size() + users * 4 + OVERHEAD
}

pub(super) fn seal(seq: u64, client_id: &str, message: &Message) -> Bytes {
    let mut out = BytesMut::with_capacity(64 + client_id.len() + message.size());
    out.put_u64(seq);
    let mut flags = message.qos as u8;
    flags |= if message.retain { RETAIN } else { 0 };
    flags |= if message.expires.is_some() {
        EXPIRES
    } else {
        0
    };
    flags |= if message.properties.is_some() {
        PROPERTIES
    } else {
        0
    };
    out.put_u8(flags);
    if let Some(expires) = message.expires {
        let since = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.put_u64(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    }
    put_text(client_id.as_bytes(), &mut out);
    if let Some(properties) = &message.properties {
        put_properties(properties, &mut out);
    }
    out.put_slice(&message.payload);
    out.freeze()
}

/// `None`: not one of ours.
pub(super) fn open(topic: &Bytes, mut sealed: Bytes) -> Option<Opened> {
    let topic = ByteString::try_from(topic.slice(2.min(topic.len())..)).ok()?;
    let seq = sealed.try_get_u64().ok()?;
    let flags = sealed.try_get_u8().ok()?;
    let qos = QoS::from_bits(flags & 3)?;
    let expires = match flags & EXPIRES {
        0 => None,
        _ => Some(UNIX_EPOCH + Duration::from_micros(sealed.try_get_u64().ok()?)),
    };
    let expires: Option<SystemTime> = expires;
    let client_id = get_text(&mut sealed)?;
    let properties = match flags & PROPERTIES {
        0 => None,
        _ => Some(Arc::new(get_properties(&mut sealed)?)),
    };
    let message = Message {
        topic,
        payload: sealed,
        qos,
        retain: flags & RETAIN != 0,
        expires,
        properties,
    };
    Some(Opened {
        seq,
        client_id,
        message,
    })
}

fn put_text(text: &[u8], out: &mut BytesMut) {
    // Every text here came over MQTT, whose lengths have two bytes.
    let text = &text[..text.len().min(usize::from(u16::MAX))];
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text);
}

fn get_text(sealed: &mut Bytes) -> Option<ByteString> {
    let length = usize::from(sealed.try_get_u16().ok()?);
    (sealed.len() >= length)
        .then(|| sealed.split_to(length))?
        .try_into()
        .ok()
}

const FORMAT: u8 = 1;
const CONTENT_TYPE: u8 = 2;
const RESPONSE_TOPIC: u8 = 4;
const CORRELATION: u8 = 8;

fn put_properties(properties: &Properties, out: &mut BytesMut) {
    let mut present = 0;
    present |= if properties.payload_format.is_some() {
        FORMAT
    } else {
        0
    };
    present |= if properties.content_type.is_some() {
        CONTENT_TYPE
    } else {
        0
    };
    present |= if properties.response_topic.is_some() {
        RESPONSE_TOPIC
    } else {
        0
    };
    present |= if properties.correlation_data.is_some() {
        CORRELATION
    } else {
        0
    };
    out.put_u8(present);
    if let Some(format) = properties.payload_format {
        out.put_u8(format);
    }
    for text in [&properties.content_type, &properties.response_topic]
        .into_iter()
        .flatten()
    {
        put_text(text.as_bytes(), out);
    }
    if let Some(data) = &properties.correlation_data {
        out.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        out.put_slice(data);
    }
    out.put_u32(u32::try_from(properties.user.len()).unwrap_or(u32::MAX));
    for (name, value) in &properties.user {
        put_text(name.as_bytes(), out);
        put_text(value.as_bytes(), out);
    }
}

fn get_properties(sealed: &mut Bytes) -> Option<Properties> {
    let present = sealed.try_get_u8().ok()?;
    let mut properties = Properties::default();
    if present & FORMAT != 0 {
        properties.payload_format = Some(sealed.try_get_u8().ok()?);
    }
    if present & CONTENT_TYPE != 0 {
        properties.content_type = Some(get_text(sealed)?);
    }
    if present & RESPONSE_TOPIC != 0 {
        properties.response_topic = Some(get_text(sealed)?);
    }
    if present & CORRELATION != 0 {
        let length = usize::try_from(sealed.try_get_u32().ok()?).ok()?;
        properties.correlation_data =
            Some((sealed.len() >= length).then(|| sealed.split_to(length))?);
    }
    for _ in 0..sealed.try_get_u32().ok()? {
        properties.user.push((get_text(sealed)?, get_text(sealed)?));
    }
    Some(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = ByteString> {
        "\\PC{0,20}".prop_map(ByteString::from)
    }

    fn properties() -> impl Strategy<Value = Properties> {
        let data = proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        (
            proptest::option::of(0..2u8),
            proptest::option::of(text()),
            proptest::option::of(text()),
            proptest::option::of(data),
            proptest::collection::vec((text(), text()), 0..4),
        )
            .prop_map(
                |(payload_format, content_type, response_topic, correlation_data, user)| {
                    Properties {
                        payload_format,
                        content_type,
                        response_topic,
                        correlation_data,
                        user,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            topic in "[$é/a-c]{1,20}",
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            qos in 0..3u8,
            retain: bool,
            micros in proptest::option::of(0..u64::MAX / 1_000_000),
            properties in proptest::option::of(properties()),
            client_id in text(),
            seq: u64,
        ) {
            let message = Message {
                topic: topic.clone().into(),
                payload: payload.into(),
                qos: QoS::from_bits(qos).unwrap(),
                retain,
                expires: micros.map(|micros| UNIX_EPOCH + Duration::from_micros(micros)),
                properties: properties.map(Arc::new),
            };
            let sealed = seal(seq, &client_id, &message);
            let sealed_size = sealed.len();
            let opened = open(&Bytes::from(on_bus(&topic)), sealed);
            prop_assert!(sealed_size + on_bus(&topic).len() <= size(&client_id, &message));
            prop_assert_eq!(opened, Some(Opened { seq, client_id, message }));
        }

        #[test]
        fn anything_else_is_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = open(&Bytes::from_static(b"m/t"), bytes.into());
        }
    }
}
