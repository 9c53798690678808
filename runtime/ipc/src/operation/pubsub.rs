//! PublishToTopic and SubscribeToTopic.

use super::{Empty, Operation, parse};
use crate::{
    fault::Fault,
    frame::MAX_FRAME,
    pubsub::{Published, Subscriber},
    server::{Call, Session},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{TopicFilter, TopicName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

const SERVICE: &str = "aws.greengrass.ipc.pubsub";
/// The shape of a subscription's events.
const EVENT: &str = "aws.greengrass#SubscriptionResponseMessage";
/// Levels a topic filter may have: far more than anybody uses.
const MAX_LEVELS: usize = 256;
/// What a level takes while there is a subscription, about, in bytes.
const LEVEL: usize = 448;
/// Head and context of an event are smaller than this, its topic apart.
const EVENT_HEAD: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Publish<'a> {
    #[serde(borrow, default)]
    topic: Cow<'a, str>,
    #[serde(borrow, default)]
    publish_message: Union<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Union<'a> {
    #[serde(borrow)]
    json_message: Option<Json<'a>>,
    #[serde(borrow)]
    binary_message: Option<Binary<'a>>,
}

#[derive(Deserialize)]
struct Json<'a> {
    /// Passed on as it is.
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Deserialize)]
struct Binary<'a> {
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

pub(super) fn publish(call: Call, payload: &[u8]) {
    let result = publish_from(&call.session, call.operation, payload);
    call.reply(result.map(|()| Empty {}));
}

fn publish_from(session: &Session, operation: Operation, payload: &[u8]) -> Result<(), Fault> {
    let request: Publish<'_> = parse(operation, payload)?;
    let topic = &*request.topic;
    if topic.is_empty() {
        return Err(operation.invalid("topic is required"));
    }
    let authorisation = &session.shared.authorisation;
    authorisation.check(SERVICE, &session.principal, operation.name(), Some(topic))?;
    TopicName::new(topic).map_err(|e| operation.invalid(e.to_string()))?;
    let message = message(operation, topic, &request.publish_message)?;
    if message.event.len() > MAX_FRAME - EVENT_HEAD {
        return Err(operation.invalid("the message is too large to be delivered"));
    }
    let pubsub = &session.shared.ports.pubsub;
    pubsub.publish(Some(&session.principal), &message);
    Ok(())
}

fn message(operation: Operation, topic: &str, union: &Union<'_>) -> Result<Published, Fault> {
    match (&union.json_message, &union.binary_message) {
        (Some(json), None) => {
            let json = json.message.get();
            if !json.starts_with('{') {
                return Err(operation.invalid("jsonMessage.message must be a JSON object"));
            }
            Ok(Published::json(topic, json))
        }
        (None, Some(binary)) => {
            let text = &*binary.message;
            if STANDARD.decode(text).is_err() {
                return Err(operation.invalid("binaryMessage.message must be base64"));
            }
            Ok(Published::base64(topic, text))
        }
        _ => Err(operation.invalid("publishMessage must have either jsonMessage or binaryMessage")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Subscribe {
    topic: Option<String>,
    receive_mode: Option<ReceiveMode>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ReceiveMode {
    ReceiveAllMessages,
    ReceiveMessagesFromOthers,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscribed<'a> {
    topic_name: &'a str,
}

pub(super) fn subscribe(mut call: Call, payload: &[u8]) {
    let (filter, mode) = match accepted(&call, payload) {
        Ok(accepted) => accepted,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    // A component that listens to wildcards would hear itself without meaning to.
    let others_only = mode.map_or(filter.has_wildcards(), |mode| {
        mode == ReceiveMode::ReceiveMessagesFromOthers
    });
    let pubsub = call.session.shared.ports.pubsub.clone();
    let owner = call.session.principal.clone();
    let response = Subscribed {
        topic_name: filter.as_str(),
    };
    call.weigh(levels(filter.as_str()) * LEVEL);
    call.accept(EVENT, &response, |sender, answer| {
        let subscriber = Subscriber::Stream {
            outbox: sender.outbox.clone(),
            stream: sender.stream,
            owner,
            others_only,
        };
        pubsub.enter(&filter, subscriber, answer)
    });
}

fn accepted(call: &Call, payload: &[u8]) -> Result<(TopicFilter, Option<ReceiveMode>), Fault> {
    let request: Subscribe = parse(call.operation, payload)?;
    let topic = super::required(call.operation, "topic", request.topic)?;
    let (session, operation) = (&call.session, call.operation.name());
    let authorisation = &session.shared.authorisation;
    authorisation.check(SERVICE, &session.principal, operation, Some(&topic))?;
    let filter = TopicFilter::new(&topic).map_err(|e| call.operation.invalid(e.to_string()))?;
    if levels(&topic) > MAX_LEVELS {
        let why = format!("a topic filter may have at most {MAX_LEVELS} levels");
        return Err(call.operation.invalid(why));
    }
    Ok((filter, request.receive_mode))
}

fn levels(filter: &str) -> usize {
    filter.split('/').count()
}
