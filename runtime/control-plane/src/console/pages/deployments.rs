//! All deployments, the newest first.

use super::{Frame, Step, Visit, shown};
use crate::console::{
    Answer,
    form::encode,
    view::{Mark, When, target, text},
};
use askama::Template;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "console/deployments.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    history: bool,
    steps: Vec<Step>,
}

/// A deployment in a list.
pub struct Row {
    id: String,
    name: String,
    kind: &'static str,
    target: String,
    revision: String,
    latest: bool,
    status: Mark,
    created: Option<When>,
}

fn row(value: &Value) -> Row {
    let (kind, name) = target(&text(value, "targetArn"));
    Row {
        id: text(value, "deploymentId"),
        name: text(value, "deploymentName"),
        kind,
        target: name,
        revision: text(value, "revisionId"),
        latest: value["isLatestForTarget"] == true,
        status: Mark::of(value["deploymentStatus"].as_str().unwrap_or_default()),
        created: When::of(&value["creationTimestamp"]),
    }
}

/// The table.
pub async fn show(visit: Visit<'_>) -> Answer {
    let query = &visit.call.query;
    let history = query.get("history") == "all";
    let mut input = json!({
        "historyFilter": if history { "ALL" } else { "LATEST_ONLY" },
        "maxResults": 50,
    });
    let token = query.get("token");
    if !token.is_empty() {
        input["nextToken"] = token.into();
    }
    let found = visit.call("greengrassv2", "ListDeployments", input).await?;
    let mut rows: Vec<Row> = found["deployments"]
        .as_array()
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    rows.sort_by(|a, b| {
        let when = |row: &Row| row.created.as_ref().map(|when| when.exact.clone());
        when(b).cmp(&when(a))
    });
    let kept = if history { "&history=all" } else { "" };
    let mut steps = Vec::new();
    if !token.is_empty() {
        steps.push(Step {
            text: "First",
            link: format!("/console/deployments?{}", kept.trim_start_matches('&')),
        });
    }
    if let Some(next) = found["nextToken"].as_str() {
        steps.push(Step {
            text: "Next",
            link: format!("/console/deployments?token={}{kept}", encode(next)),
        });
    }
    shown(&Page {
        frame: visit.frame("deployments"),
        rows,
        history,
        steps,
    })
}
