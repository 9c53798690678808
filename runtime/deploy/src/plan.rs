//! The plan: what a deployment changes, as a typed difference between the set that runs and the set that is wanted. Pure.

use model::{
    ComponentName, ComponentSpec, Version,
    component::{Action, DependencyType, change_between},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a deployment does, for people, scripts and the journal.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Every component of the old and the new set, by name.
    pub components: Vec<PlannedChange>,
    /// Components whose bootstrap step runs, in order.
    pub bootstrap: Vec<ComponentName>,
    /// What else a person should know, for example why a component that was to be removed stays.
    pub notes: Vec<String>,
}

/// What happens to one component.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// Which.
    pub component: ComponentName,
    /// What.
    pub change: ChangeKind,
    /// The version now; none when it is new.
    pub old_version: Option<Version>,
    /// The version afterwards; none when it goes.
    pub new_version: Option<Version>,
    /// The reasons, for a person.
    pub why: Vec<String>,
}

/// What can happen to a component.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChangeKind {
    /// Nothing.
    Unchanged,
    /// It comes.
    Add,
    /// To a higher version.
    Upgrade,
    /// To a lower version.
    Downgrade,
    /// The same version installs again.
    Reinstall,
    /// Down and up, without install.
    Restart,
    /// Its configuration changes under it; it goes on running.
    Configuration,
    /// It goes.
    Remove,
}

impl ChangeKind {
    /// Its processes are stopped or started.
    pub fn disturbs(self) -> bool {
        !matches!(self, Self::Unchanged | Self::Configuration)
    }
}

/// One side of the comparison.
#[derive(Clone, Copy)]
pub(crate) struct Sides<'a> {
    /// What is active.
    pub old: &'a BTreeMap<ComponentName, ComponentSpec>,
    /// What is wanted.
    pub new: &'a BTreeMap<ComponentName, ComponentSpec>,
    /// Components whose recipe or artifacts of the same version have other content now, and which.
    pub content: &'a BTreeMap<ComponentName, Vec<String>>,
    /// Components whose configuration is different afterwards, and where.
    pub configuration: &'a BTreeMap<ComponentName, Vec<String>>,
    /// Components that are down for good and were asked for again by name.
    pub retry: &'a BTreeSet<ComponentName>,
    /// Who asks for each component, for the reasons.
    pub wanted_by: &'a BTreeMap<ComponentName, Vec<String>>,
}

/// The plan, and what becomes of each component of the new set.
pub(crate) fn plan(sides: Sides<'_>) -> (Plan, BTreeMap<ComponentName, Action>) {
    let mut plan = Plan::default();
    let mut actions = BTreeMap::new();
    let names: BTreeSet<_> = sides.old.keys().chain(sides.new.keys()).collect();
    for name in names {
        let (old, new) = (sides.old.get(name), sides.new.get(name));
        let mut why = Vec::new();
        let change = match (old, new) {
            (None, None) => continue,
            (Some(_), None) => {
                why.push("nothing asks for it any more".to_owned());
                ChangeKind::Remove
            }
            (None, Some(_)) => {
                why.extend(
                    sides
                        .wanted_by
                        .get(name)
                        .into_iter()
                        .flatten()
                        .map(|by| format!("asked for by {by}")),
                );
                actions.insert(name.clone(), Action::Reinstall);
                ChangeKind::Add
            }
            (Some(old), Some(new)) => {
                let (change, action) = compare(name, old, new, &sides, &mut why);
                actions.insert(name.clone(), action);
                change
            }
        };
        plan.components.push(PlannedChange {
            component: name.clone(),
            change,
            old_version: old.map(|s| s.version.clone()),
            new_version: new.map(|s| s.version.clone()),
            why,
        });
    }
    plan.bootstrap = in_order(sides.new)
        .into_iter()
        .filter(|name| {
            bootstraps(
                sides.old.get(name),
                &sides.new[name],
                sides.content.contains_key(name),
            )
        })
        .collect();
    (plan, actions)
}

fn compare(
    name: &ComponentName,
    old: &ComponentSpec,
    new: &ComponentSpec,
    sides: &Sides<'_>,
    why: &mut Vec<String>,
) -> (ChangeKind, Action) {
    if old.version != new.version {
        why.extend(
            sides
                .wanted_by
                .get(name)
                .into_iter()
                .flatten()
                .map(|by| format!("asked for by {by}")),
        );
        let kind = if new.version > old.version {
            ChangeKind::Upgrade
        } else {
            ChangeKind::Downgrade
        };
        return (kind, Action::Reinstall);
    }
    let mut action = change_between(old, new);
    let mut kind = match action {
        Action::Keep => ChangeKind::Unchanged,
        Action::Restart => ChangeKind::Restart,
        Action::Reinstall => ChangeKind::Reinstall,
    };
    if old.run_with.posix_user != new.run_with.posix_user {
        why.push("it runs as another user".to_owned());
    } else if old.lifecycle.install != new.lifecycle.install {
        why.push("its install step is different".to_owned());
    } else if action == Action::Restart {
        why.push("its lifecycle is different".to_owned());
    }
    if let Some(what) = sides.content.get(name) {
        why.extend(what.iter().cloned());
        (kind, action) = (ChangeKind::Reinstall, Action::Reinstall);
    }
    if sides.retry.contains(name) && action != Action::Reinstall {
        why.push("it is BROKEN and asked for again".to_owned());
        (kind, action) = (ChangeKind::Reinstall, Action::Reinstall);
    }
    if let Some(paths) = sides.configuration.get(name) {
        why.push(format!("configuration: {}", paths.join(", ")));
        if kind == ChangeKind::Unchanged {
            kind = ChangeKind::Configuration;
        }
    }
    if kind == ChangeKind::Unchanged && old != new {
        why.push("limits, dependencies or restart policy are different".to_owned());
        kind = ChangeKind::Configuration;
    }
    (kind, action)
}

/// A bootstrap step runs for a new component, another version, other content or when the step itself is different.
fn bootstraps(old: Option<&ComponentSpec>, new: &ComponentSpec, other_content: bool) -> bool {
    new.lifecycle.bootstrap.is_some()
        && old.is_none_or(|old| {
            other_content
                || old.version != new.version
                || old.lifecycle.bootstrap != new.lifecycle.bootstrap
        })
}

/// The names of a set, each after what it depends on; what is not ordered so is ordered by name.
/// A dependency that is not in the set does not count; sets with circles do not come here, and would keep the order by name.
pub(crate) fn in_order(set: &BTreeMap<ComponentName, ComponentSpec>) -> Vec<ComponentName> {
    fn visit(
        name: &ComponentName,
        set: &BTreeMap<ComponentName, ComponentSpec>,
        seen: &mut BTreeSet<ComponentName>,
        order: &mut Vec<ComponentName>,
    ) {
        let Some(spec) = set.get(name) else { return };
        if !seen.insert(name.clone()) {
            return;
        }
        for dependency in spec.dependencies.keys() {
            visit(dependency, set, seen, order);
        }
        order.push(name.clone());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::with_capacity(set.len()));
    for name in set.keys() {
        visit(name, set, &mut seen, &mut order);
    }
    order
}

/// These components and all that need them, through HARD dependencies, directly or not.
pub(crate) fn with_hard_dependers(
    of: impl IntoIterator<Item = ComponentName>,
    set: &BTreeMap<ComponentName, ComponentSpec>,
) -> BTreeSet<ComponentName> {
    let mut all: BTreeSet<_> = of.into_iter().collect();
    loop {
        let more: Vec<_> = set
            .values()
            .filter(|spec| !all.contains(&spec.name))
            .filter(|spec| {
                spec.dependencies
                    .iter()
                    .any(|(name, kind)| *kind == DependencyType::Hard && all.contains(name))
            })
            .map(|spec| spec.name.clone())
            .collect();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}
