//! A new deployment: the next revision of its target. For a group it is a continuous job in the namespace of Greengrass,
//! and the job of the revision before is called off; for a thing it is written into the thing's named shadow. Job, shadow,
//! and the deployment itself are one transaction.

use super::{
    NAMESPACE, SHADOW, check,
    document::{Component, Names, Parts, Policies, configuration_arn, whole, without_components},
    large,
    table::{Deployment, JobConfiguration, next_revision},
};
use crate::{
    device::port::Outgoing,
    greengrassv2::{
        names::{Kind, conflict, deployment_arn, invalid_field},
        tags::{self, Tags},
        token::Token,
    },
    http::{ApiError, Context, Timestamp},
    iot::{
        jobs::{self, NewJob, Notices},
        registry::names::uuid,
        shadow::{self, Failure, ShadowEvent},
    },
    state::Account,
};
use model::shadow::Update;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The largest document that fits into a shadow, and into a job, with what else is there.
const MAX_IN_SHADOW: usize = 7 * 1024;
const MAX_IN_JOB: usize = 31 * 1024;
/// The largest document at all.
const MAX_LARGE: usize = 10 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Input {
    target_arn: String,
    deployment_name: Option<String>,
    #[serde(default)]
    components: BTreeMap<String, Component>,
    iot_job_configuration: Option<JobConfiguration>,
    #[serde(default)]
    deployment_policies: Policies,
    parent_target_arn: Option<String>,
    #[serde(default)]
    tags: Tags,
    client_token: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    deployment_id: String,
    iot_job_id: Option<String>,
    iot_job_arn: Option<String>,
}

/// What the transaction leaves to be told.
type Told = Option<(Outgoing, Vec<Outgoing>, ShadowEvent)>;

pub(super) async fn create(context: Context, input: Input) -> Result<Output, ApiError> {
    context.allow(&input.target_arn)?;
    let token = Token::new(
        "CreateDeployment",
        input.client_token,
        &(
            (
                &input.target_arn,
                &input.parent_target_arn,
                &input.deployment_name,
            ),
            (&input.components, &input.deployment_policies),
            (&input.iot_job_configuration, &input.tags),
        ),
    )?;
    let parts = Parts {
        components: input.components,
        policies: input.deployment_policies,
    };
    let jobs = input.iot_job_configuration;
    check::request(input.deployment_name.as_deref(), &parts, jobs.as_ref())?;
    tags::check(&input.tags)?;
    let mut new = Deployment {
        id: uuid(),
        target: input.target_arn,
        parent: input.parent_target_arn,
        // Known within the transaction.
        revision: 0,
        name: input.deployment_name,
        job: None,
        parts,
        job_configuration: jobs,
        large: None,
        status: "ACTIVE".to_owned(),
        latest: true,
        created: Timestamp::now(),
    };
    let state = &context.state;
    let account = state.account.clone();
    // The revision counts for the size only by its digits.
    let measured = document(&account, &new, i64::from(i32::MAX))?;
    let text = measured.to_string();
    let (size, limit) = match new.thing() {
        // In a shadow the document is a text within a text: its quotes count twice.
        Some(_) => (Value::from(text).to_string().len(), MAX_IN_SHADOW),
        None => (text.len(), MAX_IN_JOB),
    };
    if size > MAX_LARGE {
        return Err(invalid_field(
            "components",
            format!("The deployment's document has {size} bytes; at most {MAX_LARGE} are allowed"),
        ));
    }
    if size > limit {
        new.large = Some(large::key(&new.id));
    }
    let tags = input.tags;
    let made = state
        .jobs
        .change(move |t, notices| {
            if let Some(answer) = token.answered::<Output>(t)? {
                return Ok((answer, None));
            }
            let (output, told) = insert(t, notices, &account, &mut new)?;
            tags::put(t, &deployment_arn(&account, &output.deployment_id), &tags)?;
            token.keep(t, &output)?;
            Ok((output, told))
        })
        .await;
    let (output, told) = made?;
    if let Some((first, messages, event)) = told {
        state.shadows.tell(first, messages, event).await;
    }
    Ok(output)
}

fn names<'a>(deployment: &'a Deployment, configuration: &'a str) -> Names<'a> {
    Names {
        id: &deployment.id,
        name: deployment.name.as_deref(),
        target: &deployment.target,
        parent: deployment.parent.as_deref(),
        configuration,
        created: deployment.created,
    }
}

fn document(account: &Account, new: &Deployment, revision: i64) -> Result<Value, ApiError> {
    let configuration = configuration_arn(account, &new.target, revision);
    whole(&names(new, &configuration), &new.parts)
}

fn insert(
    t: &Transaction<'_>,
    notices: &mut Notices,
    account: &Account,
    new: &mut Deployment,
) -> Result<(Output, Told), ApiError> {
    let target = check::target(t, account, &new.target, new.parent.as_deref())?;
    check::versions(t, account, &new.parts)?;
    if let Some(mut before) = Deployment::latest(t, &new.target)?
        && before.status == "ACTIVE"
    {
        supersede(t, notices, account, &mut before)?;
    }
    new.revision = next_revision(t, &new.target)?;
    let configuration = configuration_arn(account, &new.target, new.revision);
    let document = match new.large {
        None => document(account, new, new.revision)?,
        Some(_) => without_components(&names(new, &configuration), &new.parts),
    };
    let mut told = None;
    match target {
        check::Target::Group(_) => {
            new.job = Some(new.id.clone());
            jobs::create(t, notices, job(new, &document)).map_err(of_jobs)?;
        }
        check::Target::Thing(thing) => {
            let desired = json!({
                "fleetConfig": document.to_string(),
                "fleetConfigurationArn": configuration,
                "desiredStatus": "SUCCEEDED",
            });
            told = Some(write_shadow(t, &thing, &desired)?);
        }
    }
    new.insert(t)?;
    let output = Output {
        deployment_id: new.id.clone(),
        iot_job_arn: new
            .job
            .as_ref()
            .map(|id| account.arn("iot", &format!("job/{id}"))),
        iot_job_id: new.job.clone(),
    };
    Ok((output, told))
}

fn job(new: &Deployment, document: &Value) -> NewJob {
    let configuration = new.job_configuration.clone().unwrap_or_default();
    let timeout = configuration.timeout_config.unwrap_or_default();
    NewJob {
        id: new.id.clone(),
        namespace: Some(NAMESPACE.to_owned()),
        document: document.to_string(),
        description: new.name.clone(),
        continuous: true,
        targets: vec![new.target.clone()],
        rollout: configuration
            .job_executions_rollout_config
            .unwrap_or_default(),
        abort: configuration.abort_config.unwrap_or_default(),
        timeout_minutes: timeout.in_progress_timeout_in_minutes,
        ..NewJob::default()
    }
}

/// Errors of jobs in the names that this service has.
pub(super) fn of_jobs(error: ApiError) -> ApiError {
    match error {
        ApiError::Refused(refusal) if refusal.status == http::StatusCode::CONFLICT => {
            conflict(Kind::Deployment, "", refusal.message)
        }
        other => other,
    }
}

/// Ends the revision before. Devices that are at it may finish it; what a thing's shadow says of it is kept, as the shadow
/// is about to be written anew.
fn supersede(
    t: &Transaction<'_>,
    notices: &mut Notices,
    account: &Account,
    before: &mut Deployment,
) -> Result<(), ApiError> {
    if let Some(job) = before
        .job
        .as_deref()
        .and_then(|id| jobs::Job::find(t, id).transpose())
    {
        let job = job?;
        if job.is_open() {
            let comment = "A newer deployment for the same target has taken its place";
            jobs::cancel(
                t,
                notices,
                &job.id,
                Some("SUPERSEDED".to_owned()),
                Some(comment.to_owned()),
                false,
            )
            .map_err(of_jobs)?;
        }
    }
    if let (Some(thing), Some(result)) = (before.thing(), before.shadow_result(t, account)?) {
        result.save(t, thing, &before.id)?;
    }
    before.set_status(t, "INACTIVE")
}

/// Changes what is desired in the deployment shadow of a thing.
pub(super) fn write_shadow(
    t: &Transaction<'_>,
    thing: &str,
    desired: &Value,
) -> Result<(Outgoing, Vec<Outgoing>, ShadowEvent), ApiError> {
    let payload = json!({ "state": { "desired": desired } }).to_string();
    let update = Update::parse(payload.as_bytes()).map_err(ApiError::internal)?;
    let (accepted, messages, event) =
        shadow::apply(t, thing, SHADOW, &update).map_err(|failure| match failure {
            Failure::Refused(error) => ApiError::invalid(error.to_string()),
            Failure::Api(error) => error,
        })?;
    let topic = format!("{}/update/accepted", shadow::topic(thing, SHADOW));
    Ok((Outgoing::json(topic, &accepted), messages, event))
}
