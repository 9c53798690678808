//! The fleet provisioning API of AWS IoT over MQTT: topics and payloads.
//!
//! Each request is published to a topic; the answer comes on `<topic>/accepted` or `<topic>/rejected`, which must be
//! subscribed to before. QoS 1.

use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};
use thiserror::Error;
use zeroize::Zeroizing;

/// `CreateCertificateFromCsr`
pub const FROM_CSR: &str = "$aws/certificates/create-from-csr/json";
/// `CreateKeysAndCertificate`
pub const CREATE: &str = "$aws/certificates/create/json";

/// `RegisterThing` with this template.
pub fn register_topic(template: &str) -> String {
    format!("$aws/provisioning-templates/{template}/provision/json")
}

/// What proves, for an hour, that a certificate is ours.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnershipToken(Zeroizing<String>);

impl OwnershipToken {
    /// Takes the token as it is.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Zeroizing::new(token.into()))
    }

    /// The token itself, for the request and the state's file.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OwnershipToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnershipToken(hidden)")
    }
}

/// The answer to a request for a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// `certificateId`
    pub certificate_id: String,
    /// `certificatePem`
    pub certificate: String,
    /// `privateKey`, when the cloud made it.
    pub private_key: Option<Zeroizing<String>>,
    /// `certificateOwnershipToken`
    pub token: OwnershipToken,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("certificate_id", &self.certificate_id)
            .finish_non_exhaustive()
    }
}

/// The answer to `RegisterThing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// `thingName`
    pub thing: String,
    /// `deviceConfiguration`: what the template's author sends along.
    pub configuration: BTreeMap<String, String>,
}

/// The answer on `…/rejected`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{status} {code}: {message}")]
pub struct Rejected {
    /// `statusCode`, as HTTP has it.
    pub status: u16,
    /// `errorCode`
    pub code: String,
    /// `errorMessage`
    pub message: String,
}

impl Rejected {
    /// The ownership token is too old or used: another certificate is needed.
    pub fn is_about_the_token(&self) -> bool {
        self.code.contains("OwnershipToken")
    }
}

/// An answer that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the answer to {request} {fault}")]
pub struct WireError {
    /// The API's name of the request.
    pub request: &'static str,
    /// What is wrong.
    pub fault: &'static str,
}

/// The payload of `CreateCertificateFromCsr`.
pub fn from_csr(request: &str) -> Vec<u8> {
    json!({"certificateSigningRequest": request})
        .to_string()
        .into_bytes()
}

/// The payload of `RegisterThing`.
pub fn register(token: &OwnershipToken, parameters: &BTreeMap<String, String>) -> Vec<u8> {
    json!({"certificateOwnershipToken": token.expose(), "parameters": parameters})
        .to_string()
        .into_bytes()
}

/// Reads the answer to either request for a certificate.
pub fn issued(payload: &[u8]) -> Result<Issued, WireError> {
    let fault = |fault| WireError {
        request: "the request for a certificate",
        fault,
    };
    let mut answer: Value = serde_json::from_slice(payload).map_err(|_| fault("is not JSON"))?;
    let mut text = |name: &str| match answer.get_mut(name).map(Value::take) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    Ok(Issued {
        certificate_id: text("certificateId").ok_or_else(|| fault("has no certificateId"))?,
        certificate: text("certificatePem").ok_or_else(|| fault("has no certificatePem"))?,
        private_key: text("privateKey").map(Zeroizing::new),
        token: text("certificateOwnershipToken")
            .map(OwnershipToken::new)
            .ok_or_else(|| fault("has no certificateOwnershipToken"))?,
    })
}

/// Reads the answer to `RegisterThing`.
pub fn registered(payload: &[u8]) -> Result<Registered, WireError> {
    let fault = |fault| WireError {
        request: "RegisterThing",
        fault,
    };
    let answer: Value = serde_json::from_slice(payload).map_err(|_| fault("is not JSON"))?;
    let thing = answer["thingName"].as_str().filter(|t| !t.is_empty());
    let thing = thing.ok_or_else(|| fault("has no thingName"))?.to_owned();
    let mut configuration = BTreeMap::new();
    if let Some(section) = answer["deviceConfiguration"].as_object() {
        for (name, value) in section {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            configuration.insert(name.clone(), value);
        }
    }
    Ok(Registered {
        thing,
        configuration,
    })
}

/// Reads what came on `…/rejected`. Whatever it is, it is a rejection.
pub fn rejected(payload: &[u8]) -> Rejected {
    let answer: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    Rejected {
        status: answer["statusCode"]
            .as_u64()
            .and_then(|s| s.try_into().ok())
            .unwrap_or(0),
        code: text("errorCode"),
        message: text("errorMessage"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_read_and_hide_their_secrets() {
        let issued = issued(
            br#"{"certificateId":"ab12","certificatePem":"PEM","privateKey":"SECRET-KEY","certificateOwnershipToken":"SECRET-TOKEN"}"#,
        )
        .unwrap();
        assert_eq!(issued.certificate_id, "ab12");
        assert_eq!(issued.private_key.as_ref().unwrap().as_str(), "SECRET-KEY");
        assert!(!format!("{issued:?} {:?}", issued.token).contains("SECRET"));
        let registered =
            registered(br#"{"deviceConfiguration":{"a":"b","n":1},"thingName":"t"}"#).unwrap();
        assert_eq!(registered.thing, "t");
        assert_eq!(registered.configuration["n"], "1");
    }

    #[test]
    fn rejections_are_told_apart() {
        let denied = rejected(
            br#"{"statusCode":403,"errorCode":"AccessDenied","errorMessage":"hook said no"}"#,
        );
        assert!(!denied.is_about_the_token());
        assert_eq!(denied.to_string(), "403 AccessDenied: hook said no");
        assert!(
            rejected(br#"{"statusCode":400,"errorCode":"InvalidCertificateOwnershipToken"}"#)
                .is_about_the_token()
        );
        assert_eq!(rejected(b"nonsense").status, 0);
    }

    #[test]
    fn requests_have_the_apis_names() {
        assert_eq!(from_csr("PEM"), br#"{"certificateSigningRequest":"PEM"}"#);
        let parameters = BTreeMap::from([("SerialNumber".to_owned(), "1".to_owned())]);
        assert_eq!(
            register(&OwnershipToken::new("t"), &parameters),
            br#"{"certificateOwnershipToken":"t","parameters":{"SerialNumber":"1"}}"#
        );
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":a-zA-Z0-9,]*") {
            for payload in [bytes.as_slice(), text.as_bytes()] {
                let _ = (issued(payload), registered(payload), rejected(payload));
            }
        }
    }
}
