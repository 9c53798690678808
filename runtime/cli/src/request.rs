//! Turns arguments into the request that CreateLocalDeployment and its dry run take.

use crate::{
    Failure,
    arguments::{Create, Group},
};
use model::{ComponentName, deployment::ConfigurationUpdate};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The request for `deployment create`.
pub fn create(create: &Create) -> Result<Value, Failure> {
    let mut request = Map::new();
    put_group(&mut request, &create.change.group);
    if let Some(folder) = &create.recipes {
        request.insert(
            "recipeDirectoryPath".into(),
            folder_at(folder, "--recipeDir")?.into(),
        );
    }
    if let Some(folder) = &create.artifacts {
        request.insert(
            "artifactsDirectoryPath".into(),
            folder_at(folder, "--artifactDir")?.into(),
        );
    }
    if !create.merge.is_empty() {
        let mut add = Map::new();
        for (name, version) in &create.merge {
            if add
                .insert(name.to_string(), version.clone().into())
                .is_some_and(|other| other != *version)
            {
                return Err(Failure::Usage(format!(
                    "--merge names two versions of {name}"
                )));
            }
        }
        request.insert("rootComponentVersionsToAdd".into(), add.into());
    }
    if let Some(both) = create
        .remove
        .iter()
        .find(|name| create.merge.iter().any(|(added, _)| added == *name))
    {
        return Err(Failure::Usage(format!(
            "{both} is both to be added and to be removed"
        )));
    }
    put_remove(&mut request, &create.remove);
    if let Some(update) = &create.update {
        request.insert("componentToConfiguration".into(), configuration(update)?);
    }
    let run_with = run_with(create)?;
    if !run_with.is_empty() {
        request.insert("componentToRunWithInfo".into(), run_with.into());
    }
    if let Some(policy) = create.policy {
        let name = clap::ValueEnum::to_possible_value(&policy)
            .expect("no policy is skipped")
            .get_name()
            .to_owned();
        request.insert("failureHandlingPolicy".into(), name.into());
    }
    if let Some(asking) = create.update_policy {
        let name = clap::ValueEnum::to_possible_value(&asking)
            .expect("no policy is skipped")
            .get_name()
            .to_owned();
        request.insert("componentUpdatePolicy".into(), json!({ "action": name }));
    }
    if request.keys().all(|key| {
        [
            "groupName",
            "failureHandlingPolicy",
            "componentUpdatePolicy",
            "artifactsDirectoryPath",
        ]
        .contains(&key.as_str())
    }) {
        return Err(Failure::Usage(
            "nothing to deploy: give --merge, --remove, --update-config, --runWith, --systemLimits or --recipeDir".into(),
        ));
    }
    Ok(request.into())
}

/// The request for `deployment remove`.
pub fn remove(components: &[ComponentName], group: &Group) -> Value {
    let mut request = Map::new();
    put_group(&mut request, group);
    put_remove(&mut request, components);
    request.into()
}

fn put_group(request: &mut Map<String, Value>, group: &Group) {
    if let Some(group) = &group.group {
        request.insert("groupName".into(), group.clone().into());
    }
}

fn put_remove(request: &mut Map<String, Value>, components: &[ComponentName]) {
    if !components.is_empty() {
        let names: Vec<&str> = components.iter().map(ComponentName::as_str).collect();
        request.insert("rootComponentsToRemove".into(), names.into());
    }
}

/// An existing folder, absolute: the runtime has another working folder.
fn folder_at(folder: &Path, option: &str) -> Result<String, Failure> {
    let folder = without_tilde(folder);
    let problem =
        |error: io::Error| Failure::Usage(format!("{option} {}: {error}", folder.display()));
    let path = fs::canonicalize(&folder).map_err(problem)?;
    if !path.is_dir() {
        return Err(Failure::Usage(format!(
            "{option} {}: not a folder",
            folder.display()
        )));
    }
    path.into_os_string().into_string().map_err(|path| {
        Failure::Usage(format!(
            "{option} {}: the path is not UTF-8 and cannot be sent",
            path.display()
        ))
    })
}

/// `~/x`, also where no shell has replaced it (`--recipeDir=~/x`).
fn without_tilde(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

/// JSON given in place or as a file.
fn json_or_file(text: &str, option: &str) -> Result<Value, Failure> {
    let problem =
        |of: &str, why: &dyn std::fmt::Display| Failure::Usage(format!("{option}: {of}: {why}"));
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| problem("not JSON", &error));
    }
    let path = without_tilde(Path::new(text));
    let content = fs::read_to_string(&path).map_err(|error| {
        problem(
            &format!("neither a JSON object nor a file, {}", path.display()),
            &error,
        )
    })?;
    serde_json::from_str(&content)
        .map_err(|error| problem(&format!("{} is not JSON", path.display()), &error))
}

fn by_component(value: Value, option: &str) -> Result<BTreeMap<ComponentName, Value>, Failure> {
    let Value::Object(map) = value else {
        return Err(Failure::Usage(format!(
            "{option}: expected an object with component names as keys"
        )));
    };
    map.into_iter()
        .map(|(name, value)| match name.parse() {
            Ok(name) => Ok((name, value)),
            Err(error) => Err(Failure::Usage(format!(
                "{option}: {name:?}: {error}; the keys are component names"
            ))),
        })
        .collect()
}

fn configuration(text: &str) -> Result<Value, Failure> {
    const OPTION: &str = "--update-config";
    let mut request = Map::new();
    for (name, update) in by_component(json_or_file(text, OPTION)?, OPTION)? {
        let known = update.as_object().is_some_and(|update| {
            update
                .keys()
                .all(|key| key.eq_ignore_ascii_case("MERGE") || key.eq_ignore_ascii_case("RESET"))
        });
        if !known {
            return Err(Failure::Usage(format!(
                r#"{OPTION}: {name}: expected {{"RESET": ["/pointer"], "MERGE": {{…}}}}"#
            )));
        }
        let update: ConfigurationUpdate = serde_json::from_value(update)
            .map_err(|error| Failure::Usage(format!("{OPTION}: {name}: {error}")))?;
        request.insert(
            name.to_string(),
            serde_json::to_value(update).expect("an update is JSON"),
        );
    }
    Ok(request.into())
}

fn run_with(create: &Create) -> Result<Map<String, Value>, Failure> {
    const OPTION: &str = "--systemLimits";
    let mut components: Map<String, Value> = Map::new();
    for option in &create.run_with {
        components.insert(
            option.component.to_string(),
            json!({ "posixUser": option.posix_user }),
        );
    }
    let limits = create
        .system_limits
        .as_deref()
        .map(|text| json_or_file(text, OPTION).and_then(|v| by_component(v, OPTION)));
    for (name, limits) in limits.transpose()?.unwrap_or_default() {
        let bad = |why: &str| {
            Failure::Usage(format!(
                r#"{OPTION}: {name}: {why}; expected {{"cpus": 0.5, "memory": KiB}}"#
            ))
        };
        for (key, value) in limits.as_object().ok_or_else(|| bad("not an object"))? {
            match key.as_str() {
                "cpus" if value.as_f64().is_some_and(|cpus| cpus > 0.0) => {}
                "memory" if value.as_u64().is_some_and(|kib| kib > 0) => {}
                _ => return Err(bad(&format!("{key} {value}"))),
            }
        }
        let entry = components
            .entry(name.to_string())
            .or_insert_with(|| json!({}));
        entry["systemResourceLimits"] = limits;
    }
    Ok(components)
}
