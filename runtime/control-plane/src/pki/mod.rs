//! The authority that this control plane is: ECDSA P-256, made by the first start, and the server's own certificate,
//! renewed in time.
//!
//! ```text
//! pki/ca.pem       the authority's certificate: what devices and browsers must trust
//! pki/ca.key       mode 0600
//! pki/server.pem   the server's certificate, for the names of this machine
//! pki/server.key   mode 0600
//! ```

mod authority;
mod server;

pub use authority::{Authority, Subject, Usage};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use openssl::{
    pkey::{PKey, Private},
    ssl::{AlpnError, SslAcceptor, SslMethod, SslOptions, SslVersion, select_next_proto},
    x509::X509,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: X509,
    /// Its private key.
    pub key: PKey<Private>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// The authority, and what the listeners show.
pub struct Pki {
    /// Signs certificates.
    pub authority: Authority,
    server: ArcSwap<Pair>,
    folder: PathBuf,
    names: Vec<String>,
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pki({})", self.folder.display())
    }
}

impl Pki {
    /// Opens the folder, making what is missing and renewing what is near its end. `more` are names and addresses besides
    /// those of this machine.
    pub fn open(folder: &Path, more: &[String]) -> Result<Self> {
        crate::state::private_folder(folder)?;
        let authority = Authority::open(folder)?;
        let names = server::names(more);
        let pair = server::open(folder, &authority, &names)?;
        Ok(Self {
            authority,
            server: ArcSwap::from_pointee(pair),
            folder: folder.to_owned(),
            names,
        })
    }

    /// Renews the server's certificate when it is near its end; whether it did.
    pub fn renew(&self) -> Result<bool> {
        let pair = server::open(&self.folder, &self.authority, &self.names)?;
        let same = pair.certificate.to_der()? == self.server.load().certificate.to_der()?;
        self.server.store(Arc::new(pair));
        Ok(!same)
    }

    /// The server's certificate and key, as of now.
    pub fn server(&self) -> Arc<Pair> {
        self.server.load_full()
    }

    /// The names that the server's certificate is for; the first is what to call this machine.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where the authority's certificate is.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// TLS for the REST side, with the certificate as of now.
    pub fn acceptor(&self) -> Result<SslAcceptor> {
        let pair = self.server();
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_options(SslOptions::NO_RENEGOTIATION);
        builder.set_private_key(&pair.key)?;
        builder.set_certificate(&pair.certificate)?;
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
        });
        Ok(builder.build())
    }
}

/// Writes a secret file.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    store::file::write_atomic(path, bytes, 0o600)
        .with_context(|| format!("writing {}", path.display()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}
