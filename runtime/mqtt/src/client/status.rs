//! What the connection is doing, for everyone who wants to know, and why it ended.

use super::{Reason, net::DialError, wire::WireError};
use bytestring::ByteString;
use std::{io, sync::Arc, time::Duration};

/// The state of the connection, as a `watch` shows it.
#[derive(Clone, Debug)]
pub enum Status {
    /// On the way: the n-th try since the last connection, from 1.
    Connecting {
        /// The try.
        attempt: u32,
        /// Why the one before, or the last connection, ended.
        after: Option<Arc<Cause>>,
    },
    /// Connected; what the server granted.
    Connected(Arc<Connected>),
    /// Not connected; the next try follows.
    Disconnected {
        /// Why.
        cause: Arc<Cause>,
        /// When the next try starts, from when this status was set.
        retry_in: Duration,
        /// The server says, or the pattern of cuts suggests, that another client uses our client id.
        duplicate_client_id: bool,
    },
    /// The client has ended: disconnected on request, or its handles are gone.
    Stopped,
}

impl Status {
    /// Whether messages flow.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

/// What CONNACK said; 3.1.1 fills in the protocol's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The server kept our session.
    pub session_present: bool,
    /// Our client id, or the one that the server assigned.
    pub client_id: ByteString,
    /// How many unacknowledged messages the server takes.
    pub receive_maximum: u16,
    /// Highest QoS the server takes: 0, 1 or 2.
    pub maximum_qos: u8,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// Largest packet it takes.
    pub maximum_packet_size: u32,
    /// Topic aliases it takes.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcards_available: bool,
    /// Whether `$share/...` is understood.
    pub shared_available: bool,
    /// The keep-alive in force.
    pub keep_alive: Duration,
    /// How long the session outlives the connection, seconds.
    pub session_expiry: u32,
    /// The server's word for people.
    pub reason_string: Option<ByteString>,
    /// User properties of CONNACK.
    pub user_properties: Vec<(ByteString, ByteString)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No way to the server.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// CONNACK said no.
    #[error("the server refused the connection: {reason}{}", said(.text.as_deref()))]
    Refused {
        /// Its reason; return codes of 3.1.1 are mapped.
        reason: Reason,
        /// Its words.
        text: Option<ByteString>,
        /// Where it sends us.
        server_reference: Option<ByteString>,
    },
    /// The server sent DISCONNECT.
    #[error("the server ended the connection: {reason}{}", said(.text.as_deref()))]
    Ended {
        /// Its reason.
        reason: Reason,
        /// Its words.
        text: Option<ByteString>,
        /// Where it sends us.
        server_reference: Option<ByteString>,
    },
    /// The connection was closed without a word.
    #[error("the connection was closed by the other side")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    /// No CONNACK in time.
    #[error("no CONNACK within {0:?}")]
    ConnAckTimeout(Duration),
    /// The server gave no sign of life after PINGREQ.
    #[error("no answer to PINGREQ within {0:?}")]
    PingTimeout(Duration),
    /// The server does not keep to the protocol; we ended the connection.
    #[error("the server broke the protocol: {0}")]
    Protocol(#[from] WireError),
    /// The caller ended it.
    #[error("disconnected on request")]
    Requested,
}

impl Cause {
    /// The reason code of the server, if it gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { reason, .. } | Self::Ended { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

fn said(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}
