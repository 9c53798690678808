//! The deployments that a core device has been given, and how each went: of groups as its runs of their jobs tell, of the
//! thing itself as its shadow tells, with what its status messages add.

use super::table::{Core, ResultRow};
use crate::{
    greengrassv2::{
        deployments::{NAMESPACE, table::Deployment},
        names::core_arn,
    },
    http::{ApiError, Context, Operation, Page, Timestamp},
    iot::jobs::{Job, Run, execution::Status, table::of_thing},
    state::Account,
};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "ListEffectiveDeployments",
            "GET /greengrass/v2/coreDevices/{coreDeviceThingName}/effectiveDeployments",
            list,
        )
        .checks_access(),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    core_device_thing_name: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    error_stack: Option<Vec<String>>,
    error_types: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Effective {
    deployment_id: String,
    deployment_name: Option<String>,
    iot_job_id: Option<String>,
    iot_job_arn: Option<String>,
    description: Option<String>,
    target_arn: String,
    core_device_execution_status: String,
    reason: Option<String>,
    creation_timestamp: Timestamp,
    modified_timestamp: Timestamp,
    status_details: Option<StatusDetails>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    effective_deployments: Vec<Effective>,
    next_token: Option<String>,
}

async fn list(context: Context, input: Input) -> Result<Output, ApiError> {
    let thing = input.core_device_thing_name;
    let account = context.state.account.clone();
    context.allow(&core_arn(&account, &thing))?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        &*thing,
    )?;
    context
        .database()
        .read(move |t| {
            Core::get(t, &thing)?;
            let mut all = of_groups(t, &account, &thing)?;
            all.extend(of_itself(t, &account, &thing)?);
            all.sort_by_cached_key(|e| std::cmp::Reverse(place(e)));
            if let Some(after) = page.after() {
                all.retain(|e| place(e).as_str() < after);
            }
            let (effective_deployments, next_token) = page.finish(all, place);
            Ok(Output {
                effective_deployments,
                next_token,
            })
        })
        .await
}

/// Its place in the order, which is that of time.
fn place(effective: &Effective) -> String {
    let millis = effective.creation_timestamp.millis();
    format!("{millis:020} {}", effective.deployment_id)
}

fn of_groups(
    t: &Transaction<'_>,
    account: &Account,
    thing: &str,
) -> Result<Vec<Effective>, ApiError> {
    let mut found = Vec::new();
    for run in of_thing(t, thing, Some(NAMESPACE))? {
        if run.execution.status == Status::Removed {
            continue;
        }
        let told = ResultRow::find(t, thing, &run.job)?;
        let (reason, details) = outcome(&told_by_job(&run), told.as_ref());
        let deployment = Deployment::of_job(t, &run.job)?;
        let (name, target) = match deployment {
            Some(deployment) => (deployment.name, deployment.target),
            // The deployment was deleted: its job still says whose it was.
            None => match Job::find(t, &run.job)? {
                Some(job) => (
                    job.description,
                    job.targets.into_iter().next().unwrap_or_default(),
                ),
                None => continue,
            },
        };
        found.push(Effective {
            iot_job_arn: Some(account.arn("iot", &format!("job/{}", run.job))),
            deployment_id: run.job.clone(),
            deployment_name: name,
            iot_job_id: Some(run.job),
            description: None,
            target_arn: target,
            core_device_execution_status: run.execution.status.name().to_owned(),
            reason,
            creation_timestamp: run.execution.queued,
            modified_timestamp: run.execution.updated,
            status_details: details,
        });
    }
    Ok(found)
}

fn of_itself(
    t: &Transaction<'_>,
    account: &Account,
    thing: &str,
) -> Result<Vec<Effective>, ApiError> {
    let mut found = Vec::new();
    let target = account.arn("iot", &format!("thing/{thing}"));
    for deployment in Deployment::of_target(t, &target)? {
        let result = match deployment.shadow_result(t, account)? {
            Some(result) => Some(result),
            None => ResultRow::find(t, thing, &deployment.id)?,
        };
        let status = match (&result, deployment.status.as_str()) {
            (Some(result), _) => result.status.clone(),
            (None, "ACTIVE") => "QUEUED".to_owned(),
            (None, "CANCELED") => "CANCELED".to_owned(),
            // It was replaced before the device heard of it.
            (None, _) => continue,
        };
        let (reason, details) = outcome(&Value::Null, result.as_ref());
        found.push(Effective {
            modified_timestamp: result.map_or(deployment.created, |r| r.modified),
            deployment_id: deployment.id,
            deployment_name: deployment.name,
            iot_job_id: None,
            iot_job_arn: None,
            description: None,
            target_arn: deployment.target,
            core_device_execution_status: status,
            reason,
            creation_timestamp: deployment.created,
            status_details: details,
        });
    }
    Ok(found)
}

/// What a device told with its run of a job, in the words of status messages.
fn told_by_job(run: &Run) -> Value {
    let details = &run.execution.details;
    let text = |name: &str| details.get(name).cloned();
    let list = |name: &str| details.get(name).map(|text| words(text));
    serde_json::json!({
        "detailedStatus": text("detailed-deployment-status"),
        "failureCause": text("deployment-failure-cause"),
        "errorStack": list("deployment-error-stack"),
        "errorTypes": list("deployment-error-types"),
    })
}

/// A list that came as one text: JSON, or words with commas between them.
fn words(text: &str) -> Vec<String> {
    if let Ok(list) = serde_json::from_str(text) {
        return list;
    }
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Why a deployment stands as it does, and the errors that led there.
fn outcome(job: &Value, told: Option<&ResultRow>) -> (Option<String>, Option<StatusDetails>) {
    let null = Value::Null;
    let told = told.map_or(&null, |told| &told.details);
    let either = |name: &str| match &told[name] {
        Value::Null => job[name].clone(),
        value => value.clone(),
    };
    let text = |name: &str| {
        either(name)
            .as_str()
            .map(str::to_owned)
            .filter(|t| !t.is_empty())
    };
    let list = |name: &str| match either(name) {
        Value::Array(items) => {
            let words = items.iter().filter_map(Value::as_str);
            Some(words.map(str::to_owned).collect::<Vec<_>>()).filter(|list| !list.is_empty())
        }
        Value::String(text) => Some(words(&text)).filter(|list| !list.is_empty()),
        _ => None,
    };
    let reason = match (text("detailedStatus"), text("failureCause")) {
        (Some(status), Some(cause)) => Some(format!("{status}: {cause}")),
        (status, cause) => status.or(cause),
    };
    let details = StatusDetails {
        error_stack: list("errorStack"),
        error_types: list("errorTypes"),
    };
    let some = details != StatusDetails::default();
    (reason, some.then_some(details))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_status_message_tells_wins_over_what_the_job_was_told() {
        let job = json!({"detailedStatus": "FAILED_NO_STATE_CHANGE", "errorStack": ["A"]});
        let told = ResultRow {
            status: "FAILED".into(),
            details: json!({"failureCause": "no disk", "errorStack": ["DEPLOYMENT_FAILURE", "IO_ERROR"], "errorTypes": []}),
            modified: Timestamp::from_millis(0),
        };
        let (reason, details) = outcome(&job, Some(&told));
        assert_eq!(reason.as_deref(), Some("FAILED_NO_STATE_CHANGE: no disk"));
        let stack = vec!["DEPLOYMENT_FAILURE".to_owned(), "IO_ERROR".to_owned()];
        assert_eq!(
            details,
            Some(StatusDetails {
                error_stack: Some(stack),
                error_types: None
            })
        );
        assert_eq!(outcome(&Value::Null, None), (None, None));
    }

    #[test]
    fn a_list_in_one_text_is_read_in_either_form() {
        for text in ["[\"A\",\"B\"]", "[A, B]", "A,B"] {
            assert_eq!(words(text), ["A", "B"], "{text}");
        }
        assert!(words("[]").is_empty());
    }
}
