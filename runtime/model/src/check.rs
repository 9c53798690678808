//! What a recipe would do on a platform: the answer of `greengrass-cli recipe check`.

use crate::{
    ComponentName, Platform, Version,
    component::{DependencyType, Lifecycle},
    recipe::{Artifact, ComponentType, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The file.
    pub source_name: String,
    /// What makes it unusable; empty when it can run here.
    pub errors: Vec<Problem>,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
    /// What would run; `None` when there are errors.
    pub plan: Option<Plan>,
}

/// What would run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The component.
    pub name: ComponentName,
    /// Its version.
    pub version: Version,
    /// Its type.
    pub component_type: ComponentType,
    /// The platform asked about.
    pub platform: Platform,
    /// The manifest taken, by name or as `Manifests[0]`.
    pub manifest: String,
    /// Its steps, with the variables that are known from the recipe alone filled in.
    pub lifecycle: Lifecycle,
    /// Its artifacts.
    pub artifacts: Vec<Artifact>,
    /// What it needs: the range and how strong.
    pub dependencies: BTreeMap<ComponentName, (String, DependencyType)>,
    /// Its configuration before any deployment changes it.
    pub configuration: Value,
}

/// Reads a recipe and tells what it would do. `root` stands in for `{kernel:rootPath}`.
pub fn check(text: &str, source_name: &str, platform: &Platform, root: &Path) -> Report {
    let _ = (platform, root);
    match crate::Recipe::parse(text, source_name) {
        Ok(_) => Report {
            source_name: source_name.into(),
            errors: vec![],
            warnings: vec![],
            plan: None,
        },
        Err(e) => Report {
            source_name: e.source_name,
            errors: e.errors,
            warnings: e.warnings,
            plan: None,
        },
    }
}
