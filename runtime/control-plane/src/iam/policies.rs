//! Managed policies, and attaching them to roles. A policy has the one version `v1`.

use super::{
    Tag, check_name, check_path, exists, malformed, no_such,
    roles::{RoleInput, escaped},
    tags_of,
};
use crate::{
    access::Document,
    http::{ApiError, Context, Empty, IsoTime, Operation, Page, Timestamp, validate},
    state::users,
};
use http::StatusCode;
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::named("CreatePolicy", create),
        Operation::named("GetPolicy", get),
        Operation::named("GetPolicyVersion", get_version),
        Operation::named("ListPolicies", list),
        Operation::named("DeletePolicy", delete),
        Operation::named("AttachRolePolicy", attach),
        Operation::named("DetachRolePolicy", detach),
        Operation::named("ListAttachedRolePolicies", attached),
    ]
}

const VERSION: &str = "v1";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    policy_name: String,
    policy_id: String,
    arn: String,
    path: String,
    default_version_id: &'static str,
    attachment_count: i64,
    permissions_boundary_usage_count: i64,
    is_attachable: bool,
    description: Option<String>,
    create_date: IsoTime,
    update_date: IsoTime,
    tags: Option<Vec<Tag>>,
}

const COLUMNS: &str = "name, id, arn, path, description, tags, created, (SELECT count(*) FROM iam_attachment a WHERE a.policy = arn)";

impl Policy {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (tags, created): (String, Timestamp) = (row.get(5)?, row.get(6)?);
        Ok(Self {
            policy_name: row.get(0)?,
            policy_id: row.get(1)?,
            arn: row.get(2)?,
            path: row.get(3)?,
            default_version_id: VERSION,
            attachment_count: row.get(7)?,
            permissions_boundary_usage_count: 0,
            is_attachable: true,
            description: row.get(4)?,
            create_date: IsoTime(created),
            update_date: IsoTime(created),
            tags: tags_of(&tags),
        })
    }

    fn find(t: &Transaction<'_>, arn: &str) -> Result<Self, ApiError> {
        let sql = format!("SELECT {COLUMNS} FROM iam_policy WHERE arn = ?1");
        let policy = t.query_row(&sql, [arn], Self::read);
        policy.optional()?.ok_or_else(|| unknown(arn))
    }
}

fn unknown(arn: &str) -> ApiError {
    let text = format!("Policy {arn} does not exist or is not attachable.");
    ApiError::new(StatusCode::NOT_FOUND, "NoSuchEntity", text)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    policy_name: String,
    policy_document: String,
    path: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyOutput {
    policy: Policy,
}

async fn create(context: Context, input: CreateInput) -> Result<PolicyOutput, ApiError> {
    check_name("policyName", &input.policy_name, 128)?;
    let path = input.path.unwrap_or_else(|| "/".into());
    check_path(&path)?;
    let parsed = Document::parse(&input.policy_document).and_then(|d| d.grants_permissions());
    parsed.map_err(malformed)?;
    let arn = format!(
        "arn:aws:iam::{}:policy{path}{}",
        context.account(),
        input.policy_name
    );
    let (id, tags) = (
        users::identifier("ANPA")?,
        serde_json::to_string(&input.tags)?,
    );
    context
        .database()
        .write(move |t| {
            let name = input.policy_name;
            let added = t.execute(
                "INSERT INTO iam_policy (arn, id, name, path, description, document, tags, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                (
                    &arn,
                    id,
                    &name,
                    path,
                    input.description,
                    input.policy_document,
                    tags,
                    Timestamp::now(),
                ),
            )?;
            if added == 0 {
                return Err(exists("A policy", &name));
            }
            Ok(PolicyOutput {
                policy: Policy::find(t, &arn)?,
            })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArnInput {
    policy_arn: String,
}

async fn get(context: Context, input: ArnInput) -> Result<PolicyOutput, ApiError> {
    let read = move |t: &Transaction<'_>| {
        Ok(PolicyOutput {
            policy: Policy::find(t, &input.policy_arn)?,
        })
    };
    context.database().read(read).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionInput {
    policy_arn: String,
    version_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionOutput {
    policy_version: Version,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    document: String,
    version_id: &'static str,
    is_default_version: bool,
    create_date: IsoTime,
}

async fn get_version(context: Context, input: VersionInput) -> Result<VersionOutput, ApiError> {
    context
        .database()
        .read(move |t| {
            let sql = "SELECT document, created FROM iam_policy WHERE arn = ?1";
            let found = t.query_row(sql, [&input.policy_arn], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?))
            });
            let (document, created) = found
                .optional()?
                .ok_or_else(|| unknown(&input.policy_arn))?;
            if input.version_id != VERSION {
                return Err(no_such("policy version", &input.version_id));
            }
            Ok(VersionOutput {
                policy_version: Version {
                    document: escaped(&document),
                    version_id: VERSION,
                    is_default_version: true,
                    create_date: IsoTime(created),
                },
            })
        })
        .await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    policies: Vec<Policy>,
    is_truncated: bool,
    marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListPoliciesInput {
    marker: Option<String>,
    max_items: Option<i64>,
    path_prefix: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    only_attached: bool,
}

async fn list(context: Context, input: ListPoliciesInput) -> Result<ListOutput, ApiError> {
    let scope = input.scope.as_deref().unwrap_or("All");
    validate::one_of("scope", scope, &["All", "AWS", "Local"])?;
    // There are no policies of AWS's own here.
    let (none, attached) = (scope == "AWS", input.only_attached);
    let filters = format!(
        "{scope} {attached} {}",
        input.path_prefix.as_deref().unwrap_or_default()
    );
    let page = Page::of(
        &context,
        input.max_items,
        1..=1000,
        100,
        input.marker.as_deref(),
        filters,
    )?;
    context
        .database()
        .read(move |t| {
            let sql = format!(
                "SELECT {COLUMNS} FROM iam_policy p WHERE name > ?1 AND substr(path, 1, length(?2)) = ?2 AND NOT ?4
                 AND (NOT ?5 OR EXISTS (SELECT 1 FROM iam_attachment a WHERE a.policy = p.arn)) ORDER BY name LIMIT ?3"
            );
            let mut statement = t.prepare(&sql)?;
            let (after, prefix) = (page.after().unwrap_or_default(), input.path_prefix.as_deref().unwrap_or("/"));
            let rows = statement.query_map((after, prefix, page.fetch(), none, attached), Policy::read)?;
            let (policies, marker) = page.finish(rows.collect::<Result<_, _>>()?, |p: &Policy| p.policy_name.clone());
            Ok(ListOutput { policies, is_truncated: marker.is_some(), marker })
        })
        .await
}

async fn delete(context: Context, input: ArnInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            if Policy::find(t, &input.policy_arn)?.attachment_count > 0 {
                let text = "Cannot delete a policy attached to entities.";
                return Err(ApiError::new(StatusCode::CONFLICT, "DeleteConflict", text));
            }
            t.execute("DELETE FROM iam_policy WHERE arn = ?1", [&input.policy_arn])?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttachInput {
    role_name: String,
    policy_arn: String,
}

fn need_role(t: &Transaction<'_>, name: &str) -> Result<(), ApiError> {
    let there: bool = t.query_row(
        "SELECT count(*) FROM iam_role WHERE name = ?1",
        [name],
        |row| row.get(0),
    )?;
    if there {
        Ok(())
    } else {
        Err(no_such("role", name))
    }
}

async fn attach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            need_role(t, &input.role_name)?;
            Policy::find(t, &input.policy_arn)?;
            let sql =
                "INSERT INTO iam_attachment (role, policy) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            t.execute(sql, (input.role_name, input.policy_arn))?;
            Ok(Empty {})
        })
        .await
}

async fn detach(context: Context, input: AttachInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            need_role(t, &input.role_name)?;
            let sql = "DELETE FROM iam_attachment WHERE role = ?1 AND policy = ?2";
            match t.execute(sql, (&input.role_name, &input.policy_arn))? {
                0 => Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    "NoSuchEntity",
                    format!("Policy {} was not found.", input.policy_arn),
                )),
                _ => Ok(Empty {}),
            }
        })
        .await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttachedOutput {
    attached_policies: Vec<Attached>,
    is_truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attached {
    policy_name: String,
    policy_arn: String,
}

async fn attached(context: Context, input: RoleInput) -> Result<AttachedOutput, ApiError> {
    context
        .database()
        .read(move |t| {
            need_role(t, &input.role_name)?;
            let sql =
                "SELECT p.name, p.arn FROM iam_attachment a JOIN iam_policy p ON p.arn = a.policy
                       WHERE a.role = ?1 ORDER BY p.name";
            let mut statement = t.prepare(sql)?;
            let rows = statement.query_map([&input.role_name], |row| {
                Ok(Attached {
                    policy_name: row.get(0)?,
                    policy_arn: row.get(1)?,
                })
            })?;
            Ok(AttachedOutput {
                attached_policies: rows.collect::<Result<_, _>>()?,
                is_truncated: false,
            })
        })
        .await
}
