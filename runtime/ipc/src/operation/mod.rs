//! What the operations do, one file for each family. An operation checks the request, then the caller's rights, then acts.

mod absent;
mod cloud;
mod components;
mod configuration;
mod date;
mod deployments;
mod lifecycle;
mod metrics;
mod names;
mod progress;
mod pubsub;
mod tokens;
mod updates;
mod validation;

pub(crate) use names::Operation;

use crate::{
    fault::Fault,
    server::{Call, Session},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{future::Future, sync::Arc};

/// The service whose policies govern what the command line does.
const CLI: &str = "aws.greengrass.Cli";
/// The resource of operations that have none.
const ANY: &str = "*";

/// An answer without members.
#[derive(Serialize)]
struct Empty {}

/// Starts an operation. Returns at once, unless too many requests of this connection are under way: those are waited for.
pub(crate) async fn start(call: Call, payload: &Bytes) {
    use Operation as O;
    match call.operation {
        O::PublishToTopic => pubsub::publish(call, payload),
        O::SubscribeToTopic => pubsub::subscribe(call, payload),
        O::GetConfiguration => answer(call, payload, configuration::get),
        O::UpdateConfiguration => later(call, payload, configuration::update).await,
        O::SubscribeToConfigurationUpdate => configuration::subscribe(call, payload),
        O::SubscribeToValidateConfigurationUpdates => validation::subscribe(call, payload),
        O::SendConfigurationValidityReport => answer(call, payload, validation::report),
        O::SubscribeToComponentUpdates => updates::subscribe(call, payload),
        O::DeferComponentUpdate => answer(call, payload, updates::defer),
        O::UpdateState => later(call, payload, lifecycle::update_state).await,
        O::PauseComponent => later(call, payload, lifecycle::pause).await,
        O::ResumeComponent => later(call, payload, lifecycle::resume).await,
        O::GetComponentDetails => answer(call, payload, components::details),
        O::ListComponents => answer(call, payload, components::list),
        O::RestartComponent => later(call, payload, components::restart).await,
        O::StopComponent => later(call, payload, components::stop).await,
        O::CreateLocalDeployment => later(call, payload, deployments::create).await,
        O::CancelLocalDeployment => later(call, payload, deployments::cancel).await,
        O::GetLocalDeploymentStatus => later(call, payload, deployments::status).await,
        O::ListLocalDeployments => later(call, payload, deployments::list).await,
        O::PlanLocalDeployment => later(call, payload, progress::plan).await,
        O::SubscribeToDeployment => progress::subscribe(call, payload).await,
        O::ValidateAuthorizationToken => later(call, payload, tokens::validate).await,
        O::PutComponentMetric => answer(call, payload, metrics::put),
        O::PublishToIoTCore => later(call, payload, cloud::publish).await,
        O::SubscribeToIoTCore => cloud::subscribe(call, payload).await,
        O::SubscribeToIoTCoreConnectionStatus => cloud::connection(call, payload),
        O::CreateDebugPassword
        | O::GetSecretValue
        | O::GetThingShadow
        | O::UpdateThingShadow
        | O::DeleteThingShadow
        | O::ListNamedShadowsForThing
        | O::SubscribeToCertificateUpdates
        | O::VerifyClientDeviceIdentity
        | O::GetClientDeviceAuthToken
        | O::AuthorizeClientDeviceAction => answer(call, payload, absent::refuse),
    }
}

/// Reads a request; nothing at all is an empty object.
fn parse<'a, Q: Deserialize<'a>>(operation: Operation, payload: &'a [u8]) -> Result<Q, Fault> {
    let payload = if payload.is_empty() { b"{}" } else { payload };
    serde_json::from_slice(payload)
        .map_err(|e| operation.invalid(format!("the request is not valid: {e}")))
}

/// A member that must be there and not empty.
fn required(operation: Operation, name: &str, value: Option<String>) -> Result<String, Fault> {
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| operation.invalid(format!("{name} is required")))
}

/// An operation that is done at once.
fn answer<Q: DeserializeOwned, R: Serialize>(
    call: Call,
    payload: &[u8],
    work: impl FnOnce(&Session, Operation, Q) -> Result<R, Fault>,
) {
    let operation = call.operation;
    let result =
        parse(operation, payload).and_then(|request| work(&call.session, operation, request));
    call.reply(result);
}

/// An operation that takes its time. It goes on when the connection ends meanwhile, as what it began is to be finished.
async fn later<Q, R, W, F>(call: Call, payload: &[u8], work: W)
where
    Q: DeserializeOwned,
    R: Serialize + Send,
    W: FnOnce(Arc<Session>, Operation, Q) -> F,
    F: Future<Output = Result<R, Fault>> + Send + 'static,
{
    let operation = call.operation;
    let request = match parse(operation, payload) {
        Ok(request) => request,
        Err(fault) => return call.reply(Err::<(), _>(fault)),
    };
    let permit = call.session.requests.clone().acquire_owned().await;
    let working = work(call.session.clone(), operation, request);
    tokio::spawn(async move {
        call.reply(working.await);
        drop(permit);
    });
}
