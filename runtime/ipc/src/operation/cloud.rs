//! PublishToIoTCore, SubscribeToIoTCore and SubscribeToIoTCoreConnectionStatus: components and the MQTT broker in the cloud.

use super::{Empty, Operation, parse, required};
use crate::{
    fault::Fault,
    outbox::Offered,
    ports::{CloudFault, CloudMessage, CloudQos, CloudSubscription},
    server::{Call, Session, StreamSender},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use model::{TopicFilter, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "aws.greengrass.ipc.mqttproxy";
const MESSAGE: &str = "aws.greengrass#IoTCoreMessage";
const STATUS: &str = "aws.greengrass#IoTCoreConnectionStatusEvent";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Publish {
    topic_name: Option<String>,
    qos: Option<String>,
    payload: Option<String>,
    retain: Option<bool>,
    user_properties: Option<Vec<UserProperty>>,
    message_expiry_interval_seconds: Option<f64>,
    correlation_data: Option<String>,
    response_topic: Option<String>,
    payload_format: Option<String>,
    content_type: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct UserProperty {
    key: String,
    value: String,
}

pub(super) async fn publish(
    session: Arc<Session>,
    operation: Operation,
    request: Publish,
) -> Result<Empty, Fault> {
    let message = message(&session, operation, request)?;
    let published = session.shared.ports.cloud.publish(message).await;
    published.map_err(|fault| refusal(operation, fault))?;
    Ok(Empty {})
}

fn message(
    session: &Session,
    operation: Operation,
    request: Publish,
) -> Result<CloudMessage, Fault> {
    let topic = required(operation, "topicName", request.topic_name)?;
    let qos = qos(operation, request.qos.as_deref())?;
    check(session, operation, &topic)?;
    TopicName::mqtt(&topic).map_err(|e| operation.invalid(e.to_string()))?;
    let payload = request
        .payload
        .map(|text| bytes(operation, "payload", &text));
    let correlation = request
        .correlation_data
        .map(|text| bytes(operation, "correlationData", &text));
    let payload_format = match request.payload_format.as_deref() {
        None => None,
        Some("0") => Some(0),
        Some("1") => Some(1),
        Some(_) => return Err(operation.invalid("payloadFormat must be \"0\" or \"1\"")),
    };
    let user = request.user_properties.unwrap_or_default();
    Ok(CloudMessage {
        topic,
        payload: payload.transpose()?.unwrap_or_default(),
        qos,
        retain: request.retain.unwrap_or(false),
        expires_in: expiry(operation, request.message_expiry_interval_seconds)?,
        payload_format,
        content_type: request.content_type,
        response_topic: request.response_topic.filter(|topic| !topic.is_empty()),
        correlation_data: correlation.transpose()?,
        user_properties: user.into_iter().map(|p| (p.key, p.value)).collect(),
    })
}

/// The model calls it a long, and the Node SDK sends every number as it has it.
fn expiry(operation: Operation, seconds: Option<f64>) -> Result<Option<Duration>, Fault> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    if !(0.0..=f64::from(u32::MAX)).contains(&seconds) {
        let why = "messageExpiryIntervalSeconds must be a number of seconds from 0 to 4294967295";
        return Err(operation.invalid(why));
    }
    Ok(Some(Duration::from_secs_f64(seconds.floor())))
}

fn bytes(operation: Operation, member: &str, text: &str) -> Result<Bytes, Fault> {
    let decoded = STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|_| operation.invalid(format!("{member} must be base64")))
}

fn qos(operation: Operation, text: Option<&str>) -> Result<CloudQos, Fault> {
    match text {
        None | Some("1") => Ok(CloudQos::AtLeastOnce),
        Some("0") => Ok(CloudQos::AtMostOnce),
        Some(_) => Err(operation.invalid("qos must be \"0\" or \"1\"")),
    }
}

fn check(session: &Session, operation: Operation, topic: &str) -> Result<(), Fault> {
    let authorisation = &session.shared.authorisation;
    authorisation.check(SERVICE, &session.principal, operation.name(), Some(topic))
}

fn refusal(operation: Operation, fault: CloudFault) -> Fault {
    match fault {
        CloudFault::NotConfigured => Fault::service(format!(
            "{} needs the MQTT proxy, which is not installed on this device: connect the device to AWS IoT Core",
            operation.name()
        )),
        CloudFault::Invalid(why) => operation.invalid(why),
        CloudFault::Failed(why) => Fault::service(why),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Subscribe {
    topic_name: Option<String>,
    qos: Option<String>,
}

/// The broker's answer may take its time, so that it is waited for beside the connection's other requests.
pub(super) async fn subscribe(call: Call, payload: &[u8]) {
    let operation = call.operation;
    let wanted = parse::<Subscribe>(operation, payload).and_then(|request| {
        let filter = required(operation, "topicName", request.topic_name)?;
        let qos = qos(operation, request.qos.as_deref())?;
        check(&call.session, operation, &filter)?;
        TopicFilter::new(&filter).map_err(|e| operation.invalid(e.to_string()))?;
        Ok((filter, qos))
    });
    let (filter, qos) = match wanted {
        Ok(wanted) => wanted,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    let permit = call.session.requests.clone().acquire_owned().await;
    tokio::spawn(async move {
        let cloud = call.session.shared.ports.cloud.clone();
        match cloud.subscribe(&filter, qos).await {
            Ok(messages) => call.accept(MESSAGE, &Empty {}, |sender, answer| {
                answer();
                spawn_until_dropped(pass_on(messages, sender))
            }),
            Err(fault) => call.reply(Err::<(), _>(refusal(operation, fault))),
        }
        drop(permit);
    });
}

/// Runs `work` until it ends or what is returned is dropped.
fn spawn_until_dropped(work: impl Future<Output = ()> + Send + 'static) -> impl Send + 'static {
    let ended = CancellationToken::new();
    let until = ended.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = work => {}
            () = until.cancelled() => {}
        }
    });
    ended.drop_guard()
}

async fn pass_on(mut messages: Box<dyn CloudSubscription>, sender: StreamSender) {
    while let Some(message) = messages.next().await {
        let event = Event {
            message: Received::from(&message),
        };
        match sender.offer(&event) {
            Offered::Queued => {}
            Offered::Dropping => log::warn!(
                topic = message.topic;
                "a subscriber does not keep up with the cloud: its oldest messages are dropped until it does"
            ),
            Offered::Gone => return,
        }
    }
    sender.end();
}

#[derive(Serialize)]
struct Event<'a> {
    message: Received<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Received<'a> {
    topic_name: &'a str,
    payload: String,
    retain: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<UserProperty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_interval_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
}

impl<'a> From<&'a CloudMessage> for Received<'a> {
    fn from(message: &'a CloudMessage) -> Self {
        let user = message.user_properties.iter();
        Self {
            topic_name: &message.topic,
            payload: STANDARD.encode(&message.payload),
            retain: message.retain,
            user_properties: user
                .map(|(key, value)| UserProperty {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
            message_expiry_interval_seconds: message.expires_in.map(|d| d.as_secs()),
            correlation_data: message
                .correlation_data
                .as_ref()
                .map(|d| STANDARD.encode(d)),
            response_topic: message.response_topic.as_deref(),
            payload_format: message
                .payload_format
                .map(|format| if format == 0 { "0" } else { "1" }),
            content_type: message.content_type.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusEvent {
    connection_status_event: ConnectionStatus,
}

#[derive(Serialize)]
struct ConnectionStatus {
    status: &'static str,
}

/// The present status at once, then each change. No policy is needed.
pub(super) fn connection(call: Call, payload: &[u8]) {
    let operation = call.operation;
    let cloud = &call.session.shared.ports.cloud;
    let connected = parse::<Value>(operation, payload)
        .and_then(|_| cloud.connected().map_err(|fault| refusal(operation, fault)));
    match connected {
        Ok(connected) => call.accept(STATUS, &Empty {}, |sender, answer| {
            answer();
            spawn_until_dropped(tell(connected, sender))
        }),
        Err(fault) => call.reply(Err::<(), _>(fault)),
    }
}

async fn tell(mut connected: watch::Receiver<bool>, sender: StreamSender) {
    loop {
        let status = if *connected.borrow_and_update() {
            "CONNECTED"
        } else {
            "DISCONNECTED"
        };
        let event = StatusEvent {
            connection_status_event: ConnectionStatus { status },
        };
        if sender.send_patiently(&event).await.is_err() {
            return;
        }
        let told = *connected.borrow();
        // What has changed back meanwhile is no change.
        if told == (status == "CONNECTED") && connected.changed().await.is_err() {
            return sender.end();
        }
    }
}
