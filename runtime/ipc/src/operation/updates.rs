//! SubscribeToComponentUpdates and DeferComponentUpdate.

use super::{Empty, Operation, parse, required};
use crate::{
    Principal,
    fault::Fault,
    server::{Call, Session},
    updates::Deferral,
};
use model::{ComponentName, deployment::DeploymentId};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

const EVENT: &str = "aws.greengrass#ComponentUpdatePolicyEvents";

pub(super) fn subscribe(call: Call, payload: &[u8]) {
    let request = parse::<Value>(call.operation, payload);
    let component = match request.and_then(|_| own(&call.session)) {
        Ok(component) => component,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    let registry = call.session.shared.ports.updates.registry.clone();
    call.accept(EVENT, &Empty {}, |sender, answer| {
        registry.listen(component, sender, answer)
    });
}

/// The caller, which must be a component.
pub(super) fn own(session: &Session) -> Result<ComponentName, Fault> {
    match &*session.principal {
        Principal::Component(name) => Ok(name.clone()),
        principal @ Principal::Cli(_) => Err(Fault::not_found(
            "Component",
            principal.to_string(),
            format!("{principal} is no component"),
        )),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Defer {
    deployment_id: Option<String>,
    message: Option<String>,
    recheck_after_ms: Option<u64>,
}

pub(super) fn defer(
    session: &Session,
    operation: Operation,
    request: Defer,
) -> Result<Empty, Fault> {
    let component = own(session)?;
    let registry = &session.shared.ports.updates.registry;
    if !registry.listens(&component) {
        return Err(operation.invalid("the component does not subscribe to component updates"));
    }
    let deployment = required(operation, "deploymentId", request.deployment_id)?;
    let deferral = Deferral {
        component: component.clone(),
        recheck_after: Duration::from_millis(request.recheck_after_ms.unwrap_or(0)),
        message: request.message.unwrap_or_default(),
    };
    if registry.answer(&component, &DeploymentId(deployment), deferral) {
        Ok(Empty {})
    } else {
        Err(Fault::service(
            "no answer is waited for: the time to defer this update is over",
        ))
    }
}
