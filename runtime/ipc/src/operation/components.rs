//! GetComponentDetails, ListComponents, RestartComponent, StopComponent.

use super::{ANY, CLI, Operation, required};
use crate::{
    fault::{Class, Fault},
    ports::ComponentFault,
    server::Session,
};
use model::{ComponentName, ComponentStatus, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    component_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    component_name: ComponentName,
    version: String,
    state: &'static str,
    configuration: Value,
    /// More than the official model has; the SDKs pass over members they do not know.
    #[serde(flatten)]
    more: More,
}

/// What fleet status calls componentStatusDetails, and the process, for the command line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct More {
    #[serde(skip_serializing_if = "none")]
    status_code: StatusCode,
    #[serde(skip_serializing_if = "String::is_empty")]
    status_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
}

fn none(code: &StatusCode) -> bool {
    *code == StatusCode::None
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct One {
    component_details: Details,
}

#[derive(Serialize)]
pub(super) struct All {
    components: Vec<Details>,
}

pub(super) fn details(
    session: &Session,
    operation: Operation,
    request: Target,
) -> Result<One, Fault> {
    let name = allowed(session, operation, request)?;
    let missing = || {
        Fault::not_found(
            "Component",
            name.clone(),
            format!("there is no component {name}"),
        )
    };
    let component = ComponentName::new(&name).map_err(|_| missing())?;
    let status = session.shared.ports.components.status(&component);
    Ok(One {
        component_details: describe(session, status.ok_or_else(missing)?),
    })
}

pub(super) fn list(session: &Session, operation: Operation, _: Value) -> Result<All, Fault> {
    let authorisation = &session.shared.authorisation;
    authorisation.check(CLI, &session.principal, operation.name(), Some(ANY))?;
    let statuses = session.shared.ports.components.statuses();
    let components = statuses.into_iter().map(|status| describe(session, status));
    Ok(All {
        components: components.collect(),
    })
}

fn describe(session: &Session, status: ComponentStatus) -> Details {
    let configuration = &session.shared.ports.configuration;
    let configuration = configuration.get(&["services", status.name.as_str(), "configuration"]);
    Details {
        component_name: status.name,
        version: status.version.to_string(),
        state: status.state.as_str(),
        more: More {
            status_code: status.code,
            status_reason: status.reason,
            pid: status.pid,
            paused: status.paused,
        },
        // The model wants an object.
        configuration: configuration
            .filter(Value::is_object)
            .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restarted {
    restart_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped {
    stop_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

pub(super) async fn restart(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<Restarted, Fault> {
    let component = existing(&session, operation, request)?;
    let (restart_status, message) =
        outcome(session.shared.ports.components.restart(&component).await)?;
    Ok(Restarted {
        restart_status,
        message,
    })
}

pub(super) async fn stop(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<Stopped, Fault> {
    let component = existing(&session, operation, request)?;
    let (stop_status, message) = outcome(session.shared.ports.components.stop(&component).await)?;
    Ok(Stopped {
        stop_status,
        message,
    })
}

fn outcome(done: Result<(), ComponentFault>) -> Result<(&'static str, Option<String>), Fault> {
    match done {
        Ok(()) => Ok(("SUCCEEDED", None)),
        Err(ComponentFault::NotFound(name)) => Err(unknown(name.as_str())),
        Err(ComponentFault::Refused(why) | ComponentFault::Failed(why)) => {
            Ok(("FAILED", Some(why)))
        }
    }
}

fn existing(
    session: &Session,
    operation: Operation,
    request: Target,
) -> Result<ComponentName, Fault> {
    let name = allowed(session, operation, request)?;
    ComponentName::new(&name).map_err(|_| unknown(&name))
}

fn unknown(name: &str) -> Fault {
    Fault::new(
        Class::ComponentNotFound,
        format!("there is no component {name}"),
    )
}

fn allowed(session: &Session, operation: Operation, request: Target) -> Result<String, Fault> {
    let name = required(operation, "componentName", request.component_name)?;
    let authorisation = &session.shared.authorisation;
    authorisation.check(CLI, &session.principal, operation.name(), Some(&name))?;
    Ok(name)
}
