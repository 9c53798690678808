//! What IPC asks the rest of the runtime for. The nucleus implements these over the supervisor, deployments and telemetry.

use async_trait::async_trait;
use model::{
    ComponentName, ComponentStatus,
    deployment::{DeploymentId, DeploymentReport, LocalDeploymentRequest},
};
use serde_json::Value;
use tokio::sync::broadcast;

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
