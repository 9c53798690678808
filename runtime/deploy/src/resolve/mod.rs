//! Which version of each component a device runs: the roots of all groups and what they depend on. Pure.
//!
//! The first try goes as Greengrass goes, breadth first, choosing again when a new constraint arrives. Where that ends in a
//! conflict a search through all combinations follows, so that a set that fits is found when there is one; the conflict
//! reported is that of the first try, which is the one a person can follow.

mod constraint;
mod search;
#[cfg(test)]
mod tests;

use constraint::{Constraints, dependencies_of, reachable};
use model::{ComponentName, Version, VersionRequirement};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// The root components of every group.
pub(crate) type Roots = BTreeMap<String, BTreeMap<ComponentName, Version>>;
/// A version of each component.
pub(crate) type Versions = BTreeMap<ComponentName, Version>;

/// What there is to choose from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Universe {
    /// Every version at hand and its dependencies.
    pub known:
        BTreeMap<ComponentName, BTreeMap<Version, BTreeMap<ComponentName, VersionRequirement>>>,
    /// What runs now; preferred while it fits.
    pub active: Versions,
}

/// What was asked of a component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Requirement {
    /// A group names one version.
    Exactly(Version),
    /// A depender names a range.
    Range(VersionRequirement),
}

impl Requirement {
    fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == version,
            Self::Range(range) => range.matches(version),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(version) => write!(f, "={version}"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resolution {
    /// The set.
    pub versions: Versions,
    /// Who asks for each component, with what: `LOCAL_DEPLOYMENT (=1.0.0)`.
    pub wanted_by: BTreeMap<ComponentName, Vec<String>>,
}

/// Why there is no set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// No version of a component at hand satisfies all that ask for it.
    #[error("{}", no_version(component, constraints, known))]
    NoVersion {
        component: ComponentName,
        constraints: Vec<(String, Requirement)>,
        known: Vec<Version>,
    },
    /// Components depend on each other in a circle.
    #[error("the components depend on each other in a circle: {}", cycle.iter().map(ComponentName::as_str).collect::<Vec<_>>().join(" -> "))]
    Circle { cycle: Vec<ComponentName> },
}

fn no_version(
    component: &ComponentName,
    constraints: &[(String, Requirement)],
    known: &[Version],
) -> String {
    let wanted: Vec<_> = constraints
        .iter()
        .map(|(source, requirement)| format!("{source}={requirement}"))
        .collect();
    let known = if known.is_empty() {
        "no recipe of it is here; give the folder that holds it, with the recipes of its dependencies".to_owned()
    } else {
        let known: Vec<_> = known.iter().map(Version::to_string).collect();
        format!("versions here: {}", known.join(", "))
    };
    format!(
        "no version of {component} satisfies '{{{}}}'; {known}",
        wanted.join(", ")
    )
}

/// Chooses.
pub(crate) fn resolve(roots: &Roots, universe: &Universe) -> Result<Resolution, ResolveError> {
    let versions = match greedy(roots, universe) {
        Ok(versions) => versions,
        Err(conflict) => search::search(roots, universe).ok_or(conflict)?,
    };
    if let Some(cycle) = find_circle(&versions, universe) {
        return Err(ResolveError::Circle { cycle });
    }
    let wanted_by = versions
        .keys()
        .map(|name| {
            let constraints = Constraints::of(name, roots, &versions, universe);
            let sources = constraints
                .0
                .iter()
                .map(|(source, requirement)| format!("{source} ({requirement})"));
            (name.clone(), sources.collect())
        })
        .collect();
    Ok(Resolution {
        versions,
        wanted_by,
    })
}

/// Breadth first; a component is chosen again when what is asked of it changes.
fn greedy(roots: &Roots, universe: &Universe) -> Result<Versions, ResolveError> {
    let mut chosen = Versions::new();
    let mut queue: VecDeque<ComponentName> =
        roots.values().flat_map(BTreeMap::keys).cloned().collect();
    // Choices may chase each other in a ring; the search then decides.
    let mut budget = 64 * (universe.known.len() + queue.len() + 1);
    while let Some(name) = queue.pop_front() {
        let constraints = Constraints::of(&name, roots, &chosen, universe);
        budget -= 1;
        let now = if constraints.0.is_empty() {
            None
        } else {
            match constraints.best(&name, universe) {
                Some(version) if budget > 0 => Some(version.clone()),
                _ => return Err(constraints.conflict(name, universe)),
            }
        };
        if chosen.get(&name) == now.as_ref() {
            continue;
        }
        let before = match now.clone() {
            Some(version) => chosen.insert(name.clone(), version),
            None => chosen.remove(&name),
        };
        for version in [before, now].into_iter().flatten() {
            queue.extend(dependencies_of(&name, &version, universe).keys().cloned());
        }
    }
    let wanted = reachable(roots, &chosen, universe);
    chosen.retain(|name, _| wanted.contains(name));
    Ok(chosen)
}

/// A circle of dependencies, its first component again at the end.
fn find_circle(versions: &Versions, universe: &Universe) -> Option<Vec<ComponentName>> {
    fn visit(
        name: &ComponentName,
        versions: &Versions,
        universe: &Universe,
        path: &mut Vec<ComponentName>,
        done: &mut std::collections::BTreeSet<ComponentName>,
    ) -> Option<Vec<ComponentName>> {
        if done.contains(name) {
            return None;
        }
        if let Some(start) = path.iter().position(|n| n == name) {
            let mut cycle = path[start..].to_vec();
            cycle.push(name.clone());
            return Some(cycle);
        }
        let version = versions.get(name)?;
        path.push(name.clone());
        for dependency in dependencies_of(name, version, universe).keys() {
            let found = visit(dependency, versions, universe, path, done);
            if found.is_some() {
                return found;
            }
        }
        path.pop();
        done.insert(name.clone());
        None
    }
    let mut done = std::collections::BTreeSet::new();
    versions
        .keys()
        .find_map(|name| visit(name, versions, universe, &mut Vec::new(), &mut done))
}
