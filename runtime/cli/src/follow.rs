//! Follows a deployment to its end: events from the runtime, or polls where it has none (a classic nucleus), through
//! restarts of the runtime in between.

use crate::{
    Failure,
    arguments::Follow,
    deployment,
    output::{Output, text},
    runtime::{CallError, Connect, ConnectError, Runtime, private},
};
use model::deployment::DeploymentReport;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two polls, and between two tries to connect.
const PAUSE: Duration = Duration::from_millis(500);
/// A runtime that restarts (or reboots into a container's next start) is back within this.
const DOWN_AT_MOST: Duration = Duration::from_secs(120);
/// "No timeout", in a form that can be added to a time.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Shows progress until the deployment has ended, then its report; fails when it did not succeed.
pub async fn until_end(
    id: &str,
    follow: &Follow,
    connect: &dyn Connect,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + follow.timeout.map_or(FOREVER, Duration::from_secs);
    let mut progress = Progress::default();
    let report = timeout_at(deadline, watch(id, connect, &mut progress, output)).await;
    progress.end(output);
    let Ok(report) = report else {
        return Err(Failure::Failed(format!(
            "deployment {id} has not ended within {} s; it goes on",
            follow.timeout.unwrap_or(0)
        )));
    };
    let report = report?;
    deployment::show(&report, output)?;
    if text(&report, "status") == "SUCCEEDED" {
        Ok(())
    } else {
        Err(Failure::Silent(1))
    }
}

async fn watch(
    id: &str,
    connect: &dyn Connect,
    progress: &mut Progress,
    output: &mut Output<'_>,
) -> Result<Value, Failure> {
    let mut seen = false;
    loop {
        let runtime = reconnect(connect, seen, progress, output).await?;
        seen = true;
        match on_connection(id, runtime.as_ref(), progress, output).await {
            Ok(report) => return Ok(report),
            Err(Interrupted::Lost) => sleep(PAUSE).await,
            Err(Interrupted::Failure(failure)) => return Err(failure),
        }
    }
}

/// A connection; once there was one, a runtime that is down is waited for.
async fn reconnect(
    connect: &dyn Connect,
    seen: bool,
    progress: &mut Progress,
    output: &mut Output<'_>,
) -> Result<Box<dyn Runtime>, Failure> {
    let deadline = Instant::now() + DOWN_AT_MOST;
    loop {
        match connect.connect().await {
            Err(ConnectError::Down(_)) if seen && Instant::now() < deadline => {
                progress.say("waiting for the runtime to come back", output);
                sleep(PAUSE).await;
            }
            other => return Ok(other?),
        }
    }
}

enum Interrupted {
    /// The runtime went away.
    Lost,
    /// There is no use in going on.
    Failure(Failure),
}

async fn on_connection(
    id: &str,
    runtime: &dyn Runtime,
    progress: &mut Progress,
    output: &mut Output<'_>,
) -> Result<Value, Interrupted> {
    // Subscribe before asking, so that no end falls in between.
    let mut events = match runtime
        .subscribe(
            private::SUBSCRIBE_TO_DEPLOYMENT,
            json!({ "deploymentId": id }),
        )
        .await
    {
        Ok(events) => Some(events),
        Err(CallError::Lost(_)) => return Err(Interrupted::Lost),
        Err(CallError::Refused { .. }) => None,
    };
    loop {
        let answer = runtime
            .call(
                "aws.greengrass#GetLocalDeploymentStatus",
                json!({ "deploymentId": id }),
            )
            .await;
        let report = match answer {
            Ok(answer) => answer.get("deployment").cloned().unwrap_or_default(),
            Err(CallError::Lost(_)) => return Err(Interrupted::Lost),
            Err(error) => return Err(Interrupted::Failure(error.into())),
        };
        let status = text(&report, "status");
        if !matches!(status.as_str(), "QUEUED" | "IN_PROGRESS") {
            return Ok(report);
        }
        let Some(stream) = &mut events else {
            progress.say(&status.to_lowercase().replace('_', " "), output);
            sleep(PAUSE).await;
            continue;
        };
        loop {
            match stream.next().await {
                Some(Ok(event)) => {
                    let Some(report) = read(&event) else { continue };
                    if report.status.is_final() {
                        break;
                    }
                    let phase = if report.phase.is_empty() {
                        format!("{:?}", report.status).to_lowercase()
                    } else {
                        report.phase
                    };
                    progress.say(&phase, output);
                }
                Some(Err(CallError::Lost(_))) => return Err(Interrupted::Lost),
                Some(Err(_)) | None => {
                    events = None;
                    break;
                }
            }
        }
    }
}

/// An event holds the report as it is.
fn read(event: &Value) -> Option<DeploymentReport> {
    serde_json::from_value(event.clone()).ok()
}

/// One line that changes on a terminal, a line for each change elsewhere.
#[derive(Default)]
struct Progress {
    last: String,
}

impl Progress {
    fn say(&mut self, phase: &str, output: &mut Output<'_>) {
        if self.last == phase {
            return;
        }
        phase.clone_into(&mut self.last);
        // A broken stderr is no reason to stop following.
        let _ = if output.live {
            write!(
                output.progress,
                "\r\x1b[K{}",
                phase.lines().next().unwrap_or_default()
            )
        } else {
            writeln!(output.progress, "{phase}")
        };
        let _ = output.progress.flush();
    }

    fn end(&self, output: &mut Output<'_>) {
        if output.live && !self.last.is_empty() {
            let _ = write!(output.progress, "\r\x1b[K");
        }
    }
}
