//! Every limit of the engine with its default. A limit that is reached is counted in [`super::Metrics`].

use std::time::Duration;

/// Limits and time spans. `Options::default()` suits a gateway with some thousand clients and 64 MiB to spare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Largest packet taken from a client, bytes; announced to MQTT 5. Default 1 MiB.
    pub max_packet_size: u32,
    /// Unacknowledged QoS 1 and 2 messages taken from one client; announced to MQTT 5, where exceeding it ends the connection (0x93).
    /// From 3.1.1 clients no more is read until acknowledgements are out. Default 1,024.
    pub receive_maximum: u16,
    /// Unacknowledged QoS 1 and 2 messages sent to one client, below what it asks for. Default 256.
    pub max_inflight: u16,
    /// Topic aliases taken from a client. Default 16.
    pub topic_alias_maximum: u16,
    /// Topic aliases given to a client, below what it asks for. Default 64.
    pub outgoing_topic_alias_maximum: u16,
    /// Largest keep-alive in seconds: MQTT 5 clients that ask for more, or for none, are told this one. Default 1,200, as AWS IoT.
    pub max_keep_alive: Option<u16>,
    /// How long after accepting the stream CONNECT must be complete, and how long policy may then think about it (0x88, 3.1.1 code 3,
    /// beyond). Default 10 s.
    pub connect_timeout: Duration,
    /// How long a write may make no progress before the connection is given up. Default 30 s.
    pub write_timeout: Duration,
    /// Longest that a session outlives its connection; also for 3.1.1 clients, whose sessions have no end of their own. Default 7 days.
    pub max_session_expiry: Duration,
    /// Sessions, connected or not. A new client beyond is refused (0x89, 3.1.1 code 3). Default 20,000.
    pub max_sessions: usize,
    /// Subscriptions of one session; SUBACK 0x97 (3.1.1: 0x80) beyond. Default 1,000.
    pub max_subscriptions: usize,
    /// Messages waiting in one session. When full the newest is dropped for this session and counted. Default 10,000.
    pub max_queued_messages: usize,
    /// Bytes waiting in one session, same rule. Default 8 MiB.
    pub max_queued_bytes: usize,
    /// Bytes waiting in all sessions together, same rule. Default 64 MiB.
    pub max_total_queued_bytes: usize,
    /// Bytes waiting in a connected session above which its publishers are held back, and beyond which a stored session's queue is only
    /// in the store; falls once half of `max_total_queued_bytes` is used. Default 256 KiB.
    pub high_water: usize,
    /// No write progress for so long makes a session above its high-water mark slow: nobody waits for it. Default 250 ms.
    pub slow_after: Duration,
    /// A publisher is held back no longer than this for one congestion, progress or not. Default 1 s.
    pub hold_publishers: Duration,
    /// Retained messages kept; more are delivered but not retained (MQTT 5 QoS>0: 0x97). Default 200,000.
    pub max_retained_messages: usize,
    /// Bytes of retained topics and payloads. Default 64 MiB.
    pub max_retained_bytes: usize,
    /// Retained messages put into a session's queue at a time upon SUBSCRIBE. Default 128.
    pub retained_page: usize,
    /// Bytes under way to in-process subscribers through the router, which keeps up to twice as many for each filter. Default 256 KiB.
    pub bus_bytes: usize,
    /// Events waiting for one reader of [`super::Engine::events`]; more are lost and counted. Default 4,096.
    pub event_capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_packet_size: 1 << 20,
            receive_maximum: 1024,
            max_inflight: 256,
            topic_alias_maximum: 16,
            outgoing_topic_alias_maximum: 64,
            max_keep_alive: Some(1200),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_session_expiry: Duration::from_secs(7 * 24 * 3600),
            max_sessions: 20_000,
            max_subscriptions: 1000,
            max_queued_messages: 10_000,
            max_queued_bytes: 8 << 20,
            max_total_queued_bytes: 64 << 20,
            high_water: 256 << 10,
            slow_after: Duration::from_millis(250),
            hold_publishers: Duration::from_secs(1),
            max_retained_messages: 200_000,
            max_retained_bytes: 64 << 20,
            retained_page: 128,
            bus_bytes: 256 << 10,
            event_capacity: 4096,
        }
    }
}
