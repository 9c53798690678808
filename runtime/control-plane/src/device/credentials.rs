//! The credentials provider: a device shows its certificate and gets a role's short-lived keys.

use super::{
    access,
    https::{Call, Device, json_answer, refused},
};
use crate::{
    http::{ApiError, Body},
    iot::{policy, registry::aliases::RoleAlias},
    state::{
        State,
        keys::{Credentials, Request, Trusted},
    },
};
use http::{Response, StatusCode};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Who asks for roles on behalf of devices; trust policies name it.
const SERVICE: &str = "credentials.iot.amazonaws.com";

/// `GET /role-aliases/<alias>/credentials`, with the thing's name in `x-amzn-iot-thingname`.
pub async fn answer(
    state: &Arc<State>,
    device: &Device,
    alias: &str,
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    let mut identity = device.identity.clone();
    if let Some(thing) = call.header("x-amzn-iot-thingname") {
        if !device.principal.things.contains_key(thing) {
            return Ok(refused(
                StatusCode::BAD_REQUEST,
                "InvalidRequestException",
                "Invalid thing name passed",
            ));
        }
        identity.client_id = thing.into();
    }
    let facts = access::facts(&device.principal, &identity);
    let arn = state.account.arn("iot", &format!("rolealias/{alias}"));
    let documents = access::documents(&device.principal, &identity.client_id);
    if !policy::allows(documents, "iot:AssumeRoleWithCertificate", &arn, &facts) {
        return Ok(refused(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "Access Denied",
        ));
    }
    let name = alias.to_owned();
    let Some(found) = state
        .database
        .read(move |t| RoleAlias::find(t, &name))
        .await?
    else {
        return Ok(refused(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            "Role alias does not exist",
        ));
    };
    let request = Request {
        role: found.role_arn,
        session: device.principal.id.clone(),
        lifetime: Duration::from_secs(u64::try_from(found.seconds).unwrap_or(3600)),
        policy: None,
        trusted: Trusted::Service(SERVICE),
    };
    let keys = match Credentials::issue(state, request).await {
        Ok(keys) => keys,
        Err(ApiError::Denied(_)) => {
            return Ok(refused(
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                "Unable to assume the role: it does not exist, or does not trust the credentials provider",
            ));
        }
        Err(error) => return Err(error),
    };
    Ok(json_answer(
        StatusCode::OK,
        &json!({ "credentials": {
            "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key.reveal(),
            "sessionToken": keys.session_token.reveal(),
            "expiration": keys.expiration.iso(),
        }}),
    ))
}
