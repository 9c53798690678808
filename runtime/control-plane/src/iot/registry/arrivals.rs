//! Just-in-time registration: the first connection of a certificate that a registered authority signed, where the authority
//! says so, registers it. With a template at the authority the device is provisioned at once; without one somebody who
//! listens to `$aws/events/certificates/registered/<authority>` activates the certificate, and the device comes again.

use super::{
    authorities, certificates,
    memory::Registry,
    provision::{self, Provisioned},
    template::{CERTIFICATE_ID, Template},
    templates, x509,
};
use crate::{
    device::port::Outgoing,
    http::{ApiError, Timestamp},
    state::Account,
};
use openssl::{nid::Nid, x509::X509};
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// `registrationConfig` of an authority, as far as it says what to do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    template_body: Option<String>,
    template_name: Option<String>,
}

impl Config {
    fn template(&self, t: &Transaction<'_>) -> Result<Option<Template>, ApiError> {
        if let Some(body) = &self.template_body {
            return Template::parse(body)
                .map(Some)
                .map_err(|why| ApiError::invalid(why.to_string()));
        }
        let Some(name) = &self.template_name else {
            return Ok(None);
        };
        match templates::Record::find(t, name)? {
            Some(record) if record.enabled && record.kind == "JITP" => record.body(t).map(Some),
            _ => Err(ApiError::invalid(format!(
                "{name} is no enabled template of the type JITP"
            ))),
        }
    }
}

/// Registers a certificate that is shown for the first time, if its authority wants that; what to tell the world then.
pub async fn arrive(
    registry: &Registry,
    account: &Account,
    der: &[u8],
) -> Result<Option<Outgoing>, ApiError> {
    let pem = X509::from_der(der)?.to_pem()?;
    // What is no certificate that could be registered is unknown, and stays so.
    let Ok(parsed) = x509::parse(&String::from_utf8_lossy(&pem)) else {
        return Ok(None);
    };
    let now = Timestamp::now();
    if now < parsed.not_before || parsed.not_after < now {
        return Ok(None);
    }
    let (arn, id) = (
        account.arn("iot", &format!("cert/{}", parsed.id)),
        parsed.id.clone(),
    );
    let parameters = parameters(&parsed);
    let registered = registry
        .database()
        .write(move |t| {
            let Some(authority) = authorities::awaiting(t, &parsed)? else {
                return Ok(None);
            };
            if certificates::Record::find(t, &parsed.id)?.is_some() {
                return Ok(None);
            }
            let by = Some(authority.id.as_str());
            certificates::keep(t, &arn, &parsed, "PENDING_ACTIVATION", "DEFAULT", by)?;
            Ok::<_, ApiError>(Some(authority))
        })
        .await?;
    let Some(authority) = registered else {
        return Ok(None);
    };
    log::info!(certificate = id.as_str(), authority = authority.id.as_str(); "a certificate was registered by its first connection");
    let message = json!({
        "certificateId": id,
        "caCertificateId": authority.id,
        "timestamp": now.millis(),
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": account.id,
        "certificateRegistrationTimestamp": now.millis().to_string(),
    });
    let topic = format!("$aws/events/certificates/registered/{}", authority.id);
    let config = authority.registration.as_deref();
    let config = config.and_then(|text| serde_json::from_str::<Config>(text).ok());
    let (account, key) = (account.clone(), id.clone());
    let provisioned = registry
        .database()
        .write(move |t| match config.unwrap_or_default().template(t)? {
            None => Ok(Provisioned::default()),
            Some(template) => provision::run(t, &account, &template, &parameters, Some(&key)),
        })
        .await;
    match provisioned {
        Ok(done) => {
            registry.refresh(done.affected).await?;
            for event in done.events {
                registry.tell(event);
            }
        }
        Err(error) => {
            log::warn!(certificate = id.as_str(), authority = authority.id.as_str(); "the authority's template could not be carried out: {error}");
        }
    }
    Ok(Some(Outgoing::json(topic, &message)))
}

/// What a template of an authority may ask about the certificate.
fn parameters(parsed: &x509::Parsed) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::from([(CERTIFICATE_ID.to_owned(), parsed.id.clone())]);
    for (nid, name) in [
        (Nid::COUNTRYNAME, "Country"),
        (Nid::ORGANIZATIONNAME, "Organization"),
        (Nid::ORGANIZATIONALUNITNAME, "OrganizationalUnit"),
        (Nid::DNQUALIFIER, "DistinguishedNameQualifier"),
        (Nid::STATEORPROVINCENAME, "StateName"),
        (Nid::COMMONNAME, "CommonName"),
        (Nid::SERIALNUMBER, "SerialNumber"),
    ] {
        let entry = parsed.certificate.subject_name().entries_by_nid(nid).next();
        if let Some(value) = entry.and_then(|entry| entry.data().to_string().ok()) {
            parameters.insert(format!("AWS::IoT::Certificate::{name}"), value);
        }
    }
    parameters
}
