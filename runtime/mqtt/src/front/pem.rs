//! Certificates and keys from PEM files, with errors that say which file and what is wrong with it.

use super::TlsError;
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use std::{fs, path::Path};
use zeroize::Zeroizing;

/// The server's certificate and its intermediates.
///
/// # Errors
/// When the file cannot be read or holds no certificate first.
pub fn read_chain(file: &Path) -> Result<Vec<X509>, TlsError> {
    certificates(file, "a certificate, then the intermediates, each in PEM")
}

/// Any number of authorities, in any order.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn read_authorities(file: &Path) -> Result<Vec<X509>, TlsError> {
    certificates(file, "the certificates of the authorities, each in PEM")
}

/// A private key without a passphrase.
///
/// # Errors
/// When the file cannot be read or holds no such key.
pub fn read_key(file: &Path) -> Result<PKey<Private>, TlsError> {
    let pem = Zeroizing::new(read(file)?);
    let content = |problem: &str| TlsError::Content {
        file: file.to_owned(),
        problem: problem.to_owned(),
    };
    let has = |needle: &str| pem.windows(needle.len()).any(|w| w == needle.as_bytes());
    if has("ENCRYPTED") {
        return Err(content(
            "the key is encrypted; a server needs one without a passphrase, or one in a token",
        ));
    }
    PKey::private_key_from_pem(&pem).map_err(|_| {
        if has("BEGIN CERTIFICATE") {
            content("holds a certificate where a private key is expected")
        } else if has("BEGIN PUBLIC KEY") {
            content("holds a public key where a private key is expected")
        } else {
            content("holds no private key in PEM")
        }
    })
}

fn certificates(file: &Path, expected: &str) -> Result<Vec<X509>, TlsError> {
    let content = |problem: String| TlsError::Content {
        file: file.to_owned(),
        problem,
    };
    let pem = read(file)?;
    let found = X509::stack_from_pem(&pem)
        .map_err(|e| content(format!("a certificate in it cannot be read: {e}")))?;
    if found.is_empty() {
        return Err(content(format!(
            "holds no certificate; expected {expected}"
        )));
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Read {
        file: file.to_owned(),
        source,
    })
}
