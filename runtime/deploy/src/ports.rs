//! What deployments need from the rest of the runtime. The program wires these to the supervisor and to IPC.

use async_trait::async_trait;
use model::{
    ComponentName, ComponentSpec, ComponentStatus, component::Action, deployment::DeploymentId,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// All of them.
#[derive(Clone)]
pub struct Ports {
    /// What runs components.
    pub components: Arc<dyn Components>,
    /// Who is told before and after an update.
    pub listeners: Arc<dyn UpdateListeners>,
    /// Who judges new configuration.
    pub validators: Arc<dyn ConfigurationValidators>,
    /// What restarts the runtime and the device.
    pub runtime: Arc<dyn Runtime>,
}

/// A change of the set of components.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Change {
    /// The whole new set, in the order of dependencies, and what becomes of each.
    pub set: Vec<(ComponentSpec, Action)>,
    /// Components that go, dependers first.
    pub remove: Vec<ComponentName>,
}

/// How a bootstrap step ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootstrapExit {
    /// Exit code 0, or nothing to do.
    Done,
    /// Exit code 100.
    RestartRuntime,
    /// Exit code 101.
    Reboot,
}

/// How a bootstrap step failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Another exit code.
    #[error("it exited with code {code}{}", tail(stderr_tail))]
    Exit {
        /// The code.
        code: i32,
        /// Its last lines on stderr.
        stderr_tail: Vec<String>,
    },
    /// It took too long.
    #[error("it did not end within {} s{}", after.as_secs_f64(), tail(stderr_tail))]
    Timeout {
        /// The step's limit.
        after: Duration,
        /// Its last lines on stderr.
        stderr_tail: Vec<String>,
    },
    /// It could not be started, or was killed.
    #[error("{0}")]
    Other(String),
}

fn tail(lines: &[String]) -> String {
    if lines.is_empty() {
        String::new()
    } else {
        format!("; its last words: {}", lines.join("\n"))
    }
}

/// The supervisor, as a deployment sees it.
#[async_trait]
pub trait Components: Send + Sync {
    /// Makes the set of components this one. Returns when the old processes are down and the new set is under way; from then
    /// on [`Components::statuses`] tells of the new set. Doing it again is harmless.
    async fn apply(&self, change: Change) -> Result<(), String>;
    /// Runs one bootstrap step to its end.
    async fn bootstrap(&self, spec: &ComponentSpec) -> Result<BootstrapExit, BootstrapError>;
    /// Stops these components, dependers first; they stay down until the next [`Components::apply`]. Unknown ones are ignored.
    async fn halt(&self, components: &[ComponentName]);
    /// All components now.
    fn statuses(&self) -> Vec<ComponentStatus>;
    /// Every change of a status from now on.
    fn watch(&self) -> broadcast::Receiver<ComponentStatus>;
}

/// What components are told before an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateNotice {
    /// Which deployment.
    pub deployment: DeploymentId,
    /// The components that are to change; only their subscribers are asked.
    pub components: Vec<ComponentName>,
    /// The whole runtime may restart (`isGgcRestarting`), because a bootstrap step is to run.
    pub restarts_runtime: bool,
}

/// A component asks to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deferral {
    /// Who.
    pub component: ComponentName,
    /// How long, before it is asked again.
    pub recheck_after: Duration,
    /// Why, in its own words.
    pub message: String,
}

/// The subscribers of `SubscribeToComponentUpdates`.
#[async_trait]
pub trait UpdateListeners: Send + Sync {
    /// Asks the subscribers among the components and waits, at most `timeout`, for their answers. Returns the deferrals;
    /// an acknowledgement or no answer in time is consent.
    async fn pre_update(&self, notice: &UpdateNotice, timeout: Duration) -> Vec<Deferral>;
    /// Tells all subscribers that the deployment is over.
    async fn post_update(&self, deployment: &DeploymentId);
}

/// A component refused its new configuration, or did not answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Who.
    pub component: ComponentName,
    /// Why, in its own words.
    pub message: String,
}

/// The subscribers of `SubscribeToValidateConfigurationUpdates`.
#[async_trait]
pub trait ConfigurationValidators: Send + Sync {
    /// Hands each component that subscribed its new configuration and waits, at most `timeout`, for a verdict of every one.
    async fn validate(
        &self,
        deployment: &DeploymentId,
        configurations: Vec<(ComponentName, Value)>,
        timeout: Duration,
    ) -> Result<(), Refusal>;
}

/// The process and the device. Both return at once; the runtime then shuts down in order, and the deployment goes on
/// after the next start.
pub trait Runtime: Send + Sync {
    /// Start this program anew.
    fn request_restart(&self);
    /// Start the device anew.
    fn request_reboot(&self);
    /// What is different after each boot of the device; `None` when that cannot be known.
    fn boot_id(&self) -> Option<String> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        // A container starts anew under the same kernel; its first process then began at another time.
        let first = std::fs::read_to_string("/proc/1/stat").unwrap_or_default();
        Some(format!("{} {}", kernel.trim(), start_time(&first)))
    }
}

/// When a process began, in ticks since the kernel did; from `/proc/<pid>/stat`. Empty when it cannot be read.
fn start_time(stat: &str) -> &str {
    // The name, in brackets, may hold blanks and brackets itself; `starttime` is the 20th field behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    behind.split_ascii_whitespace().nth(19).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::start_time;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "1 (a) b (c)) S 0 1 1 0 -1 4194560 7 8 9 10 11 12 13 14 20 0 1 0 4711 1 2 3";
        assert_eq!(start_time(stat), "4711");
        assert_eq!(start_time(""), "");
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(start_time(&own).parse::<u64>().unwrap() > 0);
    }
}
