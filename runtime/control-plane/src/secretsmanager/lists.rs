//! Listings, and reading many values at once.

use super::{
    COLUMNS, Secret, Tag, find, find_live, read,
    versions::{self, GetOutput},
};
use crate::http::{ApiError, Context, Operation, Page, Timestamp};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::named("ListSecrets", list),
        Operation::named("ListSecretVersionIds", list_versions),
        Operation::named("BatchGetSecretValue", batch_get),
    ]
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    values: Vec<String>,
}

impl Filter {
    fn check(&self) -> Result<(), ApiError> {
        let served = ["name", "description", "tag-key", "tag-value", "all"];
        crate::http::validate::one_of("filters.key", &self.key, &served)
    }

    /// Values are prefixes, without regard to case save for names; one that begins with `!` must not match.
    fn admits(&self, secret: &Secret) -> bool {
        let begins =
            |text: &str, value: &str| text.to_lowercase().starts_with(&value.to_lowercase());
        let hit = |value: &str| {
            let description = secret.description.as_deref().unwrap_or_default();
            let tag_keys = || secret.tags.iter().any(|t| begins(&t.key, value));
            let tag_values = || {
                secret
                    .tags
                    .iter()
                    .any(|t| begins(t.value.as_deref().unwrap_or_default(), value))
            };
            match self.key.as_str() {
                "name" => secret.name.starts_with(value),
                "description" => begins(description, value),
                "tag-key" => tag_keys(),
                "tag-value" => tag_values(),
                _ => {
                    begins(&secret.name, value)
                        || begins(description, value)
                        || tag_keys()
                        || tag_values()
                }
            }
        };
        self.values
            .iter()
            .any(|value| match value.strip_prefix('!') {
                Some(value) => !hit(value),
                None => hit(value),
            })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    include_planned_deletion: bool,
    sort_order: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    secret_list: Vec<Entry>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    description: Option<String>,
    kms_key_id: Option<String>,
    last_changed_date: Timestamp,
    last_accessed_date: Option<Timestamp>,
    deleted_date: Option<Timestamp>,
    tags: Vec<Tag>,
    secret_versions_to_stages: BTreeMap<String, Vec<String>>,
    created_date: Timestamp,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    context.allow("*")?;
    input.filters.iter().try_for_each(Filter::check)?;
    let backwards = input.sort_order.as_deref() == Some("desc");
    let filters =
        serde_json::to_string(&(&input.filters, backwards, input.include_planned_deletion))?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        100,
        input.next_token.as_deref(),
        filters,
    )?;
    let read_list = move |t: &Transaction<'_>| {
        // By name, which is unique and stays where it is.
        let (order, than) = if backwards {
            ("DESC", "<")
        } else {
            ("ASC", ">")
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM secretsmanager_secret
             WHERE (?1 IS NULL OR name {than} ?1) AND (deleted IS NULL OR ?2) AND (goes IS NULL OR goes > ?3) ORDER BY name {order}"
        );
        let mut all = t.prepare_cached(&sql)?;
        let mut rows = all.query((
            page.after(),
            input.include_planned_deletion,
            Timestamp::now(),
        ))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let secret = read(row)?;
            if input.filters.iter().all(|f| f.admits(&secret)) {
                found.push(secret);
            }
            if found.len() as i64 == page.fetch() {
                break;
            }
        }
        let (secrets, next_token) = page.finish(found, |s: &Secret| s.name.clone());
        let mut secret_list = Vec::new();
        for secret in secrets {
            secret_list.push(Entry {
                secret_versions_to_stages: versions::stages(t, &secret.arn)?,
                arn: secret.arn,
                name: secret.name,
                description: secret.description,
                kms_key_id: secret.kms_key_id,
                last_changed_date: secret.changed,
                last_accessed_date: secret.accessed,
                deleted_date: secret.deleted,
                tags: secret.tags,
                created_date: secret.created,
            });
        }
        Ok(ListOutput {
            secret_list,
            next_token,
        })
    };
    context.database().read(read_list).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionsInput {
    secret_id: String,
    max_results: Option<i64>,
    next_token: Option<String>,
    #[serde(default)]
    include_deprecated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionsOutput {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    versions: Vec<Version>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version_id: String,
    version_stages: Vec<String>,
    created_date: Timestamp,
}

async fn list_versions(context: Context, input: VersionsInput) -> Result<VersionsOutput, ApiError> {
    let filters = format!("{} {}", input.secret_id, input.include_deprecated);
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        100,
        input.next_token.as_deref(),
        filters,
    )?;
    let call = context.clone();
    let read_list = move |t: &Transaction<'_>| {
        let secret = find(t, &call, &input.secret_id)?;
        let mut stages = versions::stages(t, &secret.arn)?;
        let sql = "SELECT id, created FROM secretsmanager_version v WHERE secret = ?1 AND id > ?2 AND (?3 OR EXISTS (
                       SELECT 1 FROM secretsmanager_stage s WHERE s.secret = v.secret AND s.version = v.id))
                   ORDER BY id LIMIT ?4";
        let mut all = t.prepare_cached(sql)?;
        let bounds = (
            &secret.arn,
            page.after().unwrap_or_default(),
            input.include_deprecated,
            page.fetch(),
        );
        let rows = all.query_map(bounds, |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        let (rows, next_token) = page.finish(
            rows.collect::<Result<Vec<_>, _>>()?,
            |row: &(String, Timestamp)| row.0.clone(),
        );
        let versions = rows.into_iter().map(|(version_id, created_date)| Version {
            version_stages: stages.remove(&version_id).unwrap_or_default(),
            version_id,
            created_date,
        });
        Ok(VersionsOutput {
            versions: versions.collect(),
            arn: secret.arn,
            name: secret.name,
            next_token,
        })
    };
    context.database().read(read_list).await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchInput {
    secret_id_list: Option<Vec<String>>,
    filters: Option<Vec<Filter>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchOutput {
    secret_values: Vec<GetOutput>,
    errors: Vec<BatchError>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchError {
    secret_id: String,
    error_code: String,
    message: String,
}

async fn batch_get(context: Context, input: BatchInput) -> Result<BatchOutput, ApiError> {
    let ids = match (input.secret_id_list, input.filters) {
        (Some(ids), None) if (1..=20).contains(&ids.len()) => ids,
        (_, Some(_)) => {
            return Err(ApiError::invalid(
                "greengrass-cloud does not serve the member 'Filters' here; give 'SecretIdList'",
            ));
        }
        _ => return Err(ApiError::invalid("'SecretIdList' has 1 to 20 items")),
    };
    let call = context.clone();
    let read_all = move |t: &Transaction<'_>| {
        let mut output = BatchOutput {
            secret_values: Vec::new(),
            errors: Vec::new(),
        };
        for id in ids {
            let value = find_live(t, &call, &id)
                .and_then(|secret| versions::value_of(t, &secret, None, None));
            match value {
                Ok(value) => output.secret_values.push(value),
                Err(ApiError::Internal(cause)) => return Err(ApiError::Internal(cause)),
                Err(error) => {
                    let (error_code, message) = match error {
                        ApiError::Refused(refusal) => (refusal.code.into_owned(), refusal.message),
                        other => ("AccessDeniedException".to_owned(), other.to_string()),
                    };
                    output.errors.push(BatchError {
                        secret_id: id,
                        error_code,
                        message,
                    });
                }
            }
        }
        Ok(output)
    };
    context.database().write(read_all).await
}
