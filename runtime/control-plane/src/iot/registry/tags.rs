//! Tags of resources.

use crate::http::{ApiError, Context, Empty, Operation, validate};
use http::StatusCode;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

const MAX_TAGS: i64 = 50;

/// One tag, as AWS IoT writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// The operations of tags.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("TagResource", "POST /tags", tag),
        Operation::new("UntagResource", "POST /untag", untag),
        Operation::new("ListTagsForResource", "GET /tags", list),
    ]
}

/// Adds tags to a resource, replacing those of the same name.
pub fn put(t: &Transaction<'_>, arn: &str, tags: Vec<Tag>) -> Result<(), ApiError> {
    for tag in tags {
        validate::length("tags.Key", &tag.key, 1..=128)?;
        validate::length("tags.Value", &tag.value, 0..=256)?;
        if tag.key.starts_with("aws:") {
            return Err(ApiError::invalid(format!(
                "The tag key '{}' may not start with 'aws:'",
                tag.key
            )));
        }
        t.execute(
            "INSERT OR REPLACE INTO iot_tag (arn, name, value) VALUES (?1, ?2, ?3)",
            (arn, tag.key, tag.value),
        )?;
    }
    let count: i64 = t.query_row("SELECT count(*) FROM iot_tag WHERE arn = ?1", [arn], |r| {
        r.get(0)
    })?;
    if count > MAX_TAGS {
        return Err(ApiError::new(
            StatusCode::GONE,
            "LimitExceededException",
            format!("A resource may have at most {MAX_TAGS} tags"),
        ));
    }
    Ok(())
}

/// Forgets the tags of a resource that is deleted.
pub fn clear(t: &Transaction<'_>, arn: &str) -> Result<(), ApiError> {
    t.execute("DELETE FROM iot_tag WHERE arn = ?1", [arn])?;
    Ok(())
}

/// Which table and key say that the resource of an ARN exists.
fn exists(t: &Transaction<'_>, arn: &str) -> Result<(), ApiError> {
    let kinds = [
        (
            "thinggroup",
            "SELECT EXISTS (SELECT 1 FROM iot_group WHERE name = ?1)",
        ),
        (
            "thingtype",
            "SELECT EXISTS (SELECT 1 FROM iot_thing_type WHERE name = ?1)",
        ),
        (
            "policy",
            "SELECT EXISTS (SELECT 1 FROM iot_policy WHERE name = ?1)",
        ),
        (
            "rolealias",
            "SELECT EXISTS (SELECT 1 FROM iot_role_alias WHERE name = ?1)",
        ),
        (
            "cacert",
            "SELECT EXISTS (SELECT 1 FROM iot_authority WHERE id = ?1)",
        ),
        (
            "provisioningtemplate",
            "SELECT EXISTS (SELECT 1 FROM iot_template WHERE name = ?1)",
        ),
        ("job", "SELECT EXISTS (SELECT 1 FROM iot_job WHERE id = ?1)"),
    ];
    let found = kinds
        .iter()
        .find_map(|(kind, sql)| Some((super::names::of_arn(arn, kind)?, sql)));
    let Some((name, sql)) = found else {
        return Err(ApiError::invalid(format!(
            "{arn} is no resource that can have tags"
        )));
    };
    if t.query_row(sql, [name], |row| row.get(0))? {
        return Ok(());
    }
    Err(ApiError::not_found(format!("Resource {arn} not found")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagInput {
    resource_arn: String,
    tags: Vec<Tag>,
}

async fn tag(context: Context, input: TagInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            exists(t, &input.resource_arn)?;
            put(t, &input.resource_arn, input.tags)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UntagInput {
    resource_arn: String,
    tag_keys: Vec<String>,
}

async fn untag(context: Context, input: UntagInput) -> Result<Empty, ApiError> {
    context
        .database()
        .write(move |t| {
            exists(t, &input.resource_arn)?;
            for key in input.tag_keys {
                t.execute(
                    "DELETE FROM iot_tag WHERE arn = ?1 AND name = ?2",
                    (&input.resource_arn, key),
                )?;
            }
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    resource_arn: String,
}

#[derive(Serialize)]
struct ListOutput {
    tags: Vec<Tag>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    context
        .database()
        .read(move |t| {
            exists(t, &input.resource_arn)?;
            let mut statement =
                t.prepare_cached("SELECT name, value FROM iot_tag WHERE arn = ?1 ORDER BY name")?;
            let rows = statement.query_map([&input.resource_arn], |row| {
                Ok(Tag {
                    key: row.get(0)?,
                    value: row.get(1)?,
                })
            })?;
            Ok(ListOutput {
                tags: rows.collect::<Result<_, _>>()?,
            })
        })
        .await
}
