//! Jobs as operators see them: the operations of the service `iot`.

use super::{
    Jobs, NewJob, Notices, cancel,
    execution::{Status, StatusDetails},
    put,
    rollout::{Abort, Retry, Rollout},
    table::{Job, Run},
    transition_refused,
};
use crate::{
    http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate},
    iot::registry::{names, tags, things::Thing},
};
use http::StatusCode;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The operations of jobs.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new("CreateJob", "PUT /jobs/{jobId}", create),
        Operation::new("DescribeJob", "GET /jobs/{jobId}", describe),
        Operation::new("ListJobs", "GET /jobs", list),
        Operation::new("UpdateJob", "PATCH /jobs/{jobId}", update),
        Operation::new("CancelJob", "PUT /jobs/{jobId}/cancel", cancel_job),
        Operation::new("DeleteJob", "DELETE /jobs/{jobId}", delete),
        Operation::new("GetJobDocument", "GET /jobs/{jobId}/job-document", document),
        Operation::new(
            "AssociateTargetsWithJob",
            "POST /jobs/{jobId}/targets",
            associate,
        ),
        Operation::new(
            "DescribeJobExecution",
            "GET /things/{thingName}/jobs/{jobId}",
            describe_execution,
        ),
        Operation::new(
            "ListJobExecutionsForJob",
            "GET /jobs/{jobId}/things",
            list_of_job,
        ),
        Operation::new(
            "ListJobExecutionsForThing",
            "GET /things/{thingName}/jobs",
            list_of_thing,
        ),
        Operation::new(
            "CancelJobExecution",
            "PUT /things/{thingName}/jobs/{jobId}/cancel",
            cancel_execution,
        ),
        Operation::new(
            "DeleteJobExecution",
            "DELETE /things/{thingName}/jobs/{jobId}/executionNumber/{executionNumber}",
            delete_execution,
        ),
    ]
}

fn check_id(id: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    validate::name("jobId", id, 1..=64, allowed, "[a-zA-Z0-9_-]+")
}

fn arn(context: &Context, id: &str) -> String {
    context.arn("iot", &format!("job/{id}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timeout {
    in_progress_timeout_in_minutes: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput {
    job_id: String,
    targets: Vec<String>,
    document_source: Option<String>,
    document: Option<String>,
    description: Option<String>,
    target_selection: Option<String>,
    #[serde(default)]
    job_executions_rollout_config: Rollout,
    #[serde(default)]
    abort_config: Abort,
    timeout_config: Option<Timeout>,
    #[serde(default)]
    job_executions_retry_config: Retry,
    namespace_id: Option<String>,
    tags: Option<Vec<tags::Tag>>,
    job_template_arn: Option<String>,
    scheduling_config: Option<Value>,
    presigned_url_config: Option<Map<String, Value>>,
    document_parameters: Option<Map<String, Value>>,
    destination_package_versions: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobOutput {
    job_arn: String,
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

impl JobOutput {
    fn of(context: &Context, job: Job) -> Self {
        Self {
            job_arn: arn(context, &job.id),
            job_id: job.id,
            description: job.description,
        }
    }
}

fn not_served(what: &str) -> ApiError {
    ApiError::invalid(format!("{what} is not supported by this control plane"))
}

async fn create(context: Context, input: CreateInput) -> Result<JobOutput, ApiError> {
    check_id(&input.job_id)?;
    for (member, given) in [
        ("jobTemplateArn", input.job_template_arn.is_some()),
        ("schedulingConfig", input.scheduling_config.is_some()),
        (
            "presignedUrlConfig",
            input
                .presigned_url_config
                .is_some_and(|config| !config.is_empty()),
        ),
        (
            "documentParameters",
            input
                .document_parameters
                .is_some_and(|parameters| !parameters.is_empty()),
        ),
        (
            "destinationPackageVersions",
            input
                .destination_package_versions
                .is_some_and(|versions| !versions.is_empty()),
        ),
        ("documentSource", input.document_source.is_some()),
    ] {
        if given {
            return Err(not_served(member));
        }
    }
    let Some(document) = input.document else {
        return Err(ApiError::invalid("document must be given"));
    };
    let selection = input.target_selection.unwrap_or_else(|| "SNAPSHOT".into());
    validate::one_of("targetSelection", &selection, &["CONTINUOUS", "SNAPSHOT"])?;
    if let Some(description) = &input.description {
        validate::length("description", description, 0..=2028)?;
    }
    let new = NewJob {
        id: input.job_id,
        namespace: input.namespace_id,
        document,
        document_source: None,
        description: input.description,
        continuous: selection == "CONTINUOUS",
        targets: input.targets,
        rollout: input.job_executions_rollout_config,
        abort: input.abort_config,
        retry: input.job_executions_retry_config,
        timeout_minutes: input
            .timeout_config
            .and_then(|timeout| timeout.in_progress_timeout_in_minutes),
    };
    let (own, tagged) = (arn(&context, &new.id), input.tags.unwrap_or_default());
    let job = context
        .state
        .jobs
        .change(move |t, notices| {
            let job = super::create(t, notices, new)?;
            tags::put(t, &own, tagged)?;
            Ok(job)
        })
        .await?;
    Ok(JobOutput::of(&context, job))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdInput {
    job_id: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    processing_targets: Vec<String>,
    number_of_canceled_things: i64,
    number_of_succeeded_things: i64,
    number_of_failed_things: i64,
    number_of_rejected_things: i64,
    number_of_queued_things: i64,
    number_of_in_progress_things: i64,
    number_of_removed_things: i64,
    number_of_timed_out_things: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    job_arn: String,
    job_id: String,
    target_selection: &'static str,
    status: String,
    force_canceled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    job_executions_rollout_config: Rollout,
    abort_config: Abort,
    created_at: Timestamp,
    last_updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    job_process_details: Details,
    timeout_config: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_id: Option<String>,
    job_executions_retry_config: Retry,
    is_concurrent: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribeOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    document_source: Option<String>,
    job: Description,
}

async fn describe(context: Context, input: IdInput) -> Result<DescribeOutput, ApiError> {
    let id = input.job_id;
    check_id(&id)?;
    let (job, counts) = context
        .database()
        .read(move |t| {
            let job = Job::get(t, &id)?;
            let counts = job.counts(t)?;
            Ok::<_, ApiError>((job, counts))
        })
        .await?;
    let of = |status| counts.get(&status).copied().unwrap_or(0);
    let mut timeout_config = Map::new();
    if let Some(minutes) = job.timeout_minutes {
        timeout_config.insert("inProgressTimeoutInMinutes".into(), minutes.into());
    }
    Ok(DescribeOutput {
        document_source: job.document_source.clone(),
        job: Description {
            job_arn: arn(&context, &job.id),
            target_selection: job.selection(),
            job_process_details: Details {
                processing_targets: if job.is_open() {
                    job.targets.clone()
                } else {
                    Vec::new()
                },
                number_of_canceled_things: of(Status::Canceled),
                number_of_succeeded_things: of(Status::Succeeded),
                number_of_failed_things: of(Status::Failed),
                number_of_rejected_things: of(Status::Rejected),
                number_of_queued_things: of(Status::Queued),
                number_of_in_progress_things: of(Status::InProgress),
                number_of_removed_things: of(Status::Removed),
                number_of_timed_out_things: of(Status::TimedOut),
            },
            job_id: job.id,
            status: job.status,
            force_canceled: job.forced,
            reason_code: job.reason,
            comment: job.comment,
            targets: job.targets,
            description: job.description,
            job_executions_rollout_config: job.rollout,
            abort_config: job.abort,
            created_at: job.created,
            last_updated_at: job.updated,
            completed_at: job.completed,
            timeout_config: Value::Object(timeout_config),
            namespace_id: job.namespace,
            job_executions_retry_config: job.retry,
            is_concurrent: false,
        },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    status: Option<String>,
    target_selection: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
    thing_group_name: Option<String>,
    thing_group_id: Option<String>,
    namespace_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    job_arn: String,
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    thing_group_id: Option<String>,
    target_selection: &'static str,
    status: String,
    created_at: Timestamp,
    last_updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    is_concurrent: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    jobs: Vec<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Jobs of deployments are listed only when their namespace is named, as with AWS IoT.
async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let filters = format!(
        "{:?}{:?}{:?}{:?}{:?}",
        input.status,
        input.target_selection,
        input.thing_group_name,
        input.thing_group_id,
        input.namespace_id
    );
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        filters,
    )?;
    let place = page.after().and_then(|place| place.split_once(' '));
    let place = place.and_then(|(time, id)| Some((time.parse::<i64>().ok()?, id.to_owned())));
    let fetch = page.fetch();
    let own = context.state.account.clone();
    let found = context
        .database()
        .read(move |t| {
            let group = match (&input.thing_group_name, &input.thing_group_id) {
                (Some(name), _) => Some(name.clone()),
                (None, Some(id)) => {
                    let sql = "SELECT coalesce(max(name), '') FROM iot_group WHERE id = ?1";
                    Some(t.query_row(sql, [id], |row| row.get(0))?)
                }
                (None, None) => None,
            };
            let target = group.map(|group| format!("\"{}\"", own.arn("iot", &format!("thinggroup/{group}"))));
            let (time, id) = place.unwrap_or((i64::MAX, String::new()));
            let sql = "SELECT * FROM iot_job WHERE (created, id) < (?1, ?2) AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR selection = ?4)
                 AND namespace IS ?5 AND (?6 IS NULL OR instr(targets, ?6) > 0) ORDER BY created DESC, id DESC LIMIT ?7";
            let mut statement = t.prepare_cached(sql)?;
            let values = (time, id, input.status, input.target_selection, input.namespace_id, target, fetch);
            let rows = statement.query_map(values, Job::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (found, next_token) =
        page.finish(found, |job| format!("{} {}", job.created.millis(), job.id));
    let summary = |job: Job| Summary {
        job_arn: arn(&context, &job.id),
        target_selection: job.selection(),
        job_id: job.id,
        thing_group_id: None,
        status: job.status,
        created_at: job.created,
        last_updated_at: job.updated,
        completed_at: job.completed,
        is_concurrent: false,
    };
    Ok(ListOutput {
        jobs: found.into_iter().map(summary).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput {
    job_id: String,
    description: Option<String>,
    job_executions_rollout_config: Option<Rollout>,
    abort_config: Option<Abort>,
    timeout_config: Option<Timeout>,
    job_executions_retry_config: Option<Retry>,
}

async fn update(context: Context, input: UpdateInput) -> Result<Empty, ApiError> {
    check_id(&input.job_id)?;
    context
        .state
        .jobs
        .change(move |t, _| {
            let mut job = Job::get(t, &input.job_id)?;
            if !job.is_open() {
                return Err(ApiError::invalid(format!(
                    "Job {} is {} and cannot be updated.",
                    job.id, job.status
                )));
            }
            if let Some(description) = input.description {
                validate::length("description", &description, 0..=2028)?;
                job.description = Some(description);
            }
            if let Some(rollout) = input.job_executions_rollout_config {
                rollout.check().map_err(ApiError::invalid)?;
                job.rollout = rollout;
            }
            if let Some(abort) = input.abort_config {
                abort.check().map_err(ApiError::invalid)?;
                job.abort = abort;
            }
            if let Some(retry) = input.job_executions_retry_config {
                retry.check().map_err(ApiError::invalid)?;
                job.retry = retry;
            }
            if let Some(timeout) = input.timeout_config {
                if let Some(minutes) = timeout.in_progress_timeout_in_minutes {
                    validate::range(
                        "timeoutConfig.inProgressTimeoutInMinutes",
                        minutes,
                        1..=10_080,
                    )?;
                }
                job.timeout_minutes = timeout.in_progress_timeout_in_minutes;
            }
            job.updated = Timestamp::now();
            job.save(t)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelInput {
    job_id: String,
    reason_code: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    force: bool,
}

async fn cancel_job(context: Context, input: CancelInput) -> Result<JobOutput, ApiError> {
    check_id(&input.job_id)?;
    let jobs: &Jobs = &context.state.jobs;
    let job = jobs
        .cancel(&input.job_id, input.reason_code, input.comment, input.force)
        .await?;
    Ok(JobOutput::of(&context, job))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteInput {
    job_id: String,
    #[serde(default)]
    force: bool,
}

async fn delete(context: Context, input: DeleteInput) -> Result<Empty, ApiError> {
    check_id(&input.job_id)?;
    let own = arn(&context, &input.job_id);
    context
        .state
        .jobs
        .change(move |t, notices| {
            let job = Job::get(t, &input.job_id)?;
            if job.is_open() {
                if !input.force {
                    return Err(ApiError::new(
                        StatusCode::CONFLICT,
                        "InvalidStateTransitionException",
                        format!(
                            "Job {} is in progress: cancel it first, or delete it with force.",
                            job.id
                        ),
                    ));
                }
                // Devices learn that their runs are gone.
                cancel(t, notices, &job.id, None, None, true)?;
            }
            t.execute("DELETE FROM iot_job WHERE id = ?1", [&job.id])?;
            tags::clear(t, &own)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Serialize)]
struct DocumentOutput {
    document: String,
}

async fn document(context: Context, input: IdInput) -> Result<DocumentOutput, ApiError> {
    check_id(&input.job_id)?;
    let job = context
        .database()
        .read(move |t| Job::get(t, &input.job_id))
        .await?;
    Ok(DocumentOutput {
        document: job.document,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssociateInput {
    job_id: String,
    targets: Vec<String>,
    comment: Option<String>,
}

async fn associate(context: Context, input: AssociateInput) -> Result<JobOutput, ApiError> {
    check_id(&input.job_id)?;
    let job = context
        .state
        .jobs
        .change(move |t, notices| {
            let mut job = Job::get(t, &input.job_id)?;
            if !job.is_open() || !job.continuous {
                return Err(ApiError::invalid(format!(
                    "Job {} is not a continuous job in progress.",
                    job.id
                )));
            }
            for target in input.targets {
                if !job.targets.contains(&target) {
                    job.targets.push(target);
                }
            }
            super::check_targets(t, &job.targets)?;
            job.comment = input.comment.or(job.comment);
            let now = Timestamp::now();
            job.updated = now;
            let things = job.things(t)?;
            super::enlist(t, notices, &mut job, things, now)?;
            Ok(job)
        })
        .await?;
    Ok(JobOutput::of(&context, job))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionInput {
    job_id: String,
    thing_name: String,
    execution_number: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionDescription {
    job_id: String,
    status: Status,
    force_canceled: bool,
    status_details: Value,
    thing_arn: String,
    queued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    last_updated_at: Timestamp,
    execution_number: i64,
    version_number: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    approximate_seconds_before_timed_out: Option<i64>,
}

#[derive(Serialize)]
struct DescribeExecutionOutput {
    execution: ExecutionDescription,
}

async fn describe_execution(
    context: Context,
    input: ExecutionInput,
) -> Result<DescribeExecutionOutput, ApiError> {
    check_id(&input.job_id)?;
    names::resource("thingName", &input.thing_name)?;
    let run = context
        .database()
        .read(move |t| Run::get(t, &input.job_id, &input.thing_name, input.execution_number))
        .await?;
    let execution = run.execution;
    let left = execution
        .next_deadline()
        .map(|deadline| (deadline.millis() - Timestamp::now().millis()).max(0) / 1000);
    Ok(DescribeExecutionOutput {
        execution: ExecutionDescription {
            thing_arn: context.arn("iot", &format!("thing/{}", run.thing)),
            job_id: run.job,
            status: execution.status,
            force_canceled: execution.forced,
            status_details: serde_json::json!({ "detailsMap": execution.details }),
            queued_at: execution.queued,
            started_at: execution.started,
            last_updated_at: execution.updated,
            execution_number: run.number,
            version_number: execution.version,
            approximate_seconds_before_timed_out: left,
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutionSummary {
    status: Status,
    queued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    last_updated_at: Timestamp,
    execution_number: i64,
    retry_attempt: i64,
}

impl ExecutionSummary {
    fn of(run: &Run) -> Self {
        let execution = &run.execution;
        Self {
            status: execution.status,
            queued_at: execution.queued,
            started_at: execution.started,
            last_updated_at: execution.updated,
            execution_number: run.number,
            retry_attempt: execution.attempts,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListOfJobInput {
    job_id: String,
    status: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfJob {
    thing_arn: String,
    job_execution_summary: ExecutionSummary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOfJobOutput {
    execution_summaries: Vec<OfJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_of_job(context: Context, input: ListOfJobInput) -> Result<ListOfJobOutput, ApiError> {
    check_id(&input.job_id)?;
    let filters = format!("{}\0{:?}", input.job_id, input.status);
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        filters,
    )?;
    let place = page.after().and_then(|place| place.split_once(' '));
    let place =
        place.and_then(|(number, thing)| Some((thing.to_owned(), number.parse::<i64>().ok()?)));
    let fetch = page.fetch();
    let runs = context
        .database()
        .read(move |t| {
            Job::get(t, &input.job_id)?;
            let (thing, number) = place.unwrap_or_default();
            let sql = "SELECT * FROM iot_execution WHERE job = ?1 AND (thing, number) > (?2, ?3) AND (?4 IS NULL OR status = ?4)
                 ORDER BY thing, number LIMIT ?5";
            let mut statement = t.prepare_cached(sql)?;
            let rows = statement.query_map((input.job_id, thing, number, input.status, fetch), Run::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (runs, next_token) = page.finish(runs, |run| format!("{} {}", run.number, run.thing));
    let of_job = |run: Run| OfJob {
        thing_arn: context.arn("iot", &format!("thing/{}", run.thing)),
        job_execution_summary: ExecutionSummary::of(&run),
    };
    Ok(ListOfJobOutput {
        execution_summaries: runs.into_iter().map(of_job).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListOfThingInput {
    thing_name: String,
    status: Option<String>,
    namespace_id: Option<String>,
    job_id: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfThing {
    job_id: String,
    job_execution_summary: ExecutionSummary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOfThingOutput {
    execution_summaries: Vec<OfThing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

async fn list_of_thing(
    context: Context,
    input: ListOfThingInput,
) -> Result<ListOfThingOutput, ApiError> {
    names::resource("thingName", &input.thing_name)?;
    let filters = format!(
        "{}\0{:?}{:?}{:?}",
        input.thing_name, input.status, input.namespace_id, input.job_id
    );
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        filters,
    )?;
    let place = page.after().and_then(|place| place.split_once(' '));
    let place = place.and_then(|(number, job)| Some((job.to_owned(), number.parse::<i64>().ok()?)));
    let fetch = page.fetch();
    let runs = context
        .database()
        .read(move |t| {
            Thing::get(t, &input.thing_name)?;
            let (job, number) = place.unwrap_or_default();
            let sql = "SELECT * FROM iot_execution WHERE thing = ?1 AND (job, number) > (?2, ?3) AND (?4 IS NULL OR status = ?4)
                 AND namespace IS ?5 AND (?6 IS NULL OR job = ?6) ORDER BY job, number LIMIT ?7";
            let mut statement = t.prepare_cached(sql)?;
            let values = (input.thing_name, job, number, input.status, input.namespace_id, input.job_id, fetch);
            let rows = statement.query_map(values, Run::read)?;
            Ok::<_, ApiError>(rows.collect::<Result<Vec<_>, _>>()?)
        })
        .await?;
    let (runs, next_token) = page.finish(runs, |run| format!("{} {}", run.number, run.job));
    let of_thing = |run: Run| OfThing {
        job_execution_summary: ExecutionSummary::of(&run),
        job_id: run.job,
    };
    Ok(ListOfThingOutput {
        execution_summaries: runs.into_iter().map(of_thing).collect(),
        next_token,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CancelExecutionInput {
    job_id: String,
    thing_name: String,
    #[serde(default)]
    force: bool,
    expected_version: Option<i64>,
    status_details: Option<StatusDetails>,
}

async fn cancel_execution(
    context: Context,
    input: CancelExecutionInput,
) -> Result<Empty, ApiError> {
    check_id(&input.job_id)?;
    names::resource("thingName", &input.thing_name)?;
    context
        .state
        .jobs
        .change(move |t, notices| {
            let run = Run::get(t, &input.job_id, &input.thing_name, None)?;
            if let Some(expected) = input.expected_version
                && expected != run.execution.version
            {
                return Err(names::version_conflict(format!(
                    "expected version {expected} but the version is {}",
                    run.execution.version
                )));
            }
            let now = Timestamp::now();
            let mut next = run
                .execution
                .cancel(input.force, now)
                .map_err(transition_refused)?;
            if let Some(details) = input.status_details {
                next.details = details;
            }
            let run = put(t, notices, &run, next)?;
            super::follow(t, notices, run, now)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteExecutionInput {
    job_id: String,
    thing_name: String,
    execution_number: i64,
    #[serde(default)]
    force: bool,
}

async fn delete_execution(
    context: Context,
    input: DeleteExecutionInput,
) -> Result<Empty, ApiError> {
    check_id(&input.job_id)?;
    names::resource("thingName", &input.thing_name)?;
    context
        .state
        .jobs
        .change(move |t, notices| delete_one(t, notices, &input))
        .await
}

fn delete_one(
    t: &Transaction<'_>,
    notices: &mut Notices,
    input: &DeleteExecutionInput,
) -> Result<Empty, ApiError> {
    let run = Run::get(
        t,
        &input.job_id,
        &input.thing_name,
        Some(input.execution_number),
    )?;
    if run.execution.status == Status::InProgress && !input.force {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "InvalidStateTransitionException",
            "The job execution is in progress: delete it with force.",
        ));
    }
    notices.before(t, &run.thing, run.namespace.as_deref())?;
    t.execute(
        "DELETE FROM iot_execution WHERE job = ?1 AND thing = ?2 AND number = ?3",
        (&run.job, &run.thing, run.number),
    )?;
    Ok(Empty {})
}
