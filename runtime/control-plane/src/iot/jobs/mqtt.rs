//! Jobs over MQTT:
//!
//! ```text
//! $aws/things/<thing>/jobs/[namespace-<ns>/]get                           the pending runs
//! $aws/things/<thing>/jobs/[namespace-<ns>/]start-next
//! $aws/things/<thing>/jobs/<id or $next>/[namespace-<ns>/]get
//! $aws/things/<thing>/jobs/<id or $next>/[namespace-<ns>/]update
//! ```
//! The answer comes on the same topic with `/accepted` or `/rejected` behind it, and carries the client token.

use super::{
    ExecutionOrApi, Jobs,
    data::{self, NEXT, Which},
    execution::{ExecutionError, StatusDetails},
};
use crate::{
    device::port::Outgoing,
    http::{ApiError, Timestamp},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What the device side subscribes to for this.
pub const FILTERS: &[&str] = &[
    "$aws/things/+/jobs/get",
    "$aws/things/+/jobs/start-next",
    "$aws/things/+/jobs/+/get",
    "$aws/things/+/jobs/+/start-next",
    "$aws/things/+/jobs/+/update",
    "$aws/things/+/jobs/+/+/get",
    "$aws/things/+/jobs/+/+/update",
];

/// A request's topic.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    thing: &'a str,
    namespace: Option<&'a str>,
    action: Action<'a>,
}

#[derive(Debug, PartialEq, Eq)]
enum Action<'a> {
    Pending,
    StartNext,
    Get(&'a str),
    Update(&'a str),
}

fn parse(topic: &str) -> Option<Request<'_>> {
    let (thing, rest) = topic.strip_prefix("$aws/things/")?.split_once('/')?;
    let rest = rest.strip_prefix("jobs/")?;
    let levels: Vec<&str> = rest.split('/').collect();
    let (namespace, action) = match levels.as_slice() {
        ["get"] => (None, Action::Pending),
        ["start-next"] => (None, Action::StartNext),
        [level, "get"] if level.starts_with("namespace-") => {
            (level.strip_prefix("namespace-"), Action::Pending)
        }
        [level, "start-next"] => (Some(level.strip_prefix("namespace-")?), Action::StartNext),
        [job, "get"] => (None, Action::Get(job)),
        [job, "update"] => (None, Action::Update(job)),
        [job, level, "get"] => (Some(level.strip_prefix("namespace-")?), Action::Get(job)),
        [job, level, "update"] => (Some(level.strip_prefix("namespace-")?), Action::Update(job)),
        _ => return None,
    };
    let named = |text: &str| !text.is_empty();
    let valid = named(thing) && namespace.is_none_or(named);
    valid.then_some(Request {
        thing,
        namespace,
        action,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    client_token: Option<String>,
    include_job_document: Option<bool>,
    execution_number: Option<i64>,
    status_details: Option<StatusDetails>,
    step_timeout_in_minutes: Option<i64>,
}

/// A refusal as devices get it.
#[derive(Debug)]
struct Refused {
    code: &'static str,
    message: String,
    state: Option<Value>,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::Refused(refusal) => match refusal.code.as_ref() {
                "ResourceNotFoundException" => "ResourceNotFound",
                "TerminalStateException" => "TerminalStateReached",
                _ => "InvalidRequest",
            },
            ApiError::Internal(cause) => {
                log::error!("a job request failed: {cause}");
                return Self {
                    code: "InternalError",
                    message: "An internal error occurred".into(),
                    state: None,
                };
            }
            _ => "InvalidRequest",
        };
        let message = match error {
            ApiError::Refused(refusal) => refusal.message,
            other => other.to_string(),
        };
        Self {
            code,
            message,
            state: None,
        }
    }
}

impl From<ExecutionOrApi> for Refused {
    fn from(error: ExecutionOrApi) -> Self {
        let error = match error {
            ExecutionOrApi::Api(error) => return error.into(),
            ExecutionOrApi::Execution(error) => error,
        };
        let code = match &error {
            ExecutionError::Transition { .. } => "InvalidStateTransition",
            ExecutionError::Version { .. } => "VersionMismatch",
            ExecutionError::Invalid(_) => "InvalidRequest",
        };
        Self {
            code,
            message: error.to_string(),
            state: None,
        }
    }
}

/// Answers a request; nothing for a topic that is none.
pub async fn handle(jobs: &Jobs, topic: &str, payload: &[u8]) -> Vec<Outgoing> {
    let Some(request) = parse(topic) else {
        return Vec::new();
    };
    // An empty payload is an empty request.
    let read: Result<Map<String, Value>, _> = if payload.is_empty() {
        Ok(Map::new())
    } else {
        serde_json::from_slice(payload)
    };
    let token = read
        .as_ref()
        .ok()
        .and_then(|body| body.get("clientToken").cloned());
    let answer = match read {
        Ok(body) => act(jobs, &request, Value::Object(body)).await,
        Err(error) => Err(Refused {
            code: "InvalidJson",
            message: format!("The request is not a JSON object: {error}"),
            state: None,
        }),
    };
    let now = Timestamp::now().millis() / 1000;
    let (suffix, mut message) = match answer {
        Ok(message) => ("accepted", message),
        Err(refused) => {
            let mut message = json!({ "code": refused.code, "message": refused.message });
            if let Some(state) = refused.state {
                message["executionState"] = state;
            }
            ("rejected", message)
        }
    };
    message["timestamp"] = now.into();
    if let Some(token) = token {
        message["clientToken"] = token;
    }
    vec![Outgoing::json(format!("{topic}/{suffix}"), &message)]
}

fn misread(error: &serde_json::Error) -> Refused {
    Refused {
        code: "InvalidRequest",
        message: format!("The request cannot be read: {error}"),
        state: None,
    }
}

async fn act(jobs: &Jobs, request: &Request<'_>, body: Value) -> Result<Value, Refused> {
    let update: Result<data::Update, _> = serde_json::from_value(body.clone());
    let body: Body = serde_json::from_value(body).map_err(|error| misread(&error))?;
    let thing = request.thing.to_owned();
    let namespace = request.namespace.map(str::to_owned);
    match request.action {
        Action::Pending => {
            let found = jobs
                .0
                .database
                .read(move |t| data::pending_runs(t, &thing, namespace.as_deref()))
                .await?;
            Ok(serde_json::to_value(found).map_err(ApiError::from)?)
        }
        Action::StartNext => {
            let begun = jobs
                .change(move |t, notices| {
                    // A refusal by the state machine changes nothing, and is worded by who asked.
                    let begun = data::start_next(
                        t,
                        notices,
                        &thing,
                        namespace.as_deref(),
                        body.status_details,
                        body.step_timeout_in_minutes,
                    );
                    settle(begun)
                })
                .await??;
            Ok(begun.map_or_else(|| json!({}), |execution| json!({ "execution": execution })))
        }
        Action::Get(job) => {
            let job = job.to_owned();
            let found = jobs
                .0
                .database
                .read(move |t| {
                    let which = Which {
                        thing: &thing,
                        job: &job,
                        namespace: namespace.as_deref(),
                        number: body.execution_number,
                    };
                    data::describe(t, &which, body.include_job_document.unwrap_or(true))
                })
                .await?;
            Ok(found.map_or_else(|| json!({}), |execution| json!({ "execution": execution })))
        }
        Action::Update(job) => {
            let update = update.map_err(|error| misread(&error))?;
            let job = job.to_owned();
            let updated = jobs
                .change(move |t, notices| {
                    let which = Which {
                        thing: &thing,
                        job: &job,
                        namespace: namespace.as_deref(),
                        number: update.execution_number,
                    };
                    let number = update.execution_number;
                    let updated = data::update(t, notices, &which, update);
                    let refused_by_state = matches!(
                        updated,
                        Err(ExecutionOrApi::Execution(
                            ExecutionError::Transition { .. } | ExecutionError::Version { .. }
                        ))
                    );
                    let state = if refused_by_state && job != NEXT {
                        super::Run::find(t, &job, &thing, number)?.map(|run| data::state(&run))
                    } else {
                        None
                    };
                    let settled = settle(updated)?;
                    Ok(settled.map_err(|refused| Refused { state, ..refused }))
                })
                .await??;
            Ok(serde_json::to_value(updated).map_err(ApiError::from)?)
        }
    }
}

/// What the state machine refuses is an answer, not a failure of the transaction.
fn settle<T>(result: Result<T, ExecutionOrApi>) -> Result<Result<T, Refused>, ApiError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(ExecutionOrApi::Api(error)) => Err(error),
        Err(error @ ExecutionOrApi::Execution(_)) => Ok(Err(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_apart_with_and_without_a_namespace() {
        let request = |namespace, action| {
            Some(Request {
                thing: "t",
                namespace,
                action,
            })
        };
        let gg = Some("aws-gg-deployment");
        assert_eq!(
            parse("$aws/things/t/jobs/get"),
            request(None, Action::Pending)
        );
        assert_eq!(
            parse("$aws/things/t/jobs/namespace-aws-gg-deployment/get"),
            request(gg, Action::Pending)
        );
        assert_eq!(
            parse("$aws/things/t/jobs/start-next"),
            request(None, Action::StartNext)
        );
        assert_eq!(
            parse("$aws/things/t/jobs/$next/get"),
            request(None, Action::Get("$next"))
        );
        assert_eq!(
            parse("$aws/things/t/jobs/$next/namespace-aws-gg-deployment/get"),
            request(gg, Action::Get("$next"))
        );
        assert_eq!(
            parse("$aws/things/t/jobs/j/namespace-aws-gg-deployment/update"),
            request(gg, Action::Update("j"))
        );
        assert_eq!(
            parse("$aws/things/t/jobs/j/update"),
            request(None, Action::Update("j"))
        );
        for other in [
            "$aws/things/t/jobs/j/other/update",
            "$aws/things/t/jobs/j/update/accepted",
            "$aws/things//jobs/get",
            "a/b",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
