//! Deployment requests, their statuses and error codes, as the CLI, IPC, jobs and shadows name them.

use crate::ComponentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, path::PathBuf, time::SystemTime};

/// The group of local deployments that name none.
pub const LOCAL_GROUP: &str = "LOCAL_DEPLOYMENT";

/// An id, chosen when the deployment is accepted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub String);

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A local deployment, as `CreateLocalDeployment` gives it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LocalDeploymentRequest {
    /// The thing group whose roots it overrides; `None`: `LOCAL_DEPLOYMENT`.
    pub group: Option<String>,
    /// Root components to add, with exact versions.
    pub add: BTreeMap<ComponentName, String>,
    /// Root components to remove.
    pub remove: Vec<ComponentName>,
    /// Configuration updates by component.
    pub configuration: BTreeMap<ComponentName, ConfigurationUpdate>,
    /// runWith by component.
    pub run_with: BTreeMap<ComponentName, RunWithUpdate>,
    /// Recipes to take in. Absolute.
    pub recipe_folder: Option<PathBuf>,
    /// Artifacts to take in: `<folder>/<component>/<version>/…`. Absolute.
    pub artifact_folder: Option<PathBuf>,
    /// What happens when it fails. Local deployments default to DO_NOTHING as in Greengrass; ours may ask otherwise.
    pub failure_policy: Option<FailurePolicy>,
}

/// What to do when a deployment fails after it has changed something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailurePolicy {
    /// Put everything back.
    Rollback,
    /// Leave it as it is.
    DoNothing,
}

/// RESET pointers, then a MERGE document.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ConfigurationUpdate {
    /// JSON pointers to reset to the recipe's default; `""` resets all.
    #[serde(
        default,
        rename = "RESET",
        alias = "reset",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub reset: Vec<String>,
    /// Merged over the configuration; lists are replaced whole.
    #[serde(
        default,
        rename = "MERGE",
        alias = "merge",
        skip_serializing_if = "Option::is_none"
    )]
    pub merge: Option<Value>,
}

/// `runWith` in a deployment: absent keeps the previous value, explicit null clears it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunWithUpdate {
    /// `user:group`. `None` absent, `Some(None)` null.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub posix_user: Option<Option<String>>,
    /// `None` absent, `Some(None)` null.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub system_resource_limits: Option<Option<LimitsUpdate>>,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    d: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// Limits as the wire has them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LimitsUpdate {
    /// KiB.
    #[serde(default)]
    pub memory: Option<u64>,
    /// CPUs.
    #[serde(default)]
    pub cpus: Option<f64>,
}

/// Where a deployment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // the API's own words
pub enum DeploymentStatus {
    Queued,
    InProgress,
    Succeeded,
    Failed,
    Canceled,
    Rejected,
}

impl DeploymentStatus {
    /// Nothing more will happen to it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// How it ended, in detail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // the API's own words
pub enum DetailedStatus {
    Successful,
    FailedNoStateChange,
    FailedRollbackNotRequested,
    FailedRollbackComplete,
    FailedUnableToRollback,
    Rejected,
    Canceled,
}

/// One deployment's progress and end, as status calls report it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeploymentReport {
    /// Which.
    pub id: DeploymentId,
    /// Where it is.
    pub status: DeploymentStatus,
    /// When it was accepted.
    pub created: SystemTime,
    /// How it ended; `None` before.
    #[serde(default)]
    pub detailed: Option<DetailedStatus>,
    /// `DEPLOYMENT_FAILURE` first, then ever closer to the cause.
    #[serde(default)]
    pub error_stack: Vec<String>,
    /// For example `COMPONENT_ERROR`, `USER_COMPONENT_ERROR`.
    #[serde(default)]
    pub error_types: Vec<String>,
    /// For a person.
    #[serde(default)]
    pub failure_cause: String,
    /// What it is doing just now, for a person: "downloading", "waiting for com.example.A to start".
    #[serde(default)]
    pub phase: String,
}
