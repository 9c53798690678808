//! Provisioning templates, their versions, and claims.

use super::{
    certificates::{self, KeyPair},
    memory::Event,
    names, provision, tags,
    template::{CERTIFICATE_ID, Template},
    x509,
};
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use http::StatusCode;
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Versions that a template may have at a time.
const MAX_VERSIONS: i64 = 5;

/// How long a claim made for one device is good.
const CLAIM: Duration = Duration::from_secs(5 * 60);

/// The longest body.
const MAX_BODY: usize = 10_240;

/// The operations of templates.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "CreateProvisioningTemplate",
            "POST /provisioning-templates",
            create,
        ),
        Operation::new(
            "DescribeProvisioningTemplate",
            "GET /provisioning-templates/{templateName}",
            describe,
        ),
        Operation::new(
            "ListProvisioningTemplates",
            "GET /provisioning-templates",
            list,
        ),
        Operation::new(
            "UpdateProvisioningTemplate",
            "PATCH /provisioning-templates/{templateName}",
            update,
        ),
        Operation::new(
            "DeleteProvisioningTemplate",
            "DELETE /provisioning-templates/{templateName}",
            delete,
        ),
        Operation::new(
            "CreateProvisioningTemplateVersion",
            "POST /provisioning-templates/{templateName}/versions",
            create_version,
        ),
        Operation::new(
            "DescribeProvisioningTemplateVersion",
            "GET /provisioning-templates/{templateName}/versions/{versionId}",
            describe_version,
        ),
        Operation::new(
            "ListProvisioningTemplateVersions",
            "GET /provisioning-templates/{templateName}/versions",
            list_versions,
        ),
        Operation::new(
            "DeleteProvisioningTemplateVersion",
            "DELETE /provisioning-templates/{templateName}/versions/{versionId}",
            delete_version,
        ),
        Operation::new(
            "CreateProvisioningClaim",
            "POST /provisioning-templates/{templateName}/provisioning-claim",
            create_claim,
        ),
        Operation::new("RegisterThing", "POST /things", register_thing),
    ]
}

/// A program that is asked before a device is provisioned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The form of what it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_version: Option<String>,
    /// Whom to ask: see the device endpoints for what is understood.
    pub target_arn: String,
}

/// A template as it is kept.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub name: String,
    description: Option<String>,
    /// Whether devices may use it.
    pub enabled: bool,
    role_arn: String,
    /// Asked before each device.
    pub hook: Option<Hook>,
    /// `FLEET_PROVISIONING` or `JITP`.
    pub kind: String,
    default_version: i64,
    last_version: i64,
    created: Timestamp,
    modified: Timestamp,
}

impl Record {
    /// The template of a name.
    pub fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_template WHERE name = ?1";
        Ok(t.query_row(sql, [name], Self::read).optional()?)
    }

    fn get(t: &Transaction<'_>, name: &str) -> Result<Self, ApiError> {
        Self::find(t, name)?
            .ok_or_else(|| ApiError::not_found(format!("Provisioning template not found: {name}")))
    }

    /// The body that counts.
    pub fn body(&self, t: &Transaction<'_>) -> Result<Template, ApiError> {
        let (text, _) = version(t, &self.name, self.default_version)?;
        // It was checked when it was stored.
        Template::parse(&text).map_err(ApiError::internal)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let hook: Option<String> = row.get("hook")?;
        Ok(Self {
            name: row.get("name")?,
            description: row.get("description")?,
            enabled: row.get("enabled")?,
            role_arn: row.get("role_arn")?,
            hook: hook.and_then(|hook| serde_json::from_str(&hook).ok()),
            kind: row.get("kind")?,
            default_version: row.get("default_version")?,
            last_version: row.get("last_version")?,
            created: row.get("created")?,
            modified: row.get("modified")?,
        })
    }
}

fn version(t: &Transaction<'_>, name: &str, version: i64) -> Result<(String, Timestamp), ApiError> {
    let sql = "SELECT body, created FROM iot_template_version WHERE template = ?1 AND version = ?2";
    let found = t
        .query_row(sql, (name, version), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.ok_or_else(|| {
        ApiError::not_found(format!(
            "Provisioning template version not found: {name} {version}"
        ))
    })
}

fn arn(context: &Context, name: &str) -> String {
    context.arn("iot", &format!("provisioningtemplate/{name}"))
}

fn checked(body: &str) -> Result<(), ApiError> {
    validate::length("templateBody", body, 0..=MAX_BODY)?;
    match Template::parse(body) {
        Ok(_) => Ok(()),
        Err(why) => Err(ApiError::invalid(format!("Invalid template body: {why}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    template_name: String,
    template_body: String,
    provisioning_role_arn: String,
    description: Option<String>,
    #[serde(default)]
    enabled: bool,
    pre_provisioning_hook: Option<Hook>,
    tags: Option<Vec<tags::Tag>>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    template_arn: String,
    template_name: String,
    default_version_id: i64,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    checked(&input.template_body)?;
    let kind = input.kind.unwrap_or_else(|| "FLEET_PROVISIONING".into());
    validate::one_of("type", &kind, &["FLEET_PROVISIONING", "JITP"])?;
    validate::length(
        "provisioningRoleArn",
        &input.provisioning_role_arn,
        20..=2048,
    )?;
    if let Some(description) = &input.description {
        validate::length("description", description, 0..=500)?;
    }
    let own = arn(&context, &name);
    let (key, arn) = (name.clone(), own.clone());
    context
        .database()
        .write(move |t| {
            if Record::find(t, &key)?.is_some() {
                return Err(names::already_exists(format!("Provisioning template {key} already exists"), &arn, &key));
            }
            let now = Timestamp::now();
            let hook = input.pre_provisioning_hook.map(|hook| serde_json::to_string(&hook)).transpose()?;
            t.execute(
                "INSERT INTO iot_template (name, description, enabled, role_arn, hook, kind, default_version, last_version, created, modified)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, 1, ?7, ?7)",
                (&key, input.description, input.enabled, input.provisioning_role_arn, hook, kind, now),
            )?;
            t.execute("INSERT INTO iot_template_version (template, version, body, created) VALUES (?1, 1, ?2, ?3)", (&key, input.template_body, now))?;
            tags::put(t, &arn, input.tags.unwrap_or_default())
        })
        .await?;
    Ok(CreateOutput {
        template_arn: own,
        template_name: name,
        default_version_id: 1,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    template_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    template_arn: String,
    template_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    creation_date: Timestamp,
    last_modified_date: Timestamp,
    default_version_id: i64,
    template_body: String,
    enabled: bool,
    provisioning_role_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pre_provisioning_hook: Option<Hook>,
    #[serde(rename = "type")]
    kind: String,
}

async fn describe(context: Context, input: NameInput) -> Result<DescribeOutput, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    let (found, body) = context
        .database()
        .read(move |t| {
            let found = Record::get(t, &name)?;
            let (body, _) = version(t, &name, found.default_version)?;
            Ok::<_, ApiError>((found, body))
        })
        .await?;
    Ok(DescribeOutput {
        template_arn: arn(&context, &found.name),
        template_name: found.name,
        description: found.description,
        creation_date: found.created,
        last_modified_date: found.modified,
        default_version_id: found.default_version,
        template_body: body,
        enabled: found.enabled,
        provisioning_role_arn: found.role_arn,
        pre_provisioning_hook: found.hook,
        kind: found.kind,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListItem {
    template_arn: String,
    template_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    creation_date: Timestamp,
    last_modified_date: Timestamp,
    enabled: bool,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    templates: Vec<ListItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        "",
    )?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            let mut statement = t.prepare_cached(
                "SELECT * FROM iot_template WHERE name > ?1 ORDER BY name LIMIT ?2",
            )?;
            let rows = statement.query_map((after, fetch), Record::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (found, next_token) = page.finish(found, |found| found.name.clone());
    let item = |found: Record| ListItem {
        template_arn: arn(&context, &found.name),
        template_name: found.name,
        description: found.description,
        creation_date: found.created,
        last_modified_date: found.modified,
        enabled: found.enabled,
        kind: found.kind,
    };
    Ok(ListOutput {
        templates: found.into_iter().map(item).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    template_name: String,
    description: Option<String>,
    enabled: Option<bool>,
    default_version_id: Option<i64>,
    provisioning_role_arn: Option<String>,
    pre_provisioning_hook: Option<Hook>,
    #[serde(default)]
    remove_pre_provisioning_hook: bool,
}

async fn update(context: Context, input: UpdateInput) -> Result<Empty, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    context
        .database()
        .write(move |t| {
            Record::get(t, &name)?;
            if let Some(id) = input.default_version_id {
                version(t, &name, id)?;
            }
            let hook = input.pre_provisioning_hook.map(|hook| serde_json::to_string(&hook)).transpose()?;
            t.execute(
                "UPDATE iot_template SET description = coalesce(?2, description), enabled = coalesce(?3, enabled),
                 default_version = coalesce(?4, default_version), role_arn = coalesce(?5, role_arn),
                 hook = CASE WHEN ?7 THEN NULL ELSE coalesce(?6, hook) END, modified = ?8 WHERE name = ?1",
                (
                    name,
                    input.description,
                    input.enabled,
                    input.default_version_id,
                    input.provisioning_role_arn,
                    hook,
                    input.remove_pre_provisioning_hook,
                    Timestamp::now(),
                ),
            )?;
            Ok(Empty {})
        })
        .await
}

async fn delete(context: Context, input: NameInput) -> Result<Empty, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    let arn = arn(&context, &name);
    context
        .database()
        .write(move |t| {
            Record::get(t, &name)?;
            let versions: i64 = t.query_row("SELECT count(*) FROM iot_template_version WHERE template = ?1", [&name], |row| row.get(0))?;
            if versions > 1 {
                return Err(names::delete_conflict(format!(
                    "Delete all versions of the provisioning template {name} except the default one first"
                )));
            }
            t.execute("DELETE FROM iot_template WHERE name = ?1", [&name])?;
            tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateVersionInput {
    template_name: String,
    template_body: String,
    #[serde(default)]
    set_as_default: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateVersionOutput {
    template_arn: String,
    template_name: String,
    version_id: i64,
    is_default_version: bool,
}

async fn create_version(
    context: Context,
    input: CreateVersionInput,
) -> Result<CreateVersionOutput, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    checked(&input.template_body)?;
    let (key, default) = (name.clone(), input.set_as_default);
    let version_id = context
        .database()
        .write(move |t| {
            let found = Record::get(t, &key)?;
            let versions: i64 = t.query_row("SELECT count(*) FROM iot_template_version WHERE template = ?1", [&key], |row| row.get(0))?;
            if versions >= MAX_VERSIONS {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "VersionsLimitExceededException",
                    format!("The provisioning template {key} already has the maximum number of versions ({MAX_VERSIONS})"),
                ));
            }
            let (id, now) = (found.last_version + 1, Timestamp::now());
            t.execute("INSERT INTO iot_template_version (template, version, body, created) VALUES (?1, ?2, ?3, ?4)", (&key, id, input.template_body, now))?;
            t.execute(
                "UPDATE iot_template SET last_version = ?2, default_version = CASE WHEN ?3 THEN ?2 ELSE default_version END, modified = ?4 WHERE name = ?1",
                (&key, id, default, now),
            )?;
            Ok::<_, ApiError>(id)
        })
        .await?;
    Ok(CreateVersionOutput {
        template_arn: arn(&context, &name),
        template_name: name,
        version_id,
        is_default_version: default,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionInput {
    template_name: String,
    version_id: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionOutput {
    version_id: i64,
    creation_date: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_body: Option<String>,
    is_default_version: bool,
}

async fn describe_version(
    context: Context,
    input: VersionInput,
) -> Result<VersionOutput, ApiError> {
    let (name, id) = (input.template_name, input.version_id);
    names::template("templateName", &name)?;
    context
        .database()
        .read(move |t| {
            let found = Record::get(t, &name)?;
            let (body, creation_date) = version(t, &name, id)?;
            Ok(VersionOutput {
                version_id: id,
                creation_date,
                template_body: Some(body),
                is_default_version: found.default_version == id,
            })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListVersionsInput {
    template_name: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListVersionsOutput {
    versions: Vec<VersionOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_versions(
    context: Context,
    input: ListVersionsInput,
) -> Result<ListVersionsOutput, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        &name,
    )?;
    let after: i64 = page
        .after()
        .and_then(|after| after.parse().ok())
        .unwrap_or(0);
    let fetch = page.fetch();
    let found = context
        .database()
        .read(move |t| {
            let default = Record::get(t, &name)?.default_version;
            let sql = "SELECT version, created FROM iot_template_version WHERE template = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((name, after, fetch), |row| {
                let version_id = row.get(0)?;
                Ok(VersionOutput {
                    version_id,
                    creation_date: row.get(1)?,
                    template_body: None,
                    is_default_version: version_id == default,
                })
            })?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (versions, next_token) = page.finish(found, |found| found.version_id.to_string());
    Ok(ListVersionsOutput {
        versions,
        next_token,
    })
}

async fn delete_version(context: Context, input: VersionInput) -> Result<Empty, ApiError> {
    let (name, id) = (input.template_name, input.version_id);
    names::template("templateName", &name)?;
    context
        .database()
        .write(move |t| {
            let found = Record::get(t, &name)?;
            version(t, &name, id)?;
            if found.default_version == id {
                return Err(names::delete_conflict(format!(
                    "Cannot delete the default version of the provisioning template {name}"
                )));
            }
            t.execute(
                "DELETE FROM iot_template_version WHERE template = ?1 AND version = ?2",
                (name, id),
            )?;
            Ok(Empty {})
        })
        .await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClaimOutput {
    certificate_id: String,
    certificate_pem: String,
    key_pair: KeyPair,
    expiration: Timestamp,
}

/// What a claim may do: connect, ask for a certificate, and register with its template.
fn claim_policy(context: &Context, template: &str) -> String {
    let arn = |resource: &str| context.arn("iot", resource);
    let topics = [
        "$aws/certificates/create/*".to_owned(),
        "$aws/certificates/create-from-csr/*".to_owned(),
        format!("$aws/provisioning-templates/{template}/provision/*"),
    ];
    let of = |kind: &str| {
        topics
            .iter()
            .map(|topic| arn(&format!("{kind}/{topic}")))
            .collect::<Vec<_>>()
    };
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": of("topic")},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": of("topicfilter")},
        ]
    })
    .to_string()
}

/// Removes claims that have run out; their certificates are of no use to anybody.
fn end_claims(t: &Transaction<'_>) -> Result<Vec<String>, ApiError> {
    let sql = "SELECT certificate FROM iot_claim WHERE expires < ?1
         AND NOT EXISTS (SELECT 1 FROM iot_thing_principal p WHERE p.certificate = iot_claim.certificate)";
    let mut statement = t.prepare_cached(sql)?;
    let ended = statement
        .query_map([Timestamp::now()], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for certificate in &ended {
        t.execute(
            "DELETE FROM iot_certificate_policy WHERE certificate = ?1",
            [certificate],
        )?;
        t.execute("DELETE FROM iot_certificate WHERE id = ?1", [certificate])?;
    }
    Ok(ended)
}

async fn create_claim(context: Context, input: NameInput) -> Result<ClaimOutput, ApiError> {
    let name = input.template_name;
    names::template("templateName", &name)?;
    let made = certificates::make(&context.state.pki)?;
    let parsed = x509::parse(&made.pem).map_err(ApiError::internal)?;
    let expiration = Timestamp::now().plus(CLAIM);
    let policy = format!("provisioning-claim-{name}");
    let document = claim_policy(&context, &name);
    let (cert_arn, policy_arn) = (
        context.arn("iot", &format!("cert/{}", made.id)),
        context.arn("iot", &format!("policy/{policy}")),
    );
    let ended = context
        .database()
        .write(move |t| {
            let ended = end_claims(t)?;
            let found = Record::get(t, &name)?;
            if !found.enabled {
                return Err(ApiError::invalid(format!(
                    "Provisioning template {name} is not enabled"
                )));
            }
            certificates::keep(t, &cert_arn, &parsed, "ACTIVE", "DEFAULT", None)?;
            if super::policies::current(t, &policy)?.is_none() {
                super::policies::add(t, &policy, &document, &policy_arn)?;
            }
            super::policies::attach_to_certificate(t, &policy, &parsed.id)?;
            t.execute(
                "INSERT INTO iot_claim (certificate, template, expires) VALUES (?1, ?2, ?3)",
                (&parsed.id, name, expiration),
            )?;
            Ok::<_, ApiError>(ended)
        })
        .await?;
    for certificate in ended {
        context.state.registry.tell(Event::CertificateChanged {
            certificate,
            status: None,
        });
    }
    let Some(key_pair) = made.key else {
        return Err(ApiError::internal("a claim was made without its key"));
    };
    Ok(ClaimOutput {
        certificate_id: made.id,
        certificate_pem: made.pem,
        key_pair,
        expiration,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegisterThingInput {
    template_body: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RegisterThingOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_pem: Option<String>,
    resource_arns: BTreeMap<String, String>,
}

/// Provisions one thing with a template that comes with the request: from a signing request, a certificate, or one that
/// is kept already.
async fn register_thing(
    context: Context,
    input: RegisterThingInput,
) -> Result<RegisterThingOutput, ApiError> {
    let refuse = |message: String| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "ResourceRegistrationFailureException",
            message,
        )
    };
    let template = Template::parse(&input.template_body)
        .map_err(|why| ApiError::invalid(format!("Invalid template body: {why}")))?;
    let mut parameters = input.parameters;
    // A template may refer to the certificate's id before there is one.
    parameters.entry(CERTIFICATE_ID.into()).or_default();
    let plan = template
        .fill(&parameters)
        .map_err(|why| ApiError::invalid(why.to_string()))?;
    let made = match plan.certificate.as_ref() {
        Some(certificate) => match (&certificate.signing_request, &certificate.pem) {
            (Some(csr), _) => Some(certificates::sign(&context.state.pki, csr)?.pem),
            (None, Some(pem)) => Some(pem.clone()),
            (None, None) => None,
        },
        None => None,
    };
    let parsed = made
        .as_deref()
        .map(x509::parse)
        .transpose()
        .map_err(|why| refuse(format!("The certificate is not valid: {why}")))?;
    let account = context.state.account.clone();
    let (done, pem) = context
        .database()
        .write(move |t| {
            let id = match (
                &parsed,
                plan.certificate
                    .as_ref()
                    .and_then(|certificate| certificate.id.clone()),
            ) {
                (Some(parsed), _) => {
                    let arn = account.arn("iot", &format!("cert/{}", parsed.id));
                    if certificates::Record::find(t, &parsed.id)?.is_none() {
                        certificates::keep(t, &arn, parsed, "INACTIVE", "DEFAULT", None)?;
                    }
                    Some(parsed.id.clone())
                }
                (None, id) => id.filter(|id| !id.is_empty()),
            };
            let done = provision::carry_out(t, &account, plan, id.as_deref())?;
            let pem = id
                .map(|id| certificates::Record::get(t, &id))
                .transpose()?
                .map(|record| record.pem);
            Ok::<_, ApiError>((done, pem))
        })
        .await?;
    context.state.registry.refresh(done.affected).await?;
    for event in done.events {
        context.state.registry.tell(event);
    }
    Ok(RegisterThingOutput {
        certificate_pem: pem,
        resource_arns: done.arns,
    })
}
