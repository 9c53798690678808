//! GetConfiguration, UpdateConfiguration, SubscribeToConfigurationUpdate. No policy governs them: any component may read
//! any configuration and write its own.

use super::{Empty, Operation, parse};
use crate::{
    Principal,
    fault::{Class, Fault},
    server::{Call, Session, StreamSender},
};
use configuration::{ComponentSubscription, KeyNotFound, UpdateRefused};
use model::ComponentName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

const EVENT: &str = "aws.greengrass#ConfigurationUpdateEvents";
/// The runtime's own configuration, and the name that nucleus lite gives it.
const NUCLEUS: [&str; 2] = ["aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"];

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Place {
    component_name: Option<String>,
    key_path: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    component_name: String,
    value: Value,
}

pub(super) fn get(session: &Session, operation: Operation, request: Place) -> Result<Found, Fault> {
    let (asked, component) = component(session, operation, request.component_name)?;
    let key_path = request.key_path.unwrap_or_default();
    let configuration = &session.shared.ports.configuration;
    let value = match configuration.component_value(&component, &key_path) {
        Ok(value) => value,
        // A component that was never given a configuration has an empty one.
        Err(_) if key_path.is_empty() && exists(session, &component) => json!({}),
        Err(missing) => return Err(not_found(&missing)),
    };
    Ok(Found {
        component_name: asked,
        value,
    })
}

/// The component as it was asked for, and as it is called here.
fn component(
    session: &Session,
    operation: Operation,
    asked: Option<String>,
) -> Result<(String, ComponentName), Fault> {
    let asked = match (asked, &*session.principal) {
        (Some(name), _) => name,
        (None, Principal::Component(own)) => own.as_str().to_owned(),
        (None, Principal::Cli(_)) => return Err(operation.invalid("componentName is required")),
    };
    let [classic, lite] = NUCLEUS;
    let name = if asked == lite { classic } else { &asked };
    let component = ComponentName::new(name).map_err(|_| {
        Fault::not_found(
            "Component",
            asked.clone(),
            format!("there is no component {asked}"),
        )
    })?;
    Ok((asked, component))
}

fn exists(session: &Session, component: &ComponentName) -> bool {
    let tree = session.shared.ports.configuration.tree();
    tree.contains(&["services", component.as_str()])
}

fn not_found(missing: &KeyNotFound) -> Fault {
    let key = configuration::pointer_of(&missing.key_path);
    let name = format!("{}{key}", missing.component);
    Fault::not_found("Key", name, missing.to_string())
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Update {
    key_path: Option<Vec<String>>,
    timestamp: Option<f64>,
    value_to_merge: Option<Value>,
}

pub(super) async fn update(
    session: Arc<Session>,
    operation: Operation,
    request: Update,
) -> Result<Empty, Fault> {
    let value = request
        .value_to_merge
        .ok_or_else(|| operation.invalid("valueToMerge is required"))?;
    let at = milliseconds(operation, request.timestamp)?;
    let component = session
        .principal
        .component()
        .ok_or_else(|| operation.invalid("only a component has a configuration of its own"))?;
    let key_path = request.key_path.unwrap_or_default();
    let configuration = &session.shared.ports.configuration;
    let updated = configuration.update(component, &key_path, value, at).await;
    updated.map(|()| Empty {}).map_err(|refused| {
        let class = match &refused {
            UpdateRefused::Older { .. } => Class::FailedUpdateConditionCheck,
            UpdateRefused::AccessControl
            | UpdateRefused::KindChange { .. }
            | UpdateRefused::UnknownComponent(_)
            | UpdateRefused::Invalid(_) => Class::InvalidArguments,
            UpdateRefused::Store(_) => Class::Service,
        };
        Fault::new(class, refused.to_string())
    })
}

/// From seconds since 1970. None, or the 0 that the C SDK sends for none, is now.
fn milliseconds(operation: Operation, seconds: Option<f64>) -> Result<u64, Fault> {
    match seconds {
        None | Some(0.0) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default().as_millis();
            Ok(u64::try_from(now).unwrap_or(u64::MAX))
        }
        // What is left of a float after rounding fits: 2^53 ms are 285,000 years.
        Some(seconds) if (0.0..9e12).contains(&seconds) => Ok((seconds * 1000.0).round() as u64),
        Some(_) => Err(operation.invalid("timestamp must be seconds since 1970")),
    }
}

pub(super) fn subscribe(call: Call, payload: &[u8]) {
    let subscribed = parse(call.operation, payload).and_then(|request: Place| {
        let session = &call.session;
        let (asked, component) = component(session, call.operation, request.component_name)?;
        let key_path = request.key_path.unwrap_or_default();
        let configuration = &session.shared.ports.configuration;
        let changes = configuration.subscribe_component(&component, &key_path);
        Ok((asked, changes.map_err(|missing| not_found(&missing))?))
    });
    let (component, changes) = match subscribed {
        Ok(subscribed) => subscribed,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    call.accept(EVENT, &Empty {}, |sender, answer| {
        answer();
        let ended = CancellationToken::new();
        tokio::spawn(forward(changes, component, sender, ended.clone()));
        ended.drop_guard()
    });
}

/// Passes changes on. A client that is behind makes this wait, and what waits in the subscription is bounded.
async fn forward(
    mut changes: ComponentSubscription,
    component: String,
    sender: StreamSender,
    ended: CancellationToken,
) {
    let forwarding = async {
        while let Some(key_path) = changes.recv().await {
            let event = json!({
                "configurationUpdateEvent": { "componentName": component, "keyPath": key_path }
            });
            if sender.send_patiently(&event).await.is_err() {
                return;
            }
        }
        sender.end();
    };
    tokio::select! {
        () = forwarding => {}
        () = ended.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rounded_to_milliseconds() {
        let of = |seconds| milliseconds(Operation::UpdateConfiguration, seconds);
        assert_eq!(of(Some(1_767_323_045.678)), Ok(1_767_323_045_678));
        assert!(of(Some(-1.0)).is_err());
        assert!(of(Some(f64::NAN)).is_err());
        assert!(of(None).unwrap() > 1_600_000_000_000);
        assert!(of(Some(0.0)).unwrap() > 1_600_000_000_000);
    }
}
