//! The way to the server: TCP, a proxy perhaps, TLS perhaps.

mod connector;
mod proxy;

pub use connector::{Connector, Tls};
pub use proxy::{NoProxy, Proxy, ProxyAuthorization, ProxyError};

use super::options::Timeouts;
use async_trait::async_trait;
use std::{io, net::SocketAddr, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// An open connection to the server, whatever it runs over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens connections. [`Connector`] is the one for networks.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// One try, within the limits.
    async fn dial(&self, timeouts: &Timeouts) -> Result<Box<dyn Stream>, DialError>;
}

/// Why there is no way to the server.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No address accepted the connection; the last one's error.
    #[error("cannot connect to {host} at {address}: {source}")]
    Connect {
        /// Server or proxy.
        host: String,
        /// The last address tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The proxy did not open the way.
    #[error("proxy {host}: {source}")]
    Proxy {
        /// The proxy.
        host: String,
        /// Why.
        source: ProxyError,
    },
    /// TLS failed: no common version, a certificate that is not trusted or not for this host, our own refused.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// Server or proxy.
        host: String,
        /// OpenSSL's words.
        reason: String,
    },
    /// A step took too long.
    #[error("{step} with {host} took longer than {limit:?}")]
    Timeout {
        /// `connect`, `proxy handshake`, `TLS handshake`.
        step: &'static str,
        /// Server or proxy.
        host: String,
        /// The limit.
        limit: Duration,
    },
}
