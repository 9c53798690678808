//! Where clients come in: listeners for MQTT over TCP, TLS and WebSocket, and the guard at the door.
//!
//! ```text
//! accept -> caps -> first byte -> TLS (off the accept loop, bounded in time and number) -> ALPN -> WebSocket -> handler
//! ```
//! A [`Front`] owns listeners, caps and counters. What happens to an established connection is the embedding program's word:
//! a [`Handler`] gets a [`Stream`] and the [`Peer`](crate::engine::Peer). Certificates are swapped at run time through [`TlsHandle`].

mod accept;
mod alpn;
mod error;
mod handshake;
mod limits;
mod log_limit;
mod metrics;
mod pem;
mod server;
mod stream;
mod tls;
mod verify;
mod websocket;

pub use alpn::{HTTP_PROTOCOLS, MQTT_PROTOCOLS};
pub use error::{FrontError, TlsError};
pub use limits::Limits;
pub use metrics::{Failure, Metrics};
pub use pem::{read_authorities, read_chain, read_key};
pub use server::{Front, Handler, Listener, Transport, handler};
pub use stream::{Io, Stream};
pub use tls::{ClientCertificates, MinimumVersion, TlsConfig, TlsHandle};
pub use verify::{ChainProblem, Presented, Verdict, Verify};
pub use websocket::{WebSocket, sub_protocol};
