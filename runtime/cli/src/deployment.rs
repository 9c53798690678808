//! `deployment …` and `deploy`

use crate::{
    Failure,
    arguments::{Change, Create, DeploymentCommand},
    follow,
    output::{Output, text},
    plan, request,
    runtime::{CallError, Connect, Runtime, private},
};
use serde_json::{Value, json};

/// Runs the command.
pub async fn run(
    command: &DeploymentCommand,
    connect: &dyn Connect,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match command {
        DeploymentCommand::Create(arguments) => create(arguments, connect, output).await,
        DeploymentCommand::Remove(arguments) => {
            let components: Vec<_> = arguments
                .components
                .iter()
                .chain(&arguments.names)
                .cloned()
                .collect();
            submit(
                request::remove(&components, &arguments.change.group),
                &arguments.change,
                connect,
                output,
            )
            .await
        }
        DeploymentCommand::Status { id, follow: stay } if stay.follow => {
            follow::until_end(id, stay, connect, output).await
        }
        DeploymentCommand::Status { id, .. } => {
            let runtime = connect.connect().await?;
            show(&status(runtime.as_ref(), id).await?, output)
        }
        DeploymentCommand::List => list(connect.connect().await?.as_ref(), output).await,
        DeploymentCommand::Cancel { id } => {
            let runtime = connect.connect().await?;
            let answer = runtime
                .call(
                    "aws.greengrass#CancelLocalDeployment",
                    json!({ "deploymentId": id }),
                )
                .await;
            let answer = answer.map_err(|error| named(error, id))?;
            if output.is_json() {
                output.json(&answer)
            } else {
                output.line(&text(&answer, "message"))
            }
        }
    }
}

/// `deployment create` and `deploy`.
pub async fn create(
    arguments: &Create,
    connect: &dyn Connect,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    submit(
        request::create(arguments)?,
        &arguments.change,
        connect,
        output,
    )
    .await
}

async fn submit(
    request: Value,
    change: &Change,
    connect: &dyn Connect,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let runtime = connect.connect().await?;
    if change.dry_run {
        let answer = runtime.call(private::PLAN, request).await?;
        return plan::show(answer.get("plan").unwrap_or(&Value::Null), output);
    }
    let answer = runtime
        .call("aws.greengrass#CreateLocalDeployment", request)
        .await?;
    let id = text(&answer, "deploymentId");
    drop(runtime);
    if change.follow.follow {
        if !output.is_json() {
            output.line(&format!("Deployment {id}"))?;
        }
        return follow::until_end(&id, &change.follow, connect, output).await;
    }
    if output.is_json() {
        return output.json(&json!({ "deploymentId": id }));
    }
    // The sentence scripts take the id from.
    output.line(&format!("Local deployment submitted! Deployment Id: {id}"))
}

/// The report of one deployment.
pub async fn status(runtime: &dyn Runtime, id: &str) -> Result<Value, Failure> {
    let answer = runtime
        .call(
            "aws.greengrass#GetLocalDeploymentStatus",
            json!({ "deploymentId": id }),
        )
        .await;
    answer
        .map_err(|error| named(error, id))
        .map(|answer| answer.get("deployment").cloned().unwrap_or_default())
}

/// Shows a report: `ID: STATUS` as in the classic CLI, then what is to know about a failure.
pub fn show(report: &Value, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(report);
    }
    output.line(&format!(
        "{}: {}",
        text(report, "deploymentId"),
        text(report, "status")
    ))?;
    let details = report
        .get("deploymentStatusDetails")
        .unwrap_or(&Value::Null);
    let list = |member: &str| {
        let items = details
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (label, value) in [
        ("Created On", text(report, "createdOn")),
        ("Detailed Status", text(details, "detailedDeploymentStatus")),
        ("Deployment Error Stack", list("deploymentErrorStack")),
        ("Deployment Error Types", list("deploymentErrorTypes")),
        ("Failure Cause", text(details, "deploymentFailureCause")),
    ] {
        if !value.is_empty() {
            output.line(&format!(
                "    {label}: {}",
                value.replace('\n', "\n        ")
            ))?;
        }
    }
    Ok(())
}

async fn list(runtime: &dyn Runtime, output: &mut Output<'_>) -> Result<(), Failure> {
    let answer = runtime
        .call("aws.greengrass#ListLocalDeployments", json!({}))
        .await?;
    let deployments = answer
        .get("localDeployments")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if output.is_json() {
        return output.json(&deployments.into());
    }
    if deployments.is_empty() {
        return output.line("There are no local deployments.");
    }
    let rows: Vec<Vec<String>> = deployments
        .iter()
        .map(|report| {
            let details = report
                .get("deploymentStatusDetails")
                .unwrap_or(&Value::Null);
            vec![
                text(report, "deploymentId"),
                text(report, "status"),
                text(report, "createdOn"),
                text(details, "deploymentFailureCause"),
            ]
        })
        .collect();
    output.table(&["ID", "STATUS", "CREATED", "CAUSE"], &rows)
}

fn named(error: CallError, id: &str) -> Failure {
    match error {
        CallError::Refused { code, message } if code == "ResourceNotFoundError" => {
            Failure::Failed(if message.contains(id) {
                message
            } else {
                format!("there is no deployment {id}")
            })
        }
        other => other.into(),
    }
}
