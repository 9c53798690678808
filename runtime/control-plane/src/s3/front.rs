//! A request whose signature claims to be for S3: whose key it is and whether that is still good, then the rest by s3s.

use super::{
    access::{Policy, Secrets},
    storing::Service,
};
use crate::{
    http::{
        Body, Secret, Timestamp, reply,
        sigv4::{Claim, SignatureError},
    },
    state::{State, keys},
};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    config::{S3Config, StaticConfigProvider},
    host::{S3Host, VirtualHost},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use std::{net::IpAddr, sync::Arc};

/// S3 as [`crate::http::Api`] mounts it.
pub struct Front {
    state: Arc<State>,
    service: S3Service,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("s3")
    }
}

impl Front {
    /// For this state.
    pub fn new(state: &Arc<State>) -> Self {
        let mut builder = S3ServiceBuilder::new(Service::new(Arc::clone(state)));
        builder.set_auth(Secrets(Arc::clone(state)));
        builder.set_access(Policy);
        let mut config = S3Config::default();
        // Enough for the longest list of parts or of keys to delete.
        config.xml_max_body_size = 4 * 1024 * 1024;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        builder.set_host(Hosts(domains(state.pki.names())));
        Self {
            state: Arc::clone(state),
            service: builder.build(),
        }
    }

    /// Answers a request. Also tells the error's code, for the log.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        proof: &Proof,
        id: &str,
    ) -> (Response<Body>, String) {
        let (mut response, code) = self.answer(request, proof, id).await;
        // An object may be a web page, and others share its origin: a browser gives it an origin of its own.
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        (response, code)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        proof: &Proof,
        id: &str,
    ) -> (Response<Body>, String) {
        let result = match self.admit(request, proof).await {
            Ok(request) => {
                let answer = self.service.call(request).await;
                answer.map_err(|e| S3Error::internal_error(Failure(e)))
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(response) => {
                let failed =
                    response.status().is_client_error() || response.status().is_server_error();
                let code = if failed {
                    response.status().to_string()
                } else {
                    String::new()
                };
                (
                    response.map(|body| body.map_err(Into::into).boxed_unsync()),
                    code,
                )
            }
            Err(mut error) => {
                error.set_request_id(id);
                let code = error.code().as_str().to_owned();
                if *error.code() == S3ErrorCode::InternalError {
                    log::error!(request = id; "an S3 request failed: {error:?}");
                }
                let response = match error.to_http_response() {
                    Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
                    Err(_) => reply::plain(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "text/plain",
                        "internal error",
                    ),
                };
                (response, code)
            }
        }
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
        proof: &Proof,
    ) -> S3Result<Request<s3s::Body>> {
        let (mut parts, body) = request.into_parts();
        // Forms are gathered in memory by s3s.
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .map(|t| t.as_bytes().to_ascii_lowercase());
        if content_type.is_some_and(|t| t.starts_with(b"multipart/form-data")) {
            return Err(s3_error!(
                NotImplemented,
                "Uploads by HTML form are not served."
            ));
        }
        let now = Timestamp::now();
        if let Proof::Claim(claim) = proof {
            claim.timely(now).map_err(|e| worded(&e))?;
        }
        let (access_key_id, token) = proof.names();
        let key = keys::find(&self.state.database, access_key_id).await;
        let key = key.map_err(S3Error::internal_error)?;
        let key = key.ok_or_else(|| worded(&SignatureError::UnknownKey))?;
        match key.standing(token.map(Secret::reveal), now) {
            keys::Standing::Good => {}
            keys::Standing::WrongToken => return Err(worded(&SignatureError::WrongToken)),
            keys::Standing::Expired => return Err(worded(&SignatureError::ExpiredToken)),
        }
        match proof {
            Proof::Claim(claim) => {
                let hash = payload(&parts, claim)?;
                claim
                    .verify(&parts, hash, key.secret.reveal())
                    .map_err(|e| worded(&e))?;
            }
            Proof::Link {
                token: Some(token), ..
            } => {
                // The older signature covers it as a header; s3s verifies that signature.
                let value = HeaderValue::from_str(token.reveal())
                    .map_err(|_| worded(&SignatureError::WrongToken))?;
                parts.headers.insert("x-amz-security-token", value);
            }
            Proof::Link { token: None, .. } => {}
        }
        parts.extensions.insert(key.caller);
        Ok(Request::from_parts(parts, s3s::Body::from(body)))
    }
}

/// What a request brings to prove who sent it.
#[derive(Debug)]
pub enum Proof {
    /// A signature of version 4.
    Claim(Claim),
    /// A presigned URL with a signature of version 2, which the AWS CLI 1 and boto3 still make in us-east-1.
    Link {
        /// Whose key.
        access_key_id: String,
        /// The token of temporary credentials.
        token: Option<Secret>,
    },
}

impl Proof {
    /// The older kind of presigned URL, when the request is one.
    pub fn link(parts: &Parts) -> Option<Self> {
        let query: Vec<_> = form_urlencoded::parse(parts.uri.query()?.as_bytes()).collect();
        let find = |wanted: &str| {
            query
                .iter()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.to_string())
        };
        let (access_key_id, _, _) = (
            find("AWSAccessKeyId")?,
            find("Signature")?,
            find("Expires")?,
        );
        let token = find("x-amz-security-token").map(Secret::new);
        (!parts.headers.contains_key(AUTHORIZATION)).then_some(Self::Link {
            access_key_id,
            token,
        })
    }

    /// Whose key, and the token.
    pub fn names(&self) -> (&str, Option<&Secret>) {
        match self {
            Self::Claim(claim) => (&claim.access_key_id, claim.token.as_ref()),
            Self::Link {
                access_key_id,
                token,
            } => (access_key_id, token.as_ref()),
        }
    }
}

/// The payload's hash as the signature has it; s3s holds the body to it.
fn payload<'a>(parts: &'a Parts, claim: &Claim) -> S3Result<&'a str> {
    if claim.expires.is_some() {
        return Ok("UNSIGNED-PAYLOAD");
    }
    let header = parts
        .headers
        .get("x-amz-content-sha256")
        .and_then(|v| v.to_str().ok());
    header.ok_or_else(|| {
        s3_error!(
            InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256"
        )
    })
}

/// S3's own words.
fn worded(error: &SignatureError) -> S3Error {
    match error {
        SignatureError::UnknownKey => {
            s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )
        }
        SignatureError::WrongToken => s3_error!(
            InvalidToken,
            "The provided token is malformed or otherwise invalid."
        ),
        SignatureError::ExpiredToken => s3_error!(ExpiredToken, "The provided token has expired."),
        SignatureError::Mismatch => s3_error!(
            SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method."
        ),
        SignatureError::Expired(_) | SignatureError::FromTheFuture(_) => s3_error!(
            RequestTimeTooSkewed,
            "The difference between the request time and the current time is too large."
        ),
        other => s3_error!(AccessDenied, "{}", other),
    }
}

#[derive(Debug)]
struct Failure(s3s::HttpError);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Failure {}

/// The names below which a bucket's name may stand: `bucket.localhost`. A name that is not ours is no bucket's either.
struct Hosts(Vec<String>);

fn domains(names: &[String]) -> Vec<String> {
    let usable = |name: &&String| !name.starts_with("*.") && name.parse::<IpAddr>().is_err();
    names
        .iter()
        .filter(usable)
        .map(|name| name.to_ascii_lowercase())
        .collect()
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.to_ascii_lowercase();
        for domain in &self.0 {
            if let Some(bucket) = name
                .strip_suffix(domain.as_str())
                .and_then(|b| b.strip_suffix('.'))
            {
                return Ok(VirtualHost::new(domain).with_bucket(bucket.to_owned()));
            }
        }
        Ok(VirtualHost::new(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_may_stand_before_a_name_of_ours() {
        let names = [
            "cloud.example.com",
            "*.cloud.example.com",
            "localhost",
            "127.0.0.1",
        ]
        .map(str::to_owned);
        let hosts = Hosts(domains(&names));
        let bucket = |host: &str| {
            hosts
                .parse_host_header(host)
                .unwrap()
                .bucket()
                .map(str::to_owned)
        };
        assert_eq!(
            bucket("artifacts.cloud.example.com:4543").as_deref(),
            Some("artifacts")
        );
        assert_eq!(
            bucket("my.artifacts.localhost:4580").as_deref(),
            Some("my.artifacts")
        );
        assert_eq!(bucket("Artifacts.LOCALHOST").as_deref(), Some("artifacts"));
        for none in [
            "localhost",
            "localhost:1",
            "127.0.0.1:4580",
            "[::1]:4580",
            "cloud.example.com",
            "other.example.org",
        ] {
            assert_eq!(bucket(none), None, "{none}");
        }
    }
}
