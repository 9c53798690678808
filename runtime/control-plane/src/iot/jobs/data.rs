//! What a device does with its jobs: over HTTP as the service `iot-jobs-data`, and over MQTT (in `mqtt.rs`) with the same
//! functions.

use super::{
    ExecutionOrApi, Notices,
    execution::{Report, Status, StatusDetails},
    report,
    table::{Job, Run, pending},
};
use crate::{
    http::{ApiError, Context, ErrorNames, Operation, Protocol, Service, Timestamp},
    iot::registry::{names, things::Thing},
};
use http::StatusCode;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Stands for the job that is next.
pub(super) const NEXT: &str = "$next";

/// The service's table.
pub fn service() -> Service {
    Service {
        name: "iot-jobs-data",
        scopes: &["iot-jobs-data"],
        prefix: "iotjobsdata",
        protocol: Protocol::RestJson,
        errors: ErrorNames {
            invalid: "InvalidRequestException",
            bad_token: "InvalidRequestException",
            internal: "ServiceUnavailableException",
            denied: "UnauthorizedException",
        },
        operations: vec![
            Operation::new(
                "DescribeJobExecution",
                "GET /things/{thingName}/jobs/{jobId}",
                describe_execution,
            ),
            Operation::new(
                "GetPendingJobExecutions",
                "GET /things/{thingName}/jobs",
                get_pending,
            ),
            Operation::new(
                "StartNextPendingJobExecution",
                "PUT /things/{thingName}/jobs/$next",
                start_next_execution,
            ),
            Operation::new(
                "UpdateJobExecution",
                "POST /things/{thingName}/jobs/{jobId}",
                update_execution,
            ),
        ],
    }
}

/// The runs that are not over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PendingRuns {
    in_progress_jobs: Vec<Value>,
    queued_jobs: Vec<Value>,
}

/// A thing's runs that are not over.
pub(super) fn pending_runs(
    t: &Transaction<'_>,
    thing: &str,
    namespace: Option<&str>,
) -> Result<PendingRuns, ApiError> {
    Thing::get(t, thing)?;
    let (going, queued): (Vec<Run>, Vec<Run>) = pending(t, thing, namespace)?
        .into_iter()
        .partition(|run| run.execution.status == Status::InProgress);
    let summaries = |runs: Vec<Run>| runs.iter().map(Run::summary).collect();
    Ok(PendingRuns {
        in_progress_jobs: summaries(going),
        queued_jobs: summaries(queued),
    })
}

/// What a run is asked for.
#[derive(Debug)]
pub(super) struct Which<'a> {
    pub thing: &'a str,
    /// An id, or [`NEXT`].
    pub job: &'a str,
    pub namespace: Option<&'a str>,
    pub number: Option<i64>,
}

/// A run, described; nothing when the next is asked for and there is none.
pub(super) fn describe(
    t: &Transaction<'_>,
    which: &Which<'_>,
    document: bool,
) -> Result<Option<Value>, ApiError> {
    Thing::get(t, which.thing)?;
    let run = if which.job == NEXT {
        let Some(run) = pending(t, which.thing, which.namespace)?.into_iter().next() else {
            return Ok(None);
        };
        run
    } else {
        let run = Run::get(t, which.job, which.thing, which.number)?;
        if run.namespace.as_deref() != which.namespace {
            return Err(ApiError::not_found(format!(
                "Job {} is not in this namespace.",
                which.job
            )));
        }
        if run.execution.status.is_terminal() {
            return Err(ApiError::new(
                StatusCode::GONE,
                "TerminalStateException",
                format!(
                    "The job execution is in the terminal state {}",
                    run.execution.status.name()
                ),
            ));
        }
        run
    };
    let text = Job::get(t, &run.job)?.document;
    run.describe(document.then_some(text.as_str()), Timestamp::now())
        .map(Some)
}

/// Begins the next run, or finds the one that is begun.
pub(super) fn start_next(
    t: &Transaction<'_>,
    notices: &mut Notices,
    thing: &str,
    namespace: Option<&str>,
    details: Option<StatusDetails>,
    step: Option<i64>,
) -> Result<Option<Value>, ExecutionOrApi> {
    Thing::get(t, thing)?;
    let Some(run) = pending(t, thing, namespace)?.into_iter().next() else {
        return Ok(None);
    };
    let run = if run.execution.status == Status::Queued {
        let said = Report {
            status: Some(Status::InProgress),
            details,
            expected_version: None,
            step_timeout_minutes: step,
        };
        report(t, notices, &run, &said)?
    } else {
        run
    };
    let document = Job::get(t, &run.job)?.document;
    Ok(Some(run.describe(Some(&document), Timestamp::now())?))
}

/// An update, by a device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    pub status: Option<String>,
    pub status_details: Option<StatusDetails>,
    pub expected_version: Option<i64>,
    pub execution_number: Option<i64>,
    #[serde(default)]
    pub include_job_execution_state: bool,
    #[serde(default)]
    pub include_job_document: bool,
    pub step_timeout_in_minutes: Option<i64>,
}

/// What an update is answered with.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Updated {
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_state: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_document: Option<Value>,
}

/// Does what an update says.
pub(super) fn update(
    t: &Transaction<'_>,
    notices: &mut Notices,
    which: &Which<'_>,
    said: Update,
) -> Result<Updated, ExecutionOrApi> {
    Thing::get(t, which.thing)?;
    let run = if which.job == NEXT {
        let next = pending(t, which.thing, which.namespace)?.into_iter().next();
        next.ok_or_else(|| {
            ApiError::not_found(format!(
                "Thing {} has no pending job executions.",
                which.thing
            ))
        })?
    } else {
        Run::get(t, which.job, which.thing, said.execution_number)?
    };
    if run.namespace.as_deref() != which.namespace {
        return Err(
            ApiError::not_found(format!("Job {} is not in this namespace.", which.job)).into(),
        );
    }
    let status = match said.status.as_deref() {
        None => return Err(ApiError::invalid("status must be given").into()),
        Some(text) => Status::parse(text).ok_or_else(|| {
            ApiError::invalid(format!("'{text}' is not a status of a job execution"))
        })?,
    };
    let said_report = Report {
        status: Some(status),
        details: said.status_details,
        expected_version: said.expected_version,
        step_timeout_minutes: said.step_timeout_in_minutes,
    };
    let run = report(t, notices, &run, &said_report)?;
    let mut updated = Updated::default();
    if said.include_job_execution_state {
        updated.execution_state = Some(state(&run));
    }
    if said.include_job_document {
        let document = Job::get(t, &run.job)?.document;
        updated.job_document = Some(serde_json::from_str(&document).map_err(ApiError::from)?);
    }
    Ok(updated)
}

/// `executionState` of an answer.
pub(super) fn state(run: &Run) -> Value {
    json!({
        "status": run.execution.status.name(),
        "statusDetails": run.execution.details,
        "versionNumber": run.execution.version,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeInput {
    thing_name: String,
    job_id: String,
    include_job_document: Option<bool>,
    execution_number: Option<i64>,
}

#[derive(Serialize)]
struct ExecutionOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Value>,
}

/// The HTTP service gives the document as text.
fn with_text(execution: Option<Value>) -> ExecutionOutput {
    let with_text = |mut execution: Value| {
        if let Some(document) = execution.get_mut("jobDocument") {
            *document = document.to_string().into();
        }
        execution
    };
    ExecutionOutput {
        execution: execution.map(with_text),
    }
}

async fn describe_execution(
    context: Context,
    input: DescribeInput,
) -> Result<ExecutionOutput, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    let found = context
        .database()
        .read(move |t| {
            // Over HTTP the job's namespace need not be told.
            let namespace =
                match Run::find(t, &input.job_id, &input.thing_name, input.execution_number)? {
                    Some(run) => run.namespace,
                    None => None,
                };
            let which = Which {
                thing: &input.thing_name,
                job: &input.job_id,
                namespace: namespace.as_deref(),
                number: input.execution_number,
            };
            describe(t, &which, input.include_job_document.unwrap_or(false))
        })
        .await?;
    Ok(with_text(found))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThingInput {
    thing_name: String,
}

async fn get_pending(context: Context, input: ThingInput) -> Result<PendingRuns, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    context
        .database()
        .read(move |t| pending_runs(t, &input.thing_name, None))
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartNextInput {
    thing_name: String,
    status_details: Option<StatusDetails>,
    step_timeout_in_minutes: Option<i64>,
}

async fn start_next_execution(
    context: Context,
    input: StartNextInput,
) -> Result<ExecutionOutput, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    let jobs = context.state.jobs.clone();
    let begun = jobs
        .change(move |t, notices| {
            Ok(start_next(
                t,
                notices,
                &input.thing_name,
                None,
                input.status_details,
                input.step_timeout_in_minutes,
            )?)
        })
        .await?;
    Ok(with_text(begun))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    thing_name: String,
    job_id: String,
    #[serde(flatten)]
    said: Update,
}

async fn update_execution(context: Context, input: UpdateInput) -> Result<Updated, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    let jobs = context.state.jobs.clone();
    let mut updated = jobs
        .change(move |t, notices| {
            let run = Run::get(
                t,
                &input.job_id,
                &input.thing_name,
                input.said.execution_number,
            )?;
            let which = Which {
                thing: &input.thing_name,
                job: &input.job_id,
                namespace: run.namespace.as_deref(),
                number: input.said.execution_number,
            };
            Ok(update(t, notices, &which, input.said)?)
        })
        .await?;
    updated.job_document = updated
        .job_document
        .map(|document| document.to_string().into());
    Ok(updated)
}
