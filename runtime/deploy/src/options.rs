//! What a [`crate::Deployments`] is told once, at start.

use model::{
    ComponentName, Platform, Version,
    component::RestartPolicy,
    deployment::{LocalDeploymentRequest, UpdateAction, UpdatePolicy},
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Everything that can be set. [`Options::new`] fills in Greengrass's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The root folder: `packages`, `deployments` and `work` are below it, on one file system.
    pub root: PathBuf,
    /// What manifests are matched against.
    pub platform: Platform,
    /// `{iot:thingName}`, once the device has one.
    pub thing_name: Option<String>,
    /// Components that are part of the runtime, `aws.greengrass.Nucleus` among them: they satisfy dependencies and take
    /// configuration, and need no recipe.
    pub provided: BTreeMap<ComponentName, Version>,
    /// How components are restarted, unless `restartPolicy` in the nucleus' configuration says otherwise.
    pub restart_policy: RestartPolicy,
    /// Whether components are asked before a local deployment changes them, when the request does not say.
    pub update_policy: UpdatePolicy,
    /// An update may be deferred this long in all; then it goes on.
    pub defer_limit: Duration,
    /// How long components may take to judge a new configuration.
    pub validation_timeout: Duration,
    /// A component must stay RUNNING this long to count as started, so that one which dies at once is noticed.
    pub steady: Duration,
    /// How long to wait for the changed components; `None`: as long as their steps may take in all, and some more.
    pub watch_limit: Option<Duration>,
    /// What is kept of components that are not deployed.
    pub retention: Retention,
    /// Bounds of archives.
    pub unpack: UnpackLimits,
    /// Deployments waiting at the same time; more are refused.
    pub queue_limit: usize,
    /// Finished deployments that stay listed.
    pub history_limit: usize,
    /// Queued on the very first start: what an image brings along.
    pub initial: Option<LocalDeploymentRequest>,
}

/// Which versions stay in the component store. What is deployed always stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Sets before the current one whose versions stay, so that going back needs nothing from outside.
    pub previous_sets: u32,
    /// `componentStoreMaxSizeBytes`: the oldest of those go first when all is larger, and a deployment that would be
    /// larger by itself is refused.
    pub max_bytes: u64,
}

/// Bounds of archives, against bombs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnpackLimits {
    /// Bytes that may come out of one archive.
    pub total_bytes: u64,
    /// Files, folders and links in one archive.
    pub entries: usize,
    /// Bytes that may come out for each byte of the archive, once [`UnpackLimits::ratio_from`] have come out.
    pub ratio: u64,
    /// Small archives may have any ratio.
    pub ratio_from: u64,
}

impl Options {
    /// Greengrass's defaults.
    pub fn new(root: impl Into<PathBuf>, platform: Platform) -> Self {
        Self {
            root: root.into(),
            platform,
            thing_name: None,
            provided: BTreeMap::new(),
            restart_policy: RestartPolicy::default(),
            update_policy: UpdatePolicy {
                action: UpdateAction::SkipNotifyComponents,
                timeout_seconds: 60,
            },
            defer_limit: Duration::from_secs(24 * 3600),
            validation_timeout: Duration::from_secs(20),
            steady: Duration::from_millis(300),
            watch_limit: None,
            retention: Retention {
                previous_sets: 1,
                max_bytes: 10_000_000_000,
            },
            unpack: UnpackLimits {
                total_bytes: 4 << 30,
                entries: 200_000,
                ratio: 200,
                ratio_from: 64 << 20,
            },
            queue_limit: 32,
            history_limit: 50,
            initial: None,
        }
    }
}
