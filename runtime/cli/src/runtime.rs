//! What the commands need of the runtime: calls and one kind of subscription. The IPC client serves it; tests serve it themselves.

use async_trait::async_trait;
use serde_json::Value;

/// Operations that only this CLI uses; the runtime grants them to CLI principals alone.
pub mod private {
    /// Like CreateLocalDeployment, but answers `{"plan": …}` and changes nothing.
    pub const PLAN: &str = "aws.greengrass.private#PlanLocalDeployment";
    /// `{"deploymentId"}`; each event is a [`DeploymentReport`](model::deployment::DeploymentReport).
    pub const SUBSCRIBE_TO_DEPLOYMENT: &str = "aws.greengrass.private#SubscribeToDeployment";
}

/// A connected runtime.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// One request, one answer. `operation` is the full name: `aws.greengrass#ListComponents`.
    async fn call(&self, operation: &str, request: Value) -> Result<Value, CallError>;
    /// One request, events until the stream ends.
    async fn subscribe(
        &self,
        operation: &str,
        request: Value,
    ) -> Result<Box<dyn Events>, CallError>;
}

/// The events of a subscription.
#[async_trait]
pub trait Events: Send {
    /// The next event; `None` when the runtime has ended the stream.
    async fn next(&mut self) -> Option<Result<Value, CallError>>;
}

/// Opens connections: to begin with, and again after the runtime has restarted itself in the middle of a deployment.
#[async_trait]
pub trait Connect: Send + Sync {
    /// A new connection.
    async fn connect(&self) -> Result<Box<dyn Runtime>, ConnectError>;
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens (yet).
    #[error("{0}")]
    Down(String),
    /// The runtime is there and does not let this user in, or the root is wrong.
    #[error("{0}")]
    Refused(String),
    /// What the user gave names no root folder.
    #[error("{0}")]
    Usage(String),
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The runtime answered with an error of the model.
    #[error("{message}")]
    Refused {
        /// For example `ResourceNotFoundError`.
        code: String,
        /// For a person.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to the runtime was lost: {0}")]
    Lost(String),
}

impl CallError {
    /// The error means that the request was wrong, not that it failed.
    fn is_usage(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if ["InvalidArgumentsError", "InvalidRecipeDirectoryPathError", "InvalidArtifactsDirectoryPathError"].contains(&code.as_str()))
    }
}

impl From<CallError> for crate::Failure {
    fn from(error: CallError) -> Self {
        let message = match &error {
            CallError::Refused { code, message } if message.is_empty() => code.clone(),
            other => other.to_string(),
        };
        if error.is_usage() {
            Self::Usage(message)
        } else {
            Self::Failed(message)
        }
    }
}

impl From<ConnectError> for crate::Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Usage(message) => Self::Usage(message),
            ConnectError::Down(message) | ConnectError::Refused(message) => Self::Failed(message),
        }
    }
}
