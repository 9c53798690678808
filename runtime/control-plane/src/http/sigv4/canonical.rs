//! The canonical form of a request, over which the signature goes.

use super::{Claim, SignatureError};
use http::{HeaderMap, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The canonical request.
pub(super) fn request(
    parts: &Parts,
    claim: &Claim,
    payload_hash: &str,
) -> Result<String, SignatureError> {
    let path = match claim.service.as_str() {
        "s3" => path_of_s3(parts.uri.path()),
        _ => path(parts.uri.path()),
    };
    let query = query(parts.uri.query().unwrap_or_default());
    let headers = headers(&parts.headers, claim)?;
    Ok(format!(
        "{}\n{path}\n{query}\n{headers}\n{}\n{payload_hash}",
        parts.method,
        claim.signed_headers.join(";"),
    ))
}

/// S3 takes every path as it is: keys may have empty segments and dots.
fn path_of_s3(raw: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(raw).collect();
    percent_encoding::percent_encode(&bytes, ENCODED_PATH).to_string()
}

/// The path as sent, normalised, and encoded once more (which S3 alone does not do).
fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut path = format!("/{}", kept.join("/"));
    if raw.ends_with('/') && path.len() > 1 {
        path.push('/');
    }
    utf8_percent_encode(&path, ENCODED_PATH).to_string()
}

/// Parameters encoded, then sorted; without the signature itself.
fn query(raw: &str) -> String {
    let encode = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&bytes, ENCODED).to_string()
    };
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

impl Claim {
    /// Refuses a request with a header that says what is asked for and is not signed: a stranger on the way could have
    /// added it.
    pub fn covers(&self, headers: &HeaderMap) -> Result<(), SignatureError> {
        for name in headers.keys() {
            let name = name.as_str();
            let part_of_the_request = name.starts_with("x-amz-") && name != "x-amz-security-token";
            if part_of_the_request && !self.signed_headers.iter().any(|signed| signed == name) {
                let text = format!("Header '{name}' must be a 'SignedHeader'.");
                return Err(SignatureError::Scope(text));
            }
        }
        Ok(())
    }
}

/// The signed headers, a line each.
fn headers(headers: &HeaderMap, claim: &Claim) -> Result<String, SignatureError> {
    claim.covers(headers)?;
    let mut out = String::new();
    for name in &claim.signed_headers {
        let mut values = Vec::new();
        for value in headers.get_all(name.as_str()) {
            let text = String::from_utf8_lossy(value.as_bytes());
            values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        }
        out.push_str(name);
        out.push(':');
        out.push_str(&values.join(","));
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_normalised_and_encoded_once_more() {
        assert_eq!(path("/"), "/");
        assert_eq!(path(""), "/");
        assert_eq!(path("/a/../b//c/./d/"), "/b/c/d/");
        assert_eq!(path("/components/arn%3Aaws"), "/components/arn%253Aaws");
        assert_eq!(path("/components/arn:aws"), "/components/arn%3Aaws");
        assert_eq!(path("/../.."), "/");
        assert_eq!(path_of_s3("/b/a//../%2B c:d"), "/b/a//../%2B%20c%3Ad");
    }

    #[test]
    fn the_query_is_sorted_by_its_encoded_form_and_leaves_the_signature_out() {
        assert_eq!(query("b=2&a=1&a=0&X-Amz-Signature=00&c"), "a=0&a=1&b=2&c=");
        assert_eq!(query("name=a%20b/c&%C3%A9=1"), "%C3%A9=1&name=a%20b%2Fc");
        assert_eq!(query(""), "");
    }
}
