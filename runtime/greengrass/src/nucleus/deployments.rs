//! Local deployments, as IPC sees them.

use async_trait::async_trait;
use deploy::{CancelError, CreateError, Deployments, PlanError};
use ipc::ports::{Cancel, DeploymentFault};
use model::deployment::{DeploymentId, DeploymentReport, LocalDeploymentRequest};
use serde_json::Value;
use tokio::sync::broadcast;

/// Implements the port.
pub struct Local(pub Deployments);

fn fault(error: &CreateError) -> DeploymentFault {
    let text = error.to_string();
    match error {
        CreateError::InvalidRecipeFolder { .. } => DeploymentFault::RecipeFolder(text),
        CreateError::InvalidArtifactFolder { .. } => DeploymentFault::ArtifactFolder(text),
        CreateError::InvalidArguments(_) => DeploymentFault::Invalid(text),
        CreateError::QueueFull { .. } | CreateError::Store(_) => DeploymentFault::Failed(text),
    }
}

#[async_trait]
impl ipc::ports::Deployments for Local {
    async fn create(
        &self,
        request: LocalDeploymentRequest,
    ) -> Result<DeploymentId, DeploymentFault> {
        self.0.create(request).await.map_err(|e| fault(&e))
    }

    async fn plan(&self, request: LocalDeploymentRequest) -> Result<Value, DeploymentFault> {
        let plan = self.0.plan(request).await.map_err(|error| match error {
            PlanError::Refused(refused) => fault(&refused),
            PlanError::Failed(failure) => DeploymentFault::Invalid(failure.to_string()),
        })?;
        serde_json::to_value(plan).map_err(|e| DeploymentFault::Failed(e.to_string()))
    }

    async fn cancel(&self, id: &DeploymentId) -> Result<Cancel, DeploymentFault> {
        match self.0.cancel(id).await {
            Ok(()) => Ok(Cancel::Submitted),
            Err(CancelError::NotFound(id)) => Err(DeploymentFault::NotFound(id)),
            Err(CancelError::TooLate { .. }) => Ok(Cancel::AlreadyEnded),
            Err(error @ CancelError::Store(_)) => Err(DeploymentFault::Failed(error.to_string())),
        }
    }

    async fn report(&self, id: &DeploymentId) -> Option<DeploymentReport> {
        self.0.report(id)
    }

    async fn list(&self) -> Vec<DeploymentReport> {
        self.0.list()
    }

    fn watch(&self) -> broadcast::Receiver<DeploymentReport> {
        self.0.watch()
    }
}
