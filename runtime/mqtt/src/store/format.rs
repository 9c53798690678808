//! The bytes in the columns.
//!
//! ```text
//! body    topic:      2 bytes length, UTF-8
//!         properties: 4 bytes length, then identifier and value of each as in an MQTT 5 packet (section 2.2.2.2):
//!                     01 payload format, 03 content type, 08 response topic, 09 correlation data, 26 user property
//!         payload:    the rest
//! will    4 bytes delay, 1 byte: 1 when an expiry follows, 4 bytes expiry, 1 byte flags, body
//! identifiers   4 bytes each
//! ```
//! All numbers are big-endian. Flags are drawn in `schema.rs`.

use super::{State, SubscriptionRecord};
use crate::{
    Message, Properties, QoS,
    packet::{PacketId, RetainHandling, Will},
};
use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A column does not hold what this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {0}")]
pub(super) struct Unreadable(pub &'static str);

const PAYLOAD_FORMAT: u8 = 0x01;
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const USER_PROPERTY: u8 = 0x26;

const RETAIN: i64 = 4;
const NO_LOCAL: i64 = 8;
/// Stands between the identifier of a released message and that of a sent one.
const RELEASED: i64 = 65_536;

pub(super) fn body(message: &Message, out: &mut Vec<u8>) {
    short(out, message.topic.as_bytes());
    let at = out.len();
    out.put_u32(0);
    if let Some(properties) = &message.properties {
        put_properties(properties, out);
    }
    let length = u32::try_from(out.len() - at - 4).expect("a packet has less than 256 MiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&message.payload);
}

fn put_properties(properties: &Properties, out: &mut Vec<u8>) {
    if let Some(format) = properties.payload_format {
        out.extend_from_slice(&[PAYLOAD_FORMAT, format]);
    }
    if let Some(text) = &properties.content_type {
        out.push(CONTENT_TYPE);
        short(out, text.as_bytes());
    }
    if let Some(text) = &properties.response_topic {
        out.push(RESPONSE_TOPIC);
        short(out, text.as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        out.push(CORRELATION_DATA);
        short(out, data);
    }
    for (name, value) in &properties.user {
        out.push(USER_PROPERTY);
        short(out, name.as_bytes());
        short(out, value.as_bytes());
    }
}

/// Texts and data of MQTT have at most 65535 bytes.
fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("what the wire brought fits the wire's length");
    out.put_u16(length);
    out.extend_from_slice(bytes);
}

/// The message of a body, with neither QoS, retain flag nor expiry, which have their own columns.
pub(super) fn message(mut bytes: Bytes) -> Result<Message, Unreadable> {
    let topic = take_text(&mut bytes)?;
    let length = bytes.try_get_u32().map_err(|_| Unreadable("body"))?;
    let mut encoded = take(&mut bytes, length as usize)?;
    let properties = if encoded.is_empty() {
        None
    } else {
        Some(Arc::new(take_properties(&mut encoded)?))
    };
    Ok(Message {
        topic,
        payload: bytes,
        qos: QoS::AtMostOnce,
        retain: false,
        expires: None,
        properties,
    })
}

fn take_properties(bytes: &mut Bytes) -> Result<Properties, Unreadable> {
    let mut properties = Properties::default();
    while bytes.has_remaining() {
        match bytes.get_u8() {
            PAYLOAD_FORMAT => {
                let format = bytes.try_get_u8().map_err(|_| Unreadable("properties"))?;
                properties.payload_format = Some(format);
            }
            CONTENT_TYPE => properties.content_type = Some(take_text(bytes)?),
            RESPONSE_TOPIC => properties.response_topic = Some(take_text(bytes)?),
            CORRELATION_DATA => properties.correlation_data = Some(take_short(bytes)?),
            USER_PROPERTY => properties.user.push((take_text(bytes)?, take_text(bytes)?)),
            _ => return Err(Unreadable("property")),
        }
    }
    Ok(properties)
}

fn take(bytes: &mut Bytes, length: usize) -> Result<Bytes, Unreadable> {
    if length > bytes.len() {
        return Err(Unreadable("length"));
    }
    Ok(bytes.split_to(length))
}

fn take_short(bytes: &mut Bytes) -> Result<Bytes, Unreadable> {
    let length = bytes.try_get_u16().map_err(|_| Unreadable("length"))?;
    take(bytes, length.into())
}

fn take_text(bytes: &mut Bytes) -> Result<ByteString, Unreadable> {
    ByteString::try_from(take_short(bytes)?).map_err(|_| Unreadable("text"))
}

pub(super) fn will(will: &Will) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(will.delay);
    out.put_u8(will.expiry.is_some().into());
    out.put_u32(will.expiry.unwrap_or(0));
    let flags = flags(will.message.qos, will.message.retain);
    out.put_u8(u8::try_from(flags).expect("three bits"));
    body(&will.message, &mut out);
    out
}

pub(super) fn read_will(mut bytes: Bytes) -> Result<Will, Unreadable> {
    if bytes.len() < 10 {
        return Err(Unreadable("will"));
    }
    let delay = bytes.get_u32();
    let expires = bytes.get_u8() == 1;
    let expiry = bytes.get_u32();
    let (qos, retain) = read_flags(bytes.get_u8().into())?;
    let message = Message {
        qos,
        retain,
        ..message(bytes)?
    };
    Ok(Will {
        message,
        delay,
        expiry: expires.then_some(expiry),
    })
}

pub(super) fn flags(qos: QoS, retain: bool) -> i64 {
    i64::from(qos as u8) | if retain { RETAIN } else { 0 }
}

pub(super) fn read_flags(flags: i64) -> Result<(QoS, bool), Unreadable> {
    let qos = QoS::from_bits((flags & 3) as u8).ok_or(Unreadable("quality of service"))?;
    Ok((qos, flags & RETAIN != 0))
}

pub(super) fn subscription_flags(record: &SubscriptionRecord) -> i64 {
    flags(record.qos, record.retain_as_published)
        | if record.no_local { NO_LOCAL } else { 0 }
        | i64::from(record.retain_handling as u8) << 4
}

pub(super) fn read_subscription(
    flags: i64,
    identifier: Option<u32>,
) -> Result<SubscriptionRecord, Unreadable> {
    let (qos, retain_as_published) = read_flags(flags)?;
    Ok(SubscriptionRecord {
        qos,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published,
        retain_handling: match flags >> 4 & 3 {
            0 => RetainHandling::Always,
            1 => RetainHandling::New,
            2 => RetainHandling::Never,
            _ => return Err(Unreadable("retain handling")),
        },
        identifier,
    })
}

pub(super) fn packet(state: State) -> i64 {
    match state {
        State::Queued => 0,
        State::Sent(id) => id.get().into(),
        State::Released(id) => RELEASED + i64::from(id.get()),
    }
}

pub(super) fn read_packet(packet: i64) -> Result<State, Unreadable> {
    let id = |id: i64| u16::try_from(id).ok().and_then(PacketId::new);
    if packet == 0 {
        return Ok(State::Queued);
    }
    if packet < RELEASED {
        return id(packet).map(State::Sent).ok_or(Unreadable("identifier"));
    }
    id(packet - RELEASED)
        .map(State::Released)
        .ok_or(Unreadable("identifier"))
}

pub(super) fn identifiers(identifiers: &[u32]) -> Option<Vec<u8>> {
    if identifiers.is_empty() {
        return None;
    }
    Some(identifiers.iter().flat_map(|id| id.to_be_bytes()).collect())
}

pub(super) fn read_identifiers(bytes: Option<&[u8]>) -> Vec<u32> {
    let (ids, _) = bytes.unwrap_or_default().as_chunks();
    ids.iter().map(|id| u32::from_be_bytes(*id)).collect()
}

/// Milliseconds since 1970; times before that are 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn read_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = ByteString> {
        "[a-zé/]{1,12}".prop_map(ByteString::from)
    }

    fn properties() -> impl Strategy<Value = Properties> {
        let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from));
        let user = prop::collection::vec((text(), text()), 0..3);
        let texts = (prop::option::of(text()), prop::option::of(text()));
        (prop::option::of(0..2u8), texts, data, user).prop_map(|(format, texts, data, user)| {
            Properties {
                payload_format: format,
                content_type: texts.0,
                response_topic: texts.1,
                correlation_data: data,
                user,
            }
        })
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let payload = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (text(), payload, prop::option::of(properties())).prop_map(
            |(topic, payload, properties)| Message {
                topic,
                payload,
                qos: QoS::AtMostOnce,
                retain: false,
                expires: None,
                // Properties without any value are none.
                properties: properties
                    .filter(|p| *p != Properties::default())
                    .map(Arc::new),
            },
        )
    }

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(written in any_message()) {
            let mut bytes = Vec::new();
            body(&written, &mut bytes);
            prop_assert_eq!(message(bytes.into()), Ok(written));
        }

        #[test]
        fn a_will_is_read_as_it_was_written(
            message in any_message(),
            delay in any::<u32>(),
            expiry in any::<Option<u32>>(),
            qos in 0..3u8,
            retain in any::<bool>(),
        ) {
            let qos = QoS::from_bits(qos).unwrap();
            let written = Will { message: Message { qos, retain, ..message }, delay, expiry };
            prop_assert_eq!(read_will(will(&written).into()), Ok(written));
        }

        #[test]
        fn damaged_bytes_are_refused_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = message(bytes.clone().into());
            let _ = read_will(bytes.into());
        }

        #[test]
        fn states_and_flags_are_read_as_they_were_written(id in 1..=u16::MAX, bits in 0..3u8, retain in any::<bool>()) {
            let id = PacketId::new(id).unwrap();
            for state in [State::Queued, State::Sent(id), State::Released(id)] {
                prop_assert_eq!(read_packet(packet(state)), Ok(state));
            }
            let qos = QoS::from_bits(bits).unwrap();
            prop_assert_eq!(read_flags(flags(qos, retain)), Ok((qos, retain)));
        }
    }

    #[test]
    fn times_are_kept_to_the_millisecond() {
        let time = UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        assert_eq!(read_millis(millis(time)), time);
        assert_eq!(millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
