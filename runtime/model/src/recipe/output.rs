//! A recipe as canonical JSON.

use super::{
    ComponentType, FORMAT, Manifest, Recipe,
    lifecycle_read::{LIFECYCLE_KEYS, STEP_KEYS},
    node::{Node, NodeKind},
};
use serde_json::{Map, Value, json};

impl Recipe {
    /// The recipe in the reference's own spelling, keys sorted, defaults filled in. The same recipe written in YAML or
    /// JSON, in any case of its keys, gives the same value.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("RecipeFormatVersion".into(), FORMAT.into());
        out.insert("ComponentName".into(), self.name.as_str().into());
        out.insert("ComponentVersion".into(), self.version.to_string().into());
        for (key, text) in [
            ("ComponentDescription", &self.description),
            ("ComponentPublisher", &self.publisher),
            ("ComponentSource", &self.source),
        ] {
            if let Some(text) = text {
                out.insert(key.into(), text.as_str().into());
            }
        }
        out.insert("ComponentType".into(), self.component_type.as_str().into());
        out.insert(
            "ComponentConfiguration".into(),
            json!({"DefaultConfiguration": self.default_configuration}),
        );
        let dependencies: Map<_, _> = self
            .dependencies
            .iter()
            .map(|(name, d)| {
                (
                    name.to_string(),
                    json!({"VersionRequirement": d.requirement.as_str(), "DependencyType": d.kind}),
                )
            })
            .collect();
        out.insert("ComponentDependencies".into(), dependencies.into());
        out.insert(
            "Manifests".into(),
            self.manifests.iter().map(manifest).collect(),
        );
        if let Some(lifecycle) = &self.lifecycle {
            out.insert("Lifecycle".into(), canonical(lifecycle));
        }
        Value::Object(out)
    }
}

fn manifest(manifest: &Manifest) -> Value {
    let mut out = Map::new();
    if let Some(name) = &manifest.name {
        out.insert("Name".into(), name.as_str().into());
    }
    out.insert("Platform".into(), json!(manifest.platform.terms()));
    if let Some(lifecycle) = &manifest.lifecycle {
        out.insert("Lifecycle".into(), canonical(lifecycle));
    }
    if !manifest.selections.is_empty() {
        out.insert("Selections".into(), json!(manifest.selections));
    }
    out.insert("Artifacts".into(), json!(manifest.artifacts));
    Value::Object(out)
}

/// A lifecycle section, selections and all, with its known keys in the reference's spelling. Numbers and switches
/// become texts, so that `120` and `"120"` are one.
fn canonical(node: &Node) -> Value {
    let NodeKind::Map(entries) = &node.kind else {
        return match &node.kind {
            NodeKind::Number(_, text) => text.as_str().into(),
            NodeKind::Bool(value) => value.to_string().into(),
            _ => node.to_value(),
        };
    };
    let known = |key: &str| {
        LIFECYCLE_KEYS
            .iter()
            .chain(STEP_KEYS)
            .find(|k| k.eq_ignore_ascii_case(key))
            .map_or(key, |k| *k)
            .to_owned()
    };
    let members = entries.iter().map(|entry| {
        let key = known(&entry.key);
        let value = if key == "Setenv" {
            variables(&entry.value)
        } else {
            canonical(&entry.value)
        };
        (key, value)
    });
    Value::Object(members.collect())
}

/// `Setenv`: its keys are names of variables (or labels), left as they are.
fn variables(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Map(entries) => entries
            .iter()
            .map(|e| (e.key.clone(), variables(&e.value)))
            .collect::<Map<_, _>>()
            .into(),
        _ => canonical(node),
    }
}

impl ComponentType {
    /// As recipes write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "aws.greengrass.generic",
            Self::Lambda => "aws.greengrass.lambda",
            Self::Plugin => "aws.greengrass.plugin",
            Self::Nucleus => "aws.greengrass.nucleus",
        }
    }
}
