//! Choosing the manifest for a platform and, with `Selections`, its part of the global lifecycle.

use super::{Artifact, RawLifecycle, Recipe};
use crate::Platform;

/// What a recipe comes to on one platform.
#[derive(Clone, PartialEq, Debug)]
pub struct Selected {
    /// The `Name` of the manifest, if it has one.
    pub manifest_name: Option<String>,
    /// Its place in `Manifests`, from 0.
    pub manifest_index: usize,
    /// Its steps, as written.
    pub lifecycle: RawLifecycle,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
}

/// No manifest is meant for the platform.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{component} has no manifest for this platform ({platform}); it offers {}", offered.join("; "))]
pub struct NoManifest {
    /// Name and version.
    pub component: String,
    /// The platform, as text.
    pub platform: String,
    /// The platforms of its manifests.
    pub offered: Vec<String>,
}

impl Recipe {
    /// The first manifest meant for a platform, with its steps.
    pub fn select(&self, platform: &Platform) -> Result<Selected, NoManifest> {
        Err(NoManifest {
            component: format!("{} {}", self.name, self.version),
            platform: platform.to_string(),
            offered: self
                .manifests
                .iter()
                .map(|m| m.platform.to_string())
                .collect(),
        })
    }
}
