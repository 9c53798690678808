//! From the file names in the configuration to what the front's listeners use.

use super::{
    config::{Key, Tls},
    revoked::Revoked,
};
use anyhow::Context;
use keys::{KeyUri, LoadOptions};
use mqtt::front::{
    ClientCertificates, Presented, TlsConfig, Verdict, Verify, read_authorities, read_chain,
    read_key,
};
use openssl::pkey::{PKey, Private};
use std::sync::Arc;

/// Certificates as read, and what has been revoked.
pub struct Certificates {
    /// For the listeners; `None` when none of them needs any.
    pub tls: Option<TlsConfig>,
    /// Refused at the handshake by `tls`, and in live sessions by the policy.
    pub revoked: Arc<Revoked>,
}

/// Reads all files, each once. A key in a token may take seconds: not for the executor's threads.
pub fn read(files: Option<&Tls>) -> anyhow::Result<Certificates> {
    let Some(files) = files else {
        return Ok(Certificates {
            tls: None,
            revoked: Arc::default(),
        });
    };
    let chain = read_chain(&files.certificate)?;
    let mut tls = TlsConfig::new(chain, key(files)?);
    tls.slow_key = matches!(files.key, Key::Token(_));
    for file in &files.authorities {
        tls.authorities.extend(read_authorities(file)?);
    }
    let mut revoked = Revoked::default();
    for file in &files.revoked {
        revoked.read(file, &tls.authorities)?;
    }
    let revoked = Arc::new(revoked);
    tls.client_certificates = files.client_certificates;
    tls.minimum_version = files.minimum_version;
    tls.ciphers.clone_from(&files.ciphers);
    tls.finish = Some(keys::forget_chains);
    if tls.client_certificates != ClientCertificates::None && !revoked.is_empty() {
        tls.verify = Some(refuse(revoked.clone()));
    }
    Ok(Certificates {
        tls: Some(tls),
        revoked,
    })
}

fn refuse(revoked: Arc<Revoked>) -> Verify {
    Arc::new(move |presented: &Presented<'_>| {
        match revoked.contains(presented.certificate, presented.fingerprint) {
            true => Verdict::Refuse,
            false => Verdict::AsChain,
        }
    })
}

fn key(files: &Tls) -> anyhow::Result<PKey<Private>> {
    match &files.key {
        Key::File(file) => Ok(read_key(file)?),
        Key::Token(uri) => token(uri).context("cannot use the server's key"),
    }
}

/// The PIN comes from the URI's `pin-source`, the systemd credential `pkcs11-pin` or `GREENGRASS_PKCS11_PIN`.
fn token(uri: &str) -> anyhow::Result<PKey<Private>> {
    let uri: KeyUri = uri.parse()?;
    Ok(keys::load(&uri, &LoadOptions::default())?)
}
