//! One device: how it is, what runs on it, what was deployed to it and why that failed, its groups, jobs and shadow.

use super::{Frame, Visit, shown};
use crate::console::{
    Answer,
    calls::or_none,
    form::encode,
    view::{Mark, When, joined, text},
};
use askama::Template;
use serde_json::{Value, json};

/// Rows of a table on this page.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "console/device.html")]
struct Page {
    frame: Frame,
    name: String,
    encoded: String,
    health: Mark,
    connection: Mark,
    facts: Vec<(&'static str, String)>,
    seen: Option<When>,
    groups: Vec<(String, String)>,
    components: Vec<Component>,
    deployments: Vec<Deployment>,
    jobs: Vec<Job>,
    certificates: Vec<String>,
    shadows: Vec<(String, String)>,
}

struct Component {
    name: String,
    version: String,
    state: Mark,
    details: String,
    codes: String,
    root: bool,
    changed: Option<When>,
}

struct Deployment {
    id: String,
    name: String,
    target: String,
    status: Mark,
    failed: bool,
    reason: String,
    stack: Vec<String>,
    types: Vec<String>,
    modified: Option<When>,
}

struct Job {
    id: String,
    status: Mark,
    updated: Option<When>,
}

/// The page.
pub async fn show(visit: Visit<'_>, name: &str) -> Answer {
    let thing = visit
        .call("iot", "DescribeThing", json!({ "thingName": name }))
        .await?;
    let of_core = json!({ "coreDeviceThingName": name, "maxResults": 100 });
    let core = or_none(
        visit
            .call(
                "greengrassv2",
                "GetCoreDevice",
                json!({ "coreDeviceThingName": name }),
            )
            .await,
    )?;
    let components = list(
        &visit,
        "greengrassv2",
        "ListInstalledComponents",
        json!({ "coreDeviceThingName": name, "maxResults": 100, "topologyFilter": "ALL" }),
        "installedComponents",
    );
    let components = components.await?.iter().map(component).collect();
    let deployments = list(
        &visit,
        "greengrassv2",
        "ListEffectiveDeployments",
        of_core,
        "effectiveDeployments",
    );
    let deployments = deployments.await?.iter().map(deployment).collect();
    let of_thing = json!({ "thingName": name, "maxResults": 100 });
    let groups = list(
        &visit,
        "iot",
        "ListThingGroupsForThing",
        of_thing.clone(),
        "thingGroups",
    );
    let groups = groups.await?;
    let jobs = list(
        &visit,
        "iot",
        "ListJobExecutionsForThing",
        of_thing.clone(),
        "executionSummaries",
    );
    let jobs = jobs.await?.iter().map(job).collect();
    let principals = list(&visit, "iot", "ListThingPrincipals", of_thing, "principals");
    let certificates = principals
        .await?
        .iter()
        .filter_map(Value::as_str)
        .map(|arn| arn.rsplit('/').next().unwrap_or(arn).to_owned())
        .collect();
    let core = core.unwrap_or_default();
    let connected = visit.connected().contains(name);
    shown(&Page {
        frame: visit.frame("devices"),
        encoded: encode(name),
        health: Mark::of(core["status"].as_str().unwrap_or("NOT_REPORTED")),
        connection: Mark::of(if connected {
            "CONNECTED"
        } else {
            "NOT_CONNECTED"
        }),
        facts: facts(&thing, &core),
        seen: When::of(&core["lastStatusUpdateTimestamp"]),
        groups: groups
            .iter()
            .map(|group| text(group, "groupName"))
            .map(|group| (encode(&group), group))
            .collect(),
        components,
        deployments,
        jobs,
        certificates,
        shadows: shadows(&visit, name).await?,
        name: name.to_owned(),
    })
}

/// All of a list, or nothing when the device has not been heard of.
pub async fn list(
    visit: &Visit<'_>,
    service: &str,
    operation: &str,
    input: Value,
    member: &str,
) -> Result<Vec<Value>, crate::http::ApiError> {
    let found = visit.all(service, operation, input, member, MOST).await;
    Ok(or_none(found)?.unwrap_or_default())
}

fn facts(thing: &Value, core: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Core version", text(core, "coreVersion")),
        (
            "Platform",
            joined(&[
                core["platform"].as_str().unwrap_or_default(),
                core["architecture"].as_str().unwrap_or_default(),
            ]),
        ),
        ("Runtime", text(core, "runtime")),
        ("Thing type", text(thing, "thingTypeName")),
    ];
    let attributes: Vec<String> = thing["attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} = {}", value.as_str().unwrap_or_default()))
        .collect();
    facts.push(("Attributes", attributes.join(", ")));
    facts.push(("ARN", text(thing, "thingArn")));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

fn component(value: &Value) -> Component {
    let codes = words(&value["lifecycleStatusCodes"]);
    Component {
        name: text(value, "componentName"),
        version: text(value, "componentVersion"),
        state: Mark::of(value["lifecycleState"].as_str().unwrap_or_default()),
        details: text(value, "lifecycleStateDetails"),
        codes: codes.join(", "),
        root: value["isRoot"] == true,
        changed: When::of(&value["lastStatusChangeTimestamp"]),
    }
}

/// The texts of a list.
pub fn words(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn deployment(value: &Value) -> Deployment {
    let status = text(value, "coreDeviceExecutionStatus");
    let (kind, target) = crate::console::view::target(&text(value, "targetArn"));
    let details = &value["statusDetails"];
    Deployment {
        id: text(value, "deploymentId"),
        name: text(value, "deploymentName"),
        target: format!("{kind} {target}"),
        failed: matches!(status.as_str(), "FAILED" | "REJECTED" | "TIMED_OUT"),
        status: Mark::of(&status),
        reason: text(value, "reason"),
        stack: words(&details["errorStack"]),
        types: words(&details["errorTypes"]),
        modified: When::of(&value["modifiedTimestamp"]),
    }
}

fn job(value: &Value) -> Job {
    let summary = &value["jobExecutionSummary"];
    Job {
        id: text(value, "jobId"),
        status: Mark::of(summary["status"].as_str().unwrap_or_default()),
        updated: When::of(&summary["lastUpdatedAt"]),
    }
}

async fn shadows(
    visit: &Visit<'_>,
    thing: &str,
) -> Result<Vec<(String, String)>, crate::http::ApiError> {
    let kept = &visit.console.state.shadows;
    let mut names = vec![String::new()];
    names.extend(kept.names(thing, String::new(), 20).await?);
    let mut found = Vec::new();
    for name in names {
        // One that is not there, or not any more, is not shown.
        if let Ok(mut document) = kept.get(thing, &name).await {
            if let Value::Object(members) = &mut document {
                members.remove("metadata");
            }
            let title = if name.is_empty() {
                "Classic shadow".to_owned()
            } else {
                name
            };
            found.push((title, serde_json::to_string_pretty(&document)?));
        }
    }
    Ok(found)
}
