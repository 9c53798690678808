//! Making a component version of a recipe. The recipe is checked and its artifacts looked for before the answer; their
//! digests are computed afterwards, as large files take their time: until then the version is REQUESTED.

use super::{
    artifacts,
    table::{Component, DEPLOYABLE, FAILED, Platform, REQUESTED},
};
use crate::{
    greengrassv2::{
        names::{Kind, component_arn, conflict, invalid_field},
        tags::{self, Tags},
        token::Token,
    },
    http::{ApiError, Blob, Context, Timestamp},
    state::State,
};
use model::{Recipe, recipe::ComponentType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The largest recipe that Greengrass' cloud takes.
const MAX_RECIPE: usize = 16 * 1024;
/// The longest version.
const MAX_VERSION: usize = 64;
/// Small artifacts are done when the answer comes, so that a script which goes on at once finds them.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Input {
    inline_recipe: Option<Blob>,
    lambda_function: Option<Value>,
    #[serde(default)]
    tags: Tags,
    client_token: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    arn: String,
    component_name: String,
    component_version: String,
    creation_timestamp: Timestamp,
    status: Value,
}

pub(super) async fn create(context: Context, input: Input) -> Result<Output, ApiError> {
    let blob = match (input.inline_recipe, input.lambda_function) {
        (Some(blob), None) => blob,
        (None, Some(_)) => {
            return Err(invalid_field(
                "lambdaFunction",
                "greengrass-cloud has no Lambda functions to make components of: give an inlineRecipe, with the function's code as an artifact",
            ));
        }
        _ => {
            return Err(ApiError::invalid(
                "Exactly one of inlineRecipe and lambdaFunction must be given",
            ));
        }
    };
    let (recipe, format) = read(&blob.0)?;
    tags::check(&input.tags)?;
    let name = recipe.name.to_string();
    let version = recipe.version.to_string();
    let account = context.state.account.clone();
    let arn = component_arn(&account, &name, Some(&version));
    context.allow(&arn)?;
    let token = Token::new(
        "CreateComponentVersion",
        input.client_token,
        &(&blob, &input.tags),
    )?;
    let component = Component {
        name: name.clone(),
        version: version.clone(),
        recipe: recipe.to_json().to_string(),
        format: format.to_owned(),
        publisher: recipe.publisher.clone(),
        description: recipe.description.clone(),
        platforms: platforms(&recipe),
        state: REQUESTED.to_owned(),
        message: "NONE".to_owned(),
        errors: BTreeMap::new(),
        created: Timestamp::now(),
    };
    let tags = input.tags;
    let (output, made) = context
        .database()
        .write(move |t| {
            if let Some(answer) = token.answered::<Output>(t)? {
                return Ok((answer, None));
            }
            if let Some(there) = Component::find(t, &component.name, &component.version)? {
                return Err(conflict(
                    Kind::Component,
                    &arn,
                    format!(
                        "Component [{} : {}] for account [{}] already exists with state: [{}]",
                        component.name, component.version, account.id, there.state
                    ),
                ));
            }
            let (_, errors) = artifacts::look(t, &recipe)?;
            if !errors.is_empty() {
                let list: Vec<String> = errors
                    .iter()
                    .map(|(uri, e)| format!("{uri} = {e}"))
                    .collect();
                return Err(invalid_field(
                    "inlineRecipe",
                    format!(
                        "Invalid Input: Encountered following errors in Artifacts: {{{}}}",
                        list.join(", ")
                    ),
                ));
            }
            component.insert(t)?;
            tags::put(t, &arn, &tags)?;
            let output = Output {
                status: component.status(),
                arn,
                component_name: name,
                component_version: version,
                creation_timestamp: component.created,
            };
            token.keep(t, &output)?;
            Ok((output, Some(component)))
        })
        .await?;
    if let Some(component) = made {
        let task = tokio::spawn(finish(Arc::clone(&context.state), component));
        // It goes on when this is not waited for to the end.
        let _ = tokio::time::timeout(PATIENCE, task).await;
    }
    Ok(output)
}

/// Reads and checks a recipe; and how it is written.
fn read(bytes: &[u8]) -> Result<(Recipe, &'static str), ApiError> {
    if bytes.len() > MAX_RECIPE {
        return Err(invalid_field(
            "inlineRecipe",
            format!(
                "The recipe has {} bytes; at most {MAX_RECIPE} are allowed",
                bytes.len()
            ),
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| invalid_field("inlineRecipe", "The recipe is not UTF-8 text"))?;
    let parsed = Recipe::parse(text, "recipe")
        .map_err(|errors| invalid_field("inlineRecipe", format!("Invalid Input: {errors}")))?;
    let recipe = parsed.recipe;
    if recipe.version.to_string().len() > MAX_VERSION {
        return Err(invalid_field(
            "inlineRecipe",
            format!("The version may have at most {MAX_VERSION} characters"),
        ));
    }
    if recipe.component_type == ComponentType::Lambda {
        return Err(invalid_field(
            "inlineRecipe",
            "A component of the type aws.greengrass.lambda is made of a Lambda function, not of a recipe",
        ));
    }
    let format = if text.trim_start().starts_with('{') {
        "JSON"
    } else {
        "YAML"
    };
    Ok((recipe, format))
}

fn platforms(recipe: &Recipe) -> Vec<Platform> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let platform = |manifest: &model::recipe::Manifest| Platform {
        name: manifest.name.clone(),
        attributes: manifest.platform.terms().into_iter().map(own).collect(),
    };
    recipe.manifests.iter().map(platform).collect()
}

/// Computes digests; then the version is deployable, or has failed.
pub async fn finish(state: Arc<State>, mut component: Component) {
    match looked_at(&state, &component).await {
        Ok((recipe, errors)) if errors.is_empty() => {
            component.recipe = recipe;
            DEPLOYABLE.clone_into(&mut component.state);
            "NONE".clone_into(&mut component.message);
        }
        Ok((_, errors)) => {
            FAILED.clone_into(&mut component.state);
            component.message = "Artifacts cannot be read".to_owned();
            component.errors = errors;
        }
        Err(error) => {
            log::error!(component = component.name.as_str(), version = component.version.as_str(); "making a component: {error}");
            FAILED.clone_into(&mut component.state);
            component.message =
                "An internal error occurred; the log of greengrass-cloud has its cause".to_owned();
        }
    }
    log::info!(component = component.name.as_str(), version = component.version.as_str(), state = component.state.as_str(); "component");
    let saved = state.database.write(move |t| component.settle(t)).await;
    if let Err(error) = saved {
        // The next start tries again.
        log::error!("saving a component's state: {error}");
    }
}

async fn looked_at(
    state: &Arc<State>,
    component: &Component,
) -> Result<(String, BTreeMap<String, String>), ApiError> {
    let parsed = Recipe::parse(&component.recipe, "recipe").map_err(ApiError::internal)?;
    let mut recipe = parsed.recipe;
    let looked = recipe.clone();
    let (objects, mut errors) = state
        .database
        .read(move |t| artifacts::look(t, &looked))
        .await?;
    let mut digests = BTreeMap::new();
    for (uri, object) in objects {
        match artifacts::digest(state, &object).await {
            Ok(digest) => {
                digests.insert(uri, digest);
            }
            Err(error) => {
                errors.insert(uri, format!("Reading the artifact failed: {error}"));
            }
        }
    }
    artifacts::fill(&mut recipe, &digests);
    Ok((recipe.to_json().to_string(), errors))
}

/// Goes on with the versions that an earlier run of the program has not finished.
pub async fn resume(state: &Arc<State>) -> Result<(), ApiError> {
    for component in state.database.read(Component::unfinished).await? {
        finish(Arc::clone(state), component).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_refused_with_all_that_is_wrong_with_it() {
        let error =
            read(b"RecipeFormatVersion: '2020-01-25'\nComponentName: a b\nComponentVersion: x\n")
                .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("ComponentName") && text.contains("ComponentVersion"),
            "{text}"
        );
        let large = vec![b' '; MAX_RECIPE + 1];
        assert!(read(&large).unwrap_err().to_string().contains("16384"));
        assert!(read(b"\xff\xfe").unwrap_err().to_string().contains("UTF-8"));
    }
}
