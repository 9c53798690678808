//! Answers on the wire, as each protocol writes them.

use super::{
    ApiError, Protocol,
    service::{ErrorNames, Output, Service},
    xml,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::{Map, Value, json};

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The request's id, under the name that the SDKs look for.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The names for errors of requests that fit no service.
pub const NO_SERVICE: ErrorNames = ErrorNames {
    invalid: "ValidationException",
    bad_token: "ValidationException",
    internal: "InternalFailure",
    denied: "AccessDeniedException",
};

/// A body of bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer of bytes.
pub fn plain(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Json { .. } => "application/x-amz-json-1.1",
        _ => "application/json",
    }
}

/// A success.
pub fn success(
    service: &Service,
    operation: &str,
    status: StatusCode,
    output: Output,
    id: &str,
) -> Response<Body> {
    let value = match output {
        Output::Payload(payload) => {
            let mut response = Response::new(full(payload.body));
            *response.status_mut() = status;
            *response.headers_mut() = payload.headers;
            if let Some(content_type) = payload.content_type {
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            return response;
        }
        Output::Value(Value::Null) => json!({}),
        Output::Value(value) => value,
    };
    if let Protocol::Query { namespace } = service.protocol {
        let mut out = format!("<{operation}Response xmlns=\"{namespace}\">");
        let empty = value.as_object().is_some_and(Map::is_empty);
        if !empty {
            xml::element(&mut out, &format!("{operation}Result"), &value);
        }
        out.push_str(&format!(
            "<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
        ));
        return plain(status, "text/xml", out);
    }
    if status == StatusCode::NO_CONTENT {
        let mut response = Response::new(full(Bytes::new()));
        *response.status_mut() = status;
        return response;
    }
    plain(
        status,
        json_type(service.protocol),
        without_nulls(value).to_string(),
    )
}

/// Members that are absent are left out, at every depth that is ours: an output type need not say so on each of them.
/// Values that users gave are text on the wire, so nothing of theirs is touched.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, member)| !member.is_null());
            Value::Object(
                kept.map(|(name, member)| (name, without_nulls(member)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// An error, and the code it was given, for the log.
pub fn failure(
    protocol: Protocol,
    names: &ErrorNames,
    error: ApiError,
    id: &str,
) -> (Response<Body>, String) {
    let (status, code, message, members) = match error {
        ApiError::Refused(refusal) => {
            let refusal = *refusal;
            (
                refusal.status,
                refusal.code.into_owned(),
                refusal.message,
                refusal.members,
            )
        }
        ApiError::Invalid(text) => (
            StatusCode::BAD_REQUEST,
            names.invalid.into(),
            text,
            Map::new(),
        ),
        ApiError::BadToken => (
            StatusCode::BAD_REQUEST,
            names.bad_token.into(),
            "The pagination token is not valid for this request.".into(),
            Map::new(),
        ),
        ApiError::Denied(text) => (StatusCode::FORBIDDEN, names.denied.into(), text, Map::new()),
        ApiError::Internal(cause) => {
            log::error!(request = id; "an operation failed: {cause}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                names.internal.into(),
                "An internal error occurred; the log of greengrass-cloud has its cause under this request's id.".into(),
                Map::new(),
            )
        }
    };
    let response = match protocol {
        Protocol::Query { namespace } => {
            let side = if status.is_server_error() {
                "Receiver"
            } else {
                "Sender"
            };
            let mut out = format!(
                "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{side}</Type><Code>{code}</Code><Message>"
            );
            xml::text(&mut out, &message);
            out.push_str(&format!(
                "</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
            ));
            plain(status, "text/xml", out)
        }
        _ => {
            let mut body = members;
            body.insert("message".into(), Value::String(message.clone()));
            if let Protocol::Json { .. } = protocol {
                // Services of this protocol disagree about the capital; clients read either.
                body.insert("Message".into(), Value::String(message));
                body.insert("__type".into(), Value::String(code.clone()));
            }
            plain(status, json_type(protocol), Value::Object(body).to_string())
        }
    };
    (with_code(response, &code), code)
}

fn with_code(mut response: Response<Body>, code: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(code) {
        response.headers_mut().insert(ERROR_TYPE, value);
    }
    response
}
