//! TLS as the listeners speak it: the server's certificate and key, whom to trust, and a handle that swaps them while the
//! listeners run. Sessions keep the context they were made with; the next handshake takes the new one.
//!
//! There is neither a session cache nor a ticket: a resumed session would skip the check of the client's certificate and with
//! it every revocation, and each remembered session costs memory. A device reconnects with a full handshake.

use super::{
    TlsError, alpn,
    verify::{self, Authorities, Verify},
};
use crate::identity::{distinguished_name, fingerprint};
use arc_swap::ArcSwap;
use openssl::{
    asn1::Asn1Time,
    pkey::{PKey, Private},
    ssl::{
        SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
        SslVerifyMode, SslVersion,
    },
    x509::X509,
};
use std::{cmp::Ordering, fmt, sync::Arc};

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client without one is refused at the handshake.
    #[default]
    Required,
    /// A client may show one; if it does, it must be good.
    Optional,
    /// Nobody is asked.
    None,
}

/// The oldest protocol version spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinimumVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a TLS context is made of. [`TlsConfig::new`] has the defaults; the fields are open to be changed.
#[derive(Clone)]
pub struct TlsConfig {
    /// The server's certificate, then the intermediates that lead to its root.
    pub chain: Vec<X509>,
    /// The server's key: from a file, or one whose operations a token carries out.
    pub key: PKey<Private>,
    /// The key's operations take long (a TPM, a smart card): they are kept off the executor's threads.
    pub slow_key: bool,
    /// Whom to trust with client certificates. Each is an anchor by itself, also when it is no root; several may have one name.
    pub authorities: Vec<X509>,
    /// Whether clients show a certificate.
    pub client_certificates: ClientCertificates,
    /// Asked about each client certificate; may accept what chains to no authority, and refuse what does.
    pub verify: Option<Verify>,
    /// The oldest protocol version spoken.
    pub minimum_version: MinimumVersion,
    /// Ciphers of TLS 1.2 in OpenSSL's notation, if not its defaults.
    pub ciphers: Option<String>,
    /// Has the last word on the context, for what only the embedding program can do to it. Sessions are not to be cached.
    pub finish: Option<fn(&mut SslContextBuilder)>,
}

impl TlsConfig {
    /// A server with this certificate and key that asks nobody for a certificate and speaks TLS 1.2 and newer.
    pub fn new(chain: Vec<X509>, key: PKey<Private>) -> Self {
        Self {
            chain,
            key,
            slow_key: false,
            authorities: Vec::new(),
            client_certificates: ClientCertificates::None,
            verify: None,
            minimum_version: MinimumVersion::default(),
            ciphers: None,
            finish: None,
        }
    }

    fn build(&self) -> Result<Context, TlsError> {
        let leaf = self.chain.first().ok_or(TlsError::NoCertificate)?;
        self.check(leaf)?;
        let context = SslContextBuilder::new(SslMethod::tls_server())
            .and_then(|mut builder| {
                self.basics(&mut builder, leaf)?;
                Ok(builder)
            })
            .map_err(TlsError::openssl("set up TLS"))?;
        let mut builder = context;
        if let Some(ciphers) = &self.ciphers {
            (builder.set_cipher_list(ciphers)).map_err(|_| TlsError::Ciphers(ciphers.clone()))?;
        }
        alpn::negotiate(&mut builder);
        self.clients(&mut builder)?;
        if let Some(finish) = self.finish {
            finish(&mut builder);
        }
        Ok(Context {
            ssl: builder.build(),
            slow_key: self.slow_key,
            fingerprint: fingerprint(&leaf.to_der().map_err(TlsError::openssl("encode"))?),
        })
    }

    /// What would otherwise show only at the first handshake, on the client's side.
    fn check(&self, leaf: &X509) -> Result<(), TlsError> {
        let subject = || distinguished_name(leaf.subject_name());
        let public = leaf
            .public_key()
            .map_err(TlsError::openssl("read the certificate's key"))?;
        if !self.key.public_eq(&public) {
            return Err(TlsError::KeyMismatch { subject: subject() });
        }
        let now = Asn1Time::days_from_now(0).map_err(TlsError::openssl("read the clock"))?;
        if (leaf.not_after().compare(&now)).is_ok_and(|order| order == Ordering::Less) {
            return Err(TlsError::Expired {
                subject: subject(),
                not_after: leaf.not_after().to_string(),
            });
        }
        // A device's clock may be wrong until the network is there, so this alone stops nothing.
        if (leaf.not_before().compare(&now)).is_ok_and(|order| order == Ordering::Greater) {
            log::warn!(
                subject = subject(), not_before = leaf.not_before().to_string();
                "the server certificate is not valid yet, or the clock is wrong"
            );
        }
        Ok(())
    }

    fn basics(
        &self,
        builder: &mut SslContextBuilder,
        leaf: &X509,
    ) -> Result<(), openssl::error::ErrorStack> {
        builder.set_options(
            SslOptions::ALL
                | SslOptions::NO_COMPRESSION
                | SslOptions::NO_RENEGOTIATION
                | SslOptions::NO_TICKET
                | SslOptions::CIPHER_SERVER_PREFERENCE
                | SslOptions::PRIORITIZE_CHACHA,
        );
        // An idle connection holds no record buffers; many small records are read with one call.
        builder.set_mode(
            SslMode::AUTO_RETRY
                | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                | SslMode::ENABLE_PARTIAL_WRITE
                | SslMode::RELEASE_BUFFERS,
        );
        builder.set_read_ahead(true);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_num_tickets(0)?;
        builder.set_min_proto_version(Some(match self.minimum_version {
            MinimumVersion::Tls12 => SslVersion::TLS1_2,
            MinimumVersion::Tls13 => SslVersion::TLS1_3,
        }))?;
        builder.set_certificate(leaf)?;
        for intermediate in &self.chain[1..] {
            builder.add_extra_chain_cert(intermediate.clone())?;
        }
        builder.set_private_key(&self.key)
    }

    fn clients(&self, builder: &mut SslContextBuilder) -> Result<(), TlsError> {
        let mode = match self.client_certificates {
            ClientCertificates::None => {
                builder.set_verify(SslVerifyMode::NONE);
                return Ok(());
            }
            ClientCertificates::Optional => SslVerifyMode::PEER,
            ClientCertificates::Required => {
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT
            }
        };
        if self.authorities.is_empty() && self.verify.is_none() {
            return Err(TlsError::NoAuthority);
        }
        let authorities = Authorities::new(&self.authorities)
            .map_err(TlsError::openssl("take the authorities"))?;
        // The names of the authorities are not sent: an empty list lets a client show whatever it has, also what only the
        // verify hook knows.
        verify::install(builder, mode, authorities, self.verify.clone())
            .map_err(TlsError::openssl("take the authorities"))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self
            .chain
            .first()
            .map(|x| distinguished_name(x.subject_name()));
        f.debug_struct("TlsConfig")
            .field("subject", &subject)
            .field("authorities", &self.authorities.len())
            .field("client_certificates", &self.client_certificates)
            .field("minimum_version", &self.minimum_version)
            .finish_non_exhaustive()
    }
}

/// A context and what goes with it.
pub(super) struct Context {
    pub(super) ssl: SslContext,
    pub(super) slow_key: bool,
    fingerprint: String,
}

/// The TLS context in use, shared by any number of listeners. Cheap to clone; all clones are the same handle.
#[derive(Clone)]
pub struct TlsHandle(Arc<ArcSwap<Context>>);

impl TlsHandle {
    /// Checks the configuration and makes a context of it.
    ///
    /// # Errors
    /// When certificate, key and authorities do not make a working server, and why.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(config.build()?))))
    }

    /// Takes another configuration for all handshakes from now on; sessions that exist are not touched.
    ///
    /// # Errors
    /// As [`TlsHandle::new`]; the old configuration then stays.
    pub fn replace(&self, config: &TlsConfig) -> Result<(), TlsError> {
        self.0.store(Arc::new(config.build()?));
        Ok(())
    }

    /// SHA-256 of the server certificate in use, lower-case hexadecimal.
    pub fn fingerprint(&self) -> String {
        self.0.load().fingerprint.clone()
    }

    pub(super) fn context(&self) -> Arc<Context> {
        self.0.load_full()
    }
}

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsHandle")
            .field(&self.0.load().fingerprint)
            .finish()
    }
}
