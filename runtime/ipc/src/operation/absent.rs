//! Operations whose feature is not installed. The request and the caller's rights are checked as the feature would, so
//! that a component that is wrong learns it before the feature is there; then the error names what to deploy.

use super::{ANY, CLI, Operation, required};
use crate::{fault::Fault, server::Session};
use serde::Deserialize;

const SHADOWS: &str = "aws.greengrass.ShadowManager";
const SECRETS: &str = "aws.greengrass.SecretManager";
const CLIENT_DEVICES: &str = "aws.greengrass.clientdevices.Auth";

/// The members that decide about rights and arguments.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request {
    secret_id: Option<String>,
    thing_name: Option<String>,
    shadow_name: Option<String>,
    payload: Option<String>,
    certificate_options: Option<CertificateOptions>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CertificateOptions {
    certificate_type: Option<String>,
}

pub(super) fn refuse(
    session: &Session,
    operation: Operation,
    request: Request,
) -> Result<(), Fault> {
    use Operation as O;
    let check = |service: &str, resource: &str| {
        let authorisation = &session.shared.authorisation;
        authorisation.check(
            service,
            &session.principal,
            operation.name(),
            Some(resource),
        )
    };
    let (feature, remedy) = match operation {
        O::GetSecretValue => {
            check(
                SECRETS,
                &required(operation, "secretId", request.secret_id)?,
            )?;
            ("the secret manager", "deploy aws.greengrass.SecretManager")
        }
        O::GetThingShadow
        | O::UpdateThingShadow
        | O::DeleteThingShadow
        | O::ListNamedShadowsForThing => {
            check(SHADOWS, &shadow(operation, &request)?)?;
            if operation == O::UpdateThingShadow {
                required(operation, "payload", request.payload)?;
            }
            ("the shadow manager", "deploy aws.greengrass.ShadowManager")
        }
        O::CreateDebugPassword => {
            check(CLI, ANY)?;
            (
                "the local debug console",
                "deploy aws.greengrass.LocalDebugConsole",
            )
        }
        _ => {
            if operation == O::SubscribeToCertificateUpdates {
                let options = request.certificate_options.unwrap_or_default();
                let kind = required(
                    operation,
                    "certificateOptions.certificateType",
                    options.certificate_type,
                )?;
                if kind != "SERVER" {
                    return Err(operation.invalid("certificateType must be \"SERVER\""));
                }
            }
            check(CLIENT_DEVICES, ANY)?;
            (
                "client device authentication",
                "deploy aws.greengrass.clientdevices.Auth",
            )
        }
    };
    Err(Fault::service(format!(
        "{} needs {feature}, which is not installed on this device: {remedy}",
        operation.name()
    )))
}

/// The resource that stands for a shadow in a policy.
fn shadow(operation: Operation, request: &Request) -> Result<String, Fault> {
    let thing = required(operation, "thingName", request.thing_name.clone())?;
    part(operation, "thingName", &thing, 128)?;
    let mut resource = format!("$aws/things/{thing}/shadow");
    if operation == Operation::ListNamedShadowsForThing {
        resource.truncate(resource.len() - "/shadow".len());
    } else if let Some(name) = request
        .shadow_name
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        part(operation, "shadowName", name, 64)?;
        resource = format!("{resource}/name/{name}");
    }
    Ok(resource)
}

fn part(operation: Operation, what: &str, text: &str, longest: usize) -> Result<(), Fault> {
    let fits = text.len() <= longest
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ":_-".contains(c));
    if fits {
        Ok(())
    } else {
        Err(operation.invalid(format!(
            "{what} has at most {longest} letters, digits, ':', '_' and '-'"
        )))
    }
}
