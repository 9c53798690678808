//! The names of AWS IoT's resources: patterns, ARNs, errors that many operations share.

use crate::http::{ApiError, validate};
use http::StatusCode;

/// `[a-zA-Z0-9:_-]`, what things, groups and types are made of.
pub fn resource(member: &str, value: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
    validate::name(member, value, 1..=128, allowed, "[a-zA-Z0-9:_-]+")
}

/// A policy's or role alias's name: `[\w+=,.@-]`.
pub fn word(member: &str, value: &str) -> Result<(), ApiError> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-');
    validate::name(member, value, 1..=128, allowed, "[\\w+=,.@-]+")
}

/// A provisioning template's name.
pub fn template(member: &str, value: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    validate::name(member, value, 1..=36, allowed, "^[0-9A-Za-z_-]+$")
}

/// The last part of an ARN of a kind: `arn:aws:iot:us-east-1:123456789012:thinggroup/a` gives `a`.
pub fn of_arn<'a>(arn: &'a str, kind: &str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    if parts.next()? != "arn" {
        return None;
    }
    let (service, resource) = (parts.nth(1)?, parts.nth(2)?);
    if service != "iot" {
        return None;
    }
    resource
        .strip_prefix(kind)?
        .strip_prefix('/')
        .filter(|name| !name.is_empty())
}

/// `ResourceAlreadyExistsException`, with what exists.
pub fn already_exists(message: impl Into<String>, arn: &str, id: &str) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "ResourceAlreadyExistsException",
        message,
    )
    .with("resourceId", id)
    .with("resourceArn", arn)
}

/// A random UUID.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `VersionConflictException`.
pub fn version_conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "VersionConflictException", message)
}

/// `DeleteConflictException`.
pub fn delete_conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "DeleteConflictException", message)
}

/// `LimitExceededException`.
pub fn limit_exceeded(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::GONE, "LimitExceededException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_gives_its_name_only_for_its_kind() {
        let arn = "arn:aws:iot:us-east-1:123456789012:thinggroup/a:b";
        assert_eq!(of_arn(arn, "thinggroup"), Some("a:b"));
        assert_eq!(of_arn(arn, "thing"), None);
        assert_eq!(of_arn("arn:aws:s3:::thing/a", "thing"), None);
        assert_eq!(
            of_arn("arn:aws:iot:us-east-1:123456789012:thing/", "thing"),
            None
        );
        assert_eq!(of_arn("nonsense", "thing"), None);
    }
}
