//! What the caller decides: identity, session, limits and times. The defaults are those of AWS IoT and Greengrass.

use crate::{
    QoS,
    packet::{RetainHandling, Version, Will},
};
use bytes::Bytes;
use bytestring::ByteString;
use std::{fmt, time::Duration};

/// Everything about a client but the way to the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// MQTT 5, or 3.1.1 by configuration.
    pub version: Version,
    /// The client identifier. Empty: the server assigns one; a session is then not kept.
    pub client_id: ByteString,
    /// User name and password, where the server wants them.
    pub credentials: Option<Credentials>,
    /// Published by the server when the connection ends without [`Client::disconnect`](super::Client::disconnect).
    pub will: Option<Will>,
    /// User properties of CONNECT.
    pub user_properties: Vec<(ByteString, ByteString)>,
    /// Discards what the server kept from before this process; reconnects resume. MQTT 5 only.
    pub clean_start: bool,
    /// How long the server keeps the session while we are away, seconds; `u32::MAX`: for ever. 0 in 3.1.1 is a clean
    /// session, everything else a kept one.
    pub session_expiry: u32,
    /// Silence after which a PINGREQ is sent; zero turns it off. The server may override it.
    pub keep_alive: Duration,
    /// How many messages we leave unacknowledged: told to the server in MQTT 5. In 3.1.1 the server decides by itself; we
    /// stop reading when it has sent four times as many.
    pub receive_maximum: u16,
    /// Largest packet we take and send; told to the server in MQTT 5.
    pub maximum_packet_size: u32,
    /// Largest payload that `publish` takes.
    pub maximum_payload_size: usize,
    /// How many of our messages may be unacknowledged; the server's Receive Maximum bounds it as well.
    pub maximum_in_flight: u16,
    /// Topic aliases taken from the server, and given to it as far as it takes them. 0 turns both off.
    pub topic_aliases: u16,
    /// How many filters one connection subscribes to. AWS IoT: 50.
    pub maximum_subscriptions: usize,
    /// How many filters go into one SUBSCRIBE or UNSUBSCRIBE. AWS IoT: 8.
    pub filters_per_packet: usize,
    /// How many publishes wait in the client's own queue before `publish` holds its caller back.
    pub publish_queue: usize,
    /// Time limits.
    pub timeouts: Timeouts,
    /// When to try again.
    pub back_off: BackOff,
}

impl Options {
    /// The defaults for a client id.
    pub fn new(client_id: impl Into<ByteString>) -> Self {
        Self {
            version: Version::V5,
            client_id: client_id.into(),
            credentials: None,
            will: None,
            user_properties: Vec::new(),
            clean_start: false,
            session_expiry: 3600,
            keep_alive: Duration::from_secs(60),
            receive_maximum: 32,
            maximum_packet_size: 256 * 1024,
            maximum_payload_size: 128 * 1024,
            maximum_in_flight: 100,
            topic_aliases: 8,
            maximum_subscriptions: 50,
            filters_per_packet: 8,
            publish_queue: 32,
            timeouts: Timeouts::default(),
            back_off: BackOff::default(),
        }
    }
}

/// User name and password of CONNECT.
#[derive(Clone)]
pub struct Credentials {
    /// The user name.
    pub username: ByteString,
    /// Secret; 3.1.1 and 5 both allow binary.
    pub password: Option<Bytes>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "hidden");
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &password)
            .finish()
    }
}

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Look up and connect, to the server or to the proxy.
    pub connect: Duration,
    /// Each of: TLS with the proxy, the proxy's answer, TLS with the server.
    pub handshake: Duration,
    /// From CONNECT to CONNACK.
    pub connack: Duration,
    /// From PINGREQ to a sign of life.
    pub ping: Duration,
    /// How long messages of a kept session that nobody subscribed to yet are kept before they are acknowledged and dropped.
    pub unclaimed: Duration,
    /// How long writing DISCONNECT and closing may take.
    pub close: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            connack: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            unclaimed: Duration::from_secs(30),
            close: Duration::from_secs(2),
        }
    }
}

/// Exponential back-off with full jitter: the n-th try in a row waits a random part of `initial * 2^(n-1)`, at most `max`.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    /// Upper bound of the first wait.
    pub initial: Duration,
    /// Upper bound of any wait.
    pub max: Duration,
    /// A connection that lasted this long starts the series anew.
    pub reset_after: Duration,
    /// Shortest wait while another client seems to use our client id.
    pub duplicate_client_id: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(120),
            reset_after: Duration::from_secs(30),
            duplicate_client_id: Duration::from_secs(30),
        }
    }
}

/// What `publish` does while there is no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenOffline {
    /// Wait for the connection.
    #[default]
    Wait,
    /// Fail at once with [`PublishError::NotConnected`](super::PublishError::NotConnected). A message that was sent and not
    /// yet acknowledged when the connection broke still waits.
    Fail,
}

/// Options of one subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// Highest QoS wanted.
    pub qos: QoS,
    /// Own messages are not wanted back. MQTT 5.
    pub no_local: bool,
    /// Keep the retain flag as published. MQTT 5.
    pub retain_as_published: bool,
    /// Which retained messages come at once. MQTT 5.
    pub retain_handling: RetainHandling,
    /// How many messages wait for the consumer before it pushes back.
    pub queue: usize,
    /// How many bytes of payload wait for the consumer before it pushes back.
    pub queue_bytes: usize,
    /// How long a full queue holds up the connection, with all its messages and acknowledgements, before QoS 0 messages to
    /// it are dropped; starts anew when the consumer takes one. Zero: they are dropped at once.
    pub patience: Duration,
}

impl From<QoS> for SubscribeOptions {
    fn from(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
            queue: 64,
            queue_bytes: 256 * 1024,
            patience: Duration::from_millis(500),
        }
    }
}
