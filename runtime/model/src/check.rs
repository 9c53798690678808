//! What a recipe would do on a platform: the answer of `greengrass-cli recipe check`.

use crate::{
    ComponentName, Platform, Version,
    component::{DependencyType, Lifecycle},
    interpolate::{Resident, Scope, World},
    recipe::{
        Artifact, ComponentType, Parsed, Position, Problem,
        read::{Placeholders, parse},
    },
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
///
/// Placeholders of project templates are filled in, with a warning, so that a template can be checked as well.
pub fn check(text: &str, source_name: &str, platform: &Platform, root: &Path) -> Report {
    let mut report = Report {
        source_name: source_name.to_owned(),
        errors: vec![],
        warnings: vec![],
        plan: None,
    };
    match parse(text, source_name, Placeholders::FilledIn) {
        Ok(parsed) => report.run(parsed, platform, root),
        Err(e) => (report.errors, report.warnings) = (e.errors, e.warnings),
    }
    report
}

impl Report {
    fn run(&mut self, Parsed { recipe, warnings }: Parsed, platform: &Platform, root: &Path) {
        self.warnings = warnings;
        let whole = |key: &str, message: String| Problem {
            position: Position::START,
            key: key.to_owned(),
            message,
        };
        let selected = match recipe.select(platform) {
            Ok(selected) => selected,
            Err(e) => return self.errors.push(whole("Manifests", e.to_string())),
        };
        let own = Resident {
            version: recipe.version.clone(),
            configuration: recipe.default_configuration.clone(),
        };
        let world = World {
            root: root.to_owned(),
            thing_name: None,
            components: BTreeMap::from([(recipe.name.clone(), own)]),
        };
        let scope = Scope::new(&world, &recipe.name, recipe.dependencies.keys());
        let (lifecycle, errors) = selected.resolve_as_far_as_known(&scope);
        for error in errors {
            let problem = Problem {
                position: error.at,
                key: error.key,
                message: error.message,
            };
            let list = if error.open_variable {
                &mut self.warnings
            } else {
                &mut self.errors
            };
            list.push(problem);
        }
        self.errors.sort_by_key(|p| p.position);
        self.warnings.sort_by_key(|p| p.position);
        match recipe.component_type {
            ComponentType::Plugin => self.warnings.push(whole(
                "ComponentType",
                "a plugin runs inside the Java nucleus; here none of its code runs".into(),
            )),
            ComponentType::Generic
                if lifecycle == Lifecycle::default() && selected.artifacts.is_empty() =>
            {
                self.warnings.push(whole(
                    "Manifests",
                    "nothing runs on this platform: the component is FINISHED at once".into(),
                ));
            }
            _ => {}
        }
        if !self.errors.is_empty() {
            return;
        }
        let index = selected.manifest_index;
        self.plan = Some(Plan {
            manifest: selected
                .manifest_name
                .unwrap_or_else(|| format!("Manifests[{index}]")),
            component_type: recipe.component_type,
            platform: platform.clone(),
            lifecycle,
            artifacts: selected.artifacts,
            dependencies: recipe
                .dependencies
                .into_iter()
                .map(|(name, d)| (name, (d.requirement.to_string(), d.kind)))
                .collect(),
            configuration: recipe.default_configuration,
            name: recipe.name,
            version: recipe.version,
        });
    }
}
