//! The operations of `iot-data` about messages and connections, and publishing over HTTPS.

use super::{
    access,
    https::{Call, Device, json_answer, refused},
};
use crate::{
    http::{ApiError, Blob, Body, Context, Empty, Operation, Page, Timestamp, validate},
    iot::policy,
    state::State,
};
use bytes::Bytes;
use bytestring::ByteString;
use http::{Response, StatusCode};
use mqtt::{
    Message, Properties, QoS,
    engine::{Engine, PublishError},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("Publish", "POST /topics/{topic}", publish).raw_input(),
        Operation::new(
            "GetRetainedMessage",
            "GET /retainedMessage/{topic}",
            get_retained,
        ),
        Operation::new(
            "ListRetainedMessages",
            "GET /retainedMessage",
            list_retained,
        ),
        Operation::new(
            "DeleteConnection",
            "DELETE /connections/{clientId}",
            delete_connection,
        ),
        Operation::new(
            "GetConnection",
            "GET /connections/{clientId}",
            get_connection,
        ),
    ]
}

/// The largest payload that AWS IoT takes.
const MAX_PAYLOAD: usize = 128 * 1024;

fn engine(context: &Context) -> Result<&Engine, ApiError> {
    context.state.engine.get().ok_or_else(unavailable)
}

fn unavailable() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ServiceUnavailableException",
        "Devices are not served yet",
    )
}

#[derive(Deserialize)]
struct PublishInput {
    topic: String,
    qos: Option<i64>,
    #[serde(default)]
    retain: bool,
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    #[serde(rename = "responseTopic")]
    response_topic: Option<String>,
    #[serde(rename = "messageExpiry")]
    message_expiry: Option<u64>,
    #[serde(rename = "x-amz-mqtt5-user-properties")]
    user_properties: Option<String>,
    #[serde(rename = "x-amz-mqtt5-payload-format-indicator")]
    payload_format: Option<String>,
    #[serde(rename = "x-amz-mqtt5-correlation-data")]
    correlation_data: Option<String>,
}

async fn publish(context: Context, input: PublishInput) -> Result<Empty, ApiError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    // Headers that begin with x-amz-mqtt5 are no members of the frame's making.
    let header = |name: &str| {
        context
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let user = input
        .user_properties
        .or_else(|| header("x-amz-mqtt5-user-properties"));
    let format = input
        .payload_format
        .or_else(|| header("x-amz-mqtt5-payload-format-indicator"));
    let correlation = input
        .correlation_data
        .or_else(|| header("x-amz-mqtt5-correlation-data"));
    let mut properties = Properties {
        content_type: input.content_type.map(ByteString::from),
        response_topic: input.response_topic.map(ByteString::from),
        ..Properties::default()
    };
    properties.payload_format = match format.as_deref() {
        None => None,
        Some("UNSPECIFIED_BYTES") => Some(0),
        Some("UTF8_DATA") => Some(1),
        Some(other) => {
            return validate::one_of(
                "payloadFormatIndicator",
                other,
                &["UNSPECIFIED_BYTES", "UTF8_DATA"],
            )
            .map(|()| Empty {});
        }
    };
    if let Some(correlation) = correlation {
        let bytes = STANDARD
            .decode(correlation)
            .map_err(|_| ApiError::invalid("correlationData is not base64"))?;
        properties.correlation_data = Some(bytes.into());
    }
    if let Some(user) = user {
        let text = STANDARD
            .decode(user)
            .map_err(|_| ApiError::invalid("userProperties is not base64"))?;
        let list = user_properties(&text).ok_or_else(|| {
            ApiError::invalid("userProperties must be a list of objects with one member each")
        })?;
        for (name, value) in list.into_iter().flatten() {
            let serde_json::Value::String(value) = value else {
                return Err(ApiError::invalid(
                    "userProperties must have texts as values",
                ));
            };
            properties.user.push((name.into(), value.into()));
        }
    }
    context.allow_action(
        "iot:Publish",
        &context.arn("iot", &format!("topic/{}", input.topic)),
    )?;
    let message = message(
        &input.topic,
        context.body(),
        input.qos,
        input.retain,
        properties,
        input.message_expiry,
    )?;
    send(engine(&context)?, message).await?;
    Ok(Empty {})
}

/// A list; tools that take it as text send it as a JSON string with the list in it.
fn user_properties(text: &[u8]) -> Option<Vec<serde_json::Map<String, serde_json::Value>>> {
    match serde_json::from_slice(text).ok()? {
        serde_json::Value::String(inner) => serde_json::from_str(&inner).ok(),
        list => serde_json::from_value(list).ok(),
    }
}

fn message(
    topic: &str,
    payload: Bytes,
    qos: Option<i64>,
    retain: bool,
    properties: Properties,
    expiry: Option<u64>,
) -> Result<Message, ApiError> {
    let qos = match qos.unwrap_or(0) {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        other => {
            return Err(ApiError::invalid(format!(
                "qos must be 0 or 1, not {other}"
            )));
        }
    };
    if payload.len() > MAX_PAYLOAD {
        return Err(ApiError::invalid(format!(
            "The payload may have at most {MAX_PAYLOAD} bytes"
        )));
    }
    let ours = access::OURS.iter().any(|own| topic.starts_with(own));
    if ours || topic.len() > 256 {
        return Err(ApiError::invalid(format!(
            "'{topic}' is no topic to publish to"
        )));
    }
    Ok(Message {
        topic: topic.into(),
        payload,
        qos,
        retain,
        expires: expiry.map(|seconds| {
            SystemTime::now() + Duration::from_secs(seconds.min(u64::from(u32::MAX)))
        }),
        properties: (properties != Properties::default()).then(|| Arc::new(properties)),
    })
}

async fn send(engine: &Engine, message: Message) -> Result<(), ApiError> {
    let topic = message.topic.clone();
    match engine.publish(message).await {
        Ok(()) => Ok(()),
        Err(PublishError::InvalidTopic) => Err(ApiError::invalid(format!(
            "'{topic}' is no topic to publish to"
        ))),
        Err(PublishError::Stopped) => Err(unavailable()),
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// `POST /topics/<topic>?qos=1` by a device.
pub async fn by_device(
    state: &Arc<State>,
    device: &Device,
    topic: &str,
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    let facts = access::facts(&device.principal, &device.identity);
    let resource = state.account.arn("iot", &format!("topic/{topic}"));
    let retain = call.query("retain").is_some_and(|retain| retain == "true");
    let may = |action| {
        let documents = access::documents(&device.principal, &device.identity.client_id);
        policy::allows(documents, action, &resource, &facts)
    };
    if !may("iot:Publish") || (retain && !may("iot:RetainPublish")) {
        return Ok(refused(
            StatusCode::FORBIDDEN,
            "ForbiddenException",
            "Forbidden",
        ));
    }
    let qos = call
        .query("qos")
        .map(|qos| {
            qos.parse()
                .map_err(|_| ApiError::invalid("qos must be 0 or 1"))
        })
        .transpose()?;
    let message = message(
        topic,
        call.body.clone(),
        qos,
        retain,
        Properties::default(),
        None,
    )?;
    let engine = state.engine.get().ok_or_else(unavailable)?;
    send(engine, message).await?;
    let answer =
        serde_json::json!({ "message": "OK", "traceId": uuid::Uuid::new_v4().to_string() });
    Ok(json_answer(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct TopicInput {
    topic: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetainedOutput {
    topic: String,
    payload: Blob,
    qos: u8,
    last_modified_time: i64,
}

async fn get_retained(context: Context, input: TopicInput) -> Result<RetainedOutput, ApiError> {
    if input.topic.contains(['+', '#']) {
        return Err(ApiError::invalid(format!(
            "'{}' is no topic name",
            input.topic
        )));
    }
    let page = engine(&context)?.retained(&input.topic, None, 1);
    let Some(message) = page.messages.into_iter().next() else {
        return Err(ApiError::not_found(format!(
            "There is no retained message on topic {}",
            input.topic
        )));
    };
    Ok(RetainedOutput {
        topic: message.topic.to_string(),
        payload: Blob(message.payload.to_vec()),
        qos: message.qos as u8,
        last_modified_time: Timestamp::now().millis(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    next_token: Option<String>,
    max_results: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RetainedTopic {
    topic: String,
    payload_size: usize,
    qos: u8,
    last_modified_time: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    retained_topics: Vec<RetainedTopic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_retained(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let page = Page::of(
        &context,
        input.max_results,
        1..=200,
        100,
        input.next_token.as_deref(),
        "",
    )?;
    let engine = engine(&context)?;
    let mut topics = Vec::new();
    let mut cursor = None;
    loop {
        let found = engine.retained("#", cursor, 1000);
        topics.extend(found.messages);
        cursor = found.next;
        if cursor.is_none() {
            break;
        }
    }
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    if let Some(after) = page.after() {
        topics.retain(|message| &*message.topic > after);
    }
    topics.truncate(usize::try_from(page.fetch()).unwrap_or(usize::MAX));
    let (topics, next_token) = page.finish(topics, |message| message.topic.to_string());
    let now = Timestamp::now().millis();
    let entry = |message: Message| RetainedTopic {
        topic: message.topic.to_string(),
        payload_size: message.payload.len(),
        qos: message.qos as u8,
        last_modified_time: now,
    };
    Ok(ListOutput {
        retained_topics: topics.into_iter().map(entry).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionInput {
    client_id: String,
    #[serde(default)]
    clean_session: bool,
    #[serde(default)]
    prevent_will_message: bool,
}

async fn delete_connection(context: Context, input: ConnectionInput) -> Result<Empty, ApiError> {
    let engine = engine(&context)?;
    // Without a will, the reason must be that of a normal end.
    let reason = if input.prevent_will_message {
        0x00
    } else {
        0x98
    };
    let mut known = engine.disconnect(&input.client_id, reason);
    if input.clean_session {
        known |= engine.end_session(&input.client_id);
    }
    if known {
        return Ok(Empty {});
    }
    Err(ApiError::not_found(format!(
        "The client {} is not connected",
        input.client_id
    )))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionOutput {
    connected: bool,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
}

async fn get_connection(
    context: Context,
    input: ConnectionInput,
) -> Result<ConnectionOutput, ApiError> {
    let clients = engine(&context)?.clients();
    let Some(client) = clients
        .into_iter()
        .find(|client| *client.client_id == *input.client_id)
    else {
        return Err(ApiError::not_found(format!(
            "The client {} is not known",
            input.client_id
        )));
    };
    let address = client
        .identity
        .as_ref()
        .and_then(|identity| identity.address);
    Ok(ConnectionOutput {
        connected: client.identity.is_some(),
        client_id: input.client_id,
        source_ip: address.map(|address| address.ip().to_string()),
        source_port: address.map(|address| address.port()),
    })
}
