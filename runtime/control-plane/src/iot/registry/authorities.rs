//! Certificate authorities that customers register, so that certificates these signed can be registered.

use super::{
    certificates::Validity,
    names, tags,
    x509::{Parsed, parse},
};
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use http::StatusCode;
use openssl::{nid::Nid, x509::X509};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operations of authorities.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GetRegistrationCode",
            "GET /registrationcode",
            registration_code,
        ),
        Operation::new(
            "DeleteRegistrationCode",
            "DELETE /registrationcode",
            delete_registration_code,
        ),
        Operation::new("RegisterCACertificate", "POST /cacertificate", register),
        Operation::new(
            "DescribeCACertificate",
            "GET /cacertificate/{caCertificateId}",
            describe,
        ),
        Operation::new("ListCACertificates", "GET /cacertificates", list),
        Operation::new(
            "UpdateCACertificate",
            "PUT /cacertificate/{caCertificateId}",
            update,
        ),
        Operation::new(
            "DeleteCACertificate",
            "DELETE /cacertificate/{caCertificateId}",
            delete,
        ),
    ]
}

pub(super) struct Record {
    /// Its fingerprint.
    pub id: String,
    pem: String,
    status: String,
    mode: String,
    auto_registration: String,
    /// `registrationConfig`, JSON.
    pub registration: Option<String>,
    created: Timestamp,
    modified: Timestamp,
    customer_version: i64,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Record {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            pem: row.get("pem")?,
            status: row.get("status")?,
            mode: row.get("mode")?,
            auto_registration: row.get("auto_registration")?,
            registration: row.get("registration")?,
            created: row.get("created")?,
            modified: row.get("modified")?,
            customer_version: row.get("customer_version")?,
            not_before: row.get("not_before")?,
            not_after: row.get("not_after")?,
        })
    }

    fn get(t: &Transaction<'_>, id: &str) -> Result<Self, ApiError> {
        let sql = "SELECT * FROM iot_authority WHERE id = ?1";
        let found = t.query_row(sql, [id], Self::read).optional()?;
        found.ok_or_else(|| ApiError::not_found(format!("CA certificate {id} not found")))
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "CertificateValidationException",
        message,
    )
}

/// The registered, active authority that signed a certificate.
pub(super) fn issuer_of(
    t: &Transaction<'_>,
    parsed: &Parsed,
    pem: Option<&str>,
) -> Result<String, ApiError> {
    let wanted = match pem {
        Some(pem) => Some(
            parse(pem)
                .map_err(|why| invalid(format!("The CA certificate is not valid: {why}")))?
                .id,
        ),
        None => None,
    };
    let mut statement = t.prepare_cached("SELECT * FROM iot_authority WHERE status = 'ACTIVE'")?;
    let rows = statement.query_map([], Record::read)?;
    for row in rows {
        let record = row?;
        if wanted.as_ref().is_some_and(|wanted| *wanted != record.id) {
            continue;
        }
        let authority = X509::from_pem(record.pem.as_bytes())?;
        if signed_by(&parsed.certificate, &authority) {
            return Ok(record.id);
        }
    }
    Err(invalid(
        "The certificate is not signed by a registered and active CA certificate",
    ))
}

/// The active authority that signed a certificate and wants such certificates registered when they are first shown.
pub(super) fn awaiting(t: &Transaction<'_>, parsed: &Parsed) -> Result<Option<Record>, ApiError> {
    let sql =
        "SELECT * FROM iot_authority WHERE status = 'ACTIVE' AND auto_registration = 'ENABLE'";
    let mut statement = t.prepare_cached(sql)?;
    for record in statement.query_map([], Record::read)? {
        let record = record?;
        let authority = X509::from_pem(record.pem.as_bytes())?;
        if signed_by(&parsed.certificate, &authority) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn signed_by(certificate: &X509, authority: &X509) -> bool {
    let verified = authority
        .public_key()
        .and_then(|key| certificate.verify(&key));
    verified.unwrap_or(false)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationCodeOutput {
    registration_code: String,
}

fn code(t: &Transaction<'_>) -> Result<Option<String>, ApiError> {
    let sql = "SELECT value FROM iot_setting WHERE name = 'registration_code'";
    Ok(t.query_row(sql, [], |row| row.get(0)).optional()?)
}

async fn registration_code(
    context: Context,
    _input: Empty,
) -> Result<RegistrationCodeOutput, ApiError> {
    let registration_code = context
        .database()
        .write(|t| {
            if let Some(code) = code(t)? {
                return Ok(code);
            }
            let mut bytes = [0; 32];
            openssl::rand::rand_bytes(&mut bytes)?;
            let code: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            t.execute(
                "INSERT INTO iot_setting (name, value) VALUES ('registration_code', ?1)",
                [&code],
            )?;
            Ok::<_, ApiError>(code)
        })
        .await?;
    Ok(RegistrationCodeOutput { registration_code })
}

async fn delete_registration_code(context: Context, _input: Empty) -> Result<Empty, ApiError> {
    context
        .database()
        .write(|t| {
            t.execute(
                "DELETE FROM iot_setting WHERE name = 'registration_code'",
                [],
            )?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisterInput {
    ca_certificate: String,
    verification_certificate: Option<String>,
    #[serde(default)]
    set_as_active: bool,
    #[serde(default)]
    allow_auto_registration: bool,
    registration_config: Option<Value>,
    tags: Option<Vec<tags::Tag>>,
    certificate_mode: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisterOutput {
    certificate_arn: String,
    certificate_id: String,
}

async fn register(context: Context, input: RegisterInput) -> Result<RegisterOutput, ApiError> {
    let mode = input.certificate_mode.unwrap_or_else(|| "DEFAULT".into());
    validate::one_of("certificateMode", &mode, &["DEFAULT", "SNI_ONLY"])?;
    let parsed = parse(&input.ca_certificate)
        .map_err(|why| invalid(format!("The CA certificate is not valid: {why}")))?;
    let verification =
        match (&input.verification_certificate, mode.as_str()) {
            (Some(pem), _) => Some(parse(pem).map_err(|why| {
                invalid(format!("The verification certificate is not valid: {why}"))
            })?),
            (None, "SNI_ONLY") => None,
            (None, _) => {
                return Err(ApiError::invalid(
                    "verificationCertificate is required when certificateMode is DEFAULT",
                ));
            }
        };
    if let Some(verification) = &verification
        && !signed_by(&verification.certificate, &parsed.certificate)
    {
        return Err(invalid(
            "The verification certificate is not signed by the CA certificate",
        ));
    }
    let own = context.arn("iot", &format!("cacert/{}", parsed.id));
    let (id, arn) = (parsed.id.clone(), own.clone());
    context
        .database()
        .write(move |t| {
            if let Some(verification) = verification {
                let name = verification.certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
                let name = name.and_then(|entry| entry.data().to_string().ok());
                if name.is_none() || name != code(t)? {
                    return Err(ApiError::new(
                        StatusCode::BAD_REQUEST,
                        "RegistrationCodeValidationException",
                        "The common name of the verification certificate is not the registration code",
                    ));
                }
            }
            let exists: bool = t.query_row("SELECT EXISTS (SELECT 1 FROM iot_authority WHERE id = ?1)", [&parsed.id], |row| row.get(0))?;
            if exists {
                return Err(names::already_exists("CA certificate already exists", &arn, &parsed.id));
            }
            let flag = |on, yes, no| if on { yes } else { no };
            t.execute(
                "INSERT INTO iot_authority (id, pem, status, mode, auto_registration, registration, created, modified, not_before, not_after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9)",
                (
                    &parsed.id,
                    &parsed.pem,
                    flag(input.set_as_active, "ACTIVE", "INACTIVE"),
                    mode,
                    flag(input.allow_auto_registration, "ENABLE", "DISABLE"),
                    input.registration_config.map(|config| config.to_string()),
                    Timestamp::now(),
                    parsed.not_before,
                    parsed.not_after,
                ),
            )?;
            tags::put(t, &arn, input.tags.unwrap_or_default())
        })
        .await?;
    Ok(RegisterOutput {
        certificate_arn: own,
        certificate_id: id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdInput {
    ca_certificate_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    certificate_arn: String,
    certificate_id: String,
    status: String,
    certificate_pem: String,
    owned_by: String,
    creation_date: Timestamp,
    auto_registration_status: String,
    last_modified_date: Timestamp,
    customer_version: i64,
    generation_id: String,
    validity: Validity,
    certificate_mode: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    certificate_description: Description,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_config: Option<Value>,
}

fn arn(context: &Context, id: &str) -> String {
    context.arn("iot", &format!("cacert/{id}"))
}

async fn describe(context: Context, input: IdInput) -> Result<DescribeOutput, ApiError> {
    let id = input.ca_certificate_id;
    super::certificates::check_id(&id)?;
    let found = context
        .database()
        .read(move |t| Record::get(t, &id))
        .await?;
    let registration_config = found
        .registration
        .as_deref()
        .map(serde_json::from_str)
        .transpose()?;
    Ok(DescribeOutput {
        certificate_description: Description {
            certificate_arn: arn(&context, &found.id),
            generation_id: format!("{}-{}", &found.id[..8], found.customer_version),
            certificate_id: found.id,
            status: found.status,
            certificate_pem: found.pem,
            owned_by: context.account().to_owned(),
            creation_date: found.created,
            auto_registration_status: found.auto_registration,
            last_modified_date: found.modified,
            customer_version: found.customer_version,
            validity: Validity {
                not_before: found.not_before,
                not_after: found.not_after,
            },
            certificate_mode: found.mode,
        },
        registration_config,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    page_size: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListItem {
    certificate_arn: String,
    certificate_id: String,
    status: String,
    creation_date: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    certificates: Vec<ListItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let page = Page::of(
        &context,
        input.page_size,
        1..=250,
        25,
        input.marker.as_deref(),
        "",
    )?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            let mut statement =
                t.prepare_cached("SELECT * FROM iot_authority WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let rows = statement.query_map((after, fetch), Record::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (found, next_marker) = page.finish(found, |found| found.id.clone());
    let item = |found: Record| ListItem {
        certificate_arn: arn(&context, &found.id),
        certificate_id: found.id,
        status: found.status,
        creation_date: found.created,
    };
    Ok(ListOutput {
        certificates: found.into_iter().map(item).collect(),
        next_marker,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    ca_certificate_id: String,
    new_status: Option<String>,
    new_auto_registration_status: Option<String>,
    registration_config: Option<Value>,
    #[serde(default)]
    remove_auto_registration: bool,
}

async fn update(context: Context, input: UpdateInput) -> Result<Empty, ApiError> {
    let id = input.ca_certificate_id;
    super::certificates::check_id(&id)?;
    if let Some(status) = &input.new_status {
        validate::one_of("newStatus", status, &["ACTIVE", "INACTIVE"])?;
    }
    if let Some(status) = &input.new_auto_registration_status {
        validate::one_of("newAutoRegistrationStatus", status, &["ENABLE", "DISABLE"])?;
    }
    context
        .database()
        .write(move |t| {
            Record::get(t, &id)?;
            let registration = input.registration_config.map(|config| config.to_string());
            t.execute(
                "UPDATE iot_authority SET status = coalesce(?2, status), auto_registration = coalesce(?3, auto_registration),
                 registration = CASE WHEN ?5 THEN NULL ELSE coalesce(?4, registration) END, modified = ?6 WHERE id = ?1",
                (id, input.new_status, input.new_auto_registration_status, registration, input.remove_auto_registration, Timestamp::now()),
            )?;
            Ok(Empty {})
        })
        .await
}

async fn delete(context: Context, input: IdInput) -> Result<Empty, ApiError> {
    let id = input.ca_certificate_id;
    super::certificates::check_id(&id)?;
    let arn = arn(&context, &id);
    context
        .database()
        .write(move |t| {
            if Record::get(t, &id)?.status == "ACTIVE" {
                return Err(ApiError::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "CertificateStateException",
                    format!("CA certificate must be deactivated (not ACTIVE) before deletion. (certificate: {arn})"),
                ));
            }
            t.execute("DELETE FROM iot_authority WHERE id = ?1", [&id])?;
            tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}
