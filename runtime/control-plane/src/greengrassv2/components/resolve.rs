//! Which version of a component a device gets: the highest that satisfies all requirements and has a manifest for its
//! platform, or the one that it has already when that will do.

use super::table::{Component, DEPLOYABLE, order};
use crate::{
    greengrassv2::names::{Kind, invalid_field, not_found},
    http::{ApiError, Blob, Context},
    state::Account,
};
use model::{Platform, Recipe, Version, VersionRequirement};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a device is, and what it wants.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    #[serde(default)]
    platform: AskedPlatform,
    component_candidates: Option<Vec<Candidate>>,
}

#[derive(Debug, Default, Deserialize)]
struct AskedPlatform {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// A component that a device wants.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    component_name: Option<String>,
    component_version: Option<String>,
    #[serde(default)]
    version_requirements: BTreeMap<String, String>,
}

/// A version that fits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resolved {
    arn: String,
    component_name: String,
    component_version: String,
    recipe: Blob,
    vendor_guidance: &'static str,
    message: &'static str,
}

/// What a device gets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    resolved_component_versions: Vec<Resolved>,
}

pub(super) async fn operation(context: Context, input: Request) -> Result<Answer, ApiError> {
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| resolve(t, &account, &input))
        .await
}

/// Answers a request.
pub fn resolve(
    t: &Transaction<'_>,
    account: &Account,
    request: &Request,
) -> Result<Answer, ApiError> {
    let candidates = request.component_candidates.as_deref().unwrap_or_default();
    if candidates.is_empty() {
        return Err(invalid_field(
            "componentCandidates",
            "There must be at least one component candidate",
        ));
    }
    let mut platform = Platform::default();
    for (name, value) in &request.platform.attributes {
        platform.set(name, value);
    }
    let resolved = candidates
        .iter()
        .map(|candidate| one(t, account, &platform, candidate));
    Ok(Answer {
        resolved_component_versions: resolved.collect::<Result<_, _>>()?,
    })
}

fn one(
    t: &Transaction<'_>,
    account: &Account,
    platform: &Platform,
    candidate: &Candidate,
) -> Result<Resolved, ApiError> {
    let name = candidate.component_name.as_deref().ok_or_else(|| {
        invalid_field(
            "componentCandidates",
            "A component candidate has no componentName",
        )
    })?;
    let mut requirements = Vec::new();
    for text in candidate.version_requirements.values() {
        let read = text.parse::<VersionRequirement>();
        requirements
            .push(read.map_err(|error| invalid_field("versionRequirements", error.to_string()))?);
    }
    let mut fitting = Component::versions(t, name)?;
    fitting.retain(|c| {
        let version = c.version.parse::<Version>();
        c.state == DEPLOYABLE
            && version.is_ok_and(|v| VersionRequirement::all_match(&requirements, &v))
    });
    if fitting.is_empty() {
        let wanted = requirements.iter().map(VersionRequirement::as_str);
        let wanted: Vec<&str> = wanted.collect();
        return Err(not_found(
            Kind::Component,
            name,
            format!(
                "Component {name} has no usable version satisfying requirements {}",
                wanted.join(" ")
            ),
        ));
    }
    if let Some(had) = &candidate.component_version {
        // A stable sort: what the device has goes first, the rest keep their order.
        fitting.sort_by_key(|c| order(&c.version, had).is_ne());
    }
    for component in fitting {
        let Ok(parsed) = Recipe::parse(&component.recipe, "recipe") else {
            continue;
        };
        if parsed.recipe.select(platform).is_ok() {
            return Ok(Resolved {
                arn: component.arn(account),
                component_name: component.name,
                component_version: component.version,
                recipe: Blob(component.recipe.into_bytes()),
                vendor_guidance: "ACTIVE",
                message: "",
            });
        }
    }
    let claimed: Vec<String> = platform
        .attributes()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Err(not_found(
        Kind::Component,
        name,
        format!(
            "The latest version of Component {name} doesn't claim platform {{{}}} compatibility",
            claimed.join(", ")
        ),
    ))
}
