//! Fleet provisioning over MQTT: a device that has only a claim gets a certificate, and then a thing.
//!
//! ```text
//! $aws/certificates/create/json                          {} -> certificate, key, ownership token
//! $aws/certificates/create-from-csr/json                 {certificateSigningRequest} -> certificate, ownership token
//! $aws/provisioning-templates/<template>/provision/json  {certificateOwnershipToken, parameters} -> thingName, deviceConfiguration
//! ```
//! A certificate that was made and never registered with its token stays pending and is removed.

use super::{
    hook,
    port::{Outgoing, Sender},
};
use crate::{
    http::{ApiError, Timestamp},
    iot::registry::{Event, certificates, provision, template::CERTIFICATE_ID, templates, x509},
    state::State,
};
use http::StatusCode;
use openssl::{memcmp, sha::sha256};
use rusqlite::{OptionalExtension, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use store::Schema;

/// What the device side subscribes to for this.
pub const FILTERS: &[&str] = &[
    "$aws/certificates/create/json",
    "$aws/certificates/create-from-csr/json",
    "$aws/provisioning-templates/+/provision/json",
];

/// How long a token is good.
const TOKEN: Duration = Duration::from_secs(3600);

/// Certificates that were made and wait to be registered.
pub const SCHEMA: Schema = Schema {
    name: "iot_provisioning",
    migrations: &[
        "
        CREATE TABLE iot_pending (
            certificate TEXT PRIMARY KEY NOT NULL REFERENCES iot_certificate (id) ON DELETE CASCADE,
            token TEXT NOT NULL UNIQUE,
            claim TEXT NOT NULL,
            expires INTEGER NOT NULL,
            thing TEXT,
            configuration TEXT
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iot_pending_expires ON iot_pending (expires);
    ",
        "
        CREATE TABLE iot_claim_use (
            claim TEXT PRIMARY KEY NOT NULL REFERENCES iot_certificate (id) ON DELETE CASCADE,
            uses INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
    ",
    ],
};

/// A refusal as devices get it.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

fn refused(status: u16, code: &'static str, message: impl Into<String>) -> Refused {
    Refused {
        status,
        code,
        message: message.into(),
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Internal(cause) => {
                log::error!("provisioning failed: {cause}");
                refused(500, "InternalError", "An internal error occurred")
            }
            ApiError::Refused(refusal) => {
                let status = refusal.status.as_u16();
                let code = match refusal.status {
                    StatusCode::NOT_FOUND => "ResourceNotFound",
                    StatusCode::CONFLICT => "ResourceConflict",
                    StatusCode::TOO_MANY_REQUESTS => "LimitExceeded",
                    _ => "InvalidParameters",
                };
                refused(status, code, refusal.message)
            }
            other => refused(400, "InvalidParameters", other.to_string()),
        }
    }
}

impl From<store::StoreError> for Refused {
    fn from(error: store::StoreError) -> Self {
        ApiError::from(error).into()
    }
}

fn is_request(levels: &[&str]) -> bool {
    matches!(
        levels,
        ["$aws", "certificates", "create" | "create-from-csr", "json"]
            | ["$aws", "provisioning-templates", _, "provision", "json"]
    )
}

async fn act(
    state: &Arc<State>,
    sender: &Sender,
    claim_uses: Option<u32>,
    levels: &[&str],
    payload: &[u8],
) -> Result<Value, Refused> {
    let claim = Claim::of(state, sender, claim_uses).await?;
    match levels {
        [_, _, "create", _] => create(state, &claim).await,
        [_, _, "create-from-csr", _] => from_csr(state, &claim, payload).await,
        [_, _, template, ..] => register(state, sender, &claim, template, payload).await,
        _ => Err(refused(404, "ResourceNotFound", "There is nothing here")),
    }
}

/// Who asks: a claim, or a certificate that may do more.
struct Claim {
    certificate: String,
    /// Certificates that it may ask for in all.
    uses: Option<u32>,
}

impl Claim {
    /// A claim that has run out may still have a connection.
    async fn of(state: &State, sender: &Sender, uses: Option<u32>) -> Result<Self, Refused> {
        let denied = |why| refused(403, "AccessDenied", why);
        let Some(certificate) = &sender.certificate else {
            return Err(denied("A certificate is needed"));
        };
        match state.registry.load(certificate).await? {
            Some(principal) if principal.active() => Ok(Self {
                certificate: certificate.clone(),
                uses,
            }),
            _ => Err(denied("The claim has run out, or is not active")),
        }
    }

    /// Counts one certificate more.
    fn count(t: &Transaction<'_>, claim: &str, uses: Option<u32>) -> Result<(), ApiError> {
        let sql = "INSERT INTO iot_claim_use (claim, uses) VALUES (?1, 1) ON CONFLICT (claim) DO UPDATE SET uses = uses + 1 RETURNING uses";
        let used: i64 = t.query_row(sql, [claim], |row| row.get(0))?;
        match uses {
            Some(most) if used > i64::from(most) => Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "LimitExceeded",
                format!("This claim was used for {most} certificates, and may be for no more"),
            )),
            _ => Ok(()),
        }
    }
}

/// Answers a request; nothing for a topic that is none.
pub async fn handle(
    state: &Arc<State>,
    sender: &Sender,
    claim_uses: Option<u32>,
    topic: &str,
    payload: &[u8],
) -> Vec<Outgoing> {
    let levels: Vec<&str> = topic.split('/').collect();
    if !is_request(&levels) {
        return Vec::new();
    }
    let answer = act(state, sender, claim_uses, &levels, payload).await;
    let (suffix, message) = match answer {
        Ok(message) => ("accepted", message),
        Err(refused) => {
            log::info!(client = sender.client_id.as_str(), code = refused.code; "provisioning was refused: {}", refused.message);
            let message = json!({ "statusCode": refused.status, "errorCode": refused.code, "errorMessage": refused.message });
            ("rejected", message)
        }
    };
    vec![Outgoing::json(format!("{topic}/{suffix}"), &message)]
}

async fn create(state: &Arc<State>, claim: &Claim) -> Result<Value, Refused> {
    let made = certificates::make(&state.pki)?;
    let Some(key) = made.key.clone() else {
        return Err(ApiError::internal("a certificate was made without its key").into());
    };
    let mut answer = keep(state, claim, made).await?;
    answer["privateKey"] = key.private_key.reveal().into();
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FromCsr {
    certificate_signing_request: String,
}

async fn from_csr(state: &Arc<State>, claim: &Claim, payload: &[u8]) -> Result<Value, Refused> {
    let request: FromCsr = read(payload, "InvalidPayload")?;
    let made = certificates::sign(&state.pki, &request.certificate_signing_request)
        .map_err(|error| refused(400, "InvalidCertificateSigningRequest", error.to_string()))?;
    keep(state, claim, made).await
}

fn read<T: for<'de> Deserialize<'de>>(payload: &[u8], code: &'static str) -> Result<T, Refused> {
    serde_json::from_slice(payload)
        .map_err(|error| refused(400, code, format!("The request cannot be read: {error}")))
}

/// Keeps a certificate as pending, and makes the token with which it is registered.
async fn keep(
    state: &Arc<State>,
    claim: &Claim,
    made: certificates::Made,
) -> Result<Value, Refused> {
    let (by, uses) = (claim.certificate.clone(), claim.uses);
    let parsed = x509::parse(&made.pem).map_err(ApiError::internal)?;
    let mut bytes = [0; 64];
    openssl::rand::rand_bytes(&mut bytes).map_err(ApiError::from)?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let arn = state.account.arn("iot", &format!("cert/{}", made.id));
    let hash = hashed(&token);
    let now = Timestamp::now();
    let pem = parsed.pem.clone();
    state
        .database
        .write(move |t| {
            clear(t, now)?;
            Claim::count(t, &by, uses)?;
            certificates::keep(t, &arn, &parsed, "PENDING_ACTIVATION", "DEFAULT", None)?;
            let sql = "INSERT INTO iot_pending (certificate, token, claim, expires) VALUES (?1, ?2, ?3, ?4)";
            t.execute(sql, (&parsed.id, hash, by, now.plus(TOKEN)))?;
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok(json!({
        "certificateId": made.id,
        "certificatePem": pem,
        "certificateOwnershipToken": token,
    }))
}

/// A token is kept as its hash: who reads the table cannot use it.
fn hashed(token: &str) -> String {
    sha256(token.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Removes certificates whose tokens have run out unused, unless an operator has taken to one.
fn clear(t: &Transaction<'_>, now: Timestamp) -> Result<(), ApiError> {
    t.execute(
        "DELETE FROM iot_certificate WHERE status = 'PENDING_ACTIVATION' AND id IN (SELECT certificate FROM iot_pending WHERE expires < ?1 AND thing IS NULL)
         AND NOT EXISTS (SELECT 1 FROM iot_certificate_policy p WHERE p.certificate = iot_certificate.id)
         AND NOT EXISTS (SELECT 1 FROM iot_thing_principal p WHERE p.certificate = iot_certificate.id)",
        [now],
    )?;
    t.execute("DELETE FROM iot_pending WHERE expires < ?1", [now])?;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Register {
    certificate_ownership_token: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

struct Pending {
    certificate: String,
    hash: String,
    thing: Option<String>,
    configuration: Option<String>,
}

async fn register(
    state: &Arc<State>,
    sender: &Sender,
    claim: &Claim,
    name: &str,
    payload: &[u8],
) -> Result<Value, Refused> {
    let claim = claim.certificate.clone();
    let request: Register = read(payload, "InvalidParameters")?;
    let hash = hashed(&request.certificate_ownership_token);
    let (wanted, key, now) = (name.to_owned(), hash.clone(), Timestamp::now());
    let (record, pending, of_claim) = state
        .database
        .read(move |t| {
            let sql = "SELECT certificate, token, thing, configuration FROM iot_pending WHERE token = ?1 AND expires >= ?2";
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Pending {
                    certificate: row.get(0)?,
                    hash: row.get(1)?,
                    thing: row.get(2)?,
                    configuration: row.get(3)?,
                })
            };
            let pending = t.query_row(sql, (key, now), read).optional()?;
            let sql = "SELECT template FROM iot_claim WHERE certificate = ?1";
            let of_claim: Option<String> = t.query_row(sql, [claim], |row| row.get(0)).optional()?;
            Ok::<_, ApiError>((templates::Record::find(t, &wanted)?, pending, of_claim))
        })
        .await?;
    let Some(record) = record.filter(|record| record.kind == "FLEET_PROVISIONING") else {
        return Err(refused(
            404,
            "ResourceNotFound",
            format!("The provisioning template {name} does not exist"),
        ));
    };
    if !record.enabled {
        return Err(refused(
            400,
            "InvalidParameters",
            format!("The provisioning template {name} is not enabled"),
        ));
    }
    if of_claim.is_some_and(|template| template != name) {
        return Err(refused(
            403,
            "AccessDenied",
            "The claim is for another template",
        ));
    }
    let pending = pending.filter(|pending| memcmp::eq(pending.hash.as_bytes(), hash.as_bytes()));
    let Some(pending) = pending else {
        return Err(refused(
            400,
            "InvalidCertificateOwnershipToken",
            "The certificate ownership token is not valid, or has run out",
        ));
    };
    // The answer may have been lost on its way: the same token gives the same answer, and no second thing.
    if let Some(thing) = pending.thing {
        let configuration: Value = pending
            .configuration
            .as_deref()
            .map_or(Ok(json!({})), serde_json::from_str)
            .map_err(ApiError::from)?;
        return Ok(json!({ "thingName": thing, "deviceConfiguration": configuration }));
    }
    let mut parameters = request.parameters;
    if let Some(hook) = &record.hook {
        let about = hook::Question {
            claim_certificate_id: sender.certificate.clone().unwrap_or_default(),
            certificate_id: pending.certificate.clone(),
            template_arn: state
                .account
                .arn("iot", &format!("provisioningtemplate/{name}")),
            client_id: sender.client_id.clone(),
            parameters: parameters.clone(),
        };
        match hook::ask(hook, &about).await {
            Ok(hook::Verdict::Allow(overrides)) => parameters.extend(overrides),
            Ok(hook::Verdict::Deny) => {
                return Err(refused(
                    403,
                    "AccessDenied",
                    "The pre-provisioning hook denied the request",
                ));
            }
            Err(error) => {
                log::warn!(template = name; "the pre-provisioning hook failed: {error}");
                return Err(refused(
                    500,
                    "PreProvisioningHookFailed",
                    "The pre-provisioning hook could not be asked",
                ));
            }
        }
    }
    parameters.insert(CERTIFICATE_ID.into(), pending.certificate.clone());
    let account = state.account.clone();
    let id = pending.certificate;
    let done = state
        .database
        .write(move |t| {
            let body = record.body(t)?;
            let done = provision::run(t, &account, &body, &parameters, Some(&id))?;
            let configuration = serde_json::to_string(&done.device_configuration)?;
            // A template without a thing is answered with an empty name, and may be registered once all the same.
            let thing = done.thing.clone().unwrap_or_default();
            let sql = "UPDATE iot_pending SET thing = ?2, configuration = ?3 WHERE certificate = ?1 AND thing IS NULL";
            if t.execute(sql, (&id, thing, configuration))? == 0 {
                return Err(ApiError::conflict("The certificate ownership token was used at the same time"));
            }
            // A template that says nothing of the certificate activates it, as it would be of no use.
            if certificates::Record::get(t, &id)?.status == "PENDING_ACTIVATION" {
                certificates::set_status(t, &id, "ACTIVE")?;
            }
            Ok::<_, ApiError>(done)
        })
        .await?;
    state.registry.refresh(done.affected).await?;
    for event in done.events {
        state.registry.tell(event);
    }
    if let Some(thing) = &done.thing {
        log::info!(thing = thing.as_str(), template = name; "a device was provisioned");
        state.registry.tell(Event::ThingCreated {
            thing: thing.clone(),
        });
    }
    Ok(json!({
        "thingName": done.thing.unwrap_or_default(),
        "deviceConfiguration": done.device_configuration,
    }))
}
