//! Security Token Service: who am I, and short-lived keys of a role.

use crate::{
    http::{
        ApiError, Context, Empty, ErrorNames, IsoTime, Operation, Protocol, Secret, Service,
        validate,
    },
    state::keys::{Credentials, Request, Trusted},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The service's table.
pub fn service() -> Service {
    Service {
        name: "sts",
        scopes: &["sts"],
        prefix: "sts",
        protocol: Protocol::Query {
            namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
        },
        errors: ErrorNames {
            invalid: "ValidationError",
            bad_token: "ValidationError",
            internal: "InternalFailure",
            denied: "AccessDenied",
        },
        operations: vec![
            Operation::named("GetCallerIdentity", get_caller_identity).checks_access(),
            Operation::named("AssumeRole", assume_role).checks_access(),
        ],
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    user_id: String,
    account: String,
    arn: String,
}

/// Needs no permission, as with AWS.
async fn get_caller_identity(context: Context, _input: Empty) -> Result<CallerIdentity, ApiError> {
    Ok(CallerIdentity {
        user_id: context.caller().user_id(),
        account: context.account().to_owned(),
        arn: context.caller().arn(&context.state.account),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleInput {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<i64>,
    policy: Option<String>,
    policy_arns: Option<Vec<serde_json::Value>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleOutput {
    credentials: CredentialsOutput,
    assumed_role_user: AssumedRoleUser,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CredentialsOutput {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Secret,
    expiration: IsoTime,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRoleUser {
    assumed_role_id: String,
    arn: String,
}

async fn assume_role(
    context: Context,
    input: AssumeRoleInput,
) -> Result<AssumeRoleOutput, ApiError> {
    let seconds = input.duration_seconds.unwrap_or(3600);
    validate::range("durationSeconds", seconds, 900..=43200)?;
    let usable = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    validate::name(
        "roleSessionName",
        &input.role_session_name,
        2..=64,
        usable,
        "[\\w+=,.@-]*",
    )?;
    if input.policy_arns.is_some() {
        return Err(ApiError::invalid(
            "greengrass-cloud does not serve the member 'PolicyArns'; give 'Policy'",
        ));
    }
    if let Some(policy) = &input.policy {
        let parsed = crate::access::Document::parse(policy).and_then(|d| d.grants_permissions());
        parsed.map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "MalformedPolicyDocument", e))?;
    }
    context.allow(&input.role_arn)?;
    let session = input.role_session_name;
    let credentials = Credentials::issue(
        &context.state,
        Request {
            role: input.role_arn,
            session: session.clone(),
            lifetime: Duration::from_secs(seconds.unsigned_abs()),
            policy: input.policy,
            trusted: Trusted::Caller(context.caller().arn(&context.state.account)),
        },
    )
    .await?;
    Ok(AssumeRoleOutput {
        assumed_role_user: AssumedRoleUser {
            assumed_role_id: format!("{}:{session}", credentials.role_id),
            arn: credentials.assumed_role_arn,
        },
        credentials: CredentialsOutput {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expiration: IsoTime(credentials.expiration),
        },
    })
}
