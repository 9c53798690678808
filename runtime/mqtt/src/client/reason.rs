//! Reason codes of MQTT 5 with their names; the return codes of 3.1.1 are mapped onto them.

use std::fmt;

/// A reason code; from 0x80 on it reports a failure. Prints as `0x87 not authorized`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl Reason {
    /// Done as asked; also a normal disconnection.
    pub const SUCCESS: Self = Self(0x00);
    /// Nobody subscribes to what was published.
    pub const NO_MATCHING_SUBSCRIBERS: Self = Self(0x10);
    /// No reason given; the only failure that SUBACK has in 3.1.1.
    pub const UNSPECIFIED: Self = Self(0x80);
    /// The packet cannot be parsed.
    pub const MALFORMED: Self = Self(0x81);
    /// The packet is not allowed at this point, or contradicts itself.
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    /// The receiver does not do that.
    pub const IMPLEMENTATION_SPECIFIC: Self = Self(0x83);
    /// The server does not speak this version.
    pub const UNSUPPORTED_VERSION: Self = Self(0x84);
    /// The client id is not accepted.
    pub const CLIENT_ID_NOT_VALID: Self = Self(0x85);
    /// Unknown user or wrong password.
    pub const BAD_CREDENTIALS: Self = Self(0x86);
    /// Denied by policy.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// The server is not there for now.
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    /// Extended authentication as asked for is not supported.
    pub const BAD_AUTHENTICATION_METHOD: Self = Self(0x8c);
    /// Another connection took the client id.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8e);
    /// The filter is well formed and still not accepted.
    pub const TOPIC_FILTER_INVALID: Self = Self(0x8f);
    /// The packet id is not known.
    pub const PACKET_ID_NOT_FOUND: Self = Self(0x92);
    /// More unacknowledged messages than the receiver takes.
    pub const RECEIVE_MAXIMUM_EXCEEDED: Self = Self(0x93);
    /// A topic alias that was never set, or above the maximum.
    pub const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    /// The packet is larger than the receiver takes.
    pub const PACKET_TOO_LARGE: Self = Self(0x95);
    /// Shared subscriptions are not supported.
    pub const SHARED_NOT_SUPPORTED: Self = Self(0x9e);
    /// Subscription identifiers are not supported.
    pub const IDENTIFIERS_NOT_SUPPORTED: Self = Self(0xa1);
    /// Wildcard subscriptions are not supported.
    pub const WILDCARDS_NOT_SUPPORTED: Self = Self(0xa2);

    /// The meaning of a CONNACK return code of 3.1.1.
    pub fn from_return_code(code: u8) -> Self {
        match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_VERSION,
            2 => Self::CLIENT_ID_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_CREDENTIALS,
            5 => Self::NOT_AUTHORIZED,
            _ => Self::UNSPECIFIED,
        }
    }

    /// Whether it reports a failure.
    pub fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether a SUBSCRIBE refused with this is worth another try: the server may have been busy or over a quota.
    pub(crate) fn is_passing(self) -> bool {
        !matches!(
            self,
            Self::NOT_AUTHORIZED
                | Self::TOPIC_FILTER_INVALID
                | Self::SHARED_NOT_SUPPORTED
                | Self::IDENTIFIERS_NOT_SUPPORTED
                | Self::WILDCARDS_NOT_SUPPORTED
        )
    }

    fn name(self) -> &'static str {
        match self.0 {
            0x00 => "success",
            0x01 => "granted QoS 1",
            0x02 => "granted QoS 2",
            0x04 => "disconnect with will",
            0x10 => "no matching subscribers",
            0x11 => "no subscription existed",
            0x80 => "unspecified error",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "implementation specific error",
            0x84 => "unsupported protocol version",
            0x85 => "client identifier not valid",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8a => "banned",
            0x8b => "server shutting down",
            0x8c => "bad authentication method",
            0x8d => "keep alive timeout",
            0x8e => "session taken over",
            0x8f => "topic filter invalid",
            0x90 => "topic name invalid",
            0x91 => "packet identifier in use",
            0x92 => "packet identifier not found",
            0x93 => "receive maximum exceeded",
            0x94 => "topic alias invalid",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "payload format invalid",
            0x9a => "retain not supported",
            0x9b => "QoS not supported",
            0x9c => "use another server",
            0x9d => "server moved",
            0x9e => "shared subscriptions not supported",
            0x9f => "connection rate exceeded",
            0xa0 => "maximum connect time",
            0xa1 => "subscription identifiers not supported",
            0xa2 => "wildcard subscriptions not supported",
            _ => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x} {}", self.0, self.name())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
