//! One deployment: what it brings, how it fares on each device, and why it failed there.

use super::{
    Frame, Step, Visit,
    device::{list, words},
    shown,
};
use crate::{
    console::{
        Answer,
        calls::or_none,
        elsewhere,
        form::encode,
        view::{Mark, When, target, text},
    },
    http::ApiError,
};
use askama::Template;
use serde_json::{Value, json};

/// Devices of a page.
const DEVICES: i64 = 50;

/// The states by which the devices can be filtered.
const STATES: [&str; 7] = [
    "QUEUED",
    "IN_PROGRESS",
    "SUCCEEDED",
    "FAILED",
    "TIMED_OUT",
    "REJECTED",
    "CANCELED",
];

#[derive(Template)]
#[template(path = "console/deployment.html")]
struct Page {
    frame: Frame,
    id: String,
    name: String,
    kind: &'static str,
    target: String,
    encoded_target: String,
    job: String,
    revision: String,
    latest: bool,
    status: Mark,
    open: bool,
    created: Option<When>,
    components: Vec<Component>,
    failure_handling: String,
    counts: Vec<(Mark, i64)>,
    total: i64,
    devices: Vec<Device>,
    states: [&'static str; 7],
    state: String,
    steps: Vec<Step>,
}

struct Component {
    name: String,
    version: String,
    merge: String,
    reset: Vec<String>,
}

struct Device {
    name: String,
    link: String,
    status: Mark,
    failed: bool,
    reason: String,
    stack: Vec<String>,
    updated: Option<When>,
}

/// The page.
pub async fn show(visit: Visit<'_>, id: &str) -> Answer {
    let found = visit
        .call(
            "greengrassv2",
            "GetDeployment",
            json!({ "deploymentId": id }),
        )
        .await?;
    let (kind, target) = target(&text(&found, "targetArn"));
    let job = text(&found, "iotJobId");
    let status = text(&found, "deploymentStatus");
    let (devices, counts, steps) = if job.is_empty() {
        let own = of_thing(&visit, id, &target).await?;
        (own.into_iter().collect(), Vec::new(), Vec::new())
    } else {
        of_job(&visit, id, &job).await?
    };
    shown(&Page {
        frame: visit.frame("deployments"),
        id: id.to_owned(),
        name: text(&found, "deploymentName"),
        encoded_target: encode(&target),
        kind,
        target,
        job,
        revision: text(&found, "revisionId"),
        latest: found["isLatestForTarget"] == true,
        open: status == "ACTIVE",
        status: Mark::of(&status),
        created: When::of(&found["creationTimestamp"]),
        components: components(&found["components"]),
        failure_handling: match found["deploymentPolicies"]["failureHandlingPolicy"].as_str() {
            Some("DO_NOTHING") => "leave what is there".into(),
            _ => "go back to what ran before".into(),
        },
        total: counts.iter().map(|(_, count)| count).sum(),
        counts,
        devices,
        states: STATES,
        state: visit.call.query.get("state").to_owned(),
        steps,
    })
}

fn components(value: &Value) -> Vec<Component> {
    let all = value.as_object().into_iter().flatten();
    all.map(|(name, component)| {
        let update = &component["configurationUpdate"];
        let merge = update["merge"].as_str().unwrap_or_default();
        let pretty = serde_json::from_str::<Value>(merge)
            .ok()
            .and_then(|value| serde_json::to_string_pretty(&value).ok());
        Component {
            name: name.clone(),
            version: text(component, "componentVersion"),
            merge: pretty.unwrap_or_else(|| merge.to_owned()),
            reset: words(&update["reset"]),
        }
    })
    .collect()
}

type OfJob = (Vec<Device>, Vec<(Mark, i64)>, Vec<Step>);

/// A deployment to a group is a job: its runs, a page at a time.
async fn of_job(visit: &Visit<'_>, id: &str, job: &str) -> Result<OfJob, ApiError> {
    let query = &visit.call.query;
    let (state, token) = (query.get("state"), query.get("token"));
    let mut input = json!({ "jobId": job, "maxResults": DEVICES });
    if !state.is_empty() {
        input["status"] = state.into();
    }
    if !token.is_empty() {
        input["nextToken"] = token.into();
    }
    let described = visit
        .call("iot", "DescribeJob", json!({ "jobId": job }))
        .await?;
    let runs = visit.call("iot", "ListJobExecutionsForJob", input).await?;
    let mut devices = Vec::new();
    for run in runs["executionSummaries"].as_array().into_iter().flatten() {
        let thing = text(run, "thingArn");
        let thing = thing.rsplit_once("thing/").map_or("", |(_, name)| name);
        let summary = &run["jobExecutionSummary"];
        let mut device = device(thing, &text(summary, "status"));
        device.updated = When::of(&summary["lastUpdatedAt"]);
        if device.failed {
            explain(visit, job, thing, id, &mut device).await?;
        }
        devices.push(device);
    }
    let details = &described["job"]["jobProcessDetails"];
    let counts = [
        ("QUEUED", "numberOfQueuedThings"),
        ("IN_PROGRESS", "numberOfInProgressThings"),
        ("SUCCEEDED", "numberOfSucceededThings"),
        ("FAILED", "numberOfFailedThings"),
        ("TIMED_OUT", "numberOfTimedOutThings"),
        ("REJECTED", "numberOfRejectedThings"),
        ("CANCELED", "numberOfCanceledThings"),
        ("REMOVED", "numberOfRemovedThings"),
    ];
    let counts = counts
        .into_iter()
        .map(|(state, member)| (Mark::of(state), details[member].as_i64().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let link = |token: &str| {
        format!(
            "/console/deployments/{}?state={}&token={token}",
            encode(id),
            encode(state)
        )
    };
    let mut steps = Vec::new();
    if !token.is_empty() {
        steps.push(Step {
            text: "First",
            link: link(""),
        });
    }
    if let Some(next) = runs["nextToken"].as_str() {
        steps.push(Step {
            text: "Next",
            link: link(&encode(next)),
        });
    }
    Ok((devices, counts, steps))
}

fn device(name: &str, status: &str) -> Device {
    Device {
        link: encode(name),
        name: name.to_owned(),
        status: Mark::of(status),
        failed: matches!(status, "FAILED" | "REJECTED" | "TIMED_OUT"),
        reason: String::new(),
        stack: Vec::new(),
        updated: None,
    }
}

/// What the device has told: with its run of the job, and in its report.
async fn explain(
    visit: &Visit<'_>,
    job: &str,
    thing: &str,
    id: &str,
    device: &mut Device,
) -> Result<(), ApiError> {
    if let Some(own) = of_thing(visit, id, thing).await? {
        device.reason = own.reason;
        device.stack = own.stack;
    }
    let input = json!({ "jobId": job, "thingName": thing });
    let run = or_none(visit.call("iot", "DescribeJobExecution", input).await)?.unwrap_or_default();
    let details = &run["execution"]["statusDetails"]["detailsMap"];
    if device.reason.is_empty() {
        device.reason = text(details, "deployment-failure-cause");
    }
    if device.stack.is_empty() {
        device.stack = stack(
            details["deployment-error-stack"]
                .as_str()
                .unwrap_or_default(),
        );
    }
    Ok(())
}

/// Devices tell the stack as a JSON list, or with commas between.
fn stack(told: &str) -> Vec<String> {
    if let Ok(Value::Array(items)) = serde_json::from_str(told) {
        return words(&Value::Array(items));
    }
    told.trim_matches(['[', ']'])
        .split(',')
        .map(|code| code.trim().to_owned())
        .filter(|code| !code.is_empty())
        .collect()
}

/// How one device fares, as it says itself.
async fn of_thing(visit: &Visit<'_>, id: &str, thing: &str) -> Result<Option<Device>, ApiError> {
    let effective = list(
        visit,
        "greengrassv2",
        "ListEffectiveDeployments",
        json!({ "coreDeviceThingName": thing, "maxResults": 100 }),
        "effectiveDeployments",
    )
    .await?;
    let own = effective.iter().find(|own| own["deploymentId"] == id);
    Ok(own.map(|own| {
        let mut device = device(thing, &text(own, "coreDeviceExecutionStatus"));
        device.reason = text(own, "reason");
        device.stack = words(&own["statusDetails"]["errorStack"]);
        device.updated = When::of(&own["modifiedTimestamp"]);
        device
    }))
}

/// Calls it off.
pub async fn cancel(visit: Visit<'_>, id: &str) -> Answer {
    visit
        .call(
            "greengrassv2",
            "CancelDeployment",
            json!({ "deploymentId": id }),
        )
        .await?;
    let user = visit.session.user.as_str();
    log::info!(target: "audit", user = user, deployment = id; "a deployment was canceled");
    visit.console.events.add(
        "console",
        "quiet",
        format!("{user} canceled deployment {id}"),
        None,
        None,
    );
    Ok(elsewhere(&format!("/console/deployments/{}", encode(id))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_read_in_either_form() {
        assert_eq!(stack(r#"["A","B"]"#), ["A", "B"]);
        assert_eq!(stack("[A, B]"), ["A", "B"]);
        assert_eq!(stack("A,B"), ["A", "B"]);
        assert!(stack("").is_empty() && stack("[]").is_empty());
    }
}
