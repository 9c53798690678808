//! Secrets Manager: secrets with versions and staging labels.
//!
//! Values are in `state.db` as they are, readable by whoever may read that file: nobody but its owner. Protect the disk
//! where that is not enough.

mod lists;
mod secrets;
mod versions;

use crate::{
    http::{ApiError, Context, ErrorNames, Operation, Protocol, Service, Timestamp},
    state::Account,
};
use http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use store::Schema;

/// Secrets, their versions, and which label is on which version.
pub const SCHEMA: Schema = Schema {
    name: "secretsmanager",
    migrations: &["
        CREATE TABLE secretsmanager_secret (
            arn TEXT PRIMARY KEY NOT NULL,
            name TEXT NOT NULL UNIQUE,
            description TEXT,
            kms_key_id TEXT,
            tags TEXT NOT NULL,
            created INTEGER NOT NULL,
            changed INTEGER NOT NULL,
            accessed INTEGER,
            deleted INTEGER,
            goes INTEGER
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE secretsmanager_version (
            secret TEXT NOT NULL REFERENCES secretsmanager_secret (arn) ON DELETE CASCADE,
            id TEXT NOT NULL,
            text TEXT,
            bytes BLOB,
            created INTEGER NOT NULL,
            PRIMARY KEY (secret, id)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE secretsmanager_stage (
            secret TEXT NOT NULL REFERENCES secretsmanager_secret (arn) ON DELETE CASCADE,
            stage TEXT NOT NULL,
            version TEXT NOT NULL,
            PRIMARY KEY (secret, stage)
        ) WITHOUT ROWID, STRICT;
    "],
};

/// The service's table.
pub fn service() -> Service {
    let mut operations = secrets::operations();
    operations.extend(versions::operations());
    operations.extend(lists::operations());
    Service {
        name: "secretsmanager",
        scopes: &["secretsmanager"],
        prefix: "secretsmanager",
        protocol: Protocol::Json {
            target: "secretsmanager",
        },
        errors: ErrorNames {
            invalid: "InvalidParameterException",
            bad_token: "InvalidNextTokenException",
            internal: "InternalServiceError",
            denied: "AccessDeniedException",
        },
        operations: operations
            .into_iter()
            .map(Operation::checks_access)
            .collect(),
    }
}

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";

#[derive(Serialize, Deserialize, Debug, Clone)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: Option<String>,
}

/// A secret without its values.
#[derive(Debug, Clone)]
struct Secret {
    arn: String,
    name: String,
    description: Option<String>,
    kms_key_id: Option<String>,
    tags: Vec<Tag>,
    created: Timestamp,
    changed: Timestamp,
    accessed: Option<Timestamp>,
    deleted: Option<Timestamp>,
}

const COLUMNS: &str =
    "arn, name, description, kms_key_id, tags, created, changed, accessed, deleted";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Secret> {
    let tags: String = row.get(4)?;
    Ok(Secret {
        arn: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        kms_key_id: row.get(3)?,
        tags: serde_json::from_str(&tags).unwrap_or_default(),
        created: row.get(5)?,
        changed: row.get(6)?,
        accessed: row.get(7)?,
        deleted: row.get(8)?,
    })
}

fn refused(code: &'static str, text: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, text)
}

fn not_found() -> ApiError {
    refused(
        "ResourceNotFoundException",
        "Secrets Manager can't find the specified secret.",
    )
}

fn marked_for_deletion() -> ApiError {
    refused(
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
}

fn arn_prefix(account: &Account) -> String {
    account.arn("secretsmanager", "secret:")
}

/// The secret of a name, an ARN, or an ARN without its random end; the caller must be allowed to do the operation on it.
fn find(t: &Transaction<'_>, context: &Context, id: &str) -> Result<Secret, ApiError> {
    let prefix = arn_prefix(&context.state.account);
    let by = |column: &str, value: &str| {
        let sql = format!(
            "SELECT {COLUMNS} FROM secretsmanager_secret WHERE {column} = ?1 AND (goes IS NULL OR goes > ?2)"
        );
        t.query_row(&sql, (value, Timestamp::now()), read)
            .optional()
    };
    let found = match id.strip_prefix(&prefix) {
        None => by("name", id)?,
        Some(rest) => match by("arn", id)? {
            Some(secret) => Some(secret),
            None => by("name", rest)?,
        },
    };
    match found {
        Some(secret) => {
            context.allow(&secret.arn)?;
            Ok(secret)
        }
        None => {
            let name = id.strip_prefix(&prefix).unwrap_or(id);
            context.allow(&format!("{prefix}{name}-??????"))?;
            Err(not_found())
        }
    }
}

/// [`find`], for operations that a deleted secret refuses.
fn find_live(t: &Transaction<'_>, context: &Context, id: &str) -> Result<Secret, ApiError> {
    let secret = find(t, context, id)?;
    if secret.deleted.is_some() {
        Err(marked_for_deletion())
    } else {
        Ok(secret)
    }
}

/// Removes the secrets whose time has come.
fn purge(t: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    t.execute(
        "DELETE FROM secretsmanager_secret WHERE goes <= ?1",
        [Timestamp::now()],
    )
    .map(drop)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretIdInput {
    secret_id: String,
}
