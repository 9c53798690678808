//! AWS Signature Version 4, the verifying side: read what a request claims, compute what it should be, compare.
//!
//! The published crate for this, `aws-sigv4`, only signs, and chooses itself which headers it signs; a verifier must follow
//! the client's choice. Of S3's requests the head is verified here, so that all services word failures alike, and once more by `s3s`, which
//! knows their bodies: hashed, or in signed chunks.
//! Source of the rules: "Signing AWS API requests" in the IAM user guide.

mod canonical;
mod claim;
mod failure;
pub mod signer;

pub use claim::{Claim, MAX_SKEW, MAX_SKEW_S3};
pub use failure::SignatureError;

use openssl::{hash::MessageDigest, memcmp, pkey::PKey, sign::Signer};
use sha2_hex::sha256_hex;

pub use sha2_hex::sha256_hex as payload_hash;

/// HMAC-SHA256.
///
/// # Panics
/// When OpenSSL cannot allocate.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let sign = || {
        let key = PKey::hmac(key)?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        signer.sign_oneshot_to_vec(data)
    };
    let mac = sign().expect("HMAC fails only without memory");
    mac.try_into().expect("SHA-256 has 32 bytes")
}

mod sha2_hex {
    use std::fmt::Write;

    /// SHA-256 in lower-case hexadecimal.
    pub fn sha256_hex(data: &[u8]) -> String {
        hex(&openssl::sha::sha256(data))
    }

    /// Lower-case hexadecimal.
    pub fn hex(bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            let _ = write!(out, "{byte:02x}");
        }
        out
    }
}

pub use sha2_hex::hex;

impl Claim {
    /// Whether the request was signed with this secret. `payload_hash` is of the body as received, never what the request
    /// says about it. Takes the same time wherever the signatures differ.
    pub fn verify(
        &self,
        parts: &http::request::Parts,
        payload_hash: &str,
        secret: &str,
    ) -> Result<(), SignatureError> {
        let canonical = canonical::request(parts, self, payload_hash)?;
        let expected = self.signature_of(&canonical, secret);
        if memcmp_eq(expected.as_bytes(), self.signature.as_bytes()) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }

    fn signature_of(&self, canonical: &str, secret: &str) -> String {
        sign(canonical, secret, &self.time_text, &self.scope())
    }
}

/// The signature of a canonical request. `scope` is `date/region/service/aws4_request`.
pub fn sign(canonical: &str, secret: &str, time: &str, scope: &str) -> String {
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        sha256_hex(canonical.as_bytes())
    );
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| {
            hmac_sha256(&key, part.as_bytes()).to_vec()
        });
    hex(&hmac_sha256(&key, to_sign.as_bytes()))
}

fn memcmp_eq(a: &[u8], b: &[u8]) -> bool {
    // OpenSSL's comparison wants equal lengths; the length of a signature is no secret.
    a.len() == b.len() && memcmp::eq(a, b)
}

#[cfg(test)]
mod tests;
