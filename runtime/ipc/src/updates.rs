//! Components that want to know of updates, and may put them off: SubscribeToComponentUpdates, DeferComponentUpdate.

use crate::registry::Registry;
use model::{ComponentName, deployment::DeploymentId};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The subscribers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct UpdateListeners {
    pub(crate) registry: Registry<Deferral>,
}

/// A component asks to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deferral {
    /// Which component.
    pub component: ComponentName,
    /// How long; then it is to be asked again.
    pub recheck_after: Duration,
    /// Why, in the component's words.
    pub message: String,
}

impl UpdateListeners {
    /// Tells every subscriber that an update is about to happen and waits until each has answered, is gone, or the time
    /// is over. Returns who wants to wait; who did not answer does not.
    ///
    /// All subscribers are asked, as in Greengrass, not only components that change: one that watches over a machine may
    /// put off the updates of others. After a deferral ask again.
    pub async fn pre_update(
        &self,
        deployment: &DeploymentId,
        is_ggc_restarting: bool,
        within: Duration,
    ) -> Vec<Deferral> {
        let deadline = Instant::now() + within;
        let mut question = self.registry.ask(deployment, |_| -> Option<Value> {
            Some(json!({ "preUpdateEvent": { "deploymentId": deployment, "isGgcRestarting": is_ggc_restarting } }))
        });
        let mut deferrals = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline, question.next()).await {
            deferrals.extend(answer.given.filter(|d| !d.recheck_after.is_zero()));
        }
        deferrals
    }

    /// Tells every subscriber that the update is done.
    pub fn post_update(&self, deployment: &DeploymentId) {
        self.registry
            .tell(&json!({ "postUpdateEvent": { "deploymentId": deployment } }));
    }
}
