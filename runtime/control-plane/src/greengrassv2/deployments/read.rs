//! Looking at deployments, calling them off, deleting them.

use super::{
    create::{of_jobs, write_shadow},
    document::{Component, Policies},
    large,
    table::{Deployment, Filter, JobConfiguration},
};
use crate::{
    greengrassv2::{
        names::{Kind, conflict, deployment_arn},
        tags::{self, Tags},
    },
    http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate},
    iot::jobs,
    state::Account,
};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GetDeployment",
            "GET /greengrass/v2/deployments/{deploymentId}",
            get,
        )
        .checks_access(),
        Operation::new("ListDeployments", "GET /greengrass/v2/deployments", list),
        Operation::new(
            "CancelDeployment",
            "POST /greengrass/v2/deployments/{deploymentId}/cancel",
            cancel,
        )
        .checks_access(),
        Operation::new(
            "DeleteDeployment",
            "DELETE /greengrass/v2/deployments/{deploymentId}",
            delete,
        )
        .status(204)
        .checks_access(),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    deployment_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    target_arn: String,
    revision_id: String,
    deployment_id: String,
    deployment_name: Option<String>,
    deployment_status: String,
    iot_job_id: Option<String>,
    iot_job_arn: Option<String>,
    components: BTreeMap<String, Component>,
    deployment_policies: Policies,
    iot_job_configuration: Option<JobConfiguration>,
    creation_timestamp: Timestamp,
    is_latest_for_target: bool,
    parent_target_arn: Option<String>,
    tags: Tags,
}

async fn get(context: Context, input: Named) -> Result<Described, ApiError> {
    let account = context.state.account.clone();
    let arn = deployment_arn(&account, &input.deployment_id);
    context.allow(&arn)?;
    context
        .database()
        .read(move |t| {
            let found = Deployment::get(t, &input.deployment_id)?;
            Ok(Described {
                deployment_status: found.standing(t, &account)?,
                tags: tags::of(t, &arn)?,
                target_arn: found.target,
                revision_id: found.revision.to_string(),
                deployment_id: found.id,
                deployment_name: found.name,
                iot_job_arn: found.job.as_ref().map(|id| job_arn(&account, id)),
                iot_job_id: found.job,
                components: found.parts.components,
                deployment_policies: found.parts.policies.filled(),
                iot_job_configuration: found.job_configuration,
                creation_timestamp: found.created,
                is_latest_for_target: found.latest,
                parent_target_arn: found.parent,
            })
        })
        .await
}

/// The ARN of a job.
pub fn job_arn(account: &Account, id: &str) -> String {
    account.arn("iot", &format!("job/{id}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    target_arn: Option<String>,
    history_filter: Option<String>,
    parent_target_arn: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    target_arn: String,
    revision_id: String,
    deployment_id: String,
    deployment_name: Option<String>,
    creation_timestamp: Timestamp,
    deployment_status: String,
    is_latest_for_target: bool,
    parent_target_arn: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    deployments: Vec<Listed>,
    next_token: Option<String>,
}

/// A deployment's place in the order, for a page's token.
fn place(deployment: &Deployment) -> String {
    format!("{} {}", deployment.created.millis(), deployment.id)
}

fn place_of(text: &str) -> Option<(Timestamp, String)> {
    let (millis, id) = text.split_once(' ')?;
    Some((Timestamp::from_millis(millis.parse().ok()?), id.to_owned()))
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let history = input
        .history_filter
        .unwrap_or_else(|| "LATEST_ONLY".to_owned());
    validate::one_of("historyFilter", &history, &["ALL", "LATEST_ONLY"])?;
    let filters = format!(
        "{history} {} {}",
        input.target_arn.as_deref().unwrap_or_default(),
        input.parent_target_arn.as_deref().unwrap_or_default()
    );
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        filters,
    )?;
    let filter = Filter {
        target: input.target_arn,
        parent: input.parent_target_arn,
        all: history == "ALL",
        after: page.after().and_then(place_of),
        limit: page.fetch(),
    };
    let account = context.state.account.clone();
    context
        .database()
        .read(move |t| {
            let (found, next_token) = page.finish(Deployment::list(t, &filter)?, place);
            let listed = found.into_iter().map(|d| listed(t, &account, d));
            Ok(ListOutput {
                deployments: listed.collect::<Result<_, _>>()?,
                next_token,
            })
        })
        .await
}

fn listed(t: &Transaction<'_>, account: &Account, found: Deployment) -> Result<Listed, ApiError> {
    Ok(Listed {
        deployment_status: found.standing(t, account)?,
        target_arn: found.target,
        revision_id: found.revision.to_string(),
        deployment_id: found.id,
        deployment_name: found.name,
        creation_timestamp: found.created,
        is_latest_for_target: found.latest,
        parent_target_arn: found.parent,
    })
}

#[derive(Serialize)]
struct Message {
    message: String,
}

async fn cancel(context: Context, input: Named) -> Result<Message, ApiError> {
    let account = context.state.account.clone();
    context.allow(&deployment_arn(&account, &input.deployment_id))?;
    let state = &context.state;
    let told = state
        .jobs
        .change(move |t, notices| {
            let mut found = Deployment::get(t, &input.deployment_id)?;
            let standing = found.standing(t, &account)?;
            if standing != "ACTIVE" {
                return Err(conflict(
                    Kind::Deployment,
                    &found.id,
                    format!(
                        "Deployment {} is {standing}: only an active deployment can be canceled.",
                        found.id
                    ),
                ));
            }
            let mut told = None;
            if let Some(job) = &found.job {
                // Devices that have begun go on: they are not left half way.
                let comment = Some("The deployment was canceled".to_owned());
                jobs::cancel(t, notices, job, Some("CANCELED".to_owned()), comment, false)
                    .map_err(of_jobs)?;
            } else if let Some(thing) = found.thing() {
                told = Some(write_shadow(
                    t,
                    thing,
                    &json!({ "desiredStatus": "CANCELED" }),
                )?);
            }
            found.set_status(t, "CANCELED")?;
            Ok(told)
        })
        .await?;
    if let Some((first, messages, event)) = told {
        state.shadows.tell(first, messages, event).await;
    }
    Ok(Message {
        message: "The deployment was canceled.".to_owned(),
    })
}

async fn delete(context: Context, input: Named) -> Result<Empty, ApiError> {
    let account = context.state.account.clone();
    let arn = deployment_arn(&account, &input.deployment_id);
    context.allow(&arn)?;
    let id = context
        .database()
        .write(move |t| {
            let found = Deployment::get(t, &input.deployment_id)?;
            if found.standing(t, &account)? == "ACTIVE" {
                return Err(conflict(
                    Kind::Deployment,
                    &found.id,
                    format!(
                        "Deployment {} is active: cancel it before it is deleted.",
                        found.id
                    ),
                ));
            }
            t.execute("DELETE FROM gg_deployment WHERE id = ?1", [&found.id])?;
            t.execute("DELETE FROM gg_result WHERE deployment = ?1", [&found.id])?;
            // Of those that are left the newest is the latest.
            t.execute(
                "UPDATE gg_deployment SET latest = 1 WHERE target = ?1
                 AND revision = (SELECT max(revision) FROM gg_deployment WHERE target = ?1)",
                [&found.target],
            )?;
            tags::clear(t, &arn)?;
            Ok(found.id)
        })
        .await?;
    large::drop(&context.state, &id).await?;
    Ok(Empty {})
}
