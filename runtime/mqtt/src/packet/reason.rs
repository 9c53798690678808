//! MQTT 5 reason codes (section 2.4), and what MQTT 3.1.1 says instead.

/// Done; also "granted QoS 0" and "normal disconnection".
pub const SUCCESS: u8 = 0x00;
/// DISCONNECT that wants the will published.
pub const DISCONNECT_WITH_WILL: u8 = 0x04;
/// Accepted, but nobody subscribes.
pub const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// UNSUBSCRIBE of what was not subscribed.
pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
/// No reason given.
pub const UNSPECIFIED_ERROR: u8 = 0x80;
/// The packet cannot be read.
pub const MALFORMED_PACKET: u8 = 0x81;
/// The packet can be read but is not allowed.
pub const PROTOCOL_ERROR: u8 = 0x82;
/// Valid, but not accepted here.
pub const IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
/// Neither 3.1.1 nor 5.
pub const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
/// The client id is not allowed.
pub const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
/// User name or password refused.
pub const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
/// Policy says no.
pub const NOT_AUTHORIZED: u8 = 0x87;
/// Not available now.
pub const SERVER_UNAVAILABLE: u8 = 0x88;
/// Busy.
pub const SERVER_BUSY: u8 = 0x89;
/// Refused by the administrator.
pub const BANNED: u8 = 0x8A;
/// Going down.
pub const SERVER_SHUTTING_DOWN: u8 = 0x8B;
/// Extended authentication that is not spoken here.
pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
/// Silent for one and a half times the keep-alive.
pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
/// Another connection uses the client id now.
pub const SESSION_TAKEN_OVER: u8 = 0x8E;
/// The filter is not accepted.
pub const TOPIC_FILTER_INVALID: u8 = 0x8F;
/// The topic name is not accepted.
pub const TOPIC_NAME_INVALID: u8 = 0x90;
/// The packet identifier is taken.
pub const PACKET_IDENTIFIER_IN_USE: u8 = 0x91;
/// The packet identifier is not known.
pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
/// More unacknowledged messages than allowed.
pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// A topic alias that is 0, too high or not known.
pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
/// Larger than the maximum packet size.
pub const PACKET_TOO_LARGE: u8 = 0x95;
/// Too much data.
pub const MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
/// A limit was hit.
pub const QUOTA_EXCEEDED: u8 = 0x97;
/// Closed by the administrator.
pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
/// The payload is not what its indicator says.
pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// No retained messages here.
pub const RETAIN_NOT_SUPPORTED: u8 = 0x9A;
/// Not this quality of service.
pub const QOS_NOT_SUPPORTED: u8 = 0x9B;
/// Go elsewhere for now.
pub const USE_ANOTHER_SERVER: u8 = 0x9C;
/// Go elsewhere for good.
pub const SERVER_MOVED: u8 = 0x9D;
/// No shared subscriptions here.
pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9E;
/// Too many connections in a short time.
pub const CONNECTION_RATE_EXCEEDED: u8 = 0x9F;
/// Connected for long enough.
pub const MAXIMUM_CONNECT_TIME: u8 = 0xA0;
/// No subscription identifiers here.
pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: u8 = 0xA1;
/// No wildcards here.
pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0xA2;

/// What MQTT 3.1.1 calls this in CONNACK; `None` where it has no word and the connection is closed without one
/// (MQTT 3.1.1 section 3.2.2.3).
pub fn connect_return_code(reason: u8) -> Option<u8> {
    match reason {
        SUCCESS => Some(0),
        UNSUPPORTED_PROTOCOL_VERSION => Some(1),
        CLIENT_IDENTIFIER_NOT_VALID => Some(2),
        SERVER_UNAVAILABLE
        | SERVER_BUSY
        | SERVER_SHUTTING_DOWN
        | QUOTA_EXCEEDED
        | CONNECTION_RATE_EXCEEDED
        | USE_ANOTHER_SERVER
        | SERVER_MOVED => Some(3),
        BAD_USER_NAME_OR_PASSWORD => Some(4),
        NOT_AUTHORIZED | BANNED | BAD_AUTHENTICATION_METHOD => Some(5),
        _ => None,
    }
}
