//! Where devices find what.

use crate::http::{ApiError, Context, Operation, validate};
use serde::{Deserialize, Serialize};

/// The operation.
pub fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "DescribeEndpoint",
        "GET /endpoint",
        describe,
    )]
}

const TYPES: &[&str] = &[
    "iot:Data",
    "iot:Data-ATS",
    "iot:Data-Beta",
    "iot:CredentialProvider",
    "iot:Jobs",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    endpoint_type: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    endpoint_address: String,
}

/// The name alone, as AWS answers: the ports are the well-known ones, or those that this program printed.
async fn describe(context: Context, input: Input) -> Result<Output, ApiError> {
    let kind = input.endpoint_type.unwrap_or_else(|| "iot:Data".into());
    validate::one_of("endpointType", &kind, TYPES)?;
    Ok(Output {
        endpoint_address: context.state.endpoints.load().host.clone(),
    })
}
