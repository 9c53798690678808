//! Errors of publish and subscribe: each says whether the message, the server or the moment is at fault.

use super::Reason;
use bytestring::ByteString;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection, and the caller did not want to wait for one.
    #[error("not connected")]
    NotConnected,
    /// The client has ended. Whether the server has the message is unknown if it had been sent before.
    #[error("the client has ended")]
    Stopped,
    /// The message itself cannot be sent.
    #[error("not a message that can be sent: {0}")]
    Invalid(&'static str),
    /// Larger than we or the server allow.
    #[error("{what} of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// `payload` or `packet`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The server takes no such QoS.
    #[error("the server takes QoS {maximum} at most")]
    QosNotSupported {
        /// What it takes.
        maximum: u8,
    },
    /// The server keeps no retained messages.
    #[error("the server does not support retained messages")]
    RetainNotSupported,
    /// It lost its meaning before it could be sent.
    #[error("the message expired before it was sent")]
    Expired,
    /// The server answered with a failure.
    #[error("the server refused the message: {reason}{}", .text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Refused {
        /// Its reason.
        reason: Reason,
        /// Its words.
        text: Option<ByteString>,
    },
    /// The journal could not take note of the message; it was not sent.
    #[error("cannot take note of the message before sending it: {0}")]
    Journal(#[source] std::io::Error),
}

/// The server's acknowledgement of a message. For QoS 0: it was handed to the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PubAck {
    /// `None` for QoS 0. Failures are a [`PublishError::Refused`].
    pub reason: Option<Reason>,
    /// The server's words.
    pub reason_string: Option<ByteString>,
    /// User properties of PUBACK or PUBREC.
    pub user_properties: Vec<(ByteString, ByteString)>,
}

/// Why a subscription was not made, or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Not a valid topic filter.
    #[error("not a valid topic filter: {0:?}")]
    InvalidFilter(ByteString),
    /// One more would exceed what a connection may have.
    #[error("{limit} subscriptions on one connection is the limit")]
    TooMany {
        /// [`Options::maximum_subscriptions`](super::Options::maximum_subscriptions).
        limit: usize,
    },
    /// The server said no.
    #[error("the server refused the subscription: {reason}{}", .text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Refused {
        /// Its reason.
        reason: Reason,
        /// Its words.
        text: Option<ByteString>,
    },
    /// The client has ended.
    #[error("the client has ended")]
    Stopped,
}
