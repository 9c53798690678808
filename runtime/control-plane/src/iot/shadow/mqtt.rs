//! Shadows over MQTT: `$aws/things/<thing>/shadow[/name/<name>]/{get,update,delete}`; the answer on the same topic with
//! `/accepted` or `/rejected` behind it, with the client token of the request.

use super::{Failure, Shadows, seconds};
use crate::{device::port::Outgoing, http::ApiError};
use model::shadow::Update;
use serde_json::{Value, json};

/// What the device side subscribes to for this.
pub const FILTERS: &[&str] = &[
    "$aws/things/+/shadow/get",
    "$aws/things/+/shadow/update",
    "$aws/things/+/shadow/delete",
    "$aws/things/+/shadow/name/+/get",
    "$aws/things/+/shadow/name/+/update",
    "$aws/things/+/shadow/name/+/delete",
];

fn parse(topic: &str) -> Option<(&str, &str, &str)> {
    let levels: Vec<&str> = topic.split('/').collect();
    let (thing, name, action) = match levels.as_slice() {
        ["$aws", "things", thing, "shadow", action] => (*thing, "", *action),
        ["$aws", "things", thing, "shadow", "name", name, action] if !name.is_empty() => {
            (*thing, *name, *action)
        }
        _ => return None,
    };
    (!thing.is_empty() && matches!(action, "get" | "update" | "delete"))
        .then_some((thing, name, action))
}

/// Answers a request; nothing for a topic that is none, and for an update that was accepted: its answer goes the way of
/// everybody else's news, in order.
pub async fn handle(shadows: &Shadows, topic: &str, payload: &[u8]) -> Vec<Outgoing> {
    let Some((thing, name, action)) = parse(topic) else {
        return Vec::new();
    };
    let token = Update::client_token_of(payload);
    let answer = match action {
        "get" => shadows.get(thing, name).await.map(Some),
        "delete" => shadows
            .delete_with(thing, name, token.as_deref())
            .await
            .map(|()| None),
        _ => match Update::parse(payload) {
            Ok(update) => shadows.update(thing, name, update).await.map(|_| None),
            Err(error) => Err(error.into()),
        },
    };
    let (suffix, mut message) = match answer {
        Ok(None) => return Vec::new(),
        Ok(Some(message)) => ("accepted", message),
        Err(failure) => ("rejected", rejected(failure)),
    };
    if let Some(token) = token {
        message["clientToken"] = token.into();
    }
    vec![Outgoing::json(format!("{topic}/{suffix}"), &message)]
}

fn rejected(failure: Failure) -> Value {
    let (code, message) = match failure {
        Failure::Refused(error) => (error.code(), error.to_string()),
        Failure::Api(ApiError::Refused(refusal)) => (refusal.status.as_u16(), refusal.message),
        Failure::Api(ApiError::Internal(cause)) => {
            log::error!("a shadow request failed: {cause}");
            (500, "Internal service failure".to_owned())
        }
        Failure::Api(other) => (400, other.to_string()),
    };
    json!({ "code": code, "message": message, "timestamp": seconds() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_the_thing_the_shadow_and_the_action() {
        assert_eq!(parse("$aws/things/t/shadow/get"), Some(("t", "", "get")));
        assert_eq!(
            parse("$aws/things/t/shadow/name/n/update"),
            Some(("t", "n", "update"))
        );
        for other in [
            "$aws/things/t/shadow/get/accepted",
            "$aws/things//shadow/get",
            "$aws/things/t/shadow/name//get",
            "$aws/things/t/shadow/put",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
