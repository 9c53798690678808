//! Writes a server's packets: rumqttd's codec, kept away from what it cannot write.

use super::{
    ConnAck, Delivery, EncodeError, OutgoingPublish, PacketId, Version, codes, frame, reason,
};
use crate::QoS;
use bytes::BytesMut;
use rumqttd::protocol::{self as wire, Packet, Protocol, v4::V4, v5::V5};

/// The longest string or binary field.
pub(super) const LONGEST_FIELD: usize = u16::MAX as usize;

/// Writes packets for one connection. Small and `Copy`: whoever writes keeps one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    version: Version,
    maximum: Option<u32>,
}

impl Encoder {
    /// `maximum_packet_size` is what the client announced.
    pub fn new(version: Version, maximum_packet_size: Option<u32>) -> Self {
        Self {
            version,
            maximum: maximum_packet_size,
        }
    }

    /// The version that is written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the client takes a packet of so many bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLarge`].
    pub fn fits(&self, size: usize) -> Result<(), EncodeError> {
        match self.maximum {
            Some(maximum) if usize::try_from(maximum).is_ok_and(|maximum| size > maximum) => {
                Err(EncodeError::TooLarge { size, maximum })
            }
            _ => Ok(()),
        }
    }

    /// CONNACK. In 3.1.1 nothing is written for a reason that it has no return code for.
    pub fn connack(&self, connack: &ConnAck, out: &mut BytesMut) {
        let session_present = connack.session_present && connack.reason == reason::SUCCESS;
        if self.version == Version::V311 {
            if let Some(code) = codes::connect_311(connack.reason) {
                self.put(
                    Packet::ConnAck(
                        wire::ConnAck {
                            session_present,
                            code,
                        },
                        None,
                    ),
                    out,
                );
            }
            return;
        }
        let properties = wire::ConnAckProperties {
            session_expiry_interval: connack.session_expiry,
            receive_max: connack.receive_maximum,
            max_packet_size: connack.maximum_packet_size,
            assigned_client_identifier: connack
                .assigned_client_id
                .as_ref()
                .map(ToString::to_string),
            topic_alias_max: connack.topic_alias_maximum,
            reason_string: connack.reason_string.as_deref().map(field),
            server_keep_alive: connack.server_keep_alive,
            ..wire::ConnAckProperties::default()
        };
        let code = codes::connect(connack.reason);
        let packet = |properties| {
            Packet::ConnAck(
                wire::ConnAck {
                    session_present,
                    code,
                },
                Some(properties),
            )
        };
        let start = out.len();
        self.put(packet(properties.clone()), out);
        if properties.reason_string.is_some() && self.fits(out.len() - start).is_err() {
            out.truncate(start);
            self.put(
                packet(wire::ConnAckProperties {
                    reason_string: None,
                    ..properties
                }),
                out,
            );
        }
    }

    /// PUBLISH, encoded for this subscriber alone; [`super::Frame`] is for what many get alike.
    ///
    /// # Errors
    ///
    /// Nothing is written when the packet is larger than the client takes, or a field is longer than the wire can say.
    pub fn publish(
        &self,
        message: &crate::Message,
        outgoing: &OutgoingPublish<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let result = frame::encode(self.version, message, outgoing, out)
            .and_then(|()| self.fits(out.len() - start));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// PUBACK.
    pub fn puback(&self, id: PacketId, reason: u8, out: &mut BytesMut) {
        self.put(
            Packet::PubAck(
                wire::PubAck {
                    pkid: id.get(),
                    reason: codes::puback(reason),
                },
                None,
            ),
            out,
        );
    }

    /// PUBREC.
    pub fn pubrec(&self, id: PacketId, reason: u8, out: &mut BytesMut) {
        self.put(
            Packet::PubRec(
                wire::PubRec {
                    pkid: id.get(),
                    reason: codes::pubrec(reason),
                },
                None,
            ),
            out,
        );
    }

    /// PUBREL.
    pub fn pubrel(&self, id: PacketId, reason: u8, out: &mut BytesMut) {
        self.put(
            Packet::PubRel(
                wire::PubRel {
                    pkid: id.get(),
                    reason: codes::pubrel(reason),
                },
                None,
            ),
            out,
        );
    }

    /// PUBCOMP.
    pub fn pubcomp(&self, id: PacketId, reason: u8, out: &mut BytesMut) {
        self.put(
            Packet::PubComp(
                wire::PubComp {
                    pkid: id.get(),
                    reason: codes::pubcomp(reason),
                },
                None,
            ),
            out,
        );
    }

    /// SUBACK with a reason for each filter; 3.1.1 knows only one failure.
    pub fn suback(&self, id: PacketId, reasons: &[u8], out: &mut BytesMut) {
        let code = match self.version {
            Version::V311 => codes::suback_311,
            Version::V5 => codes::suback,
        };
        let return_codes = reasons.iter().map(|reason| code(*reason)).collect();
        self.put(
            Packet::SubAck(
                wire::SubAck {
                    pkid: id.get(),
                    return_codes,
                },
                None,
            ),
            out,
        );
    }

    /// UNSUBACK with a reason for each filter, which 3.1.1 does not send.
    pub fn unsuback(&self, id: PacketId, reasons: &[u8], out: &mut BytesMut) {
        let reasons = reasons
            .iter()
            .map(|reason| codes::unsuback(*reason))
            .collect();
        self.put(
            Packet::UnsubAck(
                wire::UnsubAck {
                    pkid: id.get(),
                    reasons,
                },
                None,
            ),
            out,
        );
    }

    /// PINGRESP.
    pub fn pingresp(&self, out: &mut BytesMut) {
        self.put(Packet::PingResp(wire::PingResp), out);
    }

    /// DISCONNECT; nothing in 3.1.1, whose servers only close.
    pub fn disconnect(&self, reason: u8, reason_string: Option<&str>, out: &mut BytesMut) {
        if self.version == Version::V311 {
            return;
        }
        let packet = wire::Disconnect {
            reason_code: codes::disconnect(reason),
        };
        let start = out.len();
        if let Some(text) = reason_string.filter(|text| !text.is_empty()) {
            let properties = wire::DisconnectProperties {
                session_expiry_interval: None,
                reason_string: Some(field(text)),
                user_properties: Vec::new(),
                server_reference: None,
            };
            self.put(Packet::Disconnect(packet.clone(), Some(properties)), out);
            if self.fits(out.len() - start).is_ok() {
                return;
            }
            out.truncate(start);
        }
        self.put(Packet::Disconnect(packet, None), out);
        // With a reason and no properties the codec writes both the reason and a property length, but counts one byte
        // only; with empty properties it leaves the reason out.
        if let Some([_, length, _reason, _properties]) = out.get_mut(start..) {
            *length = 2;
        }
    }

    fn put(&self, packet: Packet, out: &mut BytesMut) {
        let start = out.len();
        if let Err(error) = write(self.version, packet, out) {
            // Every packet made above is within the codec's limits.
            log::error!(error:%; "a packet could not be encoded");
            out.truncate(start);
        }
    }
}

pub(super) fn write(
    version: Version,
    packet: Packet,
    out: &mut BytesMut,
) -> Result<usize, wire::Error> {
    match version {
        Version::V311 => V4.write(packet, out),
        Version::V5 => V5.write(packet, out),
    }
}

/// As much of a text as a field holds.
fn field(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST_FIELD))
        .unwrap_or_default()
        .to_owned()
}

impl Delivery {
    /// `None` when the identifier is missing or one too many.
    pub fn new(qos: QoS, id: Option<PacketId>, dup: bool) -> Option<Self> {
        match (qos, id) {
            (QoS::AtMostOnce, None) => Some(Self::AtMostOnce),
            (QoS::AtLeastOnce, Some(id)) => Some(Self::AtLeastOnce { id, dup }),
            (QoS::ExactlyOnce, Some(id)) => Some(Self::ExactlyOnce { id, dup }),
            _ => None,
        }
    }

    /// The packet identifier, which QoS 0 does not have.
    pub fn id(&self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { id, .. } | Self::ExactlyOnce { id, .. } => Some(*id),
        }
    }

    /// QoS and DUP as in a frame's first byte.
    pub(super) fn flags(&self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce { dup, .. } => 2 | u8::from(*dup) << 3,
            Self::ExactlyOnce { dup, .. } => 4 | u8::from(*dup) << 3,
        }
    }
}
