//! Role aliases: the names by which devices ask for a role's short-lived keys.

use super::{names, tags};
use crate::http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};

/// What AWS IoT gives when it is not told.
const DEFAULT_SECONDS: i64 = 3600;

/// The operations of role aliases.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("CreateRoleAlias", "POST /role-aliases/{roleAlias}", create),
        Operation::new(
            "DescribeRoleAlias",
            "GET /role-aliases/{roleAlias}",
            describe,
        ),
        Operation::new("UpdateRoleAlias", "PUT /role-aliases/{roleAlias}", update),
        Operation::new(
            "DeleteRoleAlias",
            "DELETE /role-aliases/{roleAlias}",
            delete,
        ),
        Operation::new("ListRoleAliases", "GET /role-aliases", list),
    ]
}

/// A role alias.
#[derive(Clone, Debug)]
pub struct RoleAlias {
    /// Its name.
    pub name: String,
    /// The role.
    pub role_arn: String,
    /// How long its keys live, in seconds.
    pub seconds: i64,
    created: Timestamp,
    modified: Timestamp,
}

impl RoleAlias {
    /// The alias of a name.
    pub fn find(t: &Transaction<'_>, name: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM iot_role_alias WHERE name = ?1";
        let read = |row: &Row<'_>| {
            Ok(Self {
                name: row.get("name")?,
                role_arn: row.get("role_arn")?,
                seconds: row.get("duration")?,
                created: row.get("created")?,
                modified: row.get("modified")?,
            })
        };
        Ok(t.query_row(sql, [name], read).optional()?)
    }

    fn get(t: &Transaction<'_>, name: &str) -> Result<Self, ApiError> {
        Self::find(t, name)?
            .ok_or_else(|| ApiError::not_found(format!("RoleAlias not found: {name}")))
    }
}

fn arn(context: &Context, name: &str) -> String {
    context.arn("iot", &format!("rolealias/{name}"))
}

fn role(arn: &str) -> Result<(), ApiError> {
    if arn.starts_with("arn:aws:iam::") && arn.contains(":role/") {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "roleArn {arn} is not the ARN of a role"
    )))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    role_alias: String,
    role_arn: String,
    credential_duration_seconds: Option<i64>,
    tags: Option<Vec<tags::Tag>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateOutput {
    role_alias: String,
    role_alias_arn: String,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let name = input.role_alias;
    names::word("roleAlias", &name)?;
    role(&input.role_arn)?;
    let seconds = input.credential_duration_seconds.unwrap_or(DEFAULT_SECONDS);
    validate::range("credentialDurationSeconds", seconds, 900..=43_200)?;
    let own = arn(&context, &name);
    let (key, arn) = (name.clone(), own.clone());
    context
        .database()
        .write(move |t| {
            if RoleAlias::find(t, &key)?.is_some() {
                return Err(names::already_exists(format!("RoleAlias {key} already exists"), &arn, &key));
            }
            t.execute(
                "INSERT INTO iot_role_alias (name, role_arn, duration, created, modified) VALUES (?1, ?2, ?3, ?4, ?4)",
                (&key, input.role_arn, seconds, Timestamp::now()),
            )?;
            tags::put(t, &arn, input.tags.unwrap_or_default())
        })
        .await?;
    Ok(CreateOutput {
        role_alias: name,
        role_alias_arn: own,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameInput {
    role_alias: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    role_alias: String,
    role_alias_arn: String,
    role_arn: String,
    owner: String,
    credential_duration_seconds: i64,
    creation_date: Timestamp,
    last_modified_date: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    role_alias_description: Description,
}

async fn describe(context: Context, input: NameInput) -> Result<DescribeOutput, ApiError> {
    let name = input.role_alias;
    names::word("roleAlias", &name)?;
    let found = context
        .database()
        .read(move |t| RoleAlias::get(t, &name))
        .await?;
    Ok(DescribeOutput {
        role_alias_description: Description {
            role_alias_arn: arn(&context, &found.name),
            role_alias: found.name,
            role_arn: found.role_arn,
            owner: context.account().to_owned(),
            credential_duration_seconds: found.seconds,
            creation_date: found.created,
            last_modified_date: found.modified,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    role_alias: String,
    role_arn: Option<String>,
    credential_duration_seconds: Option<i64>,
}

async fn update(context: Context, input: UpdateInput) -> Result<CreateOutput, ApiError> {
    let name = input.role_alias;
    names::word("roleAlias", &name)?;
    if let Some(arn) = &input.role_arn {
        role(arn)?;
    }
    if let Some(seconds) = input.credential_duration_seconds {
        validate::range("credentialDurationSeconds", seconds, 900..=43_200)?;
    }
    let key = name.clone();
    context
        .database()
        .write(move |t| {
            RoleAlias::get(t, &key)?;
            t.execute(
                "UPDATE iot_role_alias SET role_arn = coalesce(?2, role_arn), duration = coalesce(?3, duration), modified = ?4 WHERE name = ?1",
                (key, input.role_arn, input.credential_duration_seconds, Timestamp::now()),
            )?;
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok(CreateOutput {
        role_alias_arn: arn(&context, &name),
        role_alias: name,
    })
}

async fn delete(context: Context, input: NameInput) -> Result<Empty, ApiError> {
    let name = input.role_alias;
    names::word("roleAlias", &name)?;
    let arn = arn(&context, &name);
    context
        .database()
        .write(move |t| {
            RoleAlias::get(t, &name)?;
            t.execute("DELETE FROM iot_role_alias WHERE name = ?1", [&name])?;
            tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    page_size: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    role_aliases: Vec<String>,
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
            let mut statement = t.prepare_cached(
                "SELECT name FROM iot_role_alias WHERE name > ?1 ORDER BY name LIMIT ?2",
            )?;
            let rows = statement.query_map((after, fetch), |row| row.get(0))?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<String>, _>>()?)
        })
        .await?;
    let (role_aliases, next_marker) = page.finish(found, Clone::clone);
    Ok(ListOutput {
        role_aliases,
        next_marker,
    })
}
