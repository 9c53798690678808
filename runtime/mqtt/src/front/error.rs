//! What can go wrong before a connection exists: with a listener's address, with certificates and keys.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The front has been stopped.
    #[error("cannot listen on {0}: the front has been stopped")]
    Stopped(SocketAddr),
    /// The names of the protocols do not fit in ALPN's form.
    #[error("'{0}' is no ALPN protocol name: 1 to 255 bytes are")]
    Protocol(String),
}

/// What is wrong with certificates or keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{}: {problem}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The server's chain is empty.
    #[error("the server has no certificate")]
    NoCertificate,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the server certificate '{subject}'")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The server's certificate has expired.
    #[error("the server certificate '{subject}' has expired on {not_after}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// Its last moment.
        not_after: String,
    },
    /// Client certificates are wanted, but nothing says which to trust.
    #[error(
        "client certificates are asked for, but there is neither an authority to check them against nor a verify hook"
    )]
    NoAuthority,
    /// The cipher list names nothing that OpenSSL knows.
    #[error("'{0}' is no list of ciphers that OpenSSL knows")]
    Ciphers(String),
    /// OpenSSL refuses.
    #[error("OpenSSL cannot {what}: {source}")]
    OpenSsl {
        /// What was tried.
        what: &'static str,
        /// Its errors.
        source: openssl::error::ErrorStack,
    },
}

impl TlsError {
    pub(super) fn openssl(what: &'static str) -> impl FnOnce(openssl::error::ErrorStack) -> Self {
        move |source| Self::OpenSsl { what, source }
    }
}
