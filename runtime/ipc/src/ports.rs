//! What IPC asks the rest of the runtime for. The nucleus implements these over the supervisor, deployments and telemetry.

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    ComponentName, ComponentStatus,
    deployment::{DeploymentId, DeploymentReport, LocalDeploymentRequest},
};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Port: the components and their lifecycle.
#[async_trait]
pub trait Components: Send + Sync {
    /// One component's status.
    fn status(&self, name: &ComponentName) -> Option<ComponentStatus>;
    /// All of them, in no order.
    fn statuses(&self) -> Vec<ComponentStatus>;
    /// UpdateState: what a component says of itself.
    async fn report(&self, name: &ComponentName, state: Reported) -> Result<(), ComponentFault>;
    /// Returns when the restart is under way.
    async fn restart(&self, name: &ComponentName) -> Result<(), ComponentFault>;
    /// Returns when the stop is under way.
    async fn stop(&self, name: &ComponentName) -> Result<(), ComponentFault>;
    /// Freezes its processes.
    async fn pause(&self, name: &ComponentName) -> Result<(), ComponentFault>;
    /// Thaws them.
    async fn resume(&self, name: &ComponentName) -> Result<(), ComponentFault>;
}

/// The states a component may report of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reported {
    /// It is up.
    Running,
    /// It has failed.
    Errored,
}

/// Why something was not done to a component.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ComponentFault {
    /// There is no such component.
    #[error("there is no component {0}")]
    NotFound(ComponentName),
    /// Its state does not allow that; the text says why.
    #[error("{0}")]
    Refused(String),
    /// It was tried and failed; the text says how.
    #[error("{0}")]
    Failed(String),
}

/// Port: local deployments.
#[async_trait]
pub trait Deployments: Send + Sync {
    /// Accepts a deployment; returns when it is queued durably.
    async fn create(
        &self,
        request: LocalDeploymentRequest,
    ) -> Result<DeploymentId, DeploymentFault>;
    /// What that deployment would do, as JSON. Nothing is changed.
    async fn plan(&self, request: LocalDeploymentRequest) -> Result<Value, DeploymentFault>;
    /// Asks for a deployment to be cancelled.
    async fn cancel(&self, id: &DeploymentId) -> Result<Cancel, DeploymentFault>;
    /// One deployment.
    async fn report(&self, id: &DeploymentId) -> Option<DeploymentReport>;
    /// All that are remembered, the newest first.
    async fn list(&self) -> Vec<DeploymentReport>;
    /// Each change of any deployment from now on.
    fn watch(&self) -> broadcast::Receiver<DeploymentReport>;
}

/// What became of a request to cancel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancel {
    /// It will be cancelled.
    Submitted,
    /// It had ended before.
    AlreadyEnded,
}

/// Why a request about a deployment is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeploymentFault {
    /// The request contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// The recipe folder cannot be used.
    #[error("{0}")]
    RecipeFolder(String),
    /// The artifact folder cannot be used.
    #[error("{0}")]
    ArtifactFolder(String),
    /// There is no such deployment.
    #[error("there is no deployment {0}")]
    NotFound(DeploymentId),
    /// Our fault.
    #[error("{0}")]
    Failed(String),
}

/// Port: where component metrics go.
pub trait Metrics: Send + Sync {
    /// Takes in one measurement. Must not block.
    fn record(&self, component: &ComponentName, metric: Metric);
}

/// One measurement of PutComponentMetric.
#[derive(Clone, PartialEq, Debug)]
pub struct Metric {
    /// Its name, at most 32 bytes.
    pub name: String,
    /// What the value counts.
    pub unit: Unit,
    /// The value, not negative.
    pub value: f64,
}

/// The units of PutComponentMetric.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // the API's own words
pub enum Unit {
    Bytes,
    BytesPerSecond,
    Count,
    CountPerSecond,
    Megabytes,
    Seconds,
}

/// Port: the MQTT broker in the cloud.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Takes a message on, also while there is no connection. Returns when it is kept as safely as is configured.
    async fn publish(&self, message: CloudMessage) -> Result<(), CloudFault>;
    /// Subscribes. While there is no connection this succeeds, and the subscription is made when there is one.
    async fn subscribe(
        &self,
        filter: &str,
        qos: CloudQos,
    ) -> Result<Box<dyn CloudSubscription>, CloudFault>;
    /// Whether there is a connection; to look at or to wait for.
    fn connected(&self) -> Result<watch::Receiver<bool>, CloudFault>;
}

/// The messages of one subscription. Dropping it ends it.
#[async_trait]
pub trait CloudSubscription: Send {
    /// The next message; `None` when there will be no more. Must not be cancelled if the subscription is to go on.
    async fn next(&mut self) -> Option<CloudMessage>;
}

/// The qualities of service there are between components and the cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CloudQos {
    /// `"0"`: at most once.
    AtMostOnce,
    /// `"1"`: at least once.
    #[default]
    AtLeastOnce,
}

/// A message to or from the cloud.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CloudMessage {
    /// Where it is published.
    pub topic: String,
    /// The message itself.
    pub payload: Bytes,
    /// How it travels.
    pub qos: CloudQos,
    /// The broker keeps it, or has kept it.
    pub retain: bool,
    /// When it loses its meaning, from now on.
    pub expires_in: Option<Duration>,
    /// 1 says that the payload is UTF-8.
    pub payload_format: Option<u8>,
    /// MIME type or any other description.
    pub content_type: Option<String>,
    /// Where a response is expected.
    pub response_topic: Option<String>,
    /// Ties a response to its request.
    pub correlation_data: Option<Bytes>,
    /// Names with values, in order; names may repeat.
    pub user_properties: Vec<(String, String)>,
}

/// Why the cloud's broker was not asked, or said no.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloudFault {
    /// The device is not set up for the cloud.
    #[error("the device is not connected to a cloud")]
    NotConfigured,
    /// The message or the filter cannot be sent; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// The broker said no, or there is no room or no time; the text says which.
    #[error("{0}")]
    Failed(String),
}
