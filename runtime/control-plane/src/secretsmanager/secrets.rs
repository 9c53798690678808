//! Secrets: create, describe, change, delete and restore, tag.

use super::{
    CURRENT, Secret, SecretIdInput, Tag, arn_prefix, find, find_live, purge, refused,
    versions::{self, Named, Value},
};
use crate::http::{
    ApiError, Blob, Context, Empty, Operation, Secret as Hidden, Timestamp, validate,
};
use openssl::rand::rand_bytes;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::named("CreateSecret", create),
        Operation::named("UpdateSecret", update),
        Operation::named("DescribeSecret", describe),
        Operation::named("DeleteSecret", delete),
        Operation::named("RestoreSecret", restore),
        Operation::named("TagResource", tag),
        Operation::named("UntagResource", untag),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateInput {
    name: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_string: Option<Hidden>,
    secret_binary: Option<Blob>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    add_replica_regions: Vec<serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateOutput {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    version_id: Option<String>,
}

async fn create(context: Context, input: CreateInput) -> Result<CreateOutput, ApiError> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    validate::name("name", &input.name, 1..=512, usable, "[A-Za-z0-9/_+=.@-]+")?;
    validate::length(
        "description",
        input.description.as_deref().unwrap_or_default(),
        0..=2048,
    )?;
    if !input.add_replica_regions.is_empty() {
        let text =
            "greengrass-cloud is one region: it does not serve the member 'AddReplicaRegions'";
        return Err(ApiError::invalid(text));
    }
    let value = Value {
        secret_string: input.secret_string,
        secret_binary: input.secret_binary,
    };
    let (given, id) = (
        value.given()?,
        versions::version_id(input.client_request_token)?,
    );
    let arn = format!(
        "{}{}-{}",
        arn_prefix(&context.state.account),
        input.name,
        six_letters()?
    );
    context.allow(&arn)?;
    let tags = serde_json::to_string(&input.tags)?;
    let name = input.name;
    let write = move |t: &Transaction<'_>| {
        purge(t)?;
        let sql = "SELECT arn, deleted IS NOT NULL FROM secretsmanager_secret WHERE name = ?1";
        let there: Option<(String, bool)> = t
            .query_row(sql, [&name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((arn, deleted)) = there {
            return again(t, arn, name, id, deleted, &value);
        }
        t.execute(
            "INSERT INTO secretsmanager_secret (arn, name, description, kms_key_id, tags, created, changed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            (&arn, &name, input.description, input.kms_key_id, tags, Timestamp::now()),
        )?;
        if given {
            versions::add(t, &arn, &id, &value, &[CURRENT.to_owned()])?;
        }
        Ok(CreateOutput {
            arn,
            name,
            version_id: given.then_some(id),
        })
    };
    context.database().write(write).await
}

/// A secret of the name exists: fine when this is the request that made it.
fn again(
    t: &Transaction<'_>,
    arn: String,
    name: String,
    id: String,
    deleted: bool,
    value: &Value,
) -> Result<CreateOutput, ApiError> {
    if deleted {
        return Err(refused(
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ));
    }
    let sql = "SELECT count(*) FROM secretsmanager_version WHERE secret = ?1 AND id = ?2";
    if t.query_row(sql, (&arn, &id), |row| row.get::<_, bool>(0))? {
        versions::add(t, &arn, &id, value, &[])?;
        return Ok(CreateOutput {
            arn,
            name,
            version_id: Some(id),
        });
    }
    Err(refused(
        "ResourceExistsException",
        format!("The operation failed because the secret {name} already exists."),
    ))
}

fn six_letters() -> Result<String, ApiError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = [0; 6];
    rand_bytes(&mut bytes)?;
    Ok(bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()]))
        .collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateInput {
    secret_id: String,
    client_request_token: Option<String>,
    description: Option<String>,
    kms_key_id: Option<String>,
    secret_string: Option<Hidden>,
    secret_binary: Option<Blob>,
}

async fn update(context: Context, input: UpdateInput) -> Result<CreateOutput, ApiError> {
    let value = Value {
        secret_string: input.secret_string,
        secret_binary: input.secret_binary,
    };
    let (given, id) = (
        value.given()?,
        versions::version_id(input.client_request_token)?,
    );
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let secret = find_live(t, &call, &input.secret_id)?;
        t.execute(
            "UPDATE secretsmanager_secret SET description = coalesce(?2, description), kms_key_id = coalesce(?3, kms_key_id),
             changed = ?4 WHERE arn = ?1",
            (&secret.arn, input.description, input.kms_key_id, Timestamp::now()),
        )?;
        if given {
            versions::add(t, &secret.arn, &id, &value, &[CURRENT.to_owned()])?;
        }
        Ok(CreateOutput {
            arn: secret.arn,
            name: secret.name,
            version_id: given.then_some(id),
        })
    };
    context.database().write(write).await
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    description: Option<String>,
    kms_key_id: Option<String>,
    last_changed_date: Timestamp,
    last_accessed_date: Option<Timestamp>,
    deleted_date: Option<Timestamp>,
    tags: Vec<Tag>,
    version_ids_to_stages: Option<BTreeMap<String, Vec<String>>>,
    created_date: Timestamp,
}

async fn describe(context: Context, input: SecretIdInput) -> Result<Description, ApiError> {
    let call = context.clone();
    let read = move |t: &Transaction<'_>| {
        let secret: Secret = find(t, &call, &input.secret_id)?;
        let stages = versions::stages(t, &secret.arn)?;
        Ok(Description {
            version_ids_to_stages: (!stages.is_empty()).then_some(stages),
            arn: secret.arn,
            name: secret.name,
            description: secret.description,
            kms_key_id: secret.kms_key_id,
            last_changed_date: secret.changed,
            last_accessed_date: secret.accessed,
            deleted_date: secret.deleted,
            tags: secret.tags,
            created_date: secret.created,
        })
    };
    context.database().read(read).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteInput {
    secret_id: String,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteOutput {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    deletion_date: Timestamp,
}

async fn delete(context: Context, input: DeleteInput) -> Result<DeleteOutput, ApiError> {
    let force = input.force_delete_without_recovery;
    if force && input.recovery_window_in_days.is_some() {
        let text =
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.";
        return Err(ApiError::invalid(text));
    }
    let days = input.recovery_window_in_days.unwrap_or(30);
    validate::range("recoveryWindowInDays", days, 7..=30)?;
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let now = Timestamp::now();
        if force {
            let secret = match find(t, &call, &input.secret_id) {
                Ok(secret) => secret,
                // As with AWS: what is to be gone is gone.
                Err(ApiError::Refused(refusal)) if refusal.code == "ResourceNotFoundException" => {
                    let prefix = arn_prefix(&call.state.account);
                    let name = input
                        .secret_id
                        .strip_prefix(&prefix)
                        .unwrap_or(&input.secret_id);
                    return Ok(DeleteOutput {
                        arn: format!("{prefix}{name}-{}", six_letters()?),
                        name: name.to_owned(),
                        deletion_date: now,
                    });
                }
                Err(error) => return Err(error),
            };
            t.execute(
                "DELETE FROM secretsmanager_secret WHERE arn = ?1",
                [&secret.arn],
            )?;
            return Ok(DeleteOutput {
                arn: secret.arn,
                name: secret.name,
                deletion_date: now,
            });
        }
        let secret = find_live(t, &call, &input.secret_id)?;
        let goes = now.plus(DAY * u32::try_from(days).unwrap_or(30));
        let sql = "UPDATE secretsmanager_secret SET deleted = ?2, goes = ?3 WHERE arn = ?1";
        t.execute(sql, (&secret.arn, now, goes))?;
        Ok(DeleteOutput {
            arn: secret.arn,
            name: secret.name,
            deletion_date: goes,
        })
    };
    context.database().write(write).await
}

async fn restore(context: Context, input: SecretIdInput) -> Result<Named, ApiError> {
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let secret = find(t, &call, &input.secret_id)?;
        let sql = "UPDATE secretsmanager_secret SET deleted = NULL, goes = NULL WHERE arn = ?1";
        t.execute(sql, [&secret.arn])?;
        Ok(Named {
            arn: secret.arn,
            name: secret.name,
        })
    };
    context.database().write(write).await
}

fn keep_tags(t: &Transaction<'_>, secret: &Secret) -> Result<Empty, ApiError> {
    if secret.tags.len() > 50 {
        return Err(ApiError::invalid("a secret has at most 50 tags"));
    }
    let sql = "UPDATE secretsmanager_secret SET tags = ?2 WHERE arn = ?1";
    t.execute(sql, (&secret.arn, serde_json::to_string(&secret.tags)?))?;
    Ok(Empty {})
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagInput {
    secret_id: String,
    tags: Vec<Tag>,
}

async fn tag(context: Context, input: TagInput) -> Result<Empty, ApiError> {
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let mut secret = find_live(t, &call, &input.secret_id)?;
        secret
            .tags
            .retain(|old| !input.tags.iter().any(|new| new.key == old.key));
        secret.tags.extend(input.tags);
        keep_tags(t, &secret)
    };
    context.database().write(write).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagInput {
    secret_id: String,
    tag_keys: Vec<String>,
}

async fn untag(context: Context, input: UntagInput) -> Result<Empty, ApiError> {
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let mut secret = find_live(t, &call, &input.secret_id)?;
        secret.tags.retain(|tag| !input.tag_keys.contains(&tag.key));
        keep_tags(t, &secret)
    };
    context.database().write(write).await
}
