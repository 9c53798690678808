//! Certificates and their keys: checked to belong together before anything is stored, and stored whole.

use crate::{KeyError, KeyUri, LoadOptions, Token};
use openssl::{
    pkey::{HasPublic, PKeyRef, Private},
    x509::{X509, X509Ref},
};
use std::path::Path;

/// Checks that a certificate is for a key.
pub fn check<T: HasPublic>(
    certificate: &X509Ref,
    key: &PKeyRef<T>,
    name: &KeyUri,
) -> Result<(), KeyError> {
    let public = certificate.public_key();
    let same = public.is_ok_and(|public| public.public_eq(key));
    // OpenSSL notes the difference in its error queue: it is no failure of a later call.
    drop(openssl::error::ErrorStack::get());
    if same {
        return Ok(());
    }
    Err(KeyError::Mismatch {
        subject: subject(certificate),
        key: name.to_string(),
    })
}

/// The subject in one line.
fn subject(certificate: &X509Ref) -> String {
    let mut parts = Vec::new();
    for entry in certificate.subject_name().entries() {
        let name = entry.object().nid().short_name().unwrap_or("?").to_owned();
        let value = entry.data().to_string();
        parts.push(format!("{name}={}", value.unwrap_or_default()));
    }
    if parts.is_empty() {
        "an empty subject".into()
    } else {
        parts.join(", ")
    }
}

/// Reads the certificates of a PEM file, leaf first.
pub fn read(path: &Path) -> Result<Vec<X509>, KeyError> {
    let pem = std::fs::read(path).map_err(|e| KeyError::file(path, e))?;
    parse(&pem, path)
}

/// The certificates that a URI names: a file's chain, or the one in a token. Not for async threads.
pub fn load(uri: &KeyUri, options: &LoadOptions) -> Result<Vec<X509>, KeyError> {
    match uri {
        KeyUri::File(path) => read(path),
        KeyUri::Token(_) => {
            let token = Token::open(uri, &options.pins, options.library.as_deref())?;
            Ok(vec![token.certificate(uri).wait()?])
        }
    }
}

fn parse(pem: &[u8], path: &Path) -> Result<Vec<X509>, KeyError> {
    let broken = |source| KeyError::Pem {
        path: path.into(),
        expected: "certificates in PEM form",
        source,
    };
    let chain = X509::stack_from_pem(pem).map_err(broken)?;
    if chain.is_empty() {
        return Err(broken(openssl::error::ErrorStack::get()));
    }
    Ok(chain)
}

/// Stores a certificate chain (PEM, leaf first) with mode 0644, if it is for the key. The old one stays until then.
pub fn store<T: HasPublic>(
    path: &Path,
    pem: &[u8],
    key: &PKeyRef<T>,
    name: &KeyUri,
) -> Result<(), KeyError> {
    let chain = parse(pem, path)?;
    check(&chain[0], key, name)?;
    store::file::write_atomic(path, pem, 0o644).map_err(|e| KeyError::file(path, e))
}

/// Stores a private key in a PEM file with mode 0600.
pub fn store_key(path: &Path, key: &PKeyRef<Private>) -> Result<(), KeyError> {
    let pem = key
        .private_key_to_pem_pkcs8()
        .map_err(KeyError::openssl("writing a private key"))?;
    let pem = zeroize::Zeroizing::new(pem);
    store::file::write_atomic(path, &pem, 0o600).map_err(|e| KeyError::file(path, e))
}
