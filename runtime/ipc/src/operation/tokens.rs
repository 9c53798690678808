//! ValidateAuthorizationToken: the stream manager asks whether the token its own client shows belongs to a component.

use super::{Operation, required};
use crate::{
    fault::{Class, Fault},
    server::Session,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who may ask. Anyone else could try tokens until one fits.
const ASKERS: &[&str] = &["aws.greengrass.StreamManager"];

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Request {
    token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    is_valid: bool,
}

pub(super) async fn validate(
    session: Arc<Session>,
    operation: Operation,
    request: Request,
) -> Result<Response, Fault> {
    let principal = &session.principal;
    let may = principal
        .component()
        .is_some_and(|name| ASKERS.contains(&name.as_str()));
    if !may {
        let message = format!(
            "{principal} is not authorized to perform {}",
            operation.name()
        );
        return Err(Fault::unauthorized(message));
    }
    let token = required(operation, "token", request.token)?;
    if session.shared.ports.identity.is_valid(&token).await {
        Ok(Response { is_valid: true })
    } else {
        Err(Fault::new(
            Class::InvalidToken,
            "the token belongs to no component",
        ))
    }
}
