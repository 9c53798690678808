//! What a request says about its own signature: in the `Authorization` header, or in the query of a presigned URL.

use super::SignatureError;
use crate::http::Timestamp;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use std::{collections::BTreeMap, time::Duration};

/// How far a caller's clock may be off.
pub const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// How far it may be off for S3.
pub const MAX_SKEW_S3: Duration = Duration::from_secs(15 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The longest a presigned URL may be good for: a week.
const MAX_EXPIRES: u32 = 7 * 24 * 3600;

/// A signature as claimed, not yet verified.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose key.
    pub access_key_id: String,
    /// `YYYYMMDD` of the scope.
    pub date: String,
    /// Region of the scope.
    pub region: String,
    /// Service of the scope.
    pub service: String,
    /// Lower-case names, in the order given.
    pub signed_headers: Vec<String>,
    /// Hexadecimal.
    pub signature: String,
    /// The token of temporary credentials. Secret.
    pub token: Option<crate::http::Secret>,
    /// When it was signed.
    pub time: Timestamp,
    pub(super) time_text: String,
    /// For a presigned URL: how long it is good for.
    pub expires: Option<Duration>,
}

impl Claim {
    /// The request's claim; `None` when it makes none.
    pub fn of(parts: &Parts) -> Result<Option<Self>, SignatureError> {
        if parts.headers.contains_key(AUTHORIZATION) {
            return Self::from_header(&parts.headers).map(Some);
        }
        let query = parts.uri.query().unwrap_or_default();
        if !query.contains("X-Amz-") {
            return Ok(None);
        }
        let parameters: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name.starts_with("X-Amz-"))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if !parameters.contains_key("X-Amz-Signature")
            && !parameters.contains_key("X-Amz-Algorithm")
        {
            return Ok(None);
        }
        Self::from_query(parameters).map(Some)
    }

    fn from_header(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else {
            return Err(SignatureError::Incomplete(
                "more than one Authorization header".into(),
            ));
        };
        let value = value.to_str().unwrap_or_default().trim();
        let Some(rest) = value.strip_prefix(ALGORITHM) else {
            return Err(SignatureError::Incomplete(
                "the Authorization header does not begin with AWS4-HMAC-SHA256".into(),
            ));
        };
        let mut fields = BTreeMap::new();
        for field in rest.split(',') {
            if let Some((name, value)) = field.trim().split_once('=') {
                fields.insert(name, value);
            }
        }
        let field = |name: &str| {
            let value = fields.get(name).filter(|v| !v.is_empty());
            value.ok_or_else(|| {
                SignatureError::Incomplete(format!(
                    "Authorization header requires '{name}' parameter."
                ))
            })
        };
        let time = single(headers, "x-amz-date")?.ok_or_else(|| {
            SignatureError::Incomplete(
                "Authorization header requires existence of a 'X-Amz-Date' header.".into(),
            )
        })?;
        let token = single(headers, "x-amz-security-token")?;
        Self::build(
            field("Credential")?,
            field("SignedHeaders")?,
            field("Signature")?,
            time,
            token,
            None,
        )
    }

    fn from_query(mut parameters: BTreeMap<String, String>) -> Result<Self, SignatureError> {
        let mut take = |name: &str| {
            let value = parameters.remove(name).filter(|v| !v.is_empty());
            value.ok_or_else(|| {
                SignatureError::Incomplete(format!(
                    "AWS query-string parameters must include '{name}'."
                ))
            })
        };
        if take("X-Amz-Algorithm")? != ALGORITHM {
            return Err(SignatureError::Incomplete(
                "X-Amz-Algorithm is not AWS4-HMAC-SHA256".into(),
            ));
        }
        let expires = match take("X-Amz-Expires")?.parse::<u32>() {
            Ok(seconds) if (1..=MAX_EXPIRES).contains(&seconds) => {
                Duration::from_secs(seconds.into())
            }
            _ => {
                return Err(SignatureError::Incomplete(
                    "X-Amz-Expires must be a number of seconds of at most a week".into(),
                ));
            }
        };
        let (credential, headers) = (take("X-Amz-Credential")?, take("X-Amz-SignedHeaders")?);
        let (signature, time) = (take("X-Amz-Signature")?, take("X-Amz-Date")?);
        let token = take("X-Amz-Security-Token").ok();
        Self::build(
            &credential,
            &headers,
            &signature,
            &time,
            token.as_deref(),
            Some(expires),
        )
    }

    fn build(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        time_text: &str,
        token: Option<&str>,
        expires: Option<Duration>,
    ) -> Result<Self, SignatureError> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
            return Err(SignatureError::Incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/aws4_request".into(),
            ));
        };
        let time = Timestamp::from_compact(time_text).ok_or_else(|| {
            SignatureError::Incomplete("Date must be in ISO-8601 'basic format'.".into())
        })?;
        if !time_text.starts_with(date) || date.len() != 8 {
            return Err(SignatureError::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{time_text}'."
            )));
        }
        let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        if !signed_headers.iter().any(|h| h == "host") {
            return Err(SignatureError::Scope(
                "'Host' must be a 'SignedHeader' in the AWS Authorization.".into(),
            ));
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers,
            signature: signature.to_owned(),
            token: token.map(crate::http::Secret::new),
            time,
            time_text: time_text.to_owned(),
            expires,
        })
    }

    /// `20260102/us-east-1/iot/aws4_request`.
    pub fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }

    /// Whether it is from our time: neither expired nor from the future.
    pub fn timely(&self, now: Timestamp) -> Result<(), SignatureError> {
        let skew = if self.service == "s3" {
            MAX_SKEW_S3
        } else {
            MAX_SKEW
        };
        let (signed, minutes) = (self.time_text.as_str(), skew.as_secs() / 60);
        let (latest, now_text) = (now.plus(skew), now.compact());
        if self.time > latest {
            return Err(SignatureError::FromTheFuture(format!(
                "Signature not yet current: {signed} is still later than {} ({now_text} + {minutes} min.)",
                latest.compact(),
            )));
        }
        if self.time.plus(self.expires.unwrap_or(skew)) >= now {
            return Ok(());
        }
        if self.expires.is_some() {
            return Err(SignatureError::PresignedExpired);
        }
        let earliest = now.minus(skew).compact();
        Err(SignatureError::Expired(format!(
            "Signature expired: {signed} is now earlier than {earliest} ({now_text} - {minutes} min.)"
        )))
    }
}

/// The header's one value. Two would let a proxy and us see different ones.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or_default())),
        _ => Err(SignatureError::Incomplete(format!(
            "more than one {name} header"
        ))),
    }
}
