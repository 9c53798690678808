//! ARNs of this service, and the errors that many operations share.

use crate::{http::ApiError, state::Account};
use http::StatusCode;

/// What kind of thing is missing or in the way; part of the errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A component or one of its versions.
    Component,
    /// A file of a component.
    Artifact,
    /// A deployment.
    Deployment,
    /// A core device.
    CoreDevice,
    /// What a deployment is for.
    Target,
    /// Whatever an ARN names.
    Resource,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Artifact => "artifact",
            Self::Deployment => "deployment",
            Self::CoreDevice => "coreDevice",
            Self::Target => "target",
            Self::Resource => "resource",
        }
    }
}

/// `ResourceNotFoundException` with what is missing.
pub fn not_found(kind: Kind, id: &str, message: impl Into<String>) -> ApiError {
    ApiError::not_found(message)
        .with("resourceId", id)
        .with("resourceType", kind.name())
}

/// `ConflictException` with what is in the way.
pub fn conflict(kind: Kind, id: &str, message: impl Into<String>) -> ApiError {
    ApiError::conflict(message)
        .with("resourceId", id)
        .with("resourceType", kind.name())
}

/// `ValidationException` that says which member is wrong, in its `fields` too.
pub fn invalid_field(name: &str, message: impl Into<String>) -> ApiError {
    let message = message.into();
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ValidationException",
        message.clone(),
    )
    .with("reason", "FIELD_VALIDATION_FAILED")
    .with(
        "fields",
        [serde_json::json!({ "name": name, "message": message })],
    )
}

/// The ARN of a component, or of one version of it.
pub fn component_arn(account: &Account, name: &str, version: Option<&str>) -> String {
    let resource = match version {
        Some(version) => format!("components:{name}:versions:{version}"),
        None => format!("components:{name}"),
    };
    account.arn("greengrass", &resource)
}

/// The ARN of a deployment.
pub fn deployment_arn(account: &Account, id: &str) -> String {
    account.arn("greengrass", &format!("deployments:{id}"))
}

/// The ARN of a core device.
pub fn core_arn(account: &Account, thing: &str) -> String {
    account.arn("greengrass", &format!("coreDevices:{thing}"))
}

/// The resource in an ARN of this service in this account: what stands after the account's number.
pub fn resource<'a>(account: &Account, arn: &'a str) -> Option<&'a str> {
    let start = account.arn("greengrass", "");
    arn.strip_prefix(&start).filter(|rest| !rest.is_empty())
}

/// Name and version in a component's ARN.
pub fn component_of<'a>(
    account: &Account,
    arn: &'a str,
) -> Result<(&'a str, Option<&'a str>), ApiError> {
    let shape = arn
        .strip_prefix("arn:")
        .and_then(|rest| rest.split(':').nth(1));
    if shape != Some("greengrass") {
        return Err(invalid_field(
            "arn",
            format!(
                "Value '{arn}' at 'arn' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:[^:]*:greengrass:[^:]*:(aws|[0-9]+):components:[^:]+"
            ),
        ));
    }
    let missing = || {
        not_found(
            Kind::Component,
            arn,
            format!("Component {arn} does not exist."),
        )
    };
    let resource = resource(account, arn).ok_or_else(missing)?;
    let mut parts = resource.split(':');
    match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        (Some("components"), Some(name), None, ..) if !name.is_empty() => Ok((name, None)),
        (Some("components"), Some(name), Some("versions"), Some(version), None)
            if !name.is_empty() && !version.is_empty() =>
        {
            Ok((name, Some(version)))
        }
        _ => Err(invalid_field(
            "arn",
            format!("{arn} is not the ARN of a component"),
        )),
    }
}

/// The same, where one version is meant.
pub fn version_of<'a>(account: &Account, arn: &'a str) -> Result<(&'a str, &'a str), ApiError> {
    match component_of(account, arn)? {
        (name, Some(version)) => Ok((name, version)),
        _ => Err(invalid_field(
            "arn",
            format!(
                "Value '{arn}' at 'arn' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:[^:]*:greengrass:[^:]*:(aws|[0-9]+):components:[^:]+:versions:[^:]+"
            ),
        )),
    }
}
