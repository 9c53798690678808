//! Looking at components, and deleting them.

use super::{
    table::{Component, Platform},
    yaml,
};
use crate::{
    greengrassv2::{
        names::{Kind, component_arn, component_of, not_found, version_of},
        tags::{self, Tags},
    },
    http::{ApiError, Blob, Context, Empty, Operation, Page, Timestamp, validate},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "DescribeComponent",
            "GET /greengrass/v2/components/{arn}/metadata",
            describe,
        )
        .checks_access(),
        Operation::new("GetComponent", "GET /greengrass/v2/components/{arn}", get).checks_access(),
        Operation::new(
            "DeleteComponent",
            "DELETE /greengrass/v2/components/{arn}",
            delete,
        )
        .status(204)
        .checks_access(),
        Operation::new("ListComponents", "GET /greengrass/v2/components", list),
        Operation::new(
            "ListComponentVersions",
            "GET /greengrass/v2/components/{arn}/versions",
            list_versions,
        )
        .checks_access(),
    ]
}

#[derive(Deserialize)]
struct Named {
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    arn: String,
    component_name: String,
    component_version: String,
    creation_timestamp: Timestamp,
    publisher: Option<String>,
    description: Option<String>,
    status: Value,
    platforms: Vec<Platform>,
    tags: Tags,
}

async fn describe(context: Context, input: Named) -> Result<Described, ApiError> {
    context.allow(&input.arn)?;
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let (name, version) = version_of(&account, &input.arn)?;
            let component = Component::get(t, &account, name, version)?;
            Ok(Described {
                status: component.status(),
                tags: tags::of(t, &input.arn)?,
                arn: input.arn,
                component_name: component.name,
                component_version: component.version,
                creation_timestamp: component.created,
                publisher: component.publisher,
                description: component.description,
                platforms: component.platforms,
            })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetInput {
    arn: String,
    recipe_output_format: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetOutput {
    recipe_output_format: String,
    recipe: Blob,
    tags: Tags,
}

async fn get(context: Context, input: GetInput) -> Result<GetOutput, ApiError> {
    context.allow(&input.arn)?;
    if let Some(format) = &input.recipe_output_format {
        validate::one_of("recipeOutputFormat", format, &["JSON", "YAML"])?;
    }
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let (name, version) = version_of(&account, &input.arn)?;
            let component = Component::get(t, &account, name, version)?;
            let format = input.recipe_output_format.unwrap_or(component.format);
            let recipe: Value = serde_json::from_str(&component.recipe)?;
            let text = match format.as_str() {
                "YAML" => yaml::write(&recipe),
                _ => serde_json::to_string_pretty(&recipe)?,
            };
            Ok(GetOutput {
                recipe_output_format: format,
                recipe: Blob(text.into_bytes()),
                tags: tags::of(t, &input.arn)?,
            })
        })
        .await
}

async fn delete(context: Context, input: Named) -> Result<Empty, ApiError> {
    context.allow(&input.arn)?;
    let account = context.state.account.clone();
    context
        .database()
        .write(move |t| {
            let (name, version) = version_of(&account, &input.arn)?;
            Component::get(t, &account, name, version)?;
            t.execute(
                "DELETE FROM gg_component WHERE name = ?1 AND version = ?2",
                [name, version],
            )?;
            tags::clear(t, &input.arn)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    scope: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Latest {
    arn: String,
    component_version: String,
    creation_timestamp: Timestamp,
    description: Option<String>,
    publisher: Option<String>,
    platforms: Vec<Platform>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    arn: String,
    component_name: String,
    latest_version: Latest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    components: Vec<Listed>,
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let scope = input.scope.unwrap_or_else(|| "PRIVATE".to_owned());
    validate::one_of("scope", &scope, &["PRIVATE", "PUBLIC"])?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        &*scope,
    )?;
    if scope == "PUBLIC" {
        // Components that AWS publishes are AWS': what is here was put here.
        return Ok(ListOutput {
            components: Vec::new(),
            next_token: None,
        });
    }
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let names = Component::names(t, page.after(), page.fetch())?;
            let (names, next_token) = page.finish(names, String::clone);
            let mut components = Vec::new();
            for name in names {
                let Some(latest) = Component::versions(t, &name)?.into_iter().next() else {
                    continue;
                };
                components.push(Listed {
                    arn: component_arn(&account, &name, None),
                    component_name: name,
                    latest_version: Latest {
                        arn: latest.arn(&account),
                        component_version: latest.version,
                        creation_timestamp: latest.created,
                        description: latest.description,
                        publisher: latest.publisher,
                        platforms: latest.platforms,
                    },
                });
            }
            Ok(ListOutput {
                components,
                next_token,
            })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionsInput {
    arn: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionListed {
    component_name: String,
    component_version: String,
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionsOutput {
    component_versions: Vec<VersionListed>,
    next_token: Option<String>,
}

async fn list_versions(context: Context, input: VersionsInput) -> Result<VersionsOutput, ApiError> {
    context.allow(&input.arn)?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        &*input.arn,
    )?;
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let (name, _) = component_of(&account, &input.arn)?;
            let mut versions = Component::versions(t, name)?;
            if versions.is_empty() {
                return Err(not_found(
                    Kind::Component,
                    &input.arn,
                    format!("Component {} does not exist.", input.arn),
                ));
            }
            if let Some(after) = page.after() {
                versions.retain(|c| super::table::order(&c.version, after).is_lt());
            }
            let (versions, next_token) = page.finish(versions, |c| c.version.clone());
            let listed = |c: Component| VersionListed {
                arn: c.arn(&account),
                component_name: c.name,
                component_version: c.version,
            };
            Ok(VersionsOutput {
                component_versions: versions.into_iter().map(listed).collect(),
                next_token,
            })
        })
        .await
}
