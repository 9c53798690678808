//! Recipes, format 2020-01-25: what a component is, what it needs, and what it runs on which platform.
//!
//! YAML and JSON are first read into the same tree of [`Node`]s, which knows where each value stands; the rest of
//! the work never sees the syntax again, and every complaint names file, line, column and key.

mod artifact;
mod artifact_read;
mod fields;
mod json;
mod lifecycle;
mod lifecycle_read;
mod manifest_read;
mod node;
mod output;
mod placeholder;
mod problem;
pub(crate) mod read;
mod resolve;
mod select;
mod yaml;

pub use artifact::{Access, Artifact, Permission, Unarchive};
pub use lifecycle::{RawLifecycle, RawStep, Scalar, StepName};
pub use node::{Node, NodeKind, Position};
pub use problem::{Problem, RecipeErrors};
pub use read::{document, tree};
pub use resolve::{StepError, StepErrors};
pub use select::{NoManifest, Selected};

use crate::{
    ComponentName, Version, VersionRequirement, component::DependencyType, platform::PlatformRule,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The only recipe format there is.
pub const FORMAT: &str = "2020-01-25";
/// Larger recipes are refused unread. Greengrass's cloud allows 16 KiB; hand-made ones with large defaults may pass that.
pub const MAX_BYTES: usize = 1 << 20;

/// A recipe as written, checked, platform still open.
#[derive(Clone, PartialEq, Debug)]
pub struct Recipe {
    /// `ComponentName`.
    pub name: ComponentName,
    /// `ComponentVersion`.
    pub version: Version,
    /// `ComponentDescription`.
    pub description: Option<String>,
    /// `ComponentPublisher`.
    pub publisher: Option<String>,
    /// `ComponentType`.
    pub component_type: ComponentType,
    /// `ComponentSource`: the Lambda function it was made from.
    pub source: Option<String>,
    /// `ComponentConfiguration.DefaultConfiguration`; an empty object when there is none.
    pub default_configuration: Value,
    /// `ComponentDependencies`.
    pub dependencies: BTreeMap<ComponentName, Dependency>,
    /// `Manifests`, in order of preference.
    pub manifests: Vec<Manifest>,
    /// The global `Lifecycle`, selections still in it; empty when there is none.
    pub lifecycle: Option<Node>,
}

/// A recipe and what is odd, but not wrong, about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// The recipe.
    pub recipe: Recipe,
    /// Unknown keys, placeholders of project templates and the like.
    pub warnings: Vec<Problem>,
}

/// `ComponentType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum ComponentType {
    /// Runs scripts.
    #[default]
    #[serde(rename = "aws.greengrass.generic")]
    Generic,
    /// Runs a Lambda function.
    #[serde(rename = "aws.greengrass.lambda")]
    Lambda,
    /// Runs inside the nucleus' Java machine.
    #[serde(rename = "aws.greengrass.plugin")]
    Plugin,
    /// Is a nucleus.
    #[serde(rename = "aws.greengrass.nucleus")]
    Nucleus,
}

/// One entry of `ComponentDependencies`.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Dependency {
    /// `VersionRequirement`; `>=0.0.0` when not given.
    pub requirement: VersionRequirement,
    /// `DependencyType`; HARD when not given.
    pub kind: DependencyType,
}

/// One entry of `Manifests`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Manifest {
    /// `Name`.
    pub name: Option<String>,
    /// `Platform`; empty fits every platform.
    pub platform: PlatformRule,
    /// Its own `Lifecycle`; when it has steps the global one is not used.
    pub lifecycle: Option<Node>,
    /// `Selections`: the labels it takes in the global lifecycle, best first.
    pub selections: Vec<String>,
    /// `Artifacts`.
    pub artifacts: Vec<Artifact>,
}

impl Recipe {
    /// Reads a recipe, YAML or JSON, and reports everything that is wrong with it at once.
    /// `source_name` is what messages call the file.
    pub fn parse(text: &str, source_name: &str) -> Result<Parsed, RecipeErrors> {
        read::parse(text, source_name, read::Placeholders::Refused)
    }
}
