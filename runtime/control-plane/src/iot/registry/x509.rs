//! Reading certificates that callers bring.

use crate::http::Timestamp;
use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    hash::MessageDigest,
    nid::Nid,
    pkey::{Id, PKeyRef, Public},
    x509::X509,
};

/// A certificate, and what is kept of it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub id: String,
    /// As PEM, anew: without whatever stood around it.
    pub pem: String,
    /// The certificate.
    pub certificate: X509,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
}

/// Reads one certificate; the error is for people.
pub fn parse(pem: &str) -> Result<Parsed, String> {
    let certificate = X509::from_pem(pem.as_bytes())
        .map_err(|_| "it is not a PEM of a certificate".to_owned())?;
    let key = certificate
        .public_key()
        .map_err(|_| "its key cannot be read".to_owned())?;
    usable_key(&key)?;
    let read = || {
        let digest = certificate.digest(MessageDigest::sha256())?;
        let pem = certificate.to_pem()?;
        let not_before = timestamp(certificate.not_before())?;
        Ok::<_, openssl::error::ErrorStack>((
            digest,
            pem,
            not_before,
            timestamp(certificate.not_after())?,
        ))
    };
    let (digest, pem, not_before, not_after) = read().map_err(|error| error.to_string())?;
    Ok(Parsed {
        id: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        pem: String::from_utf8(pem).map_err(|error| error.to_string())?,
        certificate,
        not_before,
        not_after,
    })
}

fn timestamp(time: &Asn1TimeRef) -> Result<Timestamp, openssl::error::ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(Timestamp::from_millis(
        (i64::from(since.days) * 86_400 + i64::from(since.secs)) * 1000,
    ))
}

fn nist_curve(key: &PKeyRef<Public>) -> bool {
    let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
    curve.is_some_and(|curve| {
        matches!(
            curve,
            Nid::X9_62_PRIME256V1 | Nid::SECP384R1 | Nid::SECP521R1
        )
    })
}

/// Keys that AWS IoT takes: RSA from 2048 bits, and the NIST curves P-256, P-384 and P-521.
pub fn usable_key(key: &PKeyRef<Public>) -> Result<(), String> {
    match key.id() {
        Id::RSA if key.bits() >= 2048 => Ok(()),
        Id::RSA => Err(format!(
            "an RSA key must have at least 2048 bits, not {}",
            key.bits()
        )),
        Id::EC if nist_curve(key) => Ok(()),
        _ => Err("the key must be RSA or of the curves P-256, P-384 or P-521".into()),
    }
}
