//! HTTPS with mutual TLS: what devices ask for besides MQTT. A certificate that is not registered and active gets 403.
//!
//! ```text
//! GET  /role-aliases/<alias>/credentials        the credentials provider
//! POST /topics/<topic>?qos=1                    publish
//! *    /greengrass/…                            Greengrass' data plane and discovery (crate::greengrassv2::plane)
//! ```

use super::{credentials, messages};
use crate::{
    http::{ApiError, Body, reply, server},
    iot::registry::Principal,
    state::State,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use mqtt::{Identity, engine::Peer, front::Stream};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The largest request.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A device that has proven who it is.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its certificate, with things and policies.
    pub principal: Arc<Principal>,
    /// As policies look at it; the client id is the name of its thing, if it has one.
    pub identity: Identity,
}

/// A request with its body.
#[derive(Debug)]
pub struct Call {
    /// Method, path, headers.
    pub parts: Parts,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// The path's segments, decoded after they were split.
    pub fn segments(&self) -> Vec<String> {
        let path = self.parts.uri.path().trim_start_matches('/');
        let decode = |segment: &str| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8_lossy()
                .into_owned()
        };
        path.split('/').map(decode).collect()
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

/// Serves one connection to its end.
pub async fn connection(state: Arc<State>, stream: Stream, peer: Peer, stop: CancellationToken) {
    let peer = Arc::new(peer);
    let handle = move |request: Request<Incoming>| {
        let (state, peer) = (Arc::clone(&state), Arc::clone(&peer));
        async move { answer(&state, &peer, request).await }
    };
    server::connection(stream, handle, stop).await;
}

/// An answer of JSON.
pub fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    reply::plain(status, "application/json", value.to_string())
}

/// A refusal, as the services of devices write it.
pub fn refused(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    let mut response = json_answer(status, &json!({ "message": message }));
    response
        .headers_mut()
        .insert("x-amzn-errortype", http::HeaderValue::from_static(code));
    response
}

/// What an operation's failure is on this side.
pub fn failed(error: ApiError) -> Response<Body> {
    match error {
        ApiError::Refused(refusal) => {
            let mut response = json_answer(refusal.status, &json!({ "message": refusal.message }));
            if let Ok(code) = http::HeaderValue::from_str(&refusal.code) {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            response
        }
        ApiError::Invalid(message) => {
            refused(StatusCode::BAD_REQUEST, "ValidationException", &message)
        }
        ApiError::BadToken => refused(
            StatusCode::BAD_REQUEST,
            "ValidationException",
            "The token is not valid",
        ),
        ApiError::Denied(message) => {
            refused(StatusCode::FORBIDDEN, "AccessDeniedException", &message)
        }
        ApiError::Internal(cause) => {
            log::error!("a device's request failed: {cause}");
            refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerException",
                "Internal server error",
            )
        }
    }
}

async fn answer(state: &Arc<State>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let device = match device(state, peer).await {
        Ok(Some(device)) => device,
        Ok(None) => {
            return refused(
                StatusCode::FORBIDDEN,
                "ForbiddenException",
                "The certificate is not registered and active",
            );
        }
        Err(error) => return failed(error),
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            "The request is too large, or was cut off",
        );
    };
    let call = Call {
        parts,
        body: body.to_bytes(),
    };
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let response = match (&call.parts.method, segments.as_slice()) {
        (&Method::GET, ["role-aliases", alias, "credentials"]) => {
            credentials::answer(state, &device, alias, &call).await
        }
        (&Method::POST, ["topics", topic @ ..]) => {
            messages::by_device(state, &device, &topic.join("/"), &call).await
        }
        (_, ["greengrass", ..]) => crate::greengrassv2::plane::answer(state, &device, &call).await,
        _ => Ok(refused(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            "There is nothing here",
        )),
    };
    let response = response.unwrap_or_else(failed);
    log::debug!(method = call.parts.method.as_str(), path = call.parts.uri.path(), status = response.status().as_u16(), certificate = device.principal.id.as_str(); "device");
    response
}

async fn device(state: &State, peer: &Peer) -> Result<Option<Device>, ApiError> {
    let Some(certificate) = &peer.certificate else {
        return Ok(None);
    };
    let principal = state.registry.load(&certificate.fingerprint).await?;
    let principal = principal.filter(|principal| principal.active());
    Ok(principal.map(|principal| {
        let thing = match principal.things.len() {
            1 => principal.things.keys().next().cloned(),
            _ => None,
        };
        Device {
            identity: Identity {
                address: peer.address,
                certificate: Some(Arc::clone(certificate)),
                client_id: thing.unwrap_or_default().into(),
                username: None,
            },
            principal,
        }
    }))
}
