//! Values and their versions. The label AWSCURRENT is on one version; where it was before gets AWSPREVIOUS.

use super::{CURRENT, PREVIOUS, Secret, find_live, refused};
use crate::http::{ApiError, Blob, Context, Operation, Secret as Hidden, Timestamp, validate};
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Versions without a label that are kept of a secret.
const UNLABELLED: i64 = 100;

/// The longest value, as with AWS.
const LARGEST: usize = 65_536;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::named("GetSecretValue", get),
        Operation::named("PutSecretValue", put),
        Operation::named("UpdateSecretVersionStage", move_stage),
    ]
}

/// A value as requests bring it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Value {
    pub(super) secret_string: Option<Hidden>,
    pub(super) secret_binary: Option<Blob>,
}

impl Value {
    /// Whether there is one; refuses two, and one that is too long.
    pub(super) fn given(&self) -> Result<bool, ApiError> {
        let length = match (&self.secret_string, &self.secret_binary) {
            (None, None) => return Ok(false),
            (Some(text), None) => text.reveal().len(),
            (None, Some(bytes)) => bytes.0.len(),
            (Some(_), Some(_)) => {
                return Err(refused(
                    "InvalidParameterException",
                    "You can't specify both a binary secret value and a string secret value in the same secret.",
                ));
            }
        };
        if length > LARGEST {
            return Err(ApiError::invalid(format!(
                "a secret value has at most {LARGEST} bytes"
            )));
        }
        Ok(true)
    }
}

/// The id for a new version: the caller's token, or a random one.
pub(super) fn version_id(token: Option<String>) -> Result<String, ApiError> {
    match token {
        Some(token) => validate::length("clientRequestToken", &token, 32..=64).map(|()| token),
        None => Ok(uuid::Uuid::new_v4().to_string()),
    }
}

/// Adds a version with labels. The same id with the same value is the same version: a repeated request changes nothing.
pub(super) fn add(
    t: &Transaction<'_>,
    secret: &str,
    id: &str,
    value: &Value,
    stages: &[String],
) -> Result<(), ApiError> {
    let (text, bytes) = (
        value.secret_string.as_ref().map(Hidden::reveal),
        value.secret_binary.as_ref().map(|b| &b.0),
    );
    let sql = "SELECT text IS ?3 AND bytes IS ?4 FROM secretsmanager_version WHERE secret = ?1 AND id = ?2";
    let same: Option<bool> = t
        .query_row(sql, (secret, id, text, bytes), |row| row.get(0))
        .optional()?;
    match same {
        Some(true) => return Ok(()),
        Some(false) => {
            return Err(refused(
                "ResourceExistsException",
                format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of this secret."
                ),
            ));
        }
        None => {}
    }
    t.execute(
        "INSERT INTO secretsmanager_version (secret, id, text, bytes, created) VALUES (?1, ?2, ?3, ?4, ?5)",
        (secret, id, text, bytes, Timestamp::now()),
    )?;
    for stage in stages {
        label(t, secret, stage, Some(id))?;
    }
    let first: bool = t.query_row(
        "SELECT NOT EXISTS (SELECT 1 FROM secretsmanager_stage WHERE secret = ?1 AND stage = ?2)",
        (secret, CURRENT),
        |row| row.get(0),
    )?;
    if first {
        label(t, secret, CURRENT, Some(id))?;
    }
    t.execute(
        "UPDATE secretsmanager_secret SET changed = ?2 WHERE arn = ?1",
        (secret, Timestamp::now()),
    )?;
    t.execute(
        "DELETE FROM secretsmanager_version WHERE secret = ?1 AND id IN (
            SELECT v.id FROM secretsmanager_version v WHERE v.secret = ?1
            AND NOT EXISTS (SELECT 1 FROM secretsmanager_stage s WHERE s.secret = v.secret AND s.version = v.id)
            ORDER BY v.created DESC LIMIT -1 OFFSET ?2)",
        (secret, UNLABELLED),
    )?;
    Ok(())
}

/// The version that has a label.
fn labelled(t: &Transaction<'_>, secret: &str, stage: &str) -> Result<Option<String>, ApiError> {
    let sql = "SELECT version FROM secretsmanager_stage WHERE secret = ?1 AND stage = ?2";
    Ok(t.query_row(sql, (secret, stage), |row| row.get(0))
        .optional()?)
}

/// Moves a label to a version, or takes it away.
fn label(
    t: &Transaction<'_>,
    secret: &str,
    stage: &str,
    version: Option<&str>,
) -> Result<(), ApiError> {
    if stage == CURRENT
        && let Some(old) = labelled(t, secret, CURRENT)?
        && version.is_some_and(|new| new != old)
    {
        set(t, secret, PREVIOUS, &old)?;
    }
    match version {
        Some(version) => set(t, secret, stage, version),
        None => {
            let sql = "DELETE FROM secretsmanager_stage WHERE secret = ?1 AND stage = ?2";
            t.execute(sql, (secret, stage))?;
            Ok(())
        }
    }
}

fn set(t: &Transaction<'_>, secret: &str, stage: &str, version: &str) -> Result<(), ApiError> {
    t.execute(
        "INSERT INTO secretsmanager_stage (secret, stage, version) VALUES (?1, ?2, ?3)
         ON CONFLICT (secret, stage) DO UPDATE SET version = excluded.version",
        (secret, stage, version),
    )?;
    Ok(())
}

/// The labels of each version that has one.
pub(super) fn stages(
    t: &Transaction<'_>,
    secret: &str,
) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
    let sql = "SELECT version, stage FROM secretsmanager_stage WHERE secret = ?1 ORDER BY stage";
    let mut all = t.prepare_cached(sql)?;
    let rows = all.query_map([secret], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut stages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let (version, stage) = row?;
        stages.entry(version).or_default().push(stage);
    }
    Ok(stages)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetInput {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetOutput {
    #[serde(rename = "ARN")]
    pub(super) arn: String,
    name: String,
    version_id: String,
    secret_string: Option<Hidden>,
    secret_binary: Option<Blob>,
    version_stages: Vec<String>,
    created_date: Timestamp,
}

async fn get(context: Context, input: GetInput) -> Result<GetOutput, ApiError> {
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let secret = find_live(t, &call, &input.secret_id)?;
        value_of(
            t,
            &secret,
            input.version_id.as_deref(),
            input.version_stage.as_deref(),
        )
    };
    context.database().write(write).await
}

/// A value, chosen by version and label; AWSCURRENT when neither is given. Notes the day it was read.
pub(super) fn value_of(
    t: &Transaction<'_>,
    secret: &Secret,
    version: Option<&str>,
    stage: Option<&str>,
) -> Result<GetOutput, ApiError> {
    let missing = |what: &str, which: &str| {
        refused(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for {what}: {which}"),
        )
    };
    let id = match (version, stage) {
        (Some(version), None) => version.to_owned(),
        (version, stage) => {
            let stage = stage.unwrap_or(CURRENT);
            let id =
                labelled(t, &secret.arn, stage)?.ok_or_else(|| missing("staging label", stage))?;
            if version.is_some_and(|v| v != id) {
                return Err(refused(
                    "InvalidRequestException",
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                ));
            }
            id
        }
    };
    let sql =
        "SELECT text, bytes, created FROM secretsmanager_version WHERE secret = ?1 AND id = ?2";
    let found = t.query_row(sql, (&secret.arn, &id), |row| {
        Ok((
            row.get::<_, Option<String>>(0)?,
            row.get::<_, Option<Vec<u8>>>(1)?,
            row.get(2)?,
        ))
    });
    let (text, bytes, created_date) = found.optional()?.ok_or_else(|| missing("VersionId", &id))?;
    // To the day, as with AWS: reading does not write each time.
    let day = 24 * 3600 * 1000;
    let today = Timestamp::from_millis(Timestamp::now().millis() / day * day);
    if secret.accessed != Some(today) {
        t.execute(
            "UPDATE secretsmanager_secret SET accessed = ?2 WHERE arn = ?1",
            (&secret.arn, today),
        )?;
    }
    Ok(GetOutput {
        arn: secret.arn.clone(),
        name: secret.name.clone(),
        version_stages: stages(t, &secret.arn)?.remove(&id).unwrap_or_default(),
        version_id: id,
        secret_string: text.map(Hidden::new),
        secret_binary: bytes.map(Blob),
        created_date,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutInput {
    secret_id: String,
    client_request_token: Option<String>,
    secret_string: Option<Hidden>,
    secret_binary: Option<Blob>,
    version_stages: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutOutput {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    version_id: String,
    version_stages: Vec<String>,
}

async fn put(context: Context, input: PutInput) -> Result<PutOutput, ApiError> {
    let value = Value {
        secret_string: input.secret_string,
        secret_binary: input.secret_binary,
    };
    if !value.given()? {
        return Err(refused(
            "InvalidRequestException",
            "You must provide either SecretString or SecretBinary.",
        ));
    }
    let id = version_id(input.client_request_token)?;
    let stages_wanted = input
        .version_stages
        .unwrap_or_else(|| vec![CURRENT.to_owned()]);
    for stage in &stages_wanted {
        validate::length("versionStages", stage, 1..=256)?;
    }
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let secret = find_live(t, &call, &input.secret_id)?;
        add(t, &secret.arn, &id, &value, &stages_wanted)?;
        let version_stages = stages(t, &secret.arn)?.remove(&id).unwrap_or_default();
        Ok(PutOutput {
            arn: secret.arn,
            name: secret.name,
            version_id: id,
            version_stages,
        })
    };
    context.database().write(write).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StageInput {
    secret_id: String,
    version_stage: String,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    #[serde(rename = "ARN")]
    pub(super) arn: String,
    pub(super) name: String,
}

async fn move_stage(context: Context, input: StageInput) -> Result<Named, ApiError> {
    validate::length("versionStage", &input.version_stage, 1..=256)?;
    let call = context.clone();
    let write = move |t: &Transaction<'_>| {
        let secret = find_live(t, &call, &input.secret_id)?;
        let stage = input.version_stage.as_str();
        let (from, to) = (input.remove_from_version_id, input.move_to_version_id);
        let on = labelled(t, &secret.arn, stage)?;
        if from.is_some() && from != on {
            let text = format!(
                "The staging label {stage} is not attached to the version that RemoveFromVersionId names."
            );
            return Err(ApiError::invalid(text));
        }
        if on.is_some() && from.is_none() && on != to {
            let text = format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version {}, so you must explicitly reference that version in RemoveFromVersionId.",
                on.unwrap_or_default()
            );
            return Err(ApiError::invalid(text));
        }
        if stage == CURRENT && to.is_none() {
            let text = "You can't remove the staging label AWSCURRENT: move it to another version.";
            return Err(ApiError::invalid(text));
        }
        if let Some(to) = &to {
            let sql = "SELECT count(*) FROM secretsmanager_version WHERE secret = ?1 AND id = ?2";
            let there: bool = t.query_row(sql, (&secret.arn, to), |row| row.get(0))?;
            if !there {
                let text =
                    format!("Secrets Manager can't find the specified secret version: {to}.");
                return Err(refused("ResourceNotFoundException", text));
            }
        }
        label(t, &secret.arn, stage, to.as_deref())?;
        Ok(Named {
            arn: secret.arn,
            name: secret.name,
        })
    };
    context.database().write(write).await
}
