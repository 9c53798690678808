//! Who is at the other end of a connection, as far as it has been proven.

use bytestring::ByteString;
use std::{net::SocketAddr, sync::Arc};

/// A client certificate that the TLS handshake has verified against one of the trusted authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself, DER.
    pub der: Vec<u8>,
    /// SHA-256 over the DER, lower-case hexadecimal: what AWS IoT calls the certificate id.
    pub fingerprint: String,
    /// Subject common name, when there is one.
    pub common_name: Option<String>,
    /// DNS names and URIs of the subject alternative name.
    pub alternative_names: Vec<String>,
    /// The issuer's distinguished name, RFC 2253.
    pub issuer: String,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
}

/// A connection's identity. `client_id`, `username` are known once CONNECT has been read.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The peer's address; `None` for a subscriber or publisher inside this process and for Unix sockets.
    pub address: Option<SocketAddr>,
    /// The verified client certificate.
    pub certificate: Option<Arc<Certificate>>,
    /// The client identifier, as given or as assigned.
    pub client_id: ByteString,
    /// The user name of CONNECT.
    pub username: Option<ByteString>,
}
