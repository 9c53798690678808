//! Configuration and steps of a set of components, resolved for this device: which operations the deployment means for the
//! configuration tree, and what each component is then. Pure; it is done for the plan, and again just before the commit,
//! since components may have changed their configuration meanwhile.

use crate::{
    Failure, Options,
    groups::{self, Groups},
    resolve::Versions,
    saved::Saved,
    table::Specs,
};
use configuration::{Operation, Timestamp, Tree, pointer_of};
use model::error_code::ErrorCode;
use model::{
    ComponentName, ComponentSpec, Recipe, RunWith, SystemLimits,
    component::RestartPolicy,
    deployment::{ConfigurationUpdate, LocalDeploymentRequest, RunWithUpdate},
    interpolate::{Resident, Scope, World},
    recipe::StepErrors,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// The nucleus, by either of its names.
const NUCLEUS: [&str; 2] = ["aws.greengrass.Nucleus", "aws.greengrass.NucleusLite"];

/// What goes in.
pub(crate) struct Inputs<'a> {
    pub options: &'a Options,
    pub tree: &'a Tree,
    /// The new set, without what the runtime provides.
    pub versions: &'a Versions,
    pub recipes: &'a BTreeMap<ComponentName, Recipe>,
    /// Where they were read, for messages.
    pub recipe_files: &'a BTreeMap<ComponentName, PathBuf>,
    /// Components with an artifact folder.
    pub with_files: &'a BTreeSet<ComponentName>,
    pub request: &'a LocalDeploymentRequest,
    pub active: &'a Specs,
    pub groups: &'a Groups,
    /// The group that is deployed to.
    pub group: &'a str,
    pub deployment: &'a str,
    /// When the deployment was asked for.
    pub at: Timestamp,
}

/// What comes out.
pub(crate) struct Settled {
    pub operations: Vec<Operation>,
    /// The tree after them.
    pub tree: Tree,
    pub specs: Specs,
    /// Components of both sets whose configuration is different, and where: JSON pointers.
    pub configuration: BTreeMap<ComponentName, Vec<String>>,
    /// What a rollback needs.
    pub saved: Saved,
}

/// Does it all.
pub(crate) fn settle(inputs: &Inputs<'_>) -> Result<Settled, Failure> {
    let mut world = World {
        root: inputs.options.root.clone(),
        // Provisioning may have named the device since the start.
        thing_name: match inputs.tree.get(&["system", "thingName"]) {
            Some(Value::String(name)) if !name.is_empty() => Some(name),
            _ => inputs.options.thing_name.clone(),
        },
        components: BTreeMap::new(),
    };
    let provided = &inputs.options.provided;
    for (name, version) in provided.iter().chain(inputs.versions) {
        let resident = Resident {
            version: version.clone(),
            configuration: Value::Null,
        };
        world.components.insert(name.clone(), resident);
    }
    let operations = operations(inputs, &world)?;
    let (tree, changes) = inputs
        .tree
        .apply_all(&operations)
        .map_err(|e| Failure::new(&[ErrorCode::DeploymentDocumentNotValid], e.to_string()))?;
    for (name, resident) in &mut world.components {
        resident.configuration = tree
            .get(&path(name, &["configuration"]))
            .unwrap_or_else(|| Value::Object(Default::default()));
    }
    let mut specs = Specs::new();
    for name in inputs.versions.keys() {
        specs.insert(name.clone(), spec(inputs, &world, &tree, name)?);
    }
    let mut configuration: BTreeMap<ComponentName, Vec<String>> = BTreeMap::new();
    let mut tops = BTreeSet::from([groups::path()]);
    for change in &changes {
        let [services, component, rest @ ..] = change.path.as_slice() else {
            continue;
        };
        if component == "DeploymentService" {
            continue;
        }
        tops.insert(vec![services.clone(), component.clone()]);
        let Ok(name) = ComponentName::new(component) else {
            continue;
        };
        if let [key, rest @ ..] = rest
            && key.eq_ignore_ascii_case("configuration")
            && (specs.contains_key(&name) && inputs.active.contains_key(&name)
                || provided.contains_key(&name))
        {
            configuration
                .entry(name)
                .or_default()
                .push(pointer_of(rest));
        }
    }
    let saved = Saved::of(inputs.tree, tops);
    Ok(Settled {
        operations,
        tree,
        specs,
        configuration,
        saved,
    })
}

fn path(component: &ComponentName, below: &[&str]) -> Vec<String> {
    ["services", component.as_str()]
        .iter()
        .chain(below)
        .map(|key| (*key).to_owned())
        .collect()
}

fn operations(inputs: &Inputs<'_>, world: &World) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    for (name, version) in inputs.versions {
        let recipe = &inputs.recipes[name];
        let scope = Scope::new(world, name, recipe.dependencies.keys());
        let defaults = interpolated(inputs, &scope, &recipe.default_configuration)?;
        let update = inputs.request.configuration.get(name);
        configure(inputs, &scope, name, update, defaults, &mut operations)?;
        let version = Value::String(version.to_string());
        operations.push(Operation::Replace {
            path: path(name, &["version"]),
            value: version,
            at: inputs.at,
        });
        if let Some(update) = inputs.request.run_with.get(name) {
            run_with_operations(name, update, inputs.at, &mut operations);
        }
    }
    for name in inputs.options.provided.keys() {
        if let Some(update) = inputs.request.configuration.get(name) {
            let scope = Scope::new(world, name, []);
            configure(
                inputs,
                &scope,
                name,
                Some(update),
                Value::Null,
                &mut operations,
            )?;
        }
    }
    for name in inputs
        .active
        .keys()
        .filter(|name| !inputs.versions.contains_key(*name))
    {
        operations.push(Operation::Remove {
            path: path(name, &[]),
            at: Timestamp::MAX,
        });
    }
    operations.extend(
        inputs
            .groups
            .write(inputs.group, inputs.deployment, inputs.at),
    );
    Ok(operations)
}

/// RESET, then the recipe's defaults, then MERGE.
fn configure(
    inputs: &Inputs<'_>,
    scope: &Scope<'_>,
    name: &ComponentName,
    update: Option<&ConfigurationUpdate>,
    defaults: Value,
    operations: &mut Vec<Operation>,
) -> Result<(), Failure> {
    let path = path(name, &["configuration"]);
    if let Some(update) = update.filter(|update| !update.reset.is_empty()) {
        operations.push(Operation::Reset {
            path: path.clone(),
            pointers: update.reset.clone(),
            defaults: defaults.clone(),
        });
    }
    if !defaults.is_null() {
        operations.push(Operation::Defaults {
            path: path.clone(),
            value: defaults,
        });
    }
    if let Some(merge) = update.and_then(|update| update.merge.as_ref()) {
        let value = interpolated(inputs, scope, merge)?;
        operations.push(Operation::Merge {
            path,
            value,
            at: inputs.at,
        });
    }
    Ok(())
}

/// Fills in recipe variables when `interpolateComponentConfiguration` asks for it.
fn interpolated(inputs: &Inputs<'_>, scope: &Scope<'_>, value: &Value) -> Result<Value, Failure> {
    let wanted = match nucleus(inputs.tree, &["interpolateComponentConfiguration"]) {
        Some(Value::Bool(wanted)) => wanted,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    if !wanted {
        return Ok(value.clone());
    }
    scope
        .interpolate_value(value)
        .map_err(|e| Failure::new(&[ErrorCode::ConfigInterpolateError], e.to_string()))
}

fn run_with_operations(
    name: &ComponentName,
    update: &RunWithUpdate,
    at: Timestamp,
    operations: &mut Vec<Operation>,
) {
    let mut set = |key: &str, value: Option<Value>| {
        let path = path(name, &["runWith", key]);
        operations.push(match value {
            Some(value) => Operation::Replace { path, value, at },
            None => Operation::Remove {
                path,
                at: Timestamp::MAX,
            },
        });
    };
    if let Some(user) = &update.posix_user {
        set("posixUser", user.clone().map(Value::String));
    }
    if let Some(limits) = &update.system_resource_limits {
        let value = limits.as_ref().map(|limits| {
            let mut value = serde_json::Map::new();
            value.extend(
                limits
                    .memory
                    .map(|memory| ("memory".to_owned(), memory.into())),
            );
            value.extend(limits.cpus.map(|cpus| ("cpus".to_owned(), cpus.into())));
            Value::Object(value)
        });
        set("systemResourceLimits", value);
    }
}

/// As compilers write it, and as errors of the parser are written.
fn located(file: &Path, errors: &StepErrors) -> String {
    let lines: Vec<_> = errors
        .0
        .iter()
        .map(|e| {
            let (file, at) = (file.display(), e.at);
            format!("{file}:{}:{}: {}: {}", at.line, at.column, e.key, e.message)
        })
        .collect();
    lines.join("\n")
}

fn spec(
    inputs: &Inputs<'_>,
    world: &World,
    tree: &Tree,
    name: &ComponentName,
) -> Result<ComponentSpec, Failure> {
    let recipe = &inputs.recipes[name];
    let selected = recipe.select(&inputs.options.platform).map_err(|e| {
        Failure::new(&[ErrorCode::RecipeMissingManifest], e.to_string()).of_component(name)
    })?;
    let scope = Scope::new(world, name, recipe.dependencies.keys());
    let lifecycle = selected.resolve(&scope).map_err(|e| {
        let file = inputs.recipe_files.get(name);
        let message = match file {
            Some(file) => located(file, &e),
            None => format!("the recipe of {name} {}: {e}", recipe.version),
        };
        Failure::new(&[ErrorCode::ConfigInterpolateError], message).of_component(name)
    })?;
    let provided = &inputs.options.provided;
    let mut artifact_folders = Vec::new();
    if inputs.with_files.contains(name) {
        let layout = crate::folders::Layout {
            root: inputs.options.root.clone(),
        };
        artifact_folders.push(layout.artifacts(name, &recipe.version));
        if selected
            .artifacts
            .iter()
            .any(|a| a.unarchive == model::recipe::Unarchive::Zip)
        {
            artifact_folders.push(layout.unarchived(name, &recipe.version));
        }
    }
    Ok(ComponentSpec {
        name: name.clone(),
        version: recipe.version.clone(),
        lifecycle,
        dependencies: recipe
            .dependencies
            .iter()
            .filter(|(name, _)| !provided.contains_key(*name))
            .map(|(name, dependency)| (name.clone(), dependency.kind))
            .collect(),
        run_with: run_with(tree, name),
        restart_policy: restart_policy(inputs.options, tree, name),
        artifact_folders,
    })
}

fn run_with(tree: &Tree, name: &ComponentName) -> RunWith {
    let get = |below: &[&str]| tree.get(&path(name, below));
    let user = get(&["runWith", "posixUser"]).and_then(|v| v.as_str().map(str::to_owned));
    let limit = |key| get(&["runWith", "systemResourceLimits", key]);
    RunWith {
        posix_user: user.filter(|user| !user.is_empty()),
        limits: SystemLimits {
            memory_kib: limit("memory")
                .and_then(|v| number(&v))
                .filter(|n| *n >= 1.0)
                .map(whole),
            cpus: limit("cpus").and_then(|v| number(&v)).filter(|n| *n > 0.0),
        },
    }
}

fn nucleus(tree: &Tree, below: &[&str]) -> Option<Value> {
    NUCLEUS.iter().find_map(|nucleus| {
        let path: Vec<_> = ["services", *nucleus, "configuration"]
            .into_iter()
            .chain(below.iter().copied())
            .collect();
        tree.get(&path)
    })
}

/// `restartPolicy` of the nucleus' configuration, for all components, and below it `components.<name>` for one:
/// `maxErrors`, `firstDelaySeconds`, `maxDelaySeconds`, `retryBrokenSeconds` (0: never).
fn restart_policy(options: &Options, tree: &Tree, name: &ComponentName) -> RestartPolicy {
    let mut policy = options.restart_policy.clone();
    for level in [
        &["restartPolicy"] as &[&str],
        &["restartPolicy", "components", name.as_str()],
    ] {
        let get = |key: &str| {
            let below: Vec<_> = level.iter().copied().chain([key]).collect();
            nucleus(tree, &below)
                .and_then(|v| number(&v))
                .filter(|n| *n >= 0.0)
        };
        let seconds = |key: &str| get(key).and_then(|n| Duration::try_from_secs_f64(n).ok());
        if let Some(errors) = get("maxErrors") {
            policy.max_errors = u32::try_from(whole(errors)).unwrap_or(u32::MAX);
        }
        policy.first_delay = seconds("firstDelaySeconds").unwrap_or(policy.first_delay);
        policy.max_delay = seconds("maxDelaySeconds").unwrap_or(policy.max_delay);
        if let Some(retry) = seconds("retryBrokenSeconds") {
            policy.retry_broken = Some(retry).filter(|retry| !retry.is_zero());
        }
    }
    policy
}

/// Numbers may be written as texts.
fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|n| n.is_finite())
}

/// Rounded down; `as` saturates, and nothing negative comes here.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number as u64
}
