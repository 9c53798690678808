//! UpdateState, PauseComponent, ResumeComponent.

use super::{Empty, Operation, required, updates::own};
use crate::{fault::Fault, ports::Reported, server::Session};
use model::ComponentName;
use serde::Deserialize;
use std::sync::Arc;

const SERVICE: &str = "aws.greengrass.ipc.lifecycle";

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct UpdateState {
    state: Option<String>,
}

pub(super) async fn update_state(
    session: Arc<Session>,
    operation: Operation,
    request: UpdateState,
) -> Result<Empty, Fault> {
    let state = match required(operation, "state", request.state)?.as_str() {
        "RUNNING" => Reported::Running,
        "ERRORED" => Reported::Errored,
        other => {
            let message = format!("a component may report RUNNING or ERRORED, not {other:?}");
            return Err(operation.invalid(message));
        }
    };
    let component = own(&session)?;
    session
        .shared
        .ports
        .components
        .report(&component, state)
        .await?;
    Ok(Empty {})
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    component_name: Option<String>,
}

pub(super) async fn pause(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<Empty, Fault> {
    let component = target(&session, operation, request)?;
    session.shared.ports.components.pause(&component).await?;
    Ok(Empty {})
}

pub(super) async fn resume(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<Empty, Fault> {
    let component = target(&session, operation, request)?;
    session.shared.ports.components.resume(&component).await?;
    Ok(Empty {})
}

fn target(
    session: &Session,
    operation: Operation,
    request: Target,
) -> Result<ComponentName, Fault> {
    let name = required(operation, "componentName", request.component_name)?;
    let authorisation = &session.shared.authorisation;
    authorisation.check(SERVICE, &session.principal, operation.name(), Some(&name))?;
    ComponentName::new(&name).map_err(|_| {
        Fault::not_found(
            "Component",
            name.clone(),
            format!("there is no component {name}"),
        )
    })
}
