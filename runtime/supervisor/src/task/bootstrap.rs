//! Runs one bootstrap step from beginning to end, beside the components' own lives.

use super::worker::{ANSWER_LIMIT, Plan, start};
use crate::{
    BootstrapError, BootstrapExit, Options,
    launcher::{Event, Events, Launcher, Outcome, StepKind, UnitId},
    machine::Fault,
    token::Token,
};
use model::ComponentSpec;
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

type Outcomes = Result<BootstrapExit, BootstrapError>;

pub(super) struct Bootstrap {
    pub options: Arc<Options>,
    pub launcher: Arc<dyn Launcher>,
    pub spec: Arc<ComponentSpec>,
    pub token: Token,
}

impl Bootstrap {
    /// Answers, unless the asker has gone: then the step is ended.
    pub async fn run(self, mut reply: oneshot::Sender<Outcomes>) {
        let id = UnitId::new(self.spec.name.clone(), StepKind::Bootstrap);
        let result = tokio::select! {
            result = self.bootstrap(&id) => Some(result),
            () = reply.closed() => None,
        };
        // Also after success: what it left running is not ours to keep.
        let grace = self.options.grace;
        match timeout(grace + ANSWER_LIMIT, self.launcher.stop(&id, grace)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::warn!(component = id.component.as_str(); "its bootstrap step may still run: {error}");
            }
            Err(_) => {
                log::warn!(component = id.component.as_str(); "its bootstrap step may still run: no answer");
            }
        }
        if let Some(result) = result {
            let _ = reply.send(result);
        }
    }

    async fn bootstrap(&self, id: &UnitId) -> Outcomes {
        let name = || self.spec.name.clone();
        let refused = |fault| match fault {
            Fault::MissingDefaultUser => BootstrapError::MissingDefaultUser(name()),
            Fault::Config(reason) | Fault::Io(reason) => BootstrapError::Launch {
                name: name(),
                reason,
            },
        };
        let plan = Plan {
            options: &self.options,
            launcher: &*self.launcher,
            spec: &self.spec,
            kind: StepKind::Bootstrap,
            token: &self.token,
            tag: format!("{}/bootstrap", self.spec.version),
        };
        let Some(unit) = plan.prepare().await.map_err(refused)? else {
            return Ok(BootstrapExit::Done);
        };
        let mut events = self.launcher.events();
        let pid = start(&*self.launcher, unit, self.options.grace)
            .await
            .map_err(refused)?;
        let limit = self
            .spec
            .lifecycle
            .bootstrap
            .as_ref()
            .and_then(|step| step.timeout);
        let end = self.end(&mut events, id, pid);
        let (outcome, stderr) = match limit {
            Some(after) => timeout(after, end)
                .await
                .map_err(|_| BootstrapError::Timeout {
                    name: name(),
                    after,
                })?,
            None => end.await,
        };
        match outcome {
            Outcome::Code(0) => Ok(BootstrapExit::Done),
            Outcome::Code(100) => Ok(BootstrapExit::RestartRuntime),
            Outcome::Code(101) => Ok(BootstrapExit::Reboot),
            other => Err(BootstrapError::Exit {
                name: name(),
                how: other.to_string(),
                code: if let Outcome::Code(code) = other {
                    Some(code)
                } else {
                    None
                },
                stderr,
            }),
        }
    }

    /// Waits for the end of a process.
    async fn end(&self, events: &mut Events, id: &UnitId, pid: u32) -> (Outcome, Vec<String>) {
        loop {
            match events.next().await {
                Some(Event::Exited(exited)) if exited.id == *id && exited.pid == pid => {
                    return (exited.outcome, exited.stderr_tail);
                }
                Some(Event::Exited(_)) => {}
                Some(Event::Missed) => match timeout(ANSWER_LIMIT, self.launcher.inspect()).await {
                    Ok(Ok(units)) => match units.into_iter().find(|unit| unit.id == *id) {
                        Some(unit) if unit.pid.is_some() => {}
                        unit => {
                            return unit
                                .and_then(|unit| unit.ended)
                                .unwrap_or((Outcome::Unknown, Vec::new()));
                        }
                    },
                    // The launcher is on its way back; it says so when it is there.
                    _ => tokio::time::sleep(Duration::from_secs(1)).await,
                },
                None => return (Outcome::Unknown, Vec::new()),
            }
        }
    }
}
