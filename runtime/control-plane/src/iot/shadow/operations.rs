//! The operations of the service `iot-data` that are about shadows. Bodies are the documents themselves.

use super::Failure;
use crate::{
    http::{ApiError, Context, Operation, Page, Payload, Timestamp, validate},
    iot::registry::names,
};
use http::StatusCode;
use model::shadow::{ShadowError, Update};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::payload("GetThingShadow", "GET /things/{thingName}/shadow", get),
        Operation::payload(
            "UpdateThingShadow",
            "POST /things/{thingName}/shadow",
            update,
        )
        .raw_input(),
        Operation::payload(
            "DeleteThingShadow",
            "DELETE /things/{thingName}/shadow",
            delete,
        ),
        Operation::new(
            "ListNamedShadowsForThing",
            "GET /api/things/shadow/ListNamedShadowsForThing/{thingName}",
            list,
        ),
    ]
}

#[derive(Deserialize)]
struct Input {
    #[serde(rename = "thingName")]
    thing: String,
    name: Option<String>,
}

impl Input {
    fn check(self) -> Result<(String, String), ApiError> {
        names::resource("thingName", &self.thing)?;
        let name = self.name.unwrap_or_default();
        if !name.is_empty() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '$');
            validate::name("shadowName", &name, 1..=64, allowed, "[$a-zA-Z0-9:_-]+")?;
        }
        Ok((self.thing, name))
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Api(error) => return error,
            Failure::Refused(error) => error,
        };
        let (status, code) = match error {
            ShadowError::VersionConflict => (StatusCode::CONFLICT, "ConflictException"),
            ShadowError::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
            ),
            ShadowError::NotFound(_) => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
            _ => (StatusCode::BAD_REQUEST, "InvalidRequestException"),
        };
        Self::new(status, code, error.to_string())
    }
}

fn document(value: &Value) -> Payload {
    Payload {
        body: value.to_string().into(),
        content_type: Some("application/json"),
        ..Payload::default()
    }
}

async fn get(context: Context, input: Input) -> Result<Payload, ApiError> {
    let (thing, name) = input.check()?;
    Ok(document(&context.state.shadows.get(&thing, &name).await?))
}

async fn update(context: Context, input: Input) -> Result<Payload, ApiError> {
    let (thing, name) = input.check()?;
    let update = Update::parse(&context.body()).map_err(Failure::from)?;
    Ok(document(
        &context.state.shadows.update(&thing, &name, update).await?,
    ))
}

async fn delete(context: Context, input: Input) -> Result<Payload, ApiError> {
    let (thing, name) = input.check()?;
    Ok(document(
        &context.state.shadows.delete(&thing, &name).await?,
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    thing_name: String,
    next_token: Option<String>,
    page_size: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    results: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    timestamp: i64,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    let page = Page::of(
        &context,
        input.page_size,
        1..=100,
        25,
        input.next_token.as_deref(),
        &input.thing_name,
    )?;
    let after = page.after().unwrap_or_default().to_owned();
    let found = context
        .state
        .shadows
        .names(&input.thing_name, after, page.fetch())
        .await?;
    let (results, next_token) = page.finish(found, Clone::clone);
    Ok(ListOutput {
        results,
        next_token,
        timestamp: Timestamp::now().millis() / 1000,
    })
}
