//! Checks a client's frame before rumqttd's codec sees it, so that the codec only ever meets frames that it reads
//! without a surprise. What the codec does not hand out (packet identifiers, reason codes, the place of the password) is
//! noted here in passing.

use super::{
    DecodeError, PacketId, Version,
    cursor::{Cursor, Variable},
    properties::{self, Place},
    reason,
};
use crate::QoS;

/// Packet types, the upper half of a frame's first byte.
pub(super) mod kind {
    pub(in super::super) const CONNECT: u8 = 1;
    pub(in super::super) const CONNACK: u8 = 2;
    pub(in super::super) const PUBLISH: u8 = 3;
    pub(in super::super) const PUBACK: u8 = 4;
    pub(in super::super) const PUBREC: u8 = 5;
    pub(in super::super) const PUBREL: u8 = 6;
    pub(in super::super) const PUBCOMP: u8 = 7;
    pub(in super::super) const SUBSCRIBE: u8 = 8;
    pub(in super::super) const SUBACK: u8 = 9;
    pub(in super::super) const UNSUBSCRIBE: u8 = 10;
    pub(in super::super) const UNSUBACK: u8 = 11;
    pub(in super::super) const PINGREQ: u8 = 12;
    pub(in super::super) const PINGRESP: u8 = 13;
    pub(in super::super) const DISCONNECT: u8 = 14;
    pub(in super::super) const AUTH: u8 = 15;
}

/// Each filter costs many times its few bytes on the wire once it is read, so their number has a limit.
pub(super) const MOST_FILTERS: usize = 1024;

/// The first byte: may a client send this type now, and are its flags as they must be?
pub(super) fn first_byte(first: u8, version: Option<Version>) -> Result<(), DecodeError> {
    let flags = first & 0x0F;
    let expected = match (first >> 4, version) {
        (kind::CONNECT, None) => 0,
        (_, None) => return Err(DecodeError::protocol("the first packet is not CONNECT")),
        (kind::CONNECT, _) => return Err(DecodeError::protocol("a second CONNECT")),
        (kind::PUBLISH, _) => {
            return match (flags >> 1 & 3, flags & 8 != 0) {
                (3, _) => Err(DecodeError::malformed("PUBLISH with QoS 3")),
                (0, true) => Err(DecodeError::malformed(
                    "PUBLISH with QoS 0 says that it is a duplicate",
                )),
                _ => Ok(()),
            };
        }
        (kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE, _) => 2,
        (kind::PUBACK | kind::PUBREC | kind::PUBCOMP | kind::PINGREQ | kind::DISCONNECT, _)
        | (kind::AUTH, Some(Version::V5)) => 0,
        (kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP, _) => {
            return Err(DecodeError::protocol("a packet that only a server sends"));
        }
        _ => return Err(DecodeError::malformed("an unknown packet type")),
    };
    if flags == expected {
        Ok(())
    } else {
        Err(DecodeError::malformed(
            "the flags of the packet type are wrong",
        ))
    }
}

/// A frame's fixed header.
pub(super) struct Header {
    /// Bytes of the fixed header, 2 to 5.
    pub(super) size: usize,
    /// Bytes after it.
    pub(super) remaining: u32,
    /// Whether the remaining length is in its shortest form.
    pub(super) shortest: bool,
}

impl Header {
    /// `None` when the bytes end too early.
    pub(super) fn read(frame: &[u8]) -> Result<Option<Self>, DecodeError> {
        let found = Variable::read(frame.get(1..).unwrap_or_default())?;
        Ok(found.map(|found| Self {
            size: 1 + found.size,
            remaining: found.value,
            shortest: found.shortest,
        }))
    }

    /// The whole packet, saturating.
    pub(super) fn frame_length(&self) -> usize {
        usize::try_from(self.remaining)
            .map_or(usize::MAX, |remaining| remaining.saturating_add(self.size))
    }
}

/// A valid topic name that is not empty: UTF-8, no wildcards, no control characters.
pub(super) fn topic_name(bytes: &[u8]) -> Result<(), DecodeError> {
    const INVALID: DecodeError = DecodeError::new(
        reason::TOPIC_NAME_INVALID,
        "a topic name has a wildcard in it",
    );
    if bytes.is_empty() {
        return Err(DecodeError::malformed("a topic name is empty"));
    }
    let mut ascii = true;
    for byte in bytes {
        match byte {
            b'+' | b'#' => return Err(INVALID),
            0 => return Err(DecodeError::malformed("a string has U+0000 in it")),
            0x01..=0x1F | 0x7F => {
                return Err(DecodeError::malformed(
                    "a name has control characters in it",
                ));
            }
            0x80.. => ascii = false,
            _ => {}
        }
    }
    if ascii {
        return Ok(());
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| DecodeError::malformed("a string is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(DecodeError::malformed(
            "a name has control characters in it",
        ));
    }
    Ok(())
}

fn packet_id(cursor: &mut Cursor<'_>) -> Result<PacketId, DecodeError> {
    PacketId::new(cursor.u16()?).ok_or(DecodeError::protocol("the packet identifier is 0"))
}

/// Checks PUBLISH; its packet identifier is there for QoS 1 and 2.
pub(super) fn publish(
    version: Version,
    qos: QoS,
    body: &[u8],
) -> Result<Option<PacketId>, DecodeError> {
    let mut cursor = Cursor::new(body);
    let topic = cursor.binary()?;
    if !topic.is_empty() {
        topic_name(topic)?;
    }
    let id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(packet_id(&mut cursor)?),
    };
    let alias =
        version == Version::V5 && properties::check(&mut cursor, Place::Publish)?.topic_alias;
    match (topic.is_empty(), version) {
        (true, Version::V311) => Err(DecodeError::malformed("a topic name is empty")),
        (true, Version::V5) if !alias => Err(DecodeError::protocol(
            "neither a topic name nor a topic alias",
        )),
        _ => Ok(id),
    }
}

/// Checks PUBACK, PUBREC, PUBREL, PUBCOMP.
pub(super) fn acknowledgement(
    version: Version,
    kind: u8,
    body: &[u8],
) -> Result<(PacketId, u8), DecodeError> {
    let mut cursor = Cursor::new(body);
    let id = packet_id(&mut cursor)?;
    if version == Version::V311 || cursor.is_empty() {
        cursor.end()?;
        return Ok((id, reason::SUCCESS));
    }
    let code = cursor.u8()?;
    let known = match kind {
        kind::PUBACK | kind::PUBREC => matches!(
            code,
            0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        ),
        _ => matches!(code, reason::SUCCESS | reason::PACKET_IDENTIFIER_NOT_FOUND),
    };
    if !known {
        return Err(DecodeError::protocol(
            "a reason code does not belong into this packet",
        ));
    }
    if !cursor.is_empty() {
        properties::check(&mut cursor, Place::Acknowledgement)?;
        cursor.end()?;
    }
    Ok((id, code))
}

/// Checks SUBSCRIBE; the filters themselves are judged one by one later.
pub(super) fn subscribe(version: Version, body: &[u8]) -> Result<PacketId, DecodeError> {
    let mut cursor = Cursor::new(body);
    let id = packet_id(&mut cursor)?;
    if version == Version::V5 {
        properties::check(&mut cursor, Place::Subscribe)?;
    }
    filters(&mut cursor, |cursor| {
        let filter = cursor.name()?;
        let options = cursor.u8()?;
        let reserved = match version {
            Version::V311 => 0xFC,
            Version::V5 => 0xC0,
        };
        if options & reserved != 0 {
            Err(DecodeError::malformed(
                "reserved bits of the subscription options are set",
            ))
        } else if options & 0x03 == 0x03 {
            Err(DecodeError::protocol("SUBSCRIBE with QoS 3"))
        } else if options & 0x30 == 0x30 {
            Err(DecodeError::protocol("SUBSCRIBE with retain handling 3"))
        } else if options & 0x04 != 0 && filter.starts_with("$share/") {
            Err(DecodeError::protocol("a shared subscription with no local"))
        } else {
            Ok(())
        }
    })?;
    Ok(id)
}

/// Checks UNSUBSCRIBE.
pub(super) fn unsubscribe(version: Version, body: &[u8]) -> Result<PacketId, DecodeError> {
    let mut cursor = Cursor::new(body);
    let id = packet_id(&mut cursor)?;
    if version == Version::V5 {
        properties::check(&mut cursor, Place::Unsubscribe)?;
    }
    filters(&mut cursor, |cursor| cursor.name().map(|_| ()))?;
    Ok(id)
}

fn filters(
    cursor: &mut Cursor<'_>,
    one: impl Fn(&mut Cursor<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if cursor.is_empty() {
        return Err(DecodeError::protocol("no topic filter"));
    }
    for _ in 0..MOST_FILTERS {
        one(cursor)?;
        if cursor.is_empty() {
            return Ok(());
        }
    }
    Err(DecodeError::new(
        reason::QUOTA_EXCEEDED,
        "the packet has too many topic filters",
    ))
}

/// Checks DISCONNECT; `lasting` says whether CONNECT asked for a session that outlives the connection.
pub(super) fn disconnect(
    version: Version,
    lasting: bool,
    body: &[u8],
) -> Result<(u8, Option<u32>), DecodeError> {
    let mut cursor = Cursor::new(body);
    if version == Version::V311 || cursor.is_empty() {
        cursor.end()?;
        return Ok((reason::SUCCESS, None));
    }
    let code = cursor.u8()?;
    if !matches!(code, 0 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
        return Err(DecodeError::protocol(
            "a reason code does not belong into this packet",
        ));
    }
    if cursor.is_empty() {
        return Ok((code, None));
    }
    let found = properties::check(&mut cursor, Place::Disconnect)?;
    cursor.end()?;
    if !lasting && found.session_expiry.is_some_and(|seconds| seconds != 0) {
        return Err(DecodeError::protocol(
            "DISCONNECT prolongs a session that was to end with the connection",
        ));
    }
    Ok((code, found.session_expiry))
}

/// PINGREQ has no body.
pub(super) fn empty(body: &[u8]) -> Result<(), DecodeError> {
    Cursor::new(body).end()
}

/// What CONNECT says about its protocol.
#[derive(Clone, Copy)]
pub(super) enum Level {
    /// One that is spoken here.
    Spoken(Version),
    /// Another one; the version to answer in.
    Other(Version),
}

/// Reads the protocol's name and level.
pub(super) fn level(body: &[u8]) -> Result<Level, DecodeError> {
    let mut cursor = Cursor::new(body);
    let name = cursor.binary()?;
    let level = cursor.u8()?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Level::Spoken(Version::V311)),
        (b"MQTT", 5) => Ok(Level::Spoken(Version::V5)),
        // The upper bit marks a bridge; mosquitto asks with it first and without it when refused.
        (b"MQTT", _) if level & 0x7F > 4 => Ok(Level::Other(Version::V5)),
        (b"MQTT" | b"MQIsdp", _) => Ok(Level::Other(Version::V311)),
        _ => Err(DecodeError::malformed("not MQTT")),
    }
}

/// Where CONNECT has what the codec cannot take: offsets from the start of the body.
pub(super) struct ConnectFacts {
    /// The byte of connect flags.
    pub(super) flags_at: usize,
    /// Whether there is a user name, maybe an empty one.
    pub(super) username: bool,
    /// The password with its two bytes of length; always the last field.
    pub(super) password_at: Option<usize>,
}

/// Checks CONNECT of a version that is spoken.
pub(super) fn connect(version: Version, body: &[u8]) -> Result<ConnectFacts, DecodeError> {
    let mut cursor = Cursor::new(body);
    let at = |cursor: &Cursor<'_>| body.len() - cursor.left();
    cursor.binary()?;
    cursor.u8()?;
    let flags_at = at(&cursor);
    let flags = cursor.u8()?;
    let [clean, will, will_retain, password, username] =
        [0x02, 0x04, 0x20, 0x40, 0x80].map(|bit| flags & bit != 0);
    let will_qos = flags >> 3 & 3;
    if flags & 1 != 0 {
        return Err(DecodeError::malformed("the reserved connect flag is set"));
    }
    if will_qos == 3 || !will && (will_qos != 0 || will_retain) {
        return Err(DecodeError::malformed(
            "the connect flags of the will are wrong",
        ));
    }
    if password && !username && version == Version::V311 {
        return Err(DecodeError::malformed("a password without a user name"));
    }
    cursor.u16()?;
    if version == Version::V5 {
        properties::check(&mut cursor, Place::Connect)?;
    }
    let client_id = cursor.name()?;
    if client_id.is_empty() && !clean && version == Version::V311 {
        return Err(DecodeError::new(
            reason::CLIENT_IDENTIFIER_NOT_VALID,
            "a lasting session needs a client id",
        ));
    }
    if will {
        if version == Version::V5 {
            properties::check(&mut cursor, Place::Will)?;
        }
        topic_name(cursor.binary()?)?;
        cursor.binary()?;
    }
    if username {
        cursor.name()?;
    }
    let password_at = password.then(|| at(&cursor));
    if password {
        cursor.binary()?;
    }
    cursor.end()?;
    Ok(ConnectFacts {
        flags_at,
        username,
        password_at,
    })
}
