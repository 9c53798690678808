//! SubscribeToValidateConfigurationUpdates and SendConfigurationValidityReport.

use super::{Empty, Operation, parse, required};
use crate::{
    fault::Fault,
    server::{Call, Session},
};
use model::deployment::DeploymentId;
use serde::Deserialize;
use serde_json::Value;

const EVENT: &str = "aws.greengrass#ValidateConfigurationUpdateEvents";

pub(super) fn subscribe(call: Call, payload: &[u8]) {
    let request = parse::<Value>(call.operation, payload);
    let component = request.and_then(|_| {
        let component = call.session.principal.component();
        component.cloned().ok_or_else(|| {
            call.operation
                .invalid("only a component can validate its configuration")
        })
    });
    let component = match component {
        Ok(component) => component,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    let registry = call.session.shared.ports.validators.registry.clone();
    call.accept(EVENT, &Empty {}, |sender, answer| {
        registry.listen(component, sender, answer)
    });
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request {
    configuration_validity_report: Option<Report>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    status: Status,
    #[serde(default)]
    deployment_id: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Accepted,
    Rejected,
}

pub(super) fn report(
    session: &Session,
    operation: Operation,
    request: Request,
) -> Result<Empty, Fault> {
    let report = request.configuration_validity_report;
    let report =
        report.ok_or_else(|| operation.invalid("configurationValidityReport is required"))?;
    let deployment = required(operation, "deploymentId", report.deployment_id)?;
    let verdict = match report.status {
        Status::Accepted => Ok(()),
        Status::Rejected => Err(report.message.unwrap_or_default()),
    };
    let validators = &session.shared.ports.validators;
    let taken = session.principal.component().is_some_and(|component| {
        validators
            .registry
            .answer(component, &DeploymentId(deployment), verdict)
    });
    if taken {
        Ok(Empty {})
    } else {
        Err(operation.invalid("no validation was asked for, or its time is over"))
    }
}
