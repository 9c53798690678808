//! Packets of MQTT 3.1.1 and 5 in one vocabulary, read and written by rumqttd's codec behind a guard.
//!
//! ```text
//! bytes -> Codec: frame, version -> guard: every rule of the wire -> rumqttd: parse -> Incoming
//! bytes <- Encoder, Frame (PUBLISH for many)                       <- rumqttd: encode
//! ```

mod codec;
mod codes;
mod connect;
mod cursor;
mod encode;
mod error;
mod frame;
mod guard;
mod properties;
pub mod reason;

pub use codec::Codec;
pub use encode::Encoder;
pub use error::{DecodeError, EncodeError};
pub use frame::{Alias, Delivery, Frame, OutgoingPublish};

use crate::{Message, QoS};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1, level 4.
    V311,
    /// 5.0, level 5.
    V5,
}

/// A packet identifier, never 0.
pub type PacketId = std::num::NonZeroU16;

/// A will: published when the connection ends without DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// What is published.
    pub message: Message,
    /// Seconds to wait first; ends early with the session.
    pub delay: u32,
    /// Message expiry interval, counted from publication, seconds.
    pub expiry: Option<u32>,
}

/// CONNECT. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Level asked for.
    pub version: Version,
    /// May be empty: the server assigns one.
    pub client_id: ByteString,
    /// Clean session (3.1.1) or clean start (5).
    pub clean: bool,
    /// Seconds; 0 turns the timer off.
    pub keep_alive: u16,
    /// The will, if any.
    pub will: Option<Box<Will>>,
    /// User name.
    pub username: Option<ByteString>,
    /// Secret, binary: never logged.
    pub password: Option<Bytes>,
    /// Seconds; 3.1.1: 0 when clean, `u32::MAX` (never) when not.
    pub session_expiry: u32,
    /// How many unacknowledged QoS>0 messages the client takes; 65535 when not said.
    pub receive_maximum: u16,
    /// Largest packet the client takes.
    pub maximum_packet_size: Option<u32>,
    /// Topic aliases that the client takes from us.
    pub topic_alias_maximum: u16,
    /// Whether reason strings are wanted.
    pub request_problem_information: bool,
    /// Whether response information is wanted.
    pub request_response_information: bool,
    /// Extended authentication, which we refuse with 0x8C.
    pub authentication_method: Option<ByteString>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connect")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean", &self.clean)
            .field("keep_alive", &self.keep_alive)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("authentication_method", &self.authentication_method)
            .finish_non_exhaustive()
    }
}

/// When retained messages are sent upon SUBSCRIBE (MQTT 5 retain handling).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// On every SUBSCRIBE; what 3.1.1 always does.
    #[default]
    Always = 0,
    /// Only if the subscription is new.
    New = 1,
    /// Never.
    Never = 2,
}

/// One filter of SUBSCRIBE, `$share/<group>/` still in front when given. Not yet validated: the engine answers for each
/// filter by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// As on the wire.
    pub filter: ByteString,
    /// Highest QoS wanted.
    pub qos: QoS,
    /// Own messages are not wanted back.
    pub no_local: bool,
    /// Keep the retain flag as published.
    pub retain_as_published: bool,
    /// Which retained messages come at once.
    pub retain_handling: RetainHandling,
}

/// A packet that a client may send, after the guard: well formed for its version, and only types a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// CONNECT; only as the first packet.
    Connect(Box<Connect>),
    /// PUBLISH. `id` is present for QoS 1 and 2 only. `message.topic` is a valid topic name, or empty with an alias.
    Publish {
        /// The message; its properties without the alias.
        message: Message,
        /// Packet identifier.
        id: Option<PacketId>,
        /// Redelivery flag.
        dup: bool,
        /// Topic alias, 1..
        alias: Option<u16>,
    },
    /// PUBACK with its reason code (0 in 3.1.1).
    PubAck(PacketId, u8),
    /// PUBREC with its reason code.
    PubRec(PacketId, u8),
    /// PUBREL with its reason code.
    PubRel(PacketId, u8),
    /// PUBCOMP with its reason code.
    PubComp(PacketId, u8),
    /// SUBSCRIBE.
    Subscribe {
        /// Packet identifier.
        id: PacketId,
        /// At least one.
        filters: Vec<SubscribeFilter>,
        /// Subscription identifier, 1..=268435455.
        identifier: Option<u32>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Packet identifier.
        id: PacketId,
        /// At least one, as on the wire.
        filters: Vec<ByteString>,
    },
    /// PINGREQ.
    PingReq,
    /// DISCONNECT with its reason code (0 in 3.1.1) and a changed session expiry.
    Disconnect {
        /// 0 normal, 4 with will.
        reason: u8,
        /// Seconds.
        session_expiry: Option<u32>,
    },
    /// AUTH: only answered with a protocol error, as we never begin extended authentication.
    Auth,
}

/// CONNACK. In 3.1.1 only `session_present` and the mapped code are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// State of an earlier connection was found.
    pub session_present: bool,
    /// MQTT 5 reason code; the codec maps it to a 3.1.1 return code.
    pub reason: u8,
    /// Differs from what was asked for.
    pub session_expiry: Option<u32>,
    /// Our own receive maximum.
    pub receive_maximum: Option<u16>,
    /// Largest packet we take.
    pub maximum_packet_size: Option<u32>,
    /// The client id we made up.
    pub assigned_client_id: Option<ByteString>,
    /// Aliases we take.
    pub topic_alias_maximum: Option<u16>,
    /// For people.
    pub reason_string: Option<ByteString>,
    /// The keep-alive to use instead.
    pub server_keep_alive: Option<u16>,
}
