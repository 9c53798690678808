//! What a client device is told of its cores: where they are, and the authorities of their certificates.

use super::{clients, connectivity};
use crate::{
    http::ApiError,
    iot::registry::{certificates::Record, things::Thing},
    state::State,
};
use openssl::{hash::MessageDigest, x509::X509};
use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Authorities of one core: it has one, and another while that is replaced.
const MAX_AUTHORITIES: usize = 4;

/// The discovery document of a client device.
pub async fn discover(state: &Arc<State>, thing: String) -> Result<Value, ApiError> {
    let account = state.account.clone();
    state
        .database
        .read(move |t| {
            let mut groups = Vec::new();
            for core in clients::cores_of(t, &thing)? {
                let addresses = connectivity::of(t, &core)?;
                let addresses = addresses.iter().map(|address| {
                    json!({
                        "Id": address.id.clone().unwrap_or_default(),
                        "HostAddress": address.host_address,
                        "PortNumber": address.port_number.unwrap_or(8883),
                        "Metadata": address.metadata.clone().unwrap_or_default(),
                    })
                });
                let addresses: Vec<Value> = addresses.collect();
                groups.push(json!({
                    "GGGroupId": format!("greengrassV2-coreDevice-{core}"),
                    "Cores": [{
                        "thingArn": account.arn("iot", &format!("thing/{core}")),
                        "Connectivity": addresses,
                    }],
                    "CAs": authorities(t, &core)?,
                }));
            }
            if groups.is_empty() {
                return Err(ApiError::not_found(format!(
                    "The thing {thing} is not associated with a core device"
                )));
            }
            Ok(json!({ "GGGroups": groups }))
        })
        .await
}

fn authorities(t: &Transaction<'_>, core: &str) -> Result<Vec<String>, ApiError> {
    let sql = "SELECT certificates FROM gg_authority WHERE thing = ?1";
    let text: Option<String> = t
        .prepare_cached(sql)?
        .query_row([core], |row| row.get(0))
        .optional()?;
    Ok(match text {
        Some(text) => serde_json::from_str(&text)?,
        None => Vec::new(),
    })
}

/// The authorities that a core signs its certificates with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorities {
    core_device_certificates: Vec<String>,
}

/// Replaces a core's authorities.
pub async fn put_authorities(
    state: &Arc<State>,
    core: String,
    new: Authorities,
) -> Result<Value, ApiError> {
    let certificates = new.core_device_certificates;
    if certificates.is_empty() || certificates.len() > MAX_AUTHORITIES {
        return Err(ApiError::invalid(format!(
            "coreDeviceCertificates must have between 1 and {MAX_AUTHORITIES} members"
        )));
    }
    for pem in &certificates {
        X509::from_pem(pem.as_bytes()).map_err(|_| {
            ApiError::invalid("coreDeviceCertificates has a member that is no certificate in PEM")
        })?;
    }
    state
        .database
        .write(move |t| {
            let sql = "INSERT OR REPLACE INTO gg_authority (thing, certificates) VALUES (?1, ?2)";
            t.execute(sql, (core, serde_json::to_string(&certificates)?))?;
            Ok(json!({}))
        })
        .await
}

/// A certificate that a client device showed to a core.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    client_device_certificate: String,
}

impl Shown {
    /// Its id: the fingerprint.
    pub fn id(&self) -> Result<String, ApiError> {
        let certificate = X509::from_pem(self.client_device_certificate.as_bytes())
            .map_err(|_| ApiError::invalid("clientDeviceCertificate is no certificate in PEM"))?;
        let digest = certificate.digest(MessageDigest::sha256())?;
        Ok(crate::http::sigv4::hex(&digest))
    }
}

/// Whether a certificate is registered and active.
pub async fn verify_identity(state: &Arc<State>, id: String) -> Result<Value, ApiError> {
    state
        .database
        .read(move |t| match Record::find(t, &id)? {
            Some(record) if record.status == "ACTIVE" => {
                Ok(json!({ "clientDeviceCertificateId": id }))
            }
            _ => Err(ApiError::not_found(
                "The certificate is not registered and active",
            )),
        })
        .await
}

/// A thing and a certificate.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The thing.
    pub client_device_thing_name: String,
    client_device_certificate_id: String,
}

/// Whether a certificate is attached to a thing, and both are in order.
pub async fn verify_association(state: &Arc<State>, pair: Pair) -> Result<Value, ApiError> {
    let principal = state
        .registry
        .load(&pair.client_device_certificate_id)
        .await?
        .filter(|principal| principal.active());
    let thing = pair.client_device_thing_name;
    let attached = principal.is_some_and(|p| p.things.contains_key(&thing));
    let name = thing.clone();
    let there = state
        .database
        .read(move |t| Ok::<_, ApiError>(Thing::find(t, &name)?.is_some()))
        .await?;
    if attached && there {
        return Ok(json!({}));
    }
    Err(ApiError::not_found(format!(
        "The certificate is not attached to the thing {thing}"
    )))
}
