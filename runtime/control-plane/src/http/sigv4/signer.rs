//! The signing side, for requests that this program makes to AWS or to another control plane.

use super::{Claim, SignatureError, canonical, sign};
use crate::http::{Secret, Timestamp};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts};

/// What signs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The half that signs.
    pub secret_access_key: Secret,
    /// Of short-lived keys.
    pub session_token: Option<Secret>,
}

/// Where a signature is good.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// For example `us-east-1`.
    pub region: &'a str,
    /// The signing name: `iot`, `greengrass`, `s3`.
    pub service: &'a str,
}

/// Adds the headers of a signature; the request must have its `host`. All headers are signed.
pub fn authorize(
    parts: &mut Parts,
    payload_hash: &str,
    keys: &Keys,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let time = now.compact();
    let date = time.get(..8).unwrap_or_default().to_owned();
    let mut add = |name: &'static str, value: &str| {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| SignatureError::Incomplete(format!("{name} is no header's value")))?;
        value.set_sensitive(name == "x-amz-security-token");
        parts.headers.insert(HeaderName::from_static(name), value);
        Ok(())
    };
    add("x-amz-date", &time)?;
    add("x-amz-content-sha256", payload_hash)?;
    if let Some(token) = &keys.session_token {
        add("x-amz-security-token", token.reveal())?;
    }
    let mut signed: Vec<String> = parts.headers.keys().map(ToString::to_string).collect();
    signed.sort();
    let mut claim = Claim {
        access_key_id: keys.access_key_id.clone(),
        date,
        region: scope.region.to_owned(),
        service: scope.service.to_owned(),
        signed_headers: signed,
        signature: String::new(),
        token: None,
        time: now,
        time_text: time,
        expires: None,
    };
    let canonical = canonical::request(parts, &claim, payload_hash)?;
    claim.signature = sign(
        &canonical,
        keys.secret_access_key.reveal(),
        &claim.time_text,
        &claim.scope(),
    );
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
        claim.access_key_id,
        claim.scope(),
        claim.signed_headers.join(";"),
        claim.signature
    );
    let value = HeaderValue::from_str(&value)
        .map_err(|_| SignatureError::Incomplete("the key's id is no text".into()))?;
    parts.headers.insert(AUTHORIZATION, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sigv4::payload_hash;

    fn signed(service: &str, uri: &str, secret: &str) -> Parts {
        let request = http::Request::put(uri)
            .header("host", "example.com")
            .header("x-amz-meta-a", " b  c ")
            .body(())
            .unwrap();
        let (mut parts, ()) = request.into_parts();
        let keys = Keys {
            access_key_id: "AKIA".into(),
            secret_access_key: Secret::new(secret),
            session_token: Some(Secret::new("token")),
        };
        let scope = Scope {
            region: "us-east-1",
            service,
        };
        authorize(
            &mut parts,
            &payload_hash(b"body"),
            &keys,
            scope,
            Timestamp::now(),
        )
        .unwrap();
        parts
    }

    #[test]
    fn what_is_signed_here_is_good_to_the_verifier() {
        for (service, uri) in [
            ("iot", "/things/a%2Fb?x=1&a=%20"),
            ("s3", "/bucket/a//b%20c"),
        ] {
            let parts = signed(service, uri, "secret");
            let claim = Claim::of(&parts).unwrap().unwrap();
            assert_eq!(claim.service, service);
            claim
                .verify(&parts, &payload_hash(b"body"), "secret")
                .unwrap();
            assert!(claim.verify(&parts, &payload_hash(b"x"), "secret").is_err());
            assert!(
                claim
                    .verify(&parts, &payload_hash(b"body"), "other")
                    .is_err()
            );
        }
    }

    #[test]
    fn the_token_is_not_shown_by_debug() {
        assert!(!format!("{:?}", signed("iot", "/", "secret").headers).contains("\"token\""));
    }
}
