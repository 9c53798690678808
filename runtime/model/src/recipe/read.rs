//! From the text of a file to a recipe, with everything that is wrong with it in one go.

use super::{
    ComponentType, Dependency, FORMAT, MAX_BYTES, Parsed, Recipe, RecipeErrors,
    fields::{Fields, Notes, join},
    json, manifest_read,
    node::{Node, NodeKind, Position},
    placeholder,
    problem::Problem,
    select::lifecycle_of,
    yaml,
};
use crate::{ComponentName, access::Policies, component::DependencyType};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Display,
    str::FromStr,
};

const RECIPE_KEYS: &[&str] = &[
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentSource",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
];
const DEPENDENCY_KEYS: &[&str] = &["VersionRequirement", "DependencyType"];
const TYPES: &[(&str, ComponentType)] = &[
    ("aws.greengrass.generic", ComponentType::Generic),
    ("aws.greengrass.lambda", ComponentType::Lambda),
    ("aws.greengrass.plugin", ComponentType::Plugin),
    ("aws.greengrass.nucleus", ComponentType::Nucleus),
];

/// What becomes of the placeholders that project templates have for name and version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholders {
    /// They are errors: there is nothing to deploy yet.
    Refused,
    /// Something stands in for them, with a warning, so that the rest can be looked at.
    FilledIn,
}

/// Reads a recipe.
pub(crate) fn parse(
    text: &str,
    source_name: &str,
    placeholders: Placeholders,
) -> Result<Parsed, RecipeErrors> {
    let mut notes = Notes::default();
    let recipe = syntax(text, source_name, &mut notes).and_then(|root| {
        notes.doubled_keys(&root, "");
        recipe(&root, placeholders, &mut notes)
    });
    notes.errors.sort_by_key(|p| p.position);
    notes.warnings.sort_by_key(|p| p.position);
    match recipe {
        Some(recipe) if notes.errors.is_empty() => Ok(Parsed {
            recipe,
            warnings: notes.warnings,
        }),
        _ => Err(RecipeErrors {
            source_name: source_name.to_owned(),
            errors: notes.errors,
            warnings: notes.warnings,
        }),
    }
}

/// Reads any YAML or JSON document, with the bounds, leniency and positions in errors that recipes have.
pub fn document(text: &str, source_name: &str) -> Result<Value, RecipeErrors> {
    tree(text, source_name).map(|root| root.to_value())
}

/// As [`document`], with the place of each value kept, for readers that complain about values by line.
pub fn tree(text: &str, source_name: &str) -> Result<Node, RecipeErrors> {
    let mut notes = Notes::default();
    let root = syntax(text, source_name, &mut notes);
    if let Some(root) = &root {
        notes.doubled_keys(root, "");
    }
    match root {
        Some(root) if notes.errors.is_empty() => Ok(root),
        _ => Err(RecipeErrors {
            source_name: source_name.to_owned(),
            errors: notes.errors,
            warnings: notes.warnings,
        }),
    }
}

/// A file is JSON when its name says so or when it starts with a brace and reads as JSON; else it is YAML.
fn syntax(text: &str, source_name: &str, notes: &mut Notes) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; a recipe may have {MAX_BYTES} at most",
            text.len()
        );
        notes.errors.push(Problem::at(Position::START, message));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let named_json = source_name.to_ascii_lowercase().ends_with(".json");
    let parsed = if named_json || text.trim_start().starts_with('{') {
        match json::parse(text) {
            Ok((node, warning)) => {
                notes.warnings.extend(warning);
                Ok(node)
            }
            Err(problem) if named_json => Err(problem),
            // Braces are YAML as well.
            Err(problem) => yaml::parse(text).map_err(|_| problem),
        }
    } else {
        yaml::parse(text)
    };
    parsed.map_err(|problem| notes.errors.push(problem)).ok()
}

fn recipe(root: &Node, placeholders: Placeholders, notes: &mut Notes) -> Option<Recipe> {
    let NodeKind::Map(entries) = &root.kind else {
        let message = format!(
            "a recipe is a mapping that starts with RecipeFormatVersion, this is {}",
            root.describe()
        );
        notes.errors.push(Problem::at(root.at, message));
        return None;
    };
    let fields = notes.fields(entries, "", RECIPE_KEYS);
    format_version(&fields, notes);
    let name = required(
        &fields,
        "ComponentName",
        "com.example.HelloWorld",
        placeholders,
        notes,
    );
    let version = required(&fields, "ComponentVersion", "1.0.0", placeholders, notes);
    let mut text = |key: &str| {
        let (node, path) = fields.get(key)?;
        placeholder::unquoted(node).or_else(|| notes.text(node, &path))
    };
    let (description, publisher, source) = (
        text("ComponentDescription"),
        text("ComponentPublisher"),
        text("ComponentSource"),
    );
    let component_type = component_type(&fields, notes);
    let default_configuration = configuration(&fields, notes);
    let dependencies = dependencies(&fields, notes);
    if let Some(name) = name
        .as_ref()
        .filter(|n: &&ComponentName| dependencies.contains_key(*n))
    {
        let (node, path) = fields.get("ComponentDependencies")?;
        notes.error(
            node.at,
            &join(&path, name.as_str()),
            "a component cannot depend on itself",
        );
    }
    if let Some(name) = &name {
        access_control(&fields, name.as_str(), notes);
    }
    let manifests = manifest_read::read(&fields, notes);
    let lifecycle = fields
        .get("Lifecycle")
        .map(|(node, _)| node)
        .filter(|n| !n.is_empty());
    // Every lifecycle a platform can get is read once, so that its faults are known now.
    let mut seen = HashSet::new();
    for (index, manifest) in manifests.iter().enumerate() {
        if manifest.lifecycle.is_some() || seen.insert(&manifest.selections) {
            lifecycle_of(&manifests, lifecycle, index, notes);
        }
    }
    Some(Recipe {
        name: name?,
        version: version?,
        description,
        publisher,
        component_type,
        source,
        default_configuration,
        dependencies,
        lifecycle: lifecycle.cloned(),
        manifests,
    })
}

/// What in `accessControl` has no effect, with the place of the policy.
fn access_control(fields: &Fields<'_>, principal: &str, notes: &mut Notes) {
    let path = ["DefaultConfiguration", "accessControl"];
    let Some((root, mut key)) = fields.get("ComponentConfiguration") else {
        return;
    };
    let mut node = root;
    for step in path {
        let Some(entry) = node.entry(step) else {
            return;
        };
        key = join(&key, step);
        node = &entry.value;
    }
    let (_, warnings) = Policies::parse(principal, &node.to_value());
    for warning in warnings {
        let mut at = node.at;
        let mut inner = node;
        for step in warning.policy.splitn(2, '/') {
            if let Some(entry) = inner.entry(step) {
                at = entry.key_at;
                inner = &entry.value;
            }
        }
        notes.warn(at, &key, warning.to_string());
    }
}

fn format_version(fields: &Fields<'_>, notes: &mut Notes) {
    match fields.get("RecipeFormatVersion") {
        None => notes.error(
            Position::START,
            "RecipeFormatVersion",
            format!("is missing: write RecipeFormatVersion: '{FORMAT}'"),
        ),
        Some((node, path)) => match notes.text(node, &path) {
            Some(text) if text.trim() == FORMAT => {}
            Some(text) => notes.error(
                node.at,
                &path,
                format!("{text:?} is not known: the format is '{FORMAT}'"),
            ),
            None => notes.error(node.at, &path, format!("is empty: write '{FORMAT}'")),
        },
    }
}

/// A name or a version, or what stands in for its placeholder.
fn required<T>(
    fields: &Fields<'_>,
    key: &'static str,
    example: &str,
    placeholders: Placeholders,
    notes: &mut Notes,
) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    let Some((node, path)) = fields.get(key) else {
        notes.error(
            Position::START,
            key,
            format!("is missing: write, for example, {key}: {example}"),
        );
        return None;
    };
    let text = match placeholder::unquoted(node) {
        Some(text) => text,
        None => match notes.text(node, &path) {
            Some(text) => text,
            None if matches!(node.kind, NodeKind::Null) => {
                notes.error(
                    node.at,
                    &path,
                    format!("is empty: write, for example, {example}"),
                );
                return None;
            }
            None => return None,
        },
    };
    match text.parse() {
        Ok(value) if !placeholder::is_word(&text) => Some(value),
        parsed => {
            if let Some(stand_in) = placeholder::stand_in(key, &text) {
                let message = format!(
                    "{text:?} is a placeholder that a build (gdk component build) fills in"
                );
                if placeholders == Placeholders::FilledIn {
                    notes.warn(node.at, &path, format!("{message}; checked as {stand_in}"));
                    return stand_in.parse().ok();
                }
                notes.error(
                    node.at,
                    &path,
                    format!("{message}: use the recipe that the build writes"),
                );
                return None;
            }
            parsed
                .map_err(|e| notes.error(node.at, &path, e.to_string()))
                .ok()
        }
    }
}

fn component_type(fields: &Fields<'_>, notes: &mut Notes) -> ComponentType {
    let Some((node, path)) = fields.get("ComponentType") else {
        return ComponentType::default();
    };
    let Some(text) = notes.text(node, &path).filter(|t| !t.is_empty()) else {
        return ComponentType::default();
    };
    if let Some((_, found)) = TYPES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()))
    {
        return *found;
    }
    let names: Vec<&'static str> = TYPES.iter().map(|(name, _)| *name).collect();
    notes.error(
        node.at,
        &path,
        format!(
            "{text:?} is no component type; there are {}",
            names.join(", ")
        ),
    );
    ComponentType::default()
}

fn configuration(fields: &Fields<'_>, notes: &mut Notes) -> Value {
    let empty = || Value::Object(serde_json::Map::new());
    let Some((node, path)) = fields.get("ComponentConfiguration") else {
        return empty();
    };
    let Some(entries) = notes.map(node, &path) else {
        return empty();
    };
    let inner = notes.fields(entries, &path, &["DefaultConfiguration"]);
    let Some((node, path)) = inner.get("DefaultConfiguration") else {
        if let Some(entry) = entries.first() {
            let message =
                "has no DefaultConfiguration: the component's own keys belong below that key";
            notes.warn(entry.key_at, &path, message);
        }
        return empty();
    };
    match &node.kind {
        NodeKind::Map(_) => {
            notes.keys_alike(node, &path);
            node.to_value()
        }
        NodeKind::Null => empty(),
        _ => {
            notes.error(
                node.at,
                &path,
                format!("must be a mapping, not {}", node.describe()),
            );
            empty()
        }
    }
}

fn dependencies(fields: &Fields<'_>, notes: &mut Notes) -> BTreeMap<ComponentName, Dependency> {
    let mut dependencies = BTreeMap::new();
    let Some((node, path)) = fields.get("ComponentDependencies") else {
        return dependencies;
    };
    let Some(entries) = notes.map(node, &path) else {
        return dependencies;
    };
    for entry in entries {
        let path = join(&path, &entry.key);
        let name = match ComponentName::new(&entry.key) {
            Ok(name) => name,
            Err(e) => {
                notes.error(entry.key_at, &path, e.to_string());
                continue;
            }
        };
        if let NodeKind::Text(text) | NodeKind::Number(_, text) = &entry.value.kind {
            let message = format!("must be a mapping: write VersionRequirement: '{text}' below it");
            notes.error(entry.value.at, &path, message);
            continue;
        }
        let Some(members) = notes.map(&entry.value, &path) else {
            continue;
        };
        let members = notes.fields(members, &path, DEPENDENCY_KEYS);
        let mut dependency = Dependency::default();
        if let Some((node, path)) = members.get("VersionRequirement")
            && let Some(text) = notes.text(node, &path)
        {
            match text.parse() {
                Ok(requirement) => dependency.requirement = requirement,
                Err(_) if placeholder::is_word(&text) || placeholder::has_marks(&text) => {
                    notes.warn(
                        node.at,
                        &path,
                        format!("{text:?} is a placeholder; taken as any version"),
                    );
                }
                Err(e) => notes.error(node.at, &path, e.to_string()),
            }
        }
        if let Some((node, path)) = members.get("DependencyType")
            && let Some(text) = notes.text(node, &path)
        {
            match text.trim().to_ascii_uppercase().as_str() {
                "HARD" | "" => {}
                "SOFT" => dependency.kind = DependencyType::Soft,
                _ => notes.error(
                    node.at,
                    &path,
                    format!("must be HARD or SOFT, not {text:?}"),
                ),
            }
        }
        dependencies.insert(name, dependency);
    }
    dependencies
}

impl FromStr for Recipe {
    type Err = RecipeErrors;
    fn from_str(text: &str) -> Result<Self, RecipeErrors> {
        parse(text, "recipe", Placeholders::Refused).map(|parsed| parsed.recipe)
    }
}
