//! Counters. They wrap on 32-bit machines; read differences. Connections add up locally and flush once per turn.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of all counters and gauges.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metrics { $($(#[$doc])* pub $name: usize,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicUsize,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl Metrics {
            /// Names and values, for an exporter.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, usize)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

metrics! {
    /// Clients connected now (gauge).
    connections,
    /// Connections accepted with CONNACK 0.
    connects,
    /// Connections refused at CONNECT.
    refused,
    /// Sessions kept now, connected or not (gauge).
    sessions,
    /// Subscriptions of all sessions now (gauge).
    subscriptions,
    /// Retained messages now (gauge).
    retained,
    /// PUBLISH packets received.
    messages_in,
    /// PUBLISH packets sent.
    messages_out,
    /// Bytes read from clients.
    bytes_in,
    /// Bytes written to clients.
    bytes_out,
    /// Bytes waiting in all sessions now (gauge).
    queued_bytes,
    /// QoS 0 dropped because its subscriber was slow.
    dropped_slow,
    /// Dropped because the session's queue was full.
    dropped_queue_full,
    /// Dropped because the byte budget of all queues was used up.
    dropped_memory,
    /// Dropped because the message had expired.
    dropped_expired,
    /// Dropped because it exceeded the subscriber's maximum packet size.
    dropped_too_large,
    /// Not retained because the limits on retained messages were reached.
    retained_refused,
    /// QoS 0 dropped because an in-process subscriber was full.
    dropped_bus,
    /// Denied CONNECT by policy.
    denied_connect,
    /// Denied PUBLISH, wills included.
    denied_publish,
    /// Denied filters of SUBSCRIBE, and subscriptions removed when the policy changed.
    denied_subscribe,
    /// Messages not delivered because policy denies receiving them.
    denied_receive,
    /// Times the router was replaced.
    bus_restarts,
    /// Bytes under way to in-process subscribers now (gauge).
    bus_bytes,
    /// Times a publisher was held back for a subscriber.
    held_back,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicUsize, n: usize) {
    counter.fetch_add(n, Relaxed);
}

/// Takes from a gauge.
pub(crate) fn sub(counter: &AtomicUsize, n: usize) {
    counter.fetch_sub(n, Relaxed);
}
