//! Reads a client's packets: framing and version here, rules in `guard`, parsing by rumqttd.

use super::{
    ConnAck, DecodeError, Encoder, Incoming, RetainHandling, SubscribeFilter, Version, connect,
    guard::{self, Header, Level, kind},
    reason,
};
use crate::{Message, Properties, QoS};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rumqttd::protocol::{self as wire, Packet, Protocol, v4::V4, v5::V5};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A CONNECT may not be larger, whatever later packets may be: it comes from strangers.
const LARGEST_CONNECT: u32 = 128 * 1024;

/// Reads what a client sends on one connection. The version is taken from its CONNECT.
///
/// ```
/// use mqtt::packet::{Codec, Incoming, Version};
///
/// let mut codec = Codec::new(1 << 20);
/// let mut input = bytes::BytesMut::from(&b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04lamp\xc0\0"[..]);
/// let Ok(Some(Incoming::Connect(connect))) = codec.decode(&mut input) else { panic!() };
/// assert_eq!((connect.version, &*connect.client_id, connect.keep_alive), (Version::V311, "lamp", 60));
/// assert_eq!(codec.decode(&mut input), Ok(Some(Incoming::PingReq)));
/// assert_eq!(codec.decode(&mut input), Ok(None));
/// ```
#[derive(Debug)]
pub struct Codec {
    maximum: u32,
    version: Option<Version>,
    /// CONNECT asked for a session that outlives the connection.
    lasting: bool,
    /// The largest packet that the client takes.
    takes: Option<u32>,
    failed: Option<DecodeError>,
}

impl Codec {
    /// For a new connection. A packet, fixed header included, may have as many bytes as `maximum_packet_size`.
    pub fn new(maximum_packet_size: u32) -> Self {
        Self {
            maximum: maximum_packet_size,
            version: None,
            lasting: false,
            takes: None,
            failed: None,
        }
    }

    /// The version of the connection: known once CONNECT has come, even if it was refused.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next whole packet out of `input`; `None` means that more bytes are needed. Strings and payload of
    /// PUBLISH without properties are slices of `input`, so they hold its memory.
    ///
    /// # Errors
    ///
    /// The connection has to be closed; every later call gives the same error.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.next(input);
        self.failed = result.as_ref().err().copied();
        result
    }

    /// Writes what the protocol wants said before the connection is closed because of `error`: CONNACK while
    /// `connected` is false, DISCONNECT after it; nothing where the version has no word for it.
    pub fn refuse(&self, error: &DecodeError, connected: bool, out: &mut BytesMut) {
        let Some(version) = self.version else { return };
        let encoder = Encoder::new(version, self.takes);
        if connected {
            encoder.disconnect(error.reason, Some(error.text), out);
        } else {
            let reason_string = Some(ByteString::from_static(error.text));
            encoder.connack(
                &ConnAck {
                    reason: error.reason,
                    reason_string,
                    ..ConnAck::default()
                },
                out,
            );
        }
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, DecodeError> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        guard::first_byte(first, self.version)?;
        let Some(header) = Header::read(input)? else {
            return Ok(None);
        };
        let largest = if self.version.is_some() {
            self.maximum
        } else {
            self.maximum.min(LARGEST_CONNECT)
        };
        let length = header.frame_length();
        if usize::try_from(largest).is_ok_and(|largest| length > largest) {
            if self.version.is_none() {
                self.version = input
                    .get(header.size..)
                    .and_then(|start| guard::level(start).ok())
                    .map(Level::version);
            }
            return Err(DecodeError::new(
                reason::PACKET_TOO_LARGE,
                "the packet is too large",
            ));
        }
        let Some(body) = input.get(header.size..length) else {
            return Ok(None);
        };
        let version = match self.version {
            Some(version) => version,
            None => {
                let level = guard::level(body)?;
                self.version = Some(level.version());
                if let Level::Other(_) = level {
                    return Err(DecodeError::new(
                        reason::UNSUPPORTED_PROTOCOL_VERSION,
                        "neither MQTT 3.1.1 nor MQTT 5",
                    ));
                }
                level.version()
            }
        };
        if version == Version::V5 && !header.shortest {
            return Err(DecodeError::malformed(
                "the remaining length is longer than needed",
            ));
        }
        self.packet(version, first, &header, input).map(Some)
    }

    /// `input` starts with a whole frame whose fixed header is in order.
    fn packet(
        &mut self,
        version: Version,
        first: u8,
        header: &Header,
        input: &mut BytesMut,
    ) -> Result<Incoming, DecodeError> {
        let length = header.frame_length();
        let body = input.get(header.size..length).unwrap_or_default();
        Ok(match first >> 4 {
            kind::CONNECT => {
                let facts = guard::connect(version, body)?;
                let connect = connect::read(version, &facts, header, input.split_to(length))?;
                self.lasting = connect.session_expiry != 0;
                self.takes = connect.maximum_packet_size;
                Incoming::Connect(Box::new(connect))
            }
            kind::PUBLISH => {
                let qos = QoS::from_bits(first >> 1 & 3).unwrap_or_default();
                let id = guard::publish(version, qos, body)?;
                let Packet::Publish(publish, properties) = parse(version, input)? else {
                    return Err(DIFFERENT);
                };
                let (message, alias) = message(qos, publish, properties)?;
                Incoming::Publish {
                    message,
                    id,
                    dup: first & 8 != 0,
                    alias,
                }
            }
            acknowledgement @ (kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP) => {
                let (id, code) = guard::acknowledgement(version, acknowledgement, body)?;
                match parse(version, input)? {
                    Packet::PubAck(..) => Incoming::PubAck(id, code),
                    Packet::PubRec(..) => Incoming::PubRec(id, code),
                    Packet::PubRel(..) => Incoming::PubRel(id, code),
                    Packet::PubComp(..) => Incoming::PubComp(id, code),
                    _ => return Err(DIFFERENT),
                }
            }
            kind::SUBSCRIBE => {
                let id = guard::subscribe(version, body)?;
                let Packet::Subscribe(subscribe, properties) = parse(version, input)? else {
                    return Err(DIFFERENT);
                };
                let identifier = properties
                    .and_then(|properties| properties.id)
                    .and_then(|id| u32::try_from(id).ok());
                Incoming::Subscribe {
                    id,
                    filters: subscribe.filters.into_iter().map(filter).collect(),
                    identifier,
                }
            }
            kind::UNSUBSCRIBE => {
                let id = guard::unsubscribe(version, body)?;
                let Packet::Unsubscribe(unsubscribe, _) = parse(version, input)? else {
                    return Err(DIFFERENT);
                };
                Incoming::Unsubscribe {
                    id,
                    filters: unsubscribe
                        .filters
                        .into_iter()
                        .map(ByteString::from)
                        .collect(),
                }
            }
            kind::PINGREQ => {
                guard::empty(body)?;
                let Packet::PingReq(_) = parse(version, input)? else {
                    return Err(DIFFERENT);
                };
                Incoming::PingReq
            }
            kind::DISCONNECT => {
                let (reason, session_expiry) = guard::disconnect(version, self.lasting, body)?;
                let mut frame = input.split_to(length);
                if let &[code] = frame.get(header.size..).unwrap_or_default() {
                    // The property length may be left out (section 3.14.2.2.1), but the codec wants it.
                    frame = BytesMut::from(&[first, 2, code, 0][..]);
                }
                let Packet::Disconnect(..) = parse(version, &mut frame)? else {
                    return Err(DIFFERENT);
                };
                Incoming::Disconnect {
                    reason,
                    session_expiry,
                }
            }
            // rumqttd's codec has no AUTH, and we have no use for what is in it.
            kind::AUTH => {
                drop(input.split_to(length));
                Incoming::Auth
            }
            _ => return Err(DecodeError::malformed("an unknown packet type")),
        })
    }
}

impl Level {
    fn version(self) -> Version {
        match self {
            Self::Spoken(version) | Self::Other(version) => version,
        }
    }
}

/// The guard has let something through that the codec sees otherwise. Not reachable by any input known.
pub(super) const DIFFERENT: DecodeError = DecodeError::malformed("the packet cannot be parsed");

/// Has rumqttd parse the frame at the start of `input`, after the guard. An error is final: that the codec asks for
/// more bytes, as it does when a length points outside of its frame, cannot be true here.
pub(super) fn parse(version: Version, input: &mut BytesMut) -> Result<Packet, DecodeError> {
    match version {
        Version::V311 => V4.read_mut(input, usize::MAX),
        Version::V5 => V5.read_mut(input, usize::MAX),
    }
    .map_err(|_| DIFFERENT)
}

fn message(
    qos: QoS,
    publish: wire::Publish,
    properties: Option<wire::PublishProperties>,
) -> Result<(Message, Option<u16>), DecodeError> {
    let mut message = Message {
        topic: name(publish.topic)?,
        payload: publish.payload,
        qos,
        retain: publish.retain,
        expires: None,
        properties: None,
    };
    let Some(found) = properties else {
        return Ok((message, None));
    };
    message.expires = found.message_expiry_interval.and_then(|seconds| {
        // A clock so far in the future that the sum does not exist: the message does not expire.
        SystemTime::now().checked_add(Duration::from_secs(seconds.into()))
    });
    message.properties = passing(Properties {
        payload_format: found.payload_format_indicator,
        content_type: found.content_type.map(ByteString::from),
        response_topic: found.response_topic.map(ByteString::from),
        correlation_data: found.correlation_data,
        user: pairs(found.user_properties),
    });
    Ok((message, found.topic_alias))
}

/// Nothing is kept of properties that do not travel with the message.
pub(super) fn passing(properties: Properties) -> Option<Arc<Properties>> {
    (properties != Properties::default()).then(|| Arc::new(properties))
}

pub(super) fn pairs(user: Vec<(String, String)>) -> Vec<(ByteString, ByteString)> {
    user.into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

pub(super) fn name(bytes: Bytes) -> Result<ByteString, DecodeError> {
    ByteString::try_from(bytes).map_err(|_| DecodeError::malformed("a string is not UTF-8"))
}

fn filter(filter: wire::Filter) -> SubscribeFilter {
    SubscribeFilter {
        filter: filter.path.into(),
        qos: quality(filter.qos),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            wire::RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            wire::RetainForwardRule::OnNewSubscribe => RetainHandling::New,
            wire::RetainForwardRule::Never => RetainHandling::Never,
        },
    }
}

pub(super) fn quality(qos: wire::QoS) -> QoS {
    match qos {
        wire::QoS::AtMostOnce => QoS::AtMostOnce,
        wire::QoS::AtLeastOnce => QoS::AtLeastOnce,
        wire::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
