//! Trying out what a certificate may do, without a connection.

use super::{certificates, memory, memory::Registry, names, policies};
use crate::{
    device::access,
    http::{ApiError, Context, Operation, validate},
    iot::policy::{self, Document, Facts, Verdict},
};
use mqtt::Identity;
use openssl::x509::X509;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The operation.
pub fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "TestAuthorization",
        "POST /test-authorization",
        test,
    )]
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    action_type: Option<String>,
    resources: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    principal: Option<String>,
    auth_infos: Vec<AuthInfo>,
    client_id: Option<String>,
    #[serde(default)]
    policy_names_to_add: Vec<String>,
    #[serde(default)]
    policy_names_to_skip: Vec<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    policy_name: String,
    policy_arn: String,
}

#[derive(Serialize)]
struct Policies {
    policies: Vec<Named>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Denied {
    implicit_deny: Policies,
    explicit_deny: Policies,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthResult {
    auth_info: AuthInfo,
    allowed: Policies,
    denied: Denied,
    auth_decision: &'static str,
    missing_context_values: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    auth_results: Vec<AuthResult>,
}

async fn test(context: Context, input: Input) -> Result<Output, ApiError> {
    let principal = input.principal.unwrap_or_default();
    let id = names::of_arn(&principal, "cert").ok_or_else(|| {
        ApiError::invalid(format!(
            "principal '{principal}' is not the ARN of a certificate"
        ))
    })?;
    if input.auth_infos.is_empty() || input.auth_infos.len() > 10 {
        return Err(ApiError::invalid("authInfos must have 1 to 10 members"));
    }
    for info in &input.auth_infos {
        let kind = info.action_type.as_deref().unwrap_or_default();
        validate::one_of(
            "authInfos.actionType",
            kind,
            &["PUBLISH", "SUBSCRIBE", "RECEIVE", "CONNECT"],
        )?;
        if info.resources.is_empty() {
            return Err(ApiError::invalid("authInfos.resources must not be empty"));
        }
    }
    let client_id = input.client_id.unwrap_or_default();
    let (add, skip) = (input.policy_names_to_add, input.policy_names_to_skip);
    let facts = facts(&context.state.registry, &context, id, &client_id).await?;
    let id = id.to_owned();
    let documents = context
        .database()
        .read(move |t| {
            let mut found = memory::texts(
                t,
                "SELECT policy FROM iot_certificate_policy WHERE certificate = ?1",
                &id,
            )?;
            let sql = "SELECT thing FROM iot_thing_principal WHERE certificate = ?1";
            if memory::texts(t, sql, &id)?.contains(&client_id) {
                for group in super::groups::of_thing(t, &client_id, true)? {
                    let sql = "SELECT policy FROM iot_group_policy WHERE grouped = ?1";
                    found.extend(memory::texts(t, sql, &group)?);
                }
            }
            found.retain(|name| !skip.contains(name));
            found.extend(add);
            let mut documents = BTreeMap::new();
            for name in found {
                let text = policies::current(t, &name)?
                    .ok_or_else(|| ApiError::not_found(format!("Policy not found: {name}")))?;
                let document = Document::parse(&text).map_err(ApiError::internal)?;
                documents.insert(name, document);
            }
            Ok::<_, ApiError>(documents)
        })
        .await?;
    let judge = |info| judge(&context, &documents, &facts, info);
    Ok(Output {
        auth_results: input.auth_infos.into_iter().map(judge).collect(),
    })
}

async fn facts(
    registry: &Registry,
    context: &Context,
    id: &str,
    client_id: &str,
) -> Result<Facts, ApiError> {
    let key = id.to_owned();
    let record = context
        .database()
        .read(move |t| certificates::Record::get(t, &key))
        .await?;
    let x509 = X509::from_pem(record.pem.as_bytes())?;
    let principal = registry
        .load(id)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("The certificate {id} does not exist")))?;
    let who = Identity {
        address: None,
        certificate: Some(Arc::new(mqtt::Certificate::from_x509(&x509)?)),
        client_id: client_id.into(),
        username: None,
    };
    Ok(access::facts(&principal, &who).with_none("iot:ConnectAttributes"))
}

fn judge(
    context: &Context,
    documents: &BTreeMap<String, Document>,
    facts: &Facts,
    info: AuthInfo,
) -> AuthResult {
    let action = match info.action_type.as_deref() {
        Some("PUBLISH") => "iot:Publish",
        Some("SUBSCRIBE") => "iot:Subscribe",
        Some("RECEIVE") => "iot:Receive",
        _ => "iot:Connect",
    };
    let (mut allowing, mut denying) = (Vec::new(), Vec::new());
    let mut every = true;
    for resource in &info.resources {
        let mut allowed = false;
        for (name, document) in documents {
            let named = || Named {
                policy_arn: context.arn("iot", &format!("policy/{name}")),
                policy_name: name.clone(),
            };
            match policy::verdict(document, action, resource, facts) {
                Verdict::Silent => {}
                Verdict::Allow => {
                    allowed = true;
                    allowing.push(named());
                }
                Verdict::Deny => denying.push(named()),
            }
        }
        every &= allowed;
    }
    for list in [&mut allowing, &mut denying] {
        list.sort_by(|a, b| a.policy_name.cmp(&b.policy_name));
        list.dedup_by(|a, b| a.policy_name == b.policy_name);
    }
    let auth_decision = match (denying.is_empty(), every) {
        (false, _) => "EXPLICIT_DENY",
        (true, true) => "ALLOWED",
        (true, false) => "IMPLICIT_DENY",
    };
    AuthResult {
        auth_info: info,
        allowed: Policies { policies: allowing },
        denied: Denied {
            implicit_deny: Policies {
                policies: Vec::new(),
            },
            explicit_deny: Policies { policies: denying },
        },
        auth_decision,
        missing_context_values: Vec::new(),
    }
}
