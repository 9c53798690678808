//! The calls of the export: method and path, and which members go where.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A part of a path or query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name, for messages.
    pub name: &'static str,
    /// The endpoint's prefix, which is the signing name too.
    pub prefix: &'static str,
    /// How it is asked.
    pub method: Method,
    path: String,
    header: Option<(&'static str, String)>,
}

impl Operation {
    fn new(
        name: &'static str,
        prefix: &'static str,
        method: Method,
        path: impl Into<String>,
    ) -> Self {
        Self {
            name,
            prefix,
            method,
            path: path.into(),
            header: None,
        }
    }

    /// A `GET` of AWS IoT: members of the input are in the query.
    pub fn iot_get(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "iot", Method::GET, path)
    }

    /// A `POST` of AWS IoT.
    pub fn iot_post(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "iot", Method::POST, path)
    }

    /// A `PUT` of AWS IoT.
    pub fn iot_put(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "iot", Method::PUT, path)
    }

    /// A `GET` of Greengrass.
    pub fn greengrass_get(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "greengrass", Method::GET, path)
    }

    /// A `POST` of Greengrass.
    pub fn greengrass_post(name: &'static str, path: impl Into<String>) -> Self {
        Self::new(name, "greengrass", Method::POST, path)
    }

    /// With a member that is a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// Members that are headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.header
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// URI and body for an input. Attached policies are listed by a `POST` whose markers are in the query.
    pub fn request(&self, input: Value) -> Result<(String, Bytes)> {
        let Value::Object(mut members) = input else {
            return Ok((self.path.clone(), Bytes::new()));
        };
        let mut query = Map::new();
        if self.method == Method::GET {
            query = std::mem::take(&mut members);
        } else if self.name == "ListAttachedPolicies" {
            for name in ["marker", "pageSize"] {
                query.extend(members.remove(name).map(|value| (name.to_owned(), value)));
            }
        }
        let mut uri = self.path.clone();
        for (at, (name, value)) in query.iter().enumerate() {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            uri.push(if at == 0 { '?' } else { '&' });
            uri.push_str(&format!("{name}={}", encode(&value)));
        }
        let body = if members.is_empty() {
            Bytes::new()
        } else {
            serde_json::to_vec(&members)?.into()
        };
        Ok((uri, body))
    }
}

/// Whose keys they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 12 digits.
    pub account: String,
    /// `aws`, `aws-cn`, …
    pub partition: String,
}

/// Reads the answer of `GetCallerIdentity`.
pub fn identity_of(xml: &str) -> Result<Identity> {
    let between = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.to_owned())
    };
    let account = between("Account").context("the answer of GetCallerIdentity has no account")?;
    let arn = between("Arn").unwrap_or_default();
    let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
    Ok(Identity { account, partition })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_go_to_query_or_body() {
        let get = Operation::iot_get("ListThings", "/things");
        let (uri, body) = get
            .request(json!({ "maxResults": 5, "nextToken": "a+b" }))
            .unwrap();
        assert_eq!(
            (uri.as_str(), body.len()),
            ("/things?maxResults=5&nextToken=a%2Bb", 0)
        );
        let post = Operation::iot_post("ListAttachedPolicies", "/attached-policies/x");
        let (uri, body) = post
            .request(json!({ "recursive": false, "marker": "m" }))
            .unwrap();
        assert_eq!(uri, "/attached-policies/x?marker=m");
        assert_eq!(body, r#"{"recursive":false}"#);
    }

    #[test]
    fn an_identity_has_its_account_and_partition() {
        let xml = "<Result><Arn>arn:aws-cn:iam::123456789012:user/a</Arn><Account>123456789012</Account></Result>";
        let identity = identity_of(xml).unwrap();
        assert_eq!(
            (identity.account.as_str(), identity.partition.as_str()),
            ("123456789012", "aws-cn")
        );
        assert!(identity_of("<x/>").is_err());
    }
}
