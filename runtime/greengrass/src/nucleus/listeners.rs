//! Components that want a word before an update, or about their new configuration: asked over IPC on behalf of a deployment.

use async_trait::async_trait;
use deploy::{Deferral, Refusal, UpdateNotice};
use ipc::NotValid;
use model::{ComponentName, deployment::DeploymentId};
use serde_json::Value;
use std::time::Duration;

/// Subscribers of `SubscribeToComponentUpdates`.
pub struct Listeners(pub ipc::UpdateListeners);

#[async_trait]
impl deploy::UpdateListeners for Listeners {
    async fn pre_update(&self, notice: &UpdateNotice, timeout: Duration) -> Vec<Deferral> {
        let answers = self
            .0
            .pre_update(&notice.deployment, notice.restarts_runtime, timeout)
            .await;
        answers
            .into_iter()
            .map(|a| Deferral {
                component: a.component,
                recheck_after: a.recheck_after,
                message: a.message,
            })
            .collect()
    }

    async fn post_update(&self, deployment: &DeploymentId) {
        self.0.post_update(deployment);
    }
}

/// Subscribers of `SubscribeToValidateConfigurationUpdates`.
pub struct Validators(pub ipc::ConfigurationValidators);

#[async_trait]
impl deploy::ConfigurationValidators for Validators {
    async fn validate(
        &self,
        deployment: &DeploymentId,
        configurations: Vec<(ComponentName, Value)>,
        timeout: Duration,
    ) -> Result<(), Refusal> {
        let configurations = configurations.into_iter().collect();
        self.0
            .validate(&configurations, deployment, timeout)
            .await
            .map_err(|not| {
                let message = not.to_string();
                let (NotValid::Rejected { component, .. }
                | NotValid::NoAnswer { component, .. }
                | NotValid::Gone(component)) = not;
                Refusal { component, message }
            })
    }
}
