//! The client's half of the wire: what a client sends is encoded, what a server sends is decoded, both versions.
//!
//! ```text
//! | type, flags (1) | remaining length (1..4) | variable header [properties, MQTT 5] | payload |
//! ```

mod decode;
mod encode;
mod property;
#[cfg(test)]
mod tests;

pub use decode::{decode, frame_length};
pub use encode::{Alias, Encoder, PublishFrame};

use super::{Reason, status::Connected};
use crate::{Message, packet::PacketId};
use bytestring::ByteString;

/// A packet from the server that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({reason})")]
pub struct WireError {
    /// For our DISCONNECT.
    pub reason: Reason,
    /// What is wrong with it.
    pub what: &'static str,
}

impl WireError {
    pub(crate) const fn malformed(what: &'static str) -> Self {
        let reason = Reason::MALFORMED;
        Self { reason, what }
    }

    pub(crate) const fn protocol(what: &'static str) -> Self {
        let reason = Reason::PROTOCOL_ERROR;
        Self { reason, what }
    }
}

/// CONNACK as on the wire: what is absent is for the caller to default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    pub session_present: bool,
    pub reason: Option<Reason>,
    pub session_expiry: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_id: Option<ByteString>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<ByteString>,
    pub user_properties: Vec<(ByteString, ByteString)>,
    pub wildcards_available: Option<bool>,
    pub shared_available: Option<bool>,
    pub server_keep_alive: Option<u16>,
    pub server_reference: Option<ByteString>,
}

impl ConnAck {
    /// What is in force, given what CONNECT asked for.
    pub fn granted(&self, options: &super::Options) -> Connected {
        let asked = u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX);
        Connected {
            session_present: self.session_present,
            client_id: self
                .assigned_client_id
                .clone()
                .unwrap_or_else(|| options.client_id.clone()),
            receive_maximum: self.receive_maximum.unwrap_or(u16::MAX),
            maximum_qos: self.maximum_qos.unwrap_or(2),
            retain_available: self.retain_available.unwrap_or(true),
            maximum_packet_size: self
                .maximum_packet_size
                .unwrap_or(u32::MAX)
                .min(options.maximum_packet_size),
            topic_alias_maximum: self.topic_alias_maximum.unwrap_or(0),
            wildcards_available: self.wildcards_available.unwrap_or(true),
            shared_available: self.shared_available.unwrap_or(true),
            keep_alive: std::time::Duration::from_secs(
                self.server_keep_alive.unwrap_or(asked).into(),
            ),
            session_expiry: self.session_expiry.unwrap_or(options.session_expiry),
            reason_string: self.reason_string.clone(),
            user_properties: self.user_properties.clone(),
        }
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub id: PacketId,
    pub reason: Reason,
    pub reason_string: Option<ByteString>,
    pub user_properties: Vec<(ByteString, ByteString)>,
}

/// SUBACK and UNSUBACK: a reason for each filter, none in UNSUBACK of 3.1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub id: PacketId,
    pub reasons: Vec<Reason>,
    pub reason_string: Option<ByteString>,
}

/// A PUBLISH from the server. The topic is empty when only an alias was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub message: Message,
    pub id: Option<PacketId>,
    pub dup: bool,
    pub alias: Option<u16>,
}

/// What a server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    ConnAck(Box<ConnAck>),
    Publish(Box<Publication>),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Answers),
    UnsubAck(Answers),
    PingResp,
    Disconnect {
        reason: Reason,
        reason_string: Option<ByteString>,
        server_reference: Option<ByteString>,
    },
}
