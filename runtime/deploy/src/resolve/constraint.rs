//! What is asked of one component by groups and by components that are chosen.

use super::{Requirement, ResolveError, Roots, Universe, Versions};
use model::{ComponentName, Version, VersionRequirement};
use std::collections::{BTreeMap, BTreeSet};

/// Who asks, and for what; groups first.
pub(super) struct Constraints(pub Vec<(String, Requirement)>);

impl Constraints {
    /// Of the roots and of the components that hang on them by what is chosen.
    pub(super) fn of(
        name: &ComponentName,
        roots: &Roots,
        chosen: &Versions,
        universe: &Universe,
    ) -> Self {
        let mut constraints: Vec<_> = roots
            .iter()
            .filter_map(|(group, components)| {
                Some((
                    group.clone(),
                    Requirement::Exactly(components.get(name)?.clone()),
                ))
            })
            .collect();
        let alive = reachable(roots, chosen, universe);
        for (depender, version) in chosen
            .iter()
            .filter(|(depender, _)| alive.contains(*depender))
        {
            if let Some(range) = dependencies_of(depender, version, universe).get(name) {
                constraints.push((depender.to_string(), Requirement::Range(range.clone())));
            }
        }
        Self(constraints)
    }

    fn allow(&self, version: &Version) -> bool {
        self.0
            .iter()
            .all(|(_, requirement)| requirement.matches(version))
    }

    /// The versions that fit, best first: the active one, then from the highest down.
    pub(super) fn candidates<'a>(
        &self,
        name: &ComponentName,
        universe: &'a Universe,
    ) -> Vec<&'a Version> {
        let Some(known) = universe.known.get(name) else {
            return Vec::new();
        };
        let active = universe.active.get(name);
        let mut fitting: Vec<_> = known
            .keys()
            .rev()
            .filter(|version| self.allow(version))
            .collect();
        fitting.sort_by_key(|version| Some(*version) != active);
        fitting
    }

    pub(super) fn best<'a>(
        &self,
        name: &ComponentName,
        universe: &'a Universe,
    ) -> Option<&'a Version> {
        self.candidates(name, universe).first().copied()
    }

    pub(super) fn conflict(self, component: ComponentName, universe: &Universe) -> ResolveError {
        let known = universe
            .known
            .get(&component)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect();
        ResolveError::NoVersion {
            component,
            constraints: self.0,
            known,
        }
    }
}

pub(super) fn dependencies_of<'a>(
    name: &ComponentName,
    version: &Version,
    universe: &'a Universe,
) -> &'a BTreeMap<ComponentName, VersionRequirement> {
    static NONE: BTreeMap<ComponentName, VersionRequirement> = BTreeMap::new();
    universe
        .known
        .get(name)
        .and_then(|versions| versions.get(version))
        .unwrap_or(&NONE)
}

/// The roots and everything they lead to by what is chosen, chosen itself or not.
pub(super) fn reachable(
    roots: &Roots,
    chosen: &Versions,
    universe: &Universe,
) -> BTreeSet<ComponentName> {
    let mut found: BTreeSet<ComponentName> = BTreeSet::new();
    let mut open: Vec<ComponentName> = roots.values().flat_map(BTreeMap::keys).cloned().collect();
    while let Some(name) = open.pop() {
        if let Some(version) = chosen.get(&name).filter(|_| !found.contains(&name)) {
            open.extend(dependencies_of(&name, version, universe).keys().cloned());
        }
        found.insert(name);
    }
    found
}
