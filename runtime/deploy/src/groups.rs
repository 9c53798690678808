//! Which group wants which root components: read from and written to the configuration tree, where Greengrass keeps it
//! (`services.DeploymentService.runtime`: `GroupToRootComponents`, `GroupToLastDeployment`, `ComponentToGroups`).

use configuration::{Operation, Timestamp, Tree};
use model::{ComponentName, Version, deployment::LOCAL_GROUP};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const RUNTIME: [&str; 3] = ["services", "DeploymentService", "runtime"];

/// The part of the tree that is kept here, for a rollback.
pub(crate) fn path() -> Vec<String> {
    RUNTIME.map(str::to_owned).to_vec()
}

fn below(key: &str) -> Vec<String> {
    RUNTIME
        .into_iter()
        .chain([key])
        .map(str::to_owned)
        .collect()
}

/// Root components by group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Groups(pub BTreeMap<String, BTreeMap<ComponentName, Version>>);

/// The name a group goes by: `LOCAL_DEPLOYMENT`, `thinggroup/<name>` or `thing/<name>`.
pub(crate) fn name_of(group: Option<&str>) -> String {
    match group {
        None | Some("" | LOCAL_GROUP) => LOCAL_GROUP.to_owned(),
        Some(group) if group.starts_with("thinggroup/") || group.starts_with("thing/") => {
            group.to_owned()
        }
        Some(group) => format!("thinggroup/{group}"),
    }
}

impl Groups {
    /// The groups as the tree has them. Entries that are no component or no version are left out, and said so.
    pub(crate) fn read(tree: &Tree) -> Self {
        let mut groups = Self::default();
        let Some(Value::Object(stored)) = tree.get(&below("GroupToRootComponents")) else {
            return groups;
        };
        for (group, roots) in stored {
            let Value::Object(roots) = roots else {
                continue;
            };
            for (component, about) in roots {
                let version = about
                    .as_object()
                    .and_then(|about| member(about, "version"))
                    .and_then(Value::as_str);
                match (ComponentName::new(&component), version.map(str::parse)) {
                    (Ok(component), Some(Ok(version))) => {
                        groups
                            .0
                            .entry(group.clone())
                            .or_default()
                            .insert(component, version);
                    }
                    _ => {
                        log::warn!(group = group.as_str(), component = component.as_str(); "ignoring a root component without a version");
                    }
                }
            }
        }
        groups
    }

    /// The operations that make the tree say this; `changed` is the group that was deployed to.
    pub(crate) fn write(&self, changed: &str, deployment: &str, at: Timestamp) -> Vec<Operation> {
        let mut roots = Map::new();
        let mut of_component: BTreeMap<&ComponentName, Map<String, Value>> = BTreeMap::new();
        for (group, components) in &self.0 {
            let mut entries = Map::new();
            for (component, version) in components {
                entries.insert(
                    component.to_string(),
                    json!({"groupConfigArn": deployment, "groupConfigName": group, "version": version.to_string()}),
                );
                of_component
                    .entry(component)
                    .or_default()
                    .insert(group.clone(), json!(group));
            }
            roots.insert(group.clone(), Value::Object(entries));
        }
        let of_component: Map<String, Value> = of_component
            .into_iter()
            .map(|(name, groups)| (name.to_string(), Value::Object(groups)))
            .collect();
        let mut last = below("GroupToLastDeployment");
        last.push(changed.to_owned());
        vec![
            Operation::Replace {
                path: below("GroupToRootComponents"),
                value: Value::Object(roots),
                at,
            },
            Operation::Replace {
                path: below("ComponentToGroups"),
                value: Value::Object(of_component),
                at,
            },
            Operation::Replace {
                path: last,
                value: json!({"timestamp": at, "configArn": deployment}),
                at,
            },
        ]
    }

    /// The groups with some roots of one group changed. An empty group is forgotten.
    pub(crate) fn with(
        &self,
        group: &str,
        add: &BTreeMap<ComponentName, Version>,
        remove: &[ComponentName],
    ) -> Self {
        let mut groups = self.clone();
        let roots = groups.0.entry(group.to_owned()).or_default();
        for name in remove {
            roots.remove(name);
        }
        roots.extend(add.iter().map(|(n, v)| (n.clone(), v.clone())));
        groups.0.retain(|_, roots| !roots.is_empty());
        groups
    }

    /// The groups that have a component as root.
    pub(crate) fn of(&self, component: &ComponentName) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter(|(_, roots)| roots.contains_key(component))
            .map(|(group, _)| group.as_str())
            .collect()
    }
}

fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object
        .iter()
        .find(|(k, _)| k.eq_ignore_ascii_case(key))
        .map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ComponentName {
        ComponentName::new(text).unwrap()
    }

    #[test]
    fn groups_survive_the_tree() {
        let add = BTreeMap::from([
            (name("com.a"), "1.0.0".parse().unwrap()),
            (name("b"), "2.0.0".parse().unwrap()),
        ]);
        let groups =
            Groups::default()
                .with(LOCAL_GROUP, &add, &[])
                .with("thinggroup/x", &add, &[name("b")]);
        let tree = Tree::empty()
            .apply_all(&groups.write(LOCAL_GROUP, "id", 7))
            .unwrap()
            .0;
        assert_eq!(Groups::read(&tree), groups);
        assert_eq!(groups.of(&name("b")).len(), 2);
    }

    #[test]
    fn a_group_without_roots_is_forgotten() {
        let add = BTreeMap::from([(name("a"), "1.0.0".parse().unwrap())]);
        let groups = Groups::default().with(LOCAL_GROUP, &add, &[]);
        assert_eq!(
            groups.with(LOCAL_GROUP, &BTreeMap::new(), &[name("a")]),
            Groups::default()
        );
    }

    #[test]
    fn a_group_goes_by_the_name_greengrass_gives_it() {
        assert_eq!(name_of(None), "LOCAL_DEPLOYMENT");
        assert_eq!(name_of(Some("x")), "thinggroup/x");
        assert_eq!(name_of(Some("thing/y")), "thing/y");
    }
}
