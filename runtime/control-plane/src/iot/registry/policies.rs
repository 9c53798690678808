//! Policies, their versions, and what they are attached to.

use super::{certificates, groups::Group, memory, names, tags};
use crate::{
    http::{ApiError, Context, Empty, Operation, Page, Timestamp},
    iot::policy::Document,
};
use http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

/// Versions that a policy may have at a time.
const MAX_VERSIONS: i64 = 5;

/// Policies that a certificate or group may have.
const MAX_ATTACHED: i64 = 10;

/// The operations of policies.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("CreatePolicy", "POST /policies/{policyName}", create),
        Operation::new("GetPolicy", "GET /policies/{policyName}", get),
        Operation::new("ListPolicies", "GET /policies", list),
        Operation::new("DeletePolicy", "DELETE /policies/{policyName}", delete),
        Operation::new(
            "CreatePolicyVersion",
            "POST /policies/{policyName}/version",
            create_version,
        ),
        Operation::new(
            "GetPolicyVersion",
            "GET /policies/{policyName}/version/{policyVersionId}",
            get_version,
        ),
        Operation::new(
            "ListPolicyVersions",
            "GET /policies/{policyName}/version",
            list_versions,
        ),
        Operation::new(
            "SetDefaultPolicyVersion",
            "PATCH /policies/{policyName}/version/{policyVersionId}",
            set_default,
        ),
        Operation::new(
            "DeletePolicyVersion",
            "DELETE /policies/{policyName}/version/{policyVersionId}",
            delete_version,
        ),
        Operation::new("AttachPolicy", "PUT /target-policies/{policyName}", attach),
        Operation::new("DetachPolicy", "POST /target-policies/{policyName}", detach),
        Operation::new(
            "AttachPrincipalPolicy",
            "PUT /principal-policies/{policyName}",
            attach_principal,
        ),
        Operation::new(
            "DetachPrincipalPolicy",
            "DELETE /principal-policies/{policyName}",
            detach_principal,
        ),
        Operation::new(
            "ListAttachedPolicies",
            "POST /attached-policies/{target}",
            list_attached,
        ),
        Operation::new(
            "ListPrincipalPolicies",
            "GET /principal-policies",
            list_of_principal,
        ),
        Operation::new(
            "ListTargetsForPolicy",
            "POST /policy-targets/{policyName}",
            list_targets,
        ),
        Operation::new(
            "GetEffectivePolicies",
            "POST /effective-policies",
            effective,
        ),
    ]
}

struct Policy {
    default_version: i64,
    last_version: i64,
    created: Timestamp,
    modified: Timestamp,
}

fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Policy>, ApiError> {
    let sql =
        "SELECT default_version, last_version, created, modified FROM iot_policy WHERE name = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Policy {
            default_version: row.get(0)?,
            last_version: row.get(1)?,
            created: row.get(2)?,
            modified: row.get(3)?,
        })
    };
    Ok(t.prepare_cached(sql)?.query_row([name], read).optional()?)
}

fn existing(t: &Transaction<'_>, name: &str) -> Result<Policy, ApiError> {
    find(t, name)?.ok_or_else(|| ApiError::not_found(format!("Policy not found: {name}")))
}

fn document(
    t: &Transaction<'_>,
    name: &str,
    version: i64,
) -> Result<(String, Timestamp), ApiError> {
    let sql = "SELECT document, created FROM iot_policy_version WHERE policy = ?1 AND version = ?2";
    let found = t
        .query_row(sql, (name, version), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.ok_or_else(|| ApiError::not_found(format!("Policy version not found: {name} {version}")))
}

fn checked(document: &str) -> Result<(), ApiError> {
    Document::parse(document).map(|_| ()).map_err(|why| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "MalformedPolicyException",
            format!("Policy document is malformed: {why}"),
        )
    })
}

fn version_of(text: &str) -> Result<i64, ApiError> {
    let version = text.parse().ok().filter(|version| *version > 0);
    version.ok_or_else(|| {
        ApiError::invalid(format!("policyVersionId '{text}' is not a number above 0"))
    })
}

fn arn(context: &Context, name: &str) -> String {
    context.arn("iot", &format!("policy/{name}"))
}

/// Adds a policy, or finds that it is there already and the same; for provisioning templates too.
pub fn add(t: &Transaction<'_>, name: &str, text: &str, arn: &str) -> Result<(), ApiError> {
    names::word("policyName", name)?;
    checked(text)?;
    if find(t, name)?.is_some() {
        let message = format!("Policy cannot be created - name already exists (name={name})");
        return Err(names::already_exists(message, arn, name));
    }
    let now = Timestamp::now();
    t.execute("INSERT INTO iot_policy (name, default_version, last_version, created, modified) VALUES (?1, 1, 1, ?2, ?2)", (name, now))?;
    t.execute("INSERT INTO iot_policy_version (policy, version, document, created) VALUES (?1, 1, ?2, ?3)", (name, text, now))?;
    Ok(())
}

/// The document that counts, of a policy that may not exist.
pub fn current(t: &Transaction<'_>, name: &str) -> Result<Option<String>, ApiError> {
    match find(t, name)? {
        Some(policy) => Ok(Some(document(t, name, policy.default_version)?.0)),
        None => Ok(None),
    }
}

/// Attaches a policy to a certificate.
pub fn attach_to_certificate(
    t: &Transaction<'_>,
    name: &str,
    certificate: &str,
) -> Result<(), ApiError> {
    existing(t, name)?;
    certificates::Record::get(t, certificate)?;
    t.execute(
        "INSERT OR IGNORE INTO iot_certificate_policy (certificate, policy) VALUES (?1, ?2)",
        (certificate, name),
    )?;
    let sql = "SELECT count(*) FROM iot_certificate_policy WHERE certificate = ?1";
    if t.query_row(sql, [certificate], |row| row.get::<_, i64>(0))? > MAX_ATTACHED {
        return Err(names::limit_exceeded(format!(
            "A principal may have at most {MAX_ATTACHED} policies"
        )));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    policy_name: String,
    policy_document: String,
    tags: Option<Vec<tags::Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    policy_name: String,
    policy_arn: String,
    policy_document: String,
    policy_version_id: String,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let own = arn(&context, &input.policy_name);
    let (name, text, arn) = (
        input.policy_name.clone(),
        input.policy_document.clone(),
        own.clone(),
    );
    context
        .database()
        .write(move |t| {
            add(t, &name, &text, &arn)?;
            tags::put(t, &arn, input.tags.unwrap_or_default())
        })
        .await?;
    Ok(CreateOutput {
        policy_name: input.policy_name,
        policy_arn: own,
        policy_document: input.policy_document,
        policy_version_id: "1".into(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    policy_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetOutput {
    policy_name: String,
    policy_arn: String,
    policy_document: String,
    default_version_id: String,
    creation_date: Timestamp,
    last_modified_date: Timestamp,
    generation_id: String,
}

async fn get(context: Context, input: NameInput) -> Result<GetOutput, ApiError> {
    let name = input.policy_name;
    names::word("policyName", &name)?;
    let key = name.clone();
    let (policy, text) = context
        .database()
        .read(move |t| {
            let policy = existing(t, &key)?;
            let (text, _) = document(t, &key, policy.default_version)?;
            Ok::<_, ApiError>((policy, text))
        })
        .await?;
    Ok(GetOutput {
        policy_arn: arn(&context, &name),
        generation_id: generation(&name, &policy),
        policy_name: name,
        policy_document: text,
        default_version_id: policy.default_version.to_string(),
        creation_date: policy.created,
        last_modified_date: policy.modified,
    })
}

/// Differs between policies of one name that followed each other.
fn generation(name: &str, policy: &Policy) -> String {
    format!("{name}-{}", policy.created.millis())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    marker: Option<String>,
    page_size: Option<i64>,
    #[serde(default)]
    is_ascending_order: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NameAndArn {
    policy_name: String,
    policy_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    policies: Vec<NameAndArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
}

fn named(context: &Context, names: Vec<String>) -> Vec<NameAndArn> {
    let named = |name: String| NameAndArn {
        policy_arn: arn(context, &name),
        policy_name: name,
    };
    names.into_iter().map(named).collect()
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let ascending = input.is_ascending_order;
    let page = Page::of(
        &context,
        input.page_size,
        1..=250,
        25,
        input.marker.as_deref(),
        ascending.to_string(),
    )?;
    let place = page.after().and_then(|place| place.split_once(' '));
    let place = place.and_then(|(time, name)| Some((time.parse::<i64>().ok()?, name.to_owned())));
    let fetch = page.fetch();
    let found = context
        .database()
        .read(move |t| {
            let (sql, start) = if ascending {
                ("SELECT created, name FROM iot_policy WHERE (created, name) > (?1, ?2) ORDER BY created, name LIMIT ?3", i64::MIN)
            } else {
                ("SELECT created, name FROM iot_policy WHERE (created, name) < (?1, ?2) ORDER BY created DESC, name DESC LIMIT ?3", i64::MAX)
            };
            let (time, name) = place.unwrap_or((start, String::new()));
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((time, name, fetch), |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<(i64, String)>, _>>()?)
        })
        .await?;
    let (found, next_marker) = page.finish(found, |(time, name)| format!("{time} {name}"));
    Ok(ListOutput {
        policies: named(&context, found.into_iter().map(|(_, name)| name).collect()),
        next_marker,
    })
}

async fn delete(context: Context, input: NameInput) -> Result<Empty, ApiError> {
    let name = input.policy_name;
    names::word("policyName", &name)?;
    let arn = arn(&context, &name);
    context
        .database()
        .write(move |t| {
            existing(t, &name)?;
            let count = |sql| t.query_row(sql, [&name], |row| row.get::<_, i64>(0));
            if count("SELECT (SELECT count(*) FROM iot_certificate_policy WHERE policy = ?1) + (SELECT count(*) FROM iot_group_policy WHERE policy = ?1)")? > 0 {
                return Err(names::delete_conflict(format!(
                    "The policy cannot be deleted as the policy is attached to one or more principals (name={name})"
                )));
            }
            if count("SELECT count(*) FROM iot_policy_version WHERE policy = ?1")? > 1 {
                return Err(names::delete_conflict(format!(
                    "Cannot delete the policy because it has one or more policy versions attached to it (name={name})"
                )));
            }
            t.execute("DELETE FROM iot_policy WHERE name = ?1", [&name])?;
            tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateVersionInput {
    policy_name: String,
    policy_document: String,
    #[serde(default)]
    set_as_default: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateVersionOutput {
    policy_arn: String,
    policy_document: String,
    policy_version_id: String,
    is_default_version: bool,
}

async fn create_version(
    context: Context,
    input: CreateVersionInput,
) -> Result<CreateVersionOutput, ApiError> {
    let name = input.policy_name;
    names::word("policyName", &name)?;
    checked(&input.policy_document)?;
    let (key, text, default) = (
        name.clone(),
        input.policy_document.clone(),
        input.set_as_default,
    );
    let (version, affected) = context
        .database()
        .write(move |t| {
            let policy = existing(t, &key)?;
            let count: i64 = t.query_row("SELECT count(*) FROM iot_policy_version WHERE policy = ?1", [&key], |row| row.get(0))?;
            if count >= MAX_VERSIONS {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "VersionsLimitExceededException",
                    format!("The policy {key} already has the maximum number of versions ({MAX_VERSIONS})"),
                ));
            }
            let version = policy.last_version + 1;
            let now = Timestamp::now();
            t.execute("INSERT INTO iot_policy_version (policy, version, document, created) VALUES (?1, ?2, ?3, ?4)", (&key, version, text, now))?;
            t.execute(
                "UPDATE iot_policy SET last_version = ?2, default_version = CASE WHEN ?3 THEN ?2 ELSE default_version END, modified = ?4 WHERE name = ?1",
                (&key, version, default, now),
            )?;
            let affected = if default { memory::certificates_of_policy(t, &key)? } else { Vec::new() };
            Ok::<_, ApiError>((version, affected))
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    Ok(CreateVersionOutput {
        policy_arn: arn(&context, &name),
        policy_document: input.policy_document,
        policy_version_id: version.to_string(),
        is_default_version: default,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionInput {
    policy_name: String,
    policy_version_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetVersionOutput {
    policy_arn: String,
    policy_name: String,
    policy_document: String,
    policy_version_id: String,
    is_default_version: bool,
    creation_date: Timestamp,
    last_modified_date: Timestamp,
    generation_id: String,
}

async fn get_version(context: Context, input: VersionInput) -> Result<GetVersionOutput, ApiError> {
    let (name, version) = (input.policy_name, version_of(&input.policy_version_id)?);
    names::word("policyName", &name)?;
    let key = name.clone();
    let (policy, text, created) = context
        .database()
        .read(move |t| {
            let policy = existing(t, &key)?;
            let (text, created) = document(t, &key, version)?;
            Ok::<_, ApiError>((policy, text, created))
        })
        .await?;
    Ok(GetVersionOutput {
        policy_arn: arn(&context, &name),
        generation_id: generation(&name, &policy),
        policy_name: name,
        policy_document: text,
        policy_version_id: version.to_string(),
        is_default_version: policy.default_version == version,
        creation_date: created,
        last_modified_date: created,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionItem {
    version_id: String,
    is_default_version: bool,
    create_date: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListVersionsOutput {
    policy_versions: Vec<VersionItem>,
}

async fn list_versions(context: Context, input: NameInput) -> Result<ListVersionsOutput, ApiError> {
    let name = input.policy_name;
    names::word("policyName", &name)?;
    context
        .database()
        .read(move |t| {
            let policy = existing(t, &name)?;
            let sql = "SELECT version, created FROM iot_policy_version WHERE policy = ?1 ORDER BY version DESC";
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map([&name], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
            let mut policy_versions = Vec::new();
            for row in rows {
                let (version, create_date) = row?;
                policy_versions.push(VersionItem {
                    version_id: version.to_string(),
                    is_default_version: version == policy.default_version,
                    create_date,
                });
            }
            Ok(ListVersionsOutput { policy_versions })
        })
        .await
}

async fn set_default(context: Context, input: VersionInput) -> Result<Empty, ApiError> {
    let (name, version) = (input.policy_name, version_of(&input.policy_version_id)?);
    names::word("policyName", &name)?;
    let affected = context
        .database()
        .write(move |t| {
            existing(t, &name)?;
            document(t, &name, version)?;
            t.execute(
                "UPDATE iot_policy SET default_version = ?2, modified = ?3 WHERE name = ?1",
                (&name, version, Timestamp::now()),
            )?;
            memory::certificates_of_policy(t, &name)
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    Ok(Empty {})
}

async fn delete_version(context: Context, input: VersionInput) -> Result<Empty, ApiError> {
    let (name, version) = (input.policy_name, version_of(&input.policy_version_id)?);
    names::word("policyName", &name)?;
    context
        .database()
        .write(move |t| {
            let policy = existing(t, &name)?;
            document(t, &name, version)?;
            if policy.default_version == version {
                return Err(names::delete_conflict(format!(
                    "Cannot delete the default version of a policy (name={name}, version={version})"
                )));
            }
            t.execute(
                "DELETE FROM iot_policy_version WHERE policy = ?1 AND version = ?2",
                (name, version),
            )?;
            Ok(Empty {})
        })
        .await
}

/// What a policy can be attached to.
enum Target {
    Certificate(String),
    Group(String),
}

impl Target {
    fn parse(arn: &str) -> Result<Self, ApiError> {
        if let Some(id) = names::of_arn(arn, "cert") {
            return Ok(Self::Certificate(id.to_owned()));
        }
        if let Some(group) = names::of_arn(arn, "thinggroup") {
            return Ok(Self::Group(group.to_owned()));
        }
        Err(ApiError::invalid(format!(
            "{arn} is neither the ARN of a certificate nor that of a thing group"
        )))
    }

    /// Errors unless it exists.
    fn check(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        match self {
            Self::Certificate(id) => certificates::Record::get(t, id).map(|_| ()),
            Self::Group(name) => Group::get(t, name).map(|_| ()),
        }
    }

    fn certificates(&self, t: &Transaction<'_>) -> Result<Vec<String>, ApiError> {
        match self {
            Self::Certificate(id) => Ok(vec![id.clone()]),
            Self::Group(name) => memory::certificates_of_group(t, name),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachInput {
    policy_name: String,
    target: String,
}

async fn attach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    attached(context, input.policy_name, &input.target).await
}

async fn attached(context: Context, name: String, target: &str) -> Result<Empty, ApiError> {
    names::word("policyName", &name)?;
    let target = Target::parse(target)?;
    let affected = context
        .database()
        .write(move |t| {
            existing(t, &name)?;
            target.check(t)?;
            match &target {
                Target::Certificate(id) => attach_to_certificate(t, &name, id)?,
                Target::Group(group) => {
                    t.execute(
                        "INSERT OR IGNORE INTO iot_group_policy (grouped, policy) VALUES (?1, ?2)",
                        (group, &name),
                    )?;
                    let sql = "SELECT count(*) FROM iot_group_policy WHERE grouped = ?1";
                    if t.query_row(sql, [group], |row| row.get::<_, i64>(0))? > MAX_ATTACHED {
                        return Err(names::limit_exceeded(format!(
                            "A thing group may have at most {MAX_ATTACHED} policies"
                        )));
                    }
                }
            }
            target.certificates(t)
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    Ok(Empty {})
}

async fn detach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    detached(context, input.policy_name, &input.target).await
}

async fn detached(context: Context, name: String, target: &str) -> Result<Empty, ApiError> {
    names::word("policyName", &name)?;
    let target = Target::parse(target)?;
    let affected = context
        .database()
        .write(move |t| {
            existing(t, &name)?;
            target.check(t)?;
            let (sql, key) = match &target {
                Target::Certificate(id) => (
                    "DELETE FROM iot_certificate_policy WHERE certificate = ?1 AND policy = ?2",
                    id,
                ),
                Target::Group(group) => (
                    "DELETE FROM iot_group_policy WHERE grouped = ?1 AND policy = ?2",
                    group,
                ),
            };
            t.execute(sql, (key, &name))?;
            target.certificates(t)
        })
        .await?;
    context.state.registry.refresh(affected).await?;
    Ok(Empty {})
}

#[derive(Deserialize)]
struct PrincipalInput {
    #[serde(rename = "policyName")]
    policy_name: String,
    #[serde(rename = "x-amzn-iot-principal")]
    principal: String,
}

async fn attach_principal(context: Context, input: PrincipalInput) -> Result<Empty, ApiError> {
    attached(context, input.policy_name, &input.principal).await
}

async fn detach_principal(context: Context, input: PrincipalInput) -> Result<Empty, ApiError> {
    detached(context, input.policy_name, &input.principal).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListAttachedInput {
    target: String,
    #[serde(default)]
    recursive: bool,
    marker: Option<String>,
    page_size: Option<i64>,
}

async fn list_attached(context: Context, input: ListAttachedInput) -> Result<ListOutput, ApiError> {
    let target = Target::parse(&input.target)?;
    let filters = format!("{}\0{}", input.target, input.recursive);
    let page = Page::of(
        &context,
        input.page_size,
        1..=250,
        25,
        input.marker.as_deref(),
        filters,
    )?;
    let after = page.after().unwrap_or_default().to_owned();
    let found = context
        .database()
        .read(move |t| {
            target.check(t)?;
            match &target {
                Target::Certificate(id) => memory::texts(t, "SELECT policy FROM iot_certificate_policy WHERE certificate = ?1 ORDER BY policy", id),
                Target::Group(group) if input.recursive => memory::texts(
                    t,
                    "WITH RECURSIVE above(name) AS (
                         SELECT ?1 UNION SELECT g.parent FROM iot_group g JOIN above ON g.name = above.name WHERE g.parent IS NOT NULL)
                     SELECT DISTINCT policy FROM iot_group_policy JOIN above ON grouped = above.name ORDER BY policy",
                    group,
                ),
                Target::Group(group) => memory::texts(t, "SELECT policy FROM iot_group_policy WHERE grouped = ?1 ORDER BY policy", group),
            }
        })
        .await?;
    let found = found.into_iter().filter(|name| *name > after).collect();
    let (found, next_marker) = page.finish(found, Clone::clone);
    Ok(ListOutput {
        policies: named(&context, found),
        next_marker,
    })
}

#[derive(Deserialize)]
struct ListOfPrincipalInput {
    #[serde(rename = "x-amzn-iot-principal")]
    principal: String,
    marker: Option<String>,
    #[serde(rename = "pageSize")]
    page_size: Option<i64>,
}

async fn list_of_principal(
    context: Context,
    input: ListOfPrincipalInput,
) -> Result<ListOutput, ApiError> {
    let input = ListAttachedInput {
        target: input.principal,
        recursive: false,
        marker: input.marker,
        page_size: input.page_size,
    };
    list_attached(context, input).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListTargetsInput {
    policy_name: String,
    marker: Option<String>,
    page_size: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListTargetsOutput {
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
}

async fn list_targets(
    context: Context,
    input: ListTargetsInput,
) -> Result<ListTargetsOutput, ApiError> {
    let name = input.policy_name;
    let page = Page::of(
        &context,
        input.page_size,
        1..=250,
        25,
        input.marker.as_deref(),
        &name,
    )?;
    let (after, fetch) = (page.after().unwrap_or_default().to_owned(), page.fetch());
    let found = context
        .database()
        .read(move |t| {
            existing(t, &name)?;
            let sql = "SELECT target FROM (
                           SELECT 'cert/' || certificate AS target FROM iot_certificate_policy WHERE policy = ?1
                           UNION ALL SELECT 'thinggroup/' || grouped FROM iot_group_policy WHERE policy = ?1)
                       WHERE target > ?2 ORDER BY target LIMIT ?3";
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((name, after, fetch), |row| row.get(0))?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    let (found, next_marker) = page.finish(found, Clone::clone);
    Ok(ListTargetsOutput {
        targets: found
            .into_iter()
            .map(|target| context.arn("iot", &target))
            .collect(),
        next_marker,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EffectiveInput {
    principal: Option<String>,
    thing_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EffectivePolicy {
    policy_name: String,
    policy_arn: String,
    policy_document: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EffectiveOutput {
    effective_policies: Vec<EffectivePolicy>,
}

async fn effective(context: Context, input: EffectiveInput) -> Result<EffectiveOutput, ApiError> {
    let certificate = match &input.principal {
        None => None,
        Some(principal) => match Target::parse(principal)? {
            Target::Certificate(id) => Some(id),
            Target::Group(_) => {
                return Err(ApiError::invalid(format!(
                    "{principal} is not the ARN of a certificate"
                )));
            }
        },
    };
    if certificate.is_none() && input.thing_name.is_none() {
        return Err(ApiError::invalid("principal or thingName must be given"));
    }
    let found = context
        .database()
        .read(move |t| {
            let mut found = std::collections::BTreeSet::new();
            if let Some(id) = certificate {
                certificates::Record::get(t, &id)?;
                found.extend(memory::texts(
                    t,
                    "SELECT policy FROM iot_certificate_policy WHERE certificate = ?1",
                    &id,
                )?);
            }
            if let Some(thing) = input.thing_name {
                super::things::Thing::get(t, &thing)?;
                for group in super::groups::of_thing(t, &thing, true)? {
                    found.extend(memory::texts(
                        t,
                        "SELECT policy FROM iot_group_policy WHERE grouped = ?1",
                        &group,
                    )?);
                }
            }
            let with_document = |name: String| Ok(current(t, &name)?.map(|text| (name, text)));
            found
                .into_iter()
                .filter_map(|name| with_document(name).transpose())
                .collect::<Result<Vec<_>, ApiError>>()
        })
        .await?;
    let policy = |(name, text): (String, String)| EffectivePolicy {
        policy_arn: arn(&context, &name),
        policy_name: name,
        policy_document: text,
    };
    Ok(EffectiveOutput {
        effective_policies: found.into_iter().map(policy).collect(),
    })
}
