//! Links by which a component's artifacts are read for a while.

use super::{artifacts, table::Component};
use crate::{
    greengrassv2::names::{Kind, not_found, version_of},
    http::{ApiError, Context, validate},
    s3,
    state::State,
};
use model::Recipe;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// How long a link is good.
const GOOD_FOR: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Input {
    arn: String,
    artifact_name: String,
    s3_endpoint_type: Option<String>,
}

/// A link.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pre_signed_url: String,
}

pub(super) async fn get(context: Context, input: Input) -> Result<Output, ApiError> {
    context.allow(&input.arn)?;
    if let Some(kind) = &input.s3_endpoint_type {
        validate::one_of("s3EndpointType", kind, &["REGIONAL", "GLOBAL"])?;
    }
    let base = base_for(&context);
    link(&context.state, &base, input.arn, input.artifact_name).await
}

/// The front that the caller has reached us by: it can reach that again.
fn base_for(context: &Context) -> String {
    let endpoints = context.state.endpoints.load();
    let host = context.headers().get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let plain = endpoints.http.map(|http| http.port());
    match host {
        Some(host) => {
            let port = host
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let scheme = if plain.is_some() && port == plain {
                "http"
            } else {
                "https"
            };
            format!("{scheme}://{host}")
        }
        None => endpoints.url().unwrap_or_default(),
    }
}

/// A link to the artifact of a name. The name is the end of the artifact's URI: its file name, or more of its path.
pub async fn link(
    state: &Arc<State>,
    base: &str,
    arn: String,
    name: String,
) -> Result<Output, ApiError> {
    let account = state.account.clone();
    let (bucket, key) = state
        .database
        .read(move |t| {
            let (component, version) = version_of(&account, &arn)?;
            let component = Component::get(t, &account, component, version)?;
            let missing = || {
                not_found(
                    Kind::Artifact,
                    &name,
                    format!("Component {arn} has no artifact {name}"),
                )
            };
            let parsed = Recipe::parse(&component.recipe, "recipe").map_err(ApiError::internal)?;
            let artifacts = parsed.recipe.manifests.iter().flat_map(|m| &m.artifacts);
            let mut places = artifacts.filter_map(|a| artifacts::place(&a.uri));
            let (bucket, key) = places
                .find(|(bucket, key)| ends_with(bucket, key, &name))
                .ok_or_else(missing)?;
            s3::find_object(t, bucket, key)?.ok_or_else(missing)?;
            Ok::<_, ApiError>((bucket.to_owned(), key.to_owned()))
        })
        .await?;
    Ok(Output {
        pre_signed_url: s3::link(state, base, &bucket, &key, GOOD_FOR),
    })
}

fn ends_with(bucket: &str, key: &str, name: &str) -> bool {
    let whole = format!("/{bucket}/{key}");
    whole.ends_with(&format!("/{}", name.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_end_of_a_path_by_whole_parts() {
        for name in ["x.zip", "a/x.zip", "b/a/x.zip"] {
            assert!(ends_with("b", "a/x.zip", name), "{name}");
        }
        for name in ["zip", "c/x.zip", "xx.zip", "a"] {
            assert!(!ends_with("b", "a/x.zip", name), "{name}");
        }
    }
}
