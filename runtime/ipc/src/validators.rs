//! Components that check their new configuration before it is applied: SubscribeToValidateConfigurationUpdates,
//! SendConfigurationValidityReport.

use crate::registry::Registry;
use model::{ComponentName, deployment::DeploymentId};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The subscribers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationValidators {
    pub(crate) registry: Registry<Verdict>,
}

/// What a component says of its new configuration: fine, or why not.
pub(crate) type Verdict = Result<(), String>;

/// A configuration that may not be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotValid {
    /// The component refuses it.
    #[error("{component} rejects its new configuration: {message}")]
    Rejected {
        /// Which component.
        component: ComponentName,
        /// Why, in its words.
        message: String,
    },
    /// The component did not answer.
    #[error("{component} did not validate its new configuration within {} s", .within.as_secs_f32())]
    NoAnswer {
        /// Which component.
        component: ComponentName,
        /// The time it had.
        within: Duration,
    },
    /// The component ended its subscription instead of answering.
    #[error("{0} stopped listening while its new configuration was to be validated")]
    Gone(ComponentName),
}

impl ConfigurationValidators {
    /// Gives each subscribed component its new configuration, and waits until all have accepted, or one has not. Components
    /// that do not subscribe accept anything.
    pub async fn validate(
        &self,
        configurations: &BTreeMap<ComponentName, Value>,
        deployment: &DeploymentId,
        within: Duration,
    ) -> Result<(), NotValid> {
        let deadline = Instant::now() + within;
        let mut question = self.registry.ask(deployment, |component| {
            let configuration = configurations.get(component)?;
            Some(json!({
                "validateConfigurationUpdateEvent": { "configuration": configuration, "deploymentId": deployment }
            }))
        });
        loop {
            let Ok(next) = timeout_at(deadline, question.next()).await else {
                let late = question.open.first().cloned();
                let component = late.expect("somebody is waited for, or there is no wait");
                return Err(NotValid::NoAnswer { component, within });
            };
            let Some(answer) = next else { return Ok(()) };
            let component = answer.component;
            match answer.given {
                Some(Ok(())) => {}
                Some(Err(message)) => return Err(NotValid::Rejected { component, message }),
                None => return Err(NotValid::Gone(component)),
            }
        }
    }
}
