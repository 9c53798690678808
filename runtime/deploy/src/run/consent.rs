//! Asking: components that are to change may defer, those whose configuration changes may refuse it.

use super::{Flow, Interrupt, Run};
use crate::{Failure, UpdateNotice, journal::Stage};
use model::error_code::ErrorCode;
use model::{ComponentName, deployment::UpdateAction};
use std::time::Duration;
use tokio::time::Instant;

/// What the ports may take beyond the time they were given.
const SLACK: Duration = Duration::from_secs(5);

impl Run {
    pub(super) async fn consent(&mut self) -> Result<Flow, Interrupt> {
        self.defer().await?;
        self.validate().await?;
        if self.cancel.is_cancelled() {
            return Err(Interrupt::Canceled);
        }
        self.enter(Stage::Exchanging).await?;
        Ok(Flow::Next)
    }

    async fn defer(&self) -> Result<(), Interrupt> {
        let options = &self.shared.options;
        let policy = self
            .record
            .request
            .update_policy
            .unwrap_or(options.update_policy);
        let plan = &self.prepared().plan;
        let components: Vec<ComponentName> = plan
            .components
            .iter()
            .filter(|change| change.change.disturbs() && change.old_version.is_some())
            .map(|change| change.component.clone())
            .collect();
        if policy.action == UpdateAction::SkipNotifyComponents || components.is_empty() {
            return Ok(());
        }
        let notice = UpdateNotice {
            deployment: self.journal.deployment.clone(),
            components,
            restarts_runtime: !plan.bootstrap.is_empty(),
        };
        let timeout = Duration::from_secs(policy.timeout_seconds.into());
        let end = Instant::now() + options.defer_limit;
        loop {
            self.phase("asking components whether they may be updated");
            let ask = self.shared.ports.listeners.pre_update(&notice, timeout);
            // No answer is consent, also when the port itself does not answer.
            let answer = tokio::time::timeout(timeout + SLACK, ask);
            let deferrals = self.guarded(answer).await?.unwrap_or_default();
            let Some(longest) = deferrals
                .iter()
                .max_by_key(|deferral| deferral.recheck_after)
            else {
                return Ok(());
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::warn!(deployment = notice.deployment.0.as_str(); "{} has deferred the update long enough", longest.component);
                return Ok(());
            }
            let wait = longest.recheck_after.min(left);
            let why = if longest.message.is_empty() {
                String::new()
            } else {
                format!(": {}", longest.message)
            };
            self.phase(&format!(
                "waiting {} s, since {} defers the update{why}",
                wait.as_secs_f64(),
                longest.component
            ));
            self.guarded(tokio::time::sleep(wait)).await?;
        }
    }

    async fn validate(&self) -> Result<(), Interrupt> {
        let (_, draft) = self.redraft().await?;
        let configurations: Vec<_> = draft
            .settled
            .configuration
            .keys()
            .filter_map(|name| {
                let path = ["services", name.as_str(), "configuration"];
                Some((name.clone(), draft.settled.tree.get(&path)?))
            })
            .collect();
        if configurations.is_empty() {
            return Ok(());
        }
        self.phase("asking components whether their new configuration is valid");
        let timeout = self.shared.options.validation_timeout;
        let verdict = self.shared.ports.validators.validate(
            &self.journal.deployment,
            configurations,
            timeout,
        );
        let Ok(verdict) = self
            .guarded(tokio::time::timeout(timeout + SLACK, verdict))
            .await?
        else {
            let message = format!(
                "no verdict on the new configuration within {} s",
                timeout.as_secs_f64()
            );
            return Err(Failure::new(&[ErrorCode::ComponentConfigurationNotValid], message).into());
        };
        verdict.map_err(|refusal| {
            let message = format!(
                "{} refuses its new configuration: {}",
                refusal.component, refusal.message
            );
            Failure::new(&[ErrorCode::ComponentConfigurationNotValid], message)
                .of_component(&refusal.component)
                .into()
        })
    }
}
