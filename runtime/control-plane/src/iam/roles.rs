//! Roles and their inline policies.

use super::{Tag, check_name, check_path, exists, malformed, no_such, tags_of};
use crate::{
    access::Document,
    http::{ApiError, Context, Empty, IsoTime, Operation, Page, Timestamp, validate},
    state::{Account, users},
};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::named("CreateRole", create),
        Operation::named("GetRole", get),
        Operation::named("ListRoles", list),
        Operation::named("DeleteRole", delete),
        Operation::named("UpdateAssumeRolePolicy", update_trust),
        Operation::named("PutRolePolicy", put_policy),
        Operation::named("GetRolePolicy", get_policy),
        Operation::named("ListRolePolicies", list_policies),
        Operation::named("DeleteRolePolicy", delete_policy),
    ]
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    path: String,
    role_name: String,
    role_id: String,
    arn: String,
    create_date: IsoTime,
    assume_role_policy_document: String,
    description: Option<String>,
    max_session_duration: i64,
    tags: Option<Vec<Tag>>,
}

const COLUMNS: &str = "name, id, path, trust, description, max_session_seconds, tags, created";

impl Role {
    fn read(row: &Row<'_>, account: &Account) -> rusqlite::Result<Self> {
        let (role_name, path): (String, String) = (row.get(0)?, row.get(2)?);
        let tags: String = row.get(6)?;
        Ok(Self {
            arn: format!("arn:aws:iam::{}:role{path}{role_name}", account.id),
            role_id: row.get(1)?,
            create_date: IsoTime(row.get(7)?),
            assume_role_policy_document: escaped(&row.get::<_, String>(3)?),
            description: row.get(4)?,
            max_session_duration: row.get(5)?,
            tags: tags_of(&tags),
            role_name,
            path,
        })
    }

    fn find(t: &Transaction<'_>, name: &str, account: &Account) -> Result<Self, ApiError> {
        let sql = format!("SELECT {COLUMNS} FROM iam_role WHERE name = ?1");
        let role = t.query_row(&sql, [name], |row| Self::read(row, account));
        role.optional()?.ok_or_else(|| no_such("role", name))
    }
}

/// Documents travel percent-encoded.
pub(super) fn escaped(document: &str) -> String {
    utf8_percent_encode(document, NON_ALPHANUMERIC).to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    role_name: String,
    assume_role_policy_document: String,
    path: Option<String>,
    description: Option<String>,
    max_session_duration: Option<i64>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RoleOutput {
    role: Role,
}

async fn create(context: Context, input: CreateInput) -> Result<RoleOutput, ApiError> {
    check_name("roleName", &input.role_name, 64)?;
    let path = input.path.unwrap_or_else(|| "/".into());
    check_path(&path)?;
    let seconds = input.max_session_duration.unwrap_or(3600);
    validate::range("maxSessionDuration", seconds, 3600..=43200)?;
    Document::parse(&input.assume_role_policy_document).map_err(malformed)?;
    let (id, tags) = (
        users::identifier("AROA")?,
        serde_json::to_string(&input.tags)?,
    );
    let account = context.state.account.clone();
    context
        .database()
        .write(move |t| {
            let name = input.role_name;
            let added = t.execute(
                "INSERT INTO iam_role (name, id, path, trust, description, max_session_seconds, tags, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                (&name, id, path, input.assume_role_policy_document, input.description, seconds, tags, Timestamp::now()),
            )?;
            if added == 0 {
                return Err(exists("Role", &name));
            }
            Ok(RoleOutput { role: Role::find(t, &name, &account)? })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RoleInput {
    pub(super) role_name: String,
}

async fn get(context: Context, input: RoleInput) -> Result<RoleOutput, ApiError> {
    let account = context.state.account.clone();
    let read = move |t: &Transaction<'_>| {
        Ok(RoleOutput {
            role: Role::find(t, &input.role_name, &account)?,
        })
    };
    context.database().read(read).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    marker: Option<String>,
    max_items: Option<i64>,
    path_prefix: Option<String>,
}

impl ListInput {
    fn page(&self, context: &Context) -> Result<Page, ApiError> {
        let prefix = self.path_prefix.clone().unwrap_or_default();
        Page::of(
            context,
            self.max_items,
            1..=1000,
            100,
            self.marker.as_deref(),
            prefix,
        )
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    roles: Vec<Role>,
    is_truncated: bool,
    marker: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let page = input.page(&context)?;
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let sql = format!(
                "SELECT {COLUMNS} FROM iam_role WHERE name > ?1 AND substr(path, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3"
            );
            let mut statement = t.prepare(&sql)?;
            let bounds = (page.after().unwrap_or_default(), input.path_prefix.as_deref().unwrap_or("/"), page.fetch());
            let rows = statement.query_map(bounds, |row| Role::read(row, &account))?;
            let (roles, marker) = page.finish(rows.collect::<Result<_, _>>()?, |r: &Role| r.role_name.clone());
            Ok(ListOutput { roles, is_truncated: marker.is_some(), marker })
        })
        .await
}

async fn delete(context: Context, input: RoleInput) -> Result<Empty, ApiError> {
    let name = input.role_name;
    context
        .database()
        .write(move |t| {
            let count = |sql: &str| t.query_row(sql, [&name], |row| row.get::<_, i64>(0));
            let blockers = count("SELECT count(*) FROM iam_attachment WHERE role = ?1")?;
            let inline = count("SELECT count(*) FROM iam_inline WHERE role = ?1")?;
            if blockers + inline > 0 {
                let text = "Cannot delete entity, must detach all policies first.";
                return Err(ApiError::new(StatusCode::CONFLICT, "DeleteConflict", text));
            }
            match t.execute("DELETE FROM iam_role WHERE name = ?1", [&name])? {
                0 => Err(no_such("role", &name)),
                _ => Ok(Empty {}),
            }
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrustInput {
    role_name: String,
    policy_document: String,
}

async fn update_trust(context: Context, input: TrustInput) -> Result<Empty, ApiError> {
    Document::parse(&input.policy_document).map_err(malformed)?;
    context
        .database()
        .write(move |t| {
            let sql = "UPDATE iam_role SET trust = ?2 WHERE name = ?1";
            match t.execute(sql, (&input.role_name, input.policy_document))? {
                0 => Err(no_such("role", &input.role_name)),
                _ => Ok(Empty {}),
            }
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutPolicyInput {
    role_name: String,
    policy_name: String,
    policy_document: String,
}

async fn put_policy(context: Context, input: PutPolicyInput) -> Result<Empty, ApiError> {
    check_name("policyName", &input.policy_name, 128)?;
    let parsed = Document::parse(&input.policy_document).and_then(|d| d.grants_permissions());
    parsed.map_err(malformed)?;
    let account = context.state.account.clone();
    context
        .database()
        .write(move |t| {
            Role::find(t, &input.role_name, &account)?;
            t.execute(
                "INSERT INTO iam_inline (role, name, document) VALUES (?1, ?2, ?3)
                 ON CONFLICT (role, name) DO UPDATE SET document = excluded.document",
                (input.role_name, input.policy_name, input.policy_document),
            )?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyInput {
    role_name: String,
    policy_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyOutput {
    role_name: String,
    policy_name: String,
    policy_document: String,
}

async fn get_policy(context: Context, input: PolicyInput) -> Result<PolicyOutput, ApiError> {
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            Role::find(t, &input.role_name, &account)?;
            let sql = "SELECT document FROM iam_inline WHERE role = ?1 AND name = ?2";
            let found = t.query_row(sql, (&input.role_name, &input.policy_name), |row| {
                row.get::<_, String>(0)
            });
            let document = found
                .optional()?
                .ok_or_else(|| no_such("role policy", &input.policy_name))?;
            Ok(PolicyOutput {
                role_name: input.role_name,
                policy_name: input.policy_name,
                policy_document: escaped(&document),
            })
        })
        .await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyNames {
    policy_names: Vec<String>,
    is_truncated: bool,
}

async fn list_policies(context: Context, input: RoleInput) -> Result<PolicyNames, ApiError> {
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            Role::find(t, &input.role_name, &account)?;
            let mut statement =
                t.prepare("SELECT name FROM iam_inline WHERE role = ?1 ORDER BY name")?;
            let names = statement.query_map([&input.role_name], |row| row.get(0))?;
            Ok(PolicyNames {
                policy_names: names.collect::<Result<_, _>>()?,
                is_truncated: false,
            })
        })
        .await
}

async fn delete_policy(context: Context, input: PolicyInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            let sql = "DELETE FROM iam_inline WHERE role = ?1 AND name = ?2";
            match t.execute(sql, (&input.role_name, &input.policy_name))? {
                0 => Err(no_such("role policy", &input.policy_name)),
                _ => Ok(Empty {}),
            }
        })
        .await
}
