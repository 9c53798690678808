//! The supervisor, as IPC and as deployments see it.

use async_trait::async_trait;
use deploy::{BootstrapError, BootstrapExit, Change};
use ipc::ports::{ComponentFault, Reported};
use model::{ComponentName, ComponentSpec, ComponentStatus, State};
use std::{sync::Arc, time::Duration};
use supervisor::{RequestError, Supervisor};
use tokio::sync::broadcast;

/// A stop that takes longer is given up on: the component's own time limits are far below it.
const HALT_LIMIT: Duration = Duration::from_secs(300);

/// Implements both ports.
#[derive(Clone)]
pub struct Components {
    /// The supervisor.
    pub supervisor: Supervisor,
    /// Reads its options from the configuration of the moment.
    pub options: Arc<dyn Fn() -> supervisor::Options + Send + Sync>,
}

fn fault(error: RequestError) -> ComponentFault {
    match error {
        RequestError::NotFound(name) => ComponentFault::NotFound(name),
        RequestError::State { .. } => ComponentFault::Refused(error.to_string()),
        RequestError::Failed { .. } | RequestError::Closed => {
            ComponentFault::Failed(error.to_string())
        }
    }
}

#[async_trait]
impl ipc::ports::Components for Components {
    fn status(&self, name: &ComponentName) -> Option<ComponentStatus> {
        self.supervisor.status(name)
    }

    fn statuses(&self) -> Vec<ComponentStatus> {
        self.supervisor.statuses()
    }

    async fn report(&self, name: &ComponentName, state: Reported) -> Result<(), ComponentFault> {
        let state = match state {
            Reported::Running => supervisor::Reported::Running,
            Reported::Errored => supervisor::Reported::Errored,
        };
        self.supervisor.report(name, state).await.map_err(fault)
    }

    async fn restart(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.supervisor.restart(name).await.map_err(fault)
    }

    async fn stop(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.supervisor.stop(name).await.map_err(fault)
    }

    async fn pause(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.supervisor.pause(name).await.map_err(fault)
    }

    async fn resume(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.supervisor.resume(name).await.map_err(fault)
    }
}

#[async_trait]
impl deploy::Components for Components {
    async fn apply(&self, change: Change) -> Result<(), String> {
        let change = supervisor::Change {
            set: change.set,
            remove: change.remove,
        };
        // The deployment may have changed whom components run as, their shell or their limits.
        self.supervisor.reconfigure((self.options)()).await;
        self.supervisor
            .apply(change)
            .await
            .map_err(|e| e.to_string())
    }

    async fn bootstrap(&self, spec: &ComponentSpec) -> Result<BootstrapExit, BootstrapError> {
        match self.supervisor.bootstrap(spec).await {
            Ok(supervisor::BootstrapExit::Done) => Ok(BootstrapExit::Done),
            Ok(supervisor::BootstrapExit::RestartRuntime) => Ok(BootstrapExit::RestartRuntime),
            Ok(supervisor::BootstrapExit::Reboot) => Ok(BootstrapExit::Reboot),
            Err(supervisor::BootstrapError::Exit {
                code: Some(code),
                stderr,
                ..
            }) => Err(BootstrapError::Exit {
                code,
                stderr_tail: stderr,
            }),
            Err(supervisor::BootstrapError::Timeout { after, .. }) => {
                Err(BootstrapError::Timeout {
                    after,
                    stderr_tail: Vec::new(),
                })
            }
            Err(other) => Err(BootstrapError::Other(other.to_string())),
        }
    }

    async fn halt(&self, components: &[ComponentName]) {
        for name in components {
            let mut changes = self.supervisor.watch();
            if self.supervisor.stop(name).await.is_err() {
                continue; // unknown, or down already
            }
            let down = async {
                while self
                    .supervisor
                    .status(name)
                    .is_some_and(|status| !is_down(&status))
                {
                    if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                        return;
                    }
                }
            };
            if tokio::time::timeout(HALT_LIMIT, down).await.is_err() {
                log::warn!(component = name.as_str(); "still not down");
            }
        }
    }

    fn statuses(&self) -> Vec<ComponentStatus> {
        self.supervisor.statuses()
    }

    fn watch(&self) -> broadcast::Receiver<ComponentStatus> {
        self.supervisor.watch()
    }
}

fn is_down(status: &ComponentStatus) -> bool {
    !matches!(
        status.state,
        State::Starting | State::Running | State::Stopping | State::Errored | State::Uninstalling
    )
}
