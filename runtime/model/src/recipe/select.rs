//! Choosing the manifest for a platform and, with `Selections`, its part of the global lifecycle.

use super::{
    Artifact, Manifest, Node, RawLifecycle, Recipe,
    fields::{Notes, join},
    lifecycle_read,
};
use crate::Platform;
use std::collections::BTreeSet;

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
        let Some(index) = self
            .manifests
            .iter()
            .position(|m| m.platform.matches(platform))
        else {
            return Err(NoManifest {
                component: format!("{} {}", self.name, self.version),
                platform: platform.to_string(),
                offered: self
                    .manifests
                    .iter()
                    .map(|m| m.platform.to_string())
                    .collect(),
            });
        };
        let manifest = &self.manifests[index];
        Ok(Selected {
            manifest_name: manifest.name.clone(),
            manifest_index: index,
            // Its faults have been reported by `parse`.
            lifecycle: lifecycle_of(
                &self.manifests,
                self.lifecycle.as_ref(),
                index,
                &mut Notes::default(),
            ),
            artifacts: manifest.artifacts.clone(),
        })
    }
}

/// The steps of one manifest: its own, or those it selects from the global lifecycle.
pub(super) fn lifecycle_of(
    manifests: &[Manifest],
    global: Option<&Node>,
    index: usize,
    notes: &mut Notes,
) -> RawLifecycle {
    let manifest = &manifests[index];
    if let Some(own) = &manifest.lifecycle {
        return lifecycle_read::read(
            own,
            &join(&format!("Manifests[{index}]"), "Lifecycle"),
            notes,
        );
    }
    let Some(global) = global else {
        return RawLifecycle::default();
    };
    let mut labels: BTreeSet<&str> = manifests
        .iter()
        .flat_map(|m| m.selections.iter().map(String::as_str))
        .collect();
    labels.insert(lifecycle_read::ALL);
    match lifecycle_read::filter(global, &labels, &manifest.selections, "Lifecycle", notes) {
        Some(chosen) => lifecycle_read::read(&chosen, "Lifecycle", notes),
        None => RawLifecycle::default(),
    }
}
