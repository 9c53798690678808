//! Identity and Access Management: the roles and policies that devices' short-lived keys are limited by. Users are managed
//! with `greengrass-cloud user`.

mod policies;
mod roles;

use crate::{
    http::{ApiError, ErrorNames, Protocol, Service, validate},
    state::Account,
};
use http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use store::{Schema, StoreError};

/// Roles, managed policies, and which role has which.
pub const SCHEMA: Schema = Schema {
    name: "iam",
    migrations: &["
        CREATE TABLE iam_role (
            name TEXT PRIMARY KEY NOT NULL,
            id TEXT NOT NULL,
            path TEXT NOT NULL,
            trust TEXT NOT NULL,
            description TEXT,
            max_session_seconds INTEGER NOT NULL,
            tags TEXT NOT NULL,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iam_policy (
            arn TEXT PRIMARY KEY NOT NULL,
            id TEXT NOT NULL,
            name TEXT NOT NULL UNIQUE,
            path TEXT NOT NULL,
            description TEXT,
            document TEXT NOT NULL,
            tags TEXT NOT NULL,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE iam_attachment (
            role TEXT NOT NULL REFERENCES iam_role (name),
            policy TEXT NOT NULL REFERENCES iam_policy (arn),
            PRIMARY KEY (role, policy)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX iam_attachment_policy ON iam_attachment (policy);
        CREATE TABLE iam_inline (
            role TEXT NOT NULL REFERENCES iam_role (name),
            name TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (role, name)
        ) WITHOUT ROWID, STRICT;
    "],
};

/// The service's table.
pub fn service() -> Service {
    let mut operations = roles::operations();
    operations.extend(policies::operations());
    Service {
        name: "iam",
        scopes: &["iam"],
        prefix: "iam",
        protocol: Protocol::Query {
            namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
        },
        errors: ErrorNames {
            invalid: "ValidationError",
            bad_token: "InvalidInput",
            internal: "ServiceFailure",
            denied: "AccessDenied",
        },
        operations,
    }
}

/// A role as others need it.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `AROA…`.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// The trust policy's text.
    pub trust: String,
    /// The longest a session may last.
    pub max_session_seconds: u64,
}

/// The role of a name or an ARN of this account.
pub fn find_role(
    t: &Transaction<'_>,
    name_or_arn: &str,
    account: &Account,
) -> Result<Option<Role>, StoreError> {
    let prefix = format!("arn:aws:iam::{}:role/", account.id);
    let name = match name_or_arn.strip_prefix(&prefix) {
        Some(rest) => rest.rsplit('/').next().unwrap_or_default(),
        None => name_or_arn,
    };
    let sql = "SELECT name, id, path, trust, max_session_seconds FROM iam_role WHERE name = ?1";
    let role = t.query_row(sql, [name], |row| {
        let (name, path): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(Role {
            arn: format!("arn:aws:iam::{}:role{path}{name}", account.id),
            name,
            id: row.get(1)?,
            trust: row.get(3)?,
            max_session_seconds: row.get::<_, i64>(4)?.unsigned_abs(),
        })
    });
    Ok(role
        .optional()?
        .filter(|role| !name_or_arn.starts_with("arn:") || role.arn == name_or_arn))
}

/// The id of a role and the texts of all policies it has, inline and attached.
pub fn role_documents(
    t: &Transaction<'_>,
    role: &str,
) -> Result<Option<(String, Vec<String>)>, StoreError> {
    let id = t
        .prepare_cached("SELECT id FROM iam_role WHERE name = ?1")?
        .query_row([role], |row| row.get(0))
        .optional()?;
    let Some(id) = id else {
        return Ok(None);
    };
    let sql = "SELECT p.document FROM iam_attachment a JOIN iam_policy p ON p.arn = a.policy WHERE a.role = ?1
               UNION ALL SELECT document FROM iam_inline WHERE role = ?1";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map([role], |row| row.get(0))?;
    Ok(Some((id, rows.collect::<Result<_, _>>()?)))
}

fn no_such(what: &str, name: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "NoSuchEntity",
        format!("The {what} with name {name} cannot be found."),
    )
}

fn exists(what: &str, name: &str) -> ApiError {
    let text = format!("{what} with name {name} already exists.");
    ApiError::new(StatusCode::CONFLICT, "EntityAlreadyExists", text)
}

fn malformed(text: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", text)
}

fn check_name(member: &str, name: &str, longest: usize) -> Result<(), ApiError> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    validate::name(member, name, 1..=longest, usable, "[\\w+=,.@-]+")
}

fn check_path(path: &str) -> Result<(), ApiError> {
    validate::length("path", path, 1..=512)?;
    let printable = path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if printable && path.starts_with('/') && path.ends_with('/') {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "The specified value for path is invalid: '{path}' must begin and end with /"
    )))
}

#[derive(serde::Serialize, serde::Deserialize, Debug)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

/// The tags of a row; none at all rather than an empty list.
fn tags_of(column: &str) -> Option<Vec<Tag>> {
    let tags: Vec<Tag> = serde_json::from_str(column).unwrap_or_default();
    (!tags.is_empty()).then_some(tags)
}
