//! The few MQTT frames that load is made of, written and read by hand: a measuring tool must cost less than what it measures,
//! and must not share its faults.

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

/// Packet types, as in the upper half of a frame's first byte.
pub const CONNACK: u8 = 2;
/// A message.
pub const PUBLISH: u8 = 3;
/// Answers a message of QoS 1.
pub const PUBACK: u8 = 4;
/// Answers a subscription.
pub const SUBACK: u8 = 9;
/// MQTT 5: the server says why it ends the connection.
pub const DISCONNECT: u8 = 14;

/// The protocol versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V4,
    /// MQTT 5
    #[value(name = "5")]
    V5,
}

/// What a connection begins with.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// Which version.
    pub version: Version,
    /// Who.
    pub client_id: &'a str,
    /// Whether the server forgets what it knew of this client, and forgets it again when the connection ends.
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
}

/// An outgoing message.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to.
    pub topic: &'a str,
    /// The packet id of a message of QoS 1; `None` sends with QoS 0.
    pub id: Option<u16>,
    /// Whether it may have been sent before.
    pub again: bool,
    /// What.
    pub payload: &'a [u8],
}

/// A message from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered<'a> {
    /// Where it went.
    pub topic: &'a [u8],
    /// The packet id, to be answered, of QoS 1.
    pub id: Option<u16>,
    /// What.
    pub payload: &'a [u8],
}

/// One frame of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Type and flags.
    pub first: u8,
    /// All after the fixed header.
    pub body: &'a [u8],
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let more = length >= 128;
        out.push((length & 0x7f) as u8 | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            return;
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("the program's own texts are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a CONNECT.
pub fn connect(out: &mut Vec<u8>, with: &Connect<'_>) {
    let mut body = Vec::with_capacity(64);
    text(&mut body, "MQTT");
    body.push(match with.version {
        Version::V4 => 4,
        Version::V5 => 5,
    });
    body.push(u8::from(with.clean) << 1);
    body.extend_from_slice(&with.keep_alive.to_be_bytes());
    if with.version == Version::V5 {
        // A session that is kept is kept for an hour: property 0x11.
        let expiry: &[u8] = if with.clean {
            &[]
        } else {
            &[0x11, 0, 0, 0x0e, 0x10]
        };
        length(&mut body, expiry.len());
        body.extend_from_slice(expiry);
    }
    text(&mut body, with.client_id);
    out.push(0x10);
    length(out, body.len());
    out.extend_from_slice(&body);
}

/// Appends a SUBSCRIBE with one filter.
pub fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, filter: &str, qos: u8) {
    let properties = usize::from(version == Version::V5);
    out.push(0x82);
    length(out, 2 + properties + 2 + filter.len() + 1);
    out.extend_from_slice(&id.to_be_bytes());
    if version == Version::V5 {
        out.push(0);
    }
    text(out, filter);
    out.push(qos);
}

/// Appends a PUBLISH.
pub fn publish(out: &mut Vec<u8>, version: Version, message: &Publish<'_>) {
    let properties = usize::from(version == Version::V5);
    let ids = if message.id.is_some() { 2 } else { 0 };
    out.push(0x30 | u8::from(message.again) << 3 | u8::from(message.id.is_some()) << 1);
    length(
        out,
        2 + message.topic.len() + ids + properties + message.payload.len(),
    );
    text(out, message.topic);
    if let Some(id) = message.id {
        out.extend_from_slice(&id.to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0);
    }
    out.extend_from_slice(message.payload);
}

/// Appends a PUBACK.
pub fn puback(out: &mut Vec<u8>, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

/// Appends a PINGREQ.
pub fn ping(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends a DISCONNECT.
pub fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xe0, 0]);
}

/// Reads a variable length: its value and its own size; `None` when more bytes are needed.
fn read_length(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut value = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    ensure!(bytes.len() < 4, "a length of more than four bytes");
    Ok(None)
}

impl<'a> Frame<'a> {
    /// The first frame of a buffer and how many bytes it takes; `None` when it is not all there.
    pub fn first_of(buffer: &'a [u8]) -> anyhow::Result<Option<(Self, usize)>> {
        let Some((&first, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let Some((length, size)) = read_length(rest)? else {
            return Ok(None);
        };
        let Some(body) = rest.get(size..size + length) else {
            return Ok(None);
        };
        Ok(Some((Self { first, body }, 1 + size + length)))
    }

    /// The packet type.
    pub fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The packet id that an acknowledgement begins with.
    pub fn id(self) -> anyhow::Result<u16> {
        let id = self.body.first_chunk().context("a frame without its id")?;
        Ok(u16::from_be_bytes(*id))
    }

    /// Reads a PUBLISH.
    pub fn delivered(self, version: Version) -> anyhow::Result<Delivered<'a>> {
        const SHORT: &str = "a message that is cut short";
        let (size, rest) = self.body.split_first_chunk().context(SHORT)?;
        let size = usize::from(u16::from_be_bytes(*size));
        let (topic, mut rest) = rest.split_at_checked(size).context(SHORT)?;
        let id = match self.first >> 1 & 3 {
            0 => None,
            1 => {
                let (id, after) = rest.split_first_chunk().context(SHORT)?;
                rest = after;
                Some(u16::from_be_bytes(*id))
            }
            qos => bail!("a message with QoS {qos}: only 0 and 1 were asked for"),
        };
        if version == Version::V5 {
            let (length, size) = read_length(rest)?.context(SHORT)?;
            rest = rest.get(size + length..).context(SHORT)?;
        }
        Ok(Delivered {
            topic,
            id,
            payload: rest,
        })
    }
}

/// Whether the server said yes: CONNACK and SUBACK.
pub fn accepted(frame: Frame<'_>, version: Version) -> anyhow::Result<()> {
    let code = match (frame.kind(), version) {
        (CONNACK, _) => frame.body.get(1),
        (SUBACK, Version::V4) => frame.body.get(2),
        (SUBACK, Version::V5) => frame.body.last(),
        (kind, _) => bail!("a packet of type {kind} where an answer was due"),
    };
    match code {
        Some(&code) if code < 3 => Ok(()),
        Some(code) => bail!("refused with {code:#04x}"),
        None => bail!("an answer without a code"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_published_reads_back_in_both_versions_and_only_when_whole(
            topic in "[a-z/]{1,200}",
            id in proptest::option::of(1_u16..),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            five: bool,
        ) {
            let version = if five { Version::V5 } else { Version::V4 };
            let mut out = Vec::new();
            publish(&mut out, version, &Publish { topic: &topic, id, again: false, payload: &payload });
            for cut in 0..out.len() {
                prop_assert_eq!(Frame::first_of(&out[..cut]).unwrap(), None);
            }
            let (frame, used) = Frame::first_of(&out).unwrap().unwrap();
            prop_assert_eq!(used, out.len());
            prop_assert_eq!(frame.kind(), PUBLISH);
            let read = frame.delivered(version).unwrap();
            prop_assert_eq!(read, Delivered { topic: topic.as_bytes(), id, payload: &payload });
        }

        #[test]
        fn no_bytes_from_a_server_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((frame, used))) = Frame::first_of(&bytes) {
                prop_assert!(used <= bytes.len());
                for version in [Version::V4, Version::V5] {
                    let _ = (frame.delivered(version).is_ok(), frame.id().is_ok(), accepted(frame, version).is_ok());
                }
            }
        }
    }

    #[test]
    fn frames_have_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        let who = Connect {
            version: Version::V4,
            client_id: "a",
            clean: true,
            keep_alive: 60,
        };
        connect(&mut out, &who);
        assert_eq!(out, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a");
        out.clear();
        let kept = Connect {
            version: Version::V5,
            clean: false,
            ..who
        };
        connect(&mut out, &kept);
        assert_eq!(
            out,
            b"\x10\x13\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x0e\x10\x00\x01a"
        );
        out.clear();
        subscribe(&mut out, Version::V5, 7, "a/#", 1);
        assert_eq!(out, b"\x82\x09\x00\x07\x00\x00\x03a/#\x01");
        out.clear();
        puback(&mut out, 0x0102);
        assert_eq!(out, b"\x40\x02\x01\x02");
    }

    #[test]
    fn a_refusal_is_an_error_in_both_versions() {
        let frame = |bytes| Frame::first_of(bytes).unwrap().unwrap().0;
        assert!(accepted(frame(b"\x20\x02\x00\x00"), Version::V4).is_ok());
        assert!(accepted(frame(b"\x20\x02\x00\x05"), Version::V4).is_err());
        assert!(accepted(frame(b"\x20\x03\x00\x87\x00"), Version::V5).is_err());
        assert!(accepted(frame(b"\x90\x03\x00\x01\x80"), Version::V4).is_err());
        assert!(accepted(frame(b"\x90\x04\x00\x01\x00\x01"), Version::V5).is_ok());
        assert!(accepted(frame(b"\xd0\x00"), Version::V4).is_err());
    }
}
