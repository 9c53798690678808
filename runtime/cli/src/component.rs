//! `component …`

use crate::{
    Failure,
    arguments::ComponentCommand,
    output::{Output, text},
    runtime::{CallError, Connect, Runtime},
};
use model::ComponentName;
use serde_json::{Value, json};

/// Runs the command.
pub async fn run(
    command: &ComponentCommand,
    connect: &dyn Connect,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let connection = connect.connect().await?;
    let runtime = connection.as_ref();
    match command {
        ComponentCommand::List => list(runtime, output).await,
        ComponentCommand::Details { name } => details(name, runtime, output).await,
        ComponentCommand::Restart(names) => each(&names.names, "Restart", runtime, output).await,
        ComponentCommand::Stop(names) => each(&names.names, "Stop", runtime, output).await,
    }
}

async fn list(runtime: &dyn Runtime, output: &mut Output<'_>) -> Result<(), Failure> {
    let answer = runtime
        .call("aws.greengrass#ListComponents", json!({}))
        .await?;
    let mut components = answer
        .get("components")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    components.sort_by_key(|component| text(component, "componentName"));
    if output.is_json() {
        return output.json(&components.into());
    }
    if components.is_empty() {
        return output.line("No components are deployed.");
    }
    let with_reasons = components
        .iter()
        .any(|component| !text(component, "statusReason").is_empty());
    let rows: Vec<Vec<String>> = components
        .iter()
        .map(|component| {
            let members = ["componentName", "version", "state", "statusReason"];
            members
                .iter()
                .take(if with_reasons { 4 } else { 3 })
                .map(|member| text(component, member))
                .collect()
        })
        .collect();
    let head = ["NAME", "VERSION", "STATE", "REASON"];
    output.table(&head[..if with_reasons { 4 } else { 3 }], &rows)
}

async fn details(
    name: &ComponentName,
    runtime: &dyn Runtime,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let answer = runtime
        .call(
            "aws.greengrass#GetComponentDetails",
            json!({ "componentName": name }),
        )
        .await
        .map_err(|error| named(error, name))?;
    let details = answer.get("componentDetails").cloned().unwrap_or_default();
    if output.is_json() {
        return output.json(&details);
    }
    // The layout of the classic CLI, which scripts search.
    output.line(&format!(
        "Component Name: {}",
        text(&details, "componentName")
    ))?;
    for (label, member) in [
        ("Version", "version"),
        ("State", "state"),
        ("Status Reason", "statusReason"),
        ("Process ID", "pid"),
    ] {
        let value = text(&details, member);
        if !value.is_empty() {
            output.line(&format!(
                "    {label}: {}",
                value.replace('\n', "\n        ")
            ))?;
        }
    }
    output.line(&format!(
        "    Configuration: {}",
        details.get("configuration").unwrap_or(&Value::Null)
    ))
}

/// Restarts or stops components one after the other; goes on after a failure and fails in the end.
async fn each(
    names: &[ComponentName],
    verb: &str,
    runtime: &dyn Runtime,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let status_member = format!("{}Status", verb.to_lowercase());
    let mut results = Vec::new();
    let mut failures = 0;
    for name in names {
        let answer = runtime
            .call(
                &format!("aws.greengrass#{verb}Component"),
                json!({ "componentName": name }),
            )
            .await;
        let (status, message) = match answer {
            Ok(answer) => (text(&answer, &status_member), text(&answer, "message")),
            Err(error @ CallError::Lost(_)) => return Err(error.into()),
            Err(error) => ("FAILED".to_owned(), named(error, name).to_string()),
        };
        if status != "SUCCEEDED" {
            failures += 1;
        }
        if !output.is_json() {
            let done = if verb == "Stop" {
                "stopped"
            } else {
                "restarted"
            };
            let reason = if message.is_empty() {
                status.clone()
            } else {
                message.clone()
            };
            match status.as_str() {
                "SUCCEEDED" => output.line(&format!("{name}: {done}"))?,
                _ => output.line(&format!("{name}: not {done}: {reason}"))?,
            }
        }
        results.push(
            json!({ "componentName": name, status_member.as_str(): status, "message": message }),
        );
    }
    if output.is_json() {
        output.json(&results.into())?;
    }
    if failures > 0 {
        Err(Failure::Silent(1))
    } else {
        Ok(())
    }
}

/// Messages of the runtime do not always name the component.
fn named(error: CallError, name: &ComponentName) -> Failure {
    match error {
        CallError::Refused { code, message }
            if matches!(
                code.as_str(),
                "ResourceNotFoundError" | "ComponentNotFoundError"
            ) =>
        {
            let known = message.contains(name.as_str());
            Failure::Failed(if known {
                message
            } else {
                format!("there is no component {name}")
            })
        }
        other => other.into(),
    }
}
