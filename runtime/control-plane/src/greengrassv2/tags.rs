//! Tags of component versions, deployments and core devices.

use super::{
    components::table::Component,
    deployments::table::Deployment,
    devices::table::Core,
    names::{self, Kind, not_found},
};
use crate::{
    http::{ApiError, Context, Empty, Operation, validate},
    state::Account,
};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tags by name.
pub type Tags = BTreeMap<String, String>;

const MAX_TAGS: usize = 50;

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("TagResource", "POST /tags/{resourceArn}", tag).checks_access(),
        Operation::new("UntagResource", "DELETE /tags/{resourceArn}", untag).checks_access(),
        Operation::new("ListTagsForResource", "GET /tags/{resourceArn}", list).checks_access(),
    ]
}

/// Refuses what no tag may be.
pub fn check(tags: &Tags) -> Result<(), ApiError> {
    for (key, value) in tags {
        validate::length("tags.key", key, 1..=128)?;
        validate::length("tags.value", value, 0..=256)?;
        if key.starts_with("aws:") {
            return Err(names::invalid_field(
                "tags",
                format!("The tag key '{key}' may not start with 'aws:'"),
            ));
        }
    }
    Ok(())
}

/// Adds tags, replacing those of the same name.
pub fn put(t: &Transaction<'_>, arn: &str, tags: &Tags) -> Result<(), ApiError> {
    let sql = "INSERT OR REPLACE INTO gg_tag (arn, name, value) VALUES (?1, ?2, ?3)";
    let mut statement = t.prepare_cached(sql)?;
    for (key, value) in tags {
        statement.execute((arn, key, value))?;
    }
    if of(t, arn)?.len() > MAX_TAGS {
        return Err(names::invalid_field(
            "tags",
            format!("A resource may have at most {MAX_TAGS} tags"),
        ));
    }
    Ok(())
}

/// The tags of a resource.
pub fn of(t: &Transaction<'_>, arn: &str) -> Result<Tags, ApiError> {
    let mut statement = t.prepare_cached("SELECT name, value FROM gg_tag WHERE arn = ?1")?;
    let rows = statement.query_map([arn], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets the tags of a resource that is deleted.
pub fn clear(t: &Transaction<'_>, arn: &str) -> Result<(), ApiError> {
    t.execute("DELETE FROM gg_tag WHERE arn = ?1", [arn])?;
    Ok(())
}

fn exists(t: &Transaction<'_>, account: &Account, arn: &str) -> Result<(), ApiError> {
    let missing = || not_found(Kind::Resource, arn, format!("Resource {arn} was not found"));
    let resource = names::resource(account, arn).ok_or_else(missing)?;
    let found = match resource.split_once(':') {
        Some(("components", _)) => {
            let (name, version) = names::version_of(account, arn)?;
            Component::find(t, name, version)?.is_some()
        }
        Some(("deployments", id)) => Deployment::find(t, id)?.is_some(),
        Some(("coreDevices", thing)) => Core::find(t, thing)?.is_some(),
        _ => false,
    };
    found.then_some(()).ok_or_else(missing)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TagInput {
    resource_arn: String,
    tags: Tags,
}

async fn tag(context: Context, input: TagInput) -> Result<Empty, ApiError> {
    context.allow(&input.resource_arn)?;
    check(&input.tags)?;
    let account = context.state.account.clone();
    context
        .database()
        .write(move |t| {
            exists(t, &account, &input.resource_arn)?;
            put(t, &input.resource_arn, &input.tags)?;
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
    context.allow(&input.resource_arn)?;
    let account = context.state.account.clone();
    context
        .database()
        .write(move |t| {
            exists(t, &account, &input.resource_arn)?;
            for key in input.tag_keys {
                t.execute(
                    "DELETE FROM gg_tag WHERE arn = ?1 AND name = ?2",
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
    tags: Tags,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    context.allow(&input.resource_arn)?;
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            exists(t, &account, &input.resource_arn)?;
            Ok(ListOutput {
                tags: of(t, &input.resource_arn)?,
            })
        })
        .await
}
