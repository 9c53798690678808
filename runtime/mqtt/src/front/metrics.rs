//! Counters of the front. They wrap at the machine's word, which their reader has to expect (a rate is a wrapping difference).

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Why a connection did not get through to its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The cap on all connections was reached.
    TooMany,
    /// The cap on connections from one address was reached.
    TooManyFromAddress,
    /// The handshake took too long.
    Timeout,
    /// The peer went away during the handshake.
    Closed,
    /// The peer's certificate was refused, or missing.
    Certificate,
    /// The peer offered only application protocols that are not spoken here.
    Alpn,
    /// The peer spoke no TLS, or none that suits both sides.
    Tls,
    /// The peer's WebSocket request was none, or asked for another sub-protocol.
    WebSocket,
    /// Something on our side failed.
    Internal,
}

impl Failure {
    /// All of them, in the order they are counted in.
    pub const ALL: [Self; 9] = [
        Self::TooMany,
        Self::TooManyFromAddress,
        Self::Timeout,
        Self::Closed,
        Self::Certificate,
        Self::Alpn,
        Self::Tls,
        Self::WebSocket,
        Self::Internal,
    ];

    /// A word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too-many",
            Self::TooManyFromAddress => "too-many-from-address",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Certificate => "certificate",
            Self::Alpn => "alpn",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reading of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Open connections now, those in their handshake included.
    pub open: usize,
    /// TLS handshakes now.
    pub handshaking: usize,
    /// TCP connections accepted since the start.
    pub accepted: usize,
    /// Connections handed to a handler since the start.
    pub established: usize,
    /// Failed calls of accept(2), such as for lack of file descriptors.
    pub accept_errors: usize,
    /// Connections that did not get through, in the order of [`Failure::ALL`].
    pub failures: [usize; Failure::ALL.len()],
}

impl Metrics {
    /// How many connections failed for this reason.
    pub fn failed(&self, why: Failure) -> usize {
        self.failures[why as usize]
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    open: AtomicUsize,
    handshaking: AtomicUsize,
    accepted: AtomicUsize,
    established: AtomicUsize,
    accept_errors: AtomicUsize,
    failures: [AtomicUsize; Failure::ALL.len()],
}

impl Counters {
    pub(super) fn read(&self) -> Metrics {
        Metrics {
            open: self.open.load(Relaxed),
            handshaking: self.handshaking.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            established: self.established.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            failures: std::array::from_fn(|at| self.failures[at].load(Relaxed)),
        }
    }

    pub(super) fn open(&self, now: usize) {
        self.open.store(now, Relaxed);
    }

    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn established(&self) {
        self.established.fetch_add(1, Relaxed);
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, why: Failure) {
        self.failures[why as usize].fetch_add(1, Relaxed);
    }

    /// Counted while the guard lives.
    pub(super) fn handshaking(&self) -> impl Drop + '_ {
        self.handshaking.fetch_add(1, Relaxed);
        Handshaking(self)
    }
}

struct Handshaking<'a>(&'a Counters);

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.handshaking.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_counted_at_its_place() {
        for (at, why) in Failure::ALL.iter().enumerate() {
            assert_eq!(*why as usize, at);
        }
    }
}
