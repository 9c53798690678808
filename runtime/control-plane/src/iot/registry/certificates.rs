//! Certificates of devices: made here, signed from a request, or brought along.

use super::{
    authorities,
    memory::Event,
    names,
    x509::{Parsed, parse},
};
use crate::{
    http::{ApiError, Context, Empty, Operation, Page, Secret, Timestamp, validate},
    pki::{Pki, Subject, Usage},
};
use http::StatusCode;
use openssl::{
    pkey::{PKey, Public},
    x509::X509Req,
};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a certificate made here is valid; what ends it before is its status.
const LIFETIME: Duration = Duration::from_secs(25 * 365 * 86_400);

/// The common name of certificates that are made with their key.
const COMMON_NAME: &str = "AWS IoT Certificate";

const STATUSES: &[&str] = &["ACTIVE", "INACTIVE", "REVOKED"];

/// The operations of certificates.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "CreateKeysAndCertificate",
            "POST /keys-and-certificate",
            create_keys,
        ),
        Operation::new("CreateCertificateFromCsr", "POST /certificates", from_csr),
        Operation::new(
            "RegisterCertificate",
            "POST /certificate/register",
            register,
        ),
        Operation::new(
            "RegisterCertificateWithoutCA",
            "POST /certificate/register-no-ca",
            register_alone,
        ),
        Operation::new(
            "DescribeCertificate",
            "GET /certificates/{certificateId}",
            describe,
        ),
        Operation::new("ListCertificates", "GET /certificates", list),
        Operation::new(
            "ListCertificatesByCA",
            "GET /certificates-by-ca/{caCertificateId}",
            list_by_authority,
        ),
        Operation::new(
            "UpdateCertificate",
            "PUT /certificates/{certificateId}",
            update,
        ),
        Operation::new(
            "DeleteCertificate",
            "DELETE /certificates/{certificateId}",
            delete,
        ),
    ]
}

/// What a certificate is made with.
#[derive(Debug)]
pub struct Made {
    /// Its fingerprint.
    pub id: String,
    /// The certificate.
    pub pem: String,
    /// The private key, when it was made here; it is kept nowhere.
    pub key: Option<KeyPair>,
}

/// A new key, as PEM.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyPair {
    /// The public half.
    pub public_key: String,
    /// The private half.
    pub private_key: Secret,
}

/// Makes a key and a certificate for it.
pub fn make(pki: &Pki) -> Result<Made, ApiError> {
    let subject = Subject {
        common_name: COMMON_NAME.into(),
        names: Vec::new(),
    };
    let pair = pki
        .authority
        .issue_with_key(&subject, Usage::Client, LIFETIME)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(ApiError::internal);
    let pem = text(pair.certificate.to_pem()?)?;
    Ok(Made {
        id: parse(&pem).map_err(ApiError::internal)?.id,
        pem,
        key: Some(KeyPair {
            public_key: text(pair.key.public_key_to_pem()?)?,
            private_key: Secret::new(text(pair.key.private_key_to_pem_pkcs8()?)?),
        }),
    })
}

/// Signs a certificate for a signing request.
pub fn sign(pki: &Pki, csr: &str) -> Result<Made, ApiError> {
    let refuse = |why: &str| ApiError::invalid(format!("CSR is invalid: {why}"));
    let request = X509Req::from_pem(csr.as_bytes())
        .map_err(|_| refuse("it is not a PEM of a certificate signing request"))?;
    let key: PKey<Public> = request
        .public_key()
        .map_err(|_| refuse("its key cannot be read"))?;
    if !request.verify(&key).unwrap_or(false) {
        return Err(refuse("its signature is not that of its key"));
    }
    super::x509::usable_key(&key).map_err(|why| refuse(&why))?;
    let common_name = request
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::COMMONNAME)
        .next()
        .and_then(|entry| entry.data().to_string().ok())
        .unwrap_or_else(|| COMMON_NAME.to_owned());
    let subject = Subject {
        common_name,
        names: Vec::new(),
    };
    let certificate = pki
        .authority
        .issue(&key, &subject, Usage::Client, LIFETIME)?;
    let pem = String::from_utf8(certificate.to_pem()?).map_err(ApiError::internal)?;
    Ok(Made {
        id: parse(&pem).map_err(ApiError::internal)?.id,
        pem,
        key: None,
    })
}

/// A certificate as it is kept.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its fingerprint.
    pub id: String,
    /// The certificate.
    pub pem: String,
    /// `ACTIVE`, `INACTIVE`, …
    pub status: String,
    mode: String,
    authority: Option<String>,
    created: Timestamp,
    modified: Timestamp,
    customer_version: i64,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Record {
    /// The certificate of a fingerprint.
    pub fn find(t: &Transaction<'_>, id: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_certificate WHERE id = ?1";
        Ok(t.prepare_cached(sql)?
            .query_row([id], Self::read)
            .optional()?)
    }

    /// The certificate of a fingerprint, or the error that AWS IoT has for its absence.
    pub fn get(t: &Transaction<'_>, id: &str) -> Result<Self, ApiError> {
        Self::find(t, id)?.ok_or_else(|| not_found(id))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            pem: row.get("pem")?,
            status: row.get("status")?,
            mode: row.get("mode")?,
            authority: row.get("authority")?,
            created: row.get("created")?,
            modified: row.get("modified")?,
            customer_version: row.get("customer_version")?,
            not_before: row.get("not_before")?,
            not_after: row.get("not_after")?,
        })
    }
}

fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "The certificate given in the principal does not exist. CertificateId={id}"
    ))
}

/// Checks a certificate id: 64 hexadecimal digits.
pub(super) fn check_id(id: &str) -> Result<(), ApiError> {
    validate::name(
        "certificateId",
        id,
        64..=64,
        |c| c.is_ascii_hexdigit(),
        "(0x)?[a-fA-F0-9]+",
    )
}

/// Keeps a certificate. One that is kept already is an error.
pub fn keep(
    t: &Transaction<'_>,
    arn: &str,
    parsed: &Parsed,
    status: &str,
    mode: &str,
    authority: Option<&str>,
) -> Result<(), ApiError> {
    if Record::find(t, &parsed.id)?.is_some() {
        return Err(names::already_exists(
            "The certificate is already provisioned or registered",
            arn,
            &parsed.id,
        ));
    }
    let now = Timestamp::now();
    t.prepare_cached(
        "INSERT INTO iot_certificate (id, pem, status, mode, authority, created, modified, not_before, not_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)",
    )?
    .execute((&parsed.id, &parsed.pem, status, mode, authority, now, parsed.not_before, parsed.not_after))?;
    Ok(())
}

/// Sets the status of a certificate; whether it had another.
pub fn set_status(t: &Transaction<'_>, id: &str, status: &str) -> Result<bool, ApiError> {
    let record = Record::get(t, id)?;
    if record.status == status {
        return Ok(false);
    }
    t.execute(
        "UPDATE iot_certificate SET status = ?2, modified = ?3 WHERE id = ?1",
        (id, status, Timestamp::now()),
    )?;
    Ok(true)
}

fn arn(context: &Context, id: &str) -> String {
    context.arn("iot", &format!("cert/{id}"))
}

/// Keeps what was made or registered, and tells.
async fn store(
    context: &Context,
    parsed: Parsed,
    status: &'static str,
    mode: &'static str,
    authority: Option<String>,
) -> Result<String, ApiError> {
    let (own, id) = (arn(context, &parsed.id), parsed.id.clone());
    let arn = own.clone();
    context
        .database()
        .write(move |t| keep(t, &arn, &parsed, status, mode, authority.as_deref()))
        .await?;
    context.state.registry.tell(Event::CertificateChanged {
        certificate: id,
        status: Some(status.into()),
    });
    Ok(own)
}

fn status_of(active: bool) -> &'static str {
    if active { "ACTIVE" } else { "INACTIVE" }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateKeysInput {
    #[serde(default)]
    set_as_active: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    certificate_arn: String,
    certificate_id: String,
    certificate_pem: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_pair: Option<KeyPair>,
}

async fn create_keys(context: Context, input: CreateKeysInput) -> Result<CreateOutput, ApiError> {
    let made = make(&context.state.pki)?;
    created(&context, made, input.set_as_active).await
}

async fn created(context: &Context, made: Made, active: bool) -> Result<CreateOutput, ApiError> {
    let parsed = parse(&made.pem).map_err(ApiError::internal)?;
    let arn = store(context, parsed, status_of(active), "DEFAULT", None).await?;
    Ok(CreateOutput {
        certificate_arn: arn,
        certificate_id: made.id,
        certificate_pem: made.pem,
        key_pair: made.key,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FromCsrInput {
    certificate_signing_request: String,
    #[serde(default)]
    set_as_active: bool,
}

async fn from_csr(context: Context, input: FromCsrInput) -> Result<CreateOutput, ApiError> {
    let made = sign(&context.state.pki, &input.certificate_signing_request)?;
    created(&context, made, input.set_as_active).await
}

fn invalid_certificate(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "CertificateValidationException",
        format!("The certificate is not valid: {why}"),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisterInput {
    certificate_pem: String,
    ca_certificate_pem: Option<String>,
    #[serde(default)]
    set_as_active: bool,
    status: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisterOutput {
    certificate_arn: String,
    certificate_id: String,
}

/// The status asked for at registration.
fn registered_status(status: Option<&str>, active: bool) -> Result<&'static str, ApiError> {
    match status {
        None => Ok(status_of(active)),
        Some("ACTIVE") => Ok("ACTIVE"),
        Some("INACTIVE") => Ok("INACTIVE"),
        Some("REVOKED") => Ok("REVOKED"),
        Some(other) => validate::one_of("status", other, STATUSES).map(|()| "INACTIVE"),
    }
}

async fn register(context: Context, input: RegisterInput) -> Result<RegisterOutput, ApiError> {
    let status = registered_status(input.status.as_deref(), input.set_as_active)?;
    let parsed = parse(&input.certificate_pem).map_err(invalid_certificate)?;
    let issuer = input.ca_certificate_pem;
    let (candidate, id) = (parsed.clone(), parsed.id.clone());
    let authority = context
        .database()
        .read(move |t| authorities::issuer_of(t, &candidate, issuer.as_deref()))
        .await?;
    let arn = store(&context, parsed, status, "DEFAULT", Some(authority)).await?;
    Ok(RegisterOutput {
        certificate_arn: arn,
        certificate_id: id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisterAloneInput {
    certificate_pem: String,
    status: Option<String>,
}

async fn register_alone(
    context: Context,
    input: RegisterAloneInput,
) -> Result<RegisterOutput, ApiError> {
    let status = registered_status(input.status.as_deref(), false)?;
    let parsed = parse(&input.certificate_pem).map_err(invalid_certificate)?;
    let id = parsed.id.clone();
    let arn = store(&context, parsed, status, "SNI_ONLY", None).await?;
    Ok(RegisterOutput {
        certificate_arn: arn,
        certificate_id: id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdInput {
    certificate_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    certificate_arn: String,
    certificate_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_certificate_id: Option<String>,
    status: String,
    certificate_pem: String,
    owned_by: String,
    creation_date: Timestamp,
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
}

async fn describe(context: Context, input: IdInput) -> Result<DescribeOutput, ApiError> {
    let id = input.certificate_id;
    check_id(&id)?;
    let found = context
        .database()
        .read(move |t| Record::get(t, &id))
        .await?;
    Ok(DescribeOutput {
        certificate_description: Description {
            certificate_arn: arn(&context, &found.id),
            generation_id: format!("{}-{}", &found.id[..8], found.customer_version),
            certificate_id: found.id,
            ca_certificate_id: found.authority,
            status: found.status,
            certificate_pem: found.pem,
            owned_by: context.account().to_owned(),
            creation_date: found.created,
            last_modified_date: found.modified,
            customer_version: found.customer_version,
            validity: Validity {
                not_before: found.not_before,
                not_after: found.not_after,
            },
            certificate_mode: found.mode,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    ca_certificate_id: Option<String>,
    page_size: Option<i64>,
    marker: Option<String>,
    #[serde(default)]
    is_ascending_order: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListItem {
    certificate_arn: String,
    certificate_id: String,
    status: String,
    certificate_mode: String,
    creation_date: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    certificates: Vec<ListItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
}

async fn list(context: Context, mut input: ListInput) -> Result<ListOutput, ApiError> {
    input.ca_certificate_id = None;
    listed(context, input).await
}

async fn list_by_authority(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    listed(context, input).await
}

async fn listed(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let (authority, ascending) = (input.ca_certificate_id, input.is_ascending_order);
    let filters = format!("{authority:?}{ascending}");
    let page = Page::of(
        &context,
        input.page_size,
        1..=250,
        25,
        input.marker.as_deref(),
        filters,
    )?;
    // The place in the list: the time in milliseconds, and the id among those of one time.
    let after = page.after().and_then(|place| place.split_once(' '));
    let after = after.and_then(|(time, id)| Some((time.parse::<i64>().ok()?, id.to_owned())));
    let fetch = page.fetch();
    let found = context
        .database()
        .read(move |t| {
            let (sql, start) = if ascending {
                (
                    "SELECT * FROM iot_certificate WHERE (created, id) > (?1, ?2) AND (?3 IS NULL OR authority = ?3) ORDER BY created, id LIMIT ?4",
                    (i64::MIN, String::new()),
                )
            } else {
                (
                    "SELECT * FROM iot_certificate WHERE (created, id) < (?1, ?2) AND (?3 IS NULL OR authority = ?3) ORDER BY created DESC, id DESC LIMIT ?4",
                    (i64::MAX, String::new()),
                )
            };
            let (time, id) = after.unwrap_or(start);
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((time, id, authority, fetch), Record::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (found, next_marker) = page.finish(found, |found| {
        format!("{} {}", found.created.millis(), found.id)
    });
    let item = |found: Record| ListItem {
        certificate_arn: arn(&context, &found.id),
        certificate_id: found.id,
        status: found.status,
        certificate_mode: found.mode,
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
    certificate_id: String,
    new_status: String,
}

async fn update(context: Context, input: UpdateInput) -> Result<Empty, ApiError> {
    let (id, status) = (input.certificate_id, input.new_status);
    check_id(&id)?;
    validate::one_of("newStatus", &status, STATUSES)?;
    let (key, new) = (id.clone(), status.clone());
    let changed = context
        .database()
        .write(move |t| set_status(t, &key, &new))
        .await?;
    if changed {
        context.state.registry.refresh(vec![id.clone()]).await?;
        context.state.registry.tell(Event::CertificateChanged {
            certificate: id,
            status: Some(status),
        });
    }
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteInput {
    certificate_id: String,
    #[serde(default)]
    force_delete: bool,
}

async fn delete(context: Context, input: DeleteInput) -> Result<Empty, ApiError> {
    let id = input.certificate_id;
    check_id(&id)?;
    let (key, arn) = (id.clone(), arn(&context, &id));
    context
        .database()
        .write(move |t| {
            let record = Record::get(t, &key)?;
            if record.status == "ACTIVE" {
                return Err(ApiError::new(
                    StatusCode::NOT_ACCEPTABLE,
                    "CertificateStateException",
                    format!("Certificate must be deactivated (not ACTIVE) before deletion. (certificate: {arn})"),
                ));
            }
            let exists = |sql| t.query_row(sql, [&key], |row| row.get::<_, bool>(0));
            if exists("SELECT EXISTS (SELECT 1 FROM iot_thing_principal WHERE certificate = ?1)")? {
                return Err(names::delete_conflict(format!("Things must be detached before deletion (arn: {arn})")));
            }
            if !input.force_delete && exists("SELECT EXISTS (SELECT 1 FROM iot_certificate_policy WHERE certificate = ?1)")? {
                return Err(names::delete_conflict(format!("Certificate policies must be detached before deletion (arn: {arn})")));
            }
            t.execute("DELETE FROM iot_certificate_policy WHERE certificate = ?1", [&key])?;
            t.execute("DELETE FROM iot_certificate WHERE id = ?1", [&key])?;
            Ok(())
        })
        .await?;
    context.state.registry.refresh(vec![id.clone()]).await?;
    context.state.registry.tell(Event::CertificateChanged {
        certificate: id,
        status: None,
    });
    Ok(Empty {})
}
