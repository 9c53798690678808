//! Who needs whom. Pure.

use model::{ComponentName, ComponentSpec, component::DependencyType};
use std::collections::{BTreeMap, BTreeSet};

/// The dependencies among the components of a device. Those on components that are not there (the runtime itself, for
/// one) are left out, and so is one edge of every cycle: resolution forbids cycles, and here they must not lock up.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Graph {
    needs: BTreeMap<ComponentName, BTreeMap<ComponentName, DependencyType>>,
    needed_by: BTreeMap<ComponentName, BTreeMap<ComponentName, DependencyType>>,
}

impl Graph {
    /// From the specs of all components.
    pub fn new<'a>(specs: impl IntoIterator<Item = &'a ComponentSpec>) -> Self {
        let specs: BTreeMap<&ComponentName, &ComponentSpec> =
            specs.into_iter().map(|s| (&s.name, s)).collect();
        let mut graph = Self::default();
        let mut seen = BTreeMap::new();
        for name in specs.keys() {
            graph.visit(name, &specs, &mut seen);
        }
        graph
    }

    /// Depth first; an edge to a component that is on the path already closes a cycle. Does not recurse: chains may be long.
    fn visit<'a>(
        &mut self,
        root: &'a ComponentName,
        specs: &BTreeMap<&'a ComponentName, &'a ComponentSpec>,
        seen: &mut BTreeMap<&'a ComponentName, bool>,
    ) {
        if seen.contains_key(root) {
            return;
        }
        let edges = |name: &ComponentName| specs[name].dependencies.iter();
        seen.insert(root, false);
        let mut path = vec![(root, edges(root))];
        while let Some((name, rest)) = path.last_mut() {
            let name = *name;
            let Some((dependency, kind)) = rest.next() else {
                seen.insert(name, true);
                path.pop();
                continue;
            };
            let Some((dependency, _)) = specs.get_key_value(dependency) else {
                continue;
            };
            let dependency = *dependency;
            match seen.get(dependency) {
                Some(false) => {
                    log::warn!(component = name.as_str(); "its dependency on {dependency} closes a cycle and is ignored");
                    continue;
                }
                Some(true) => {}
                None => {
                    seen.insert(dependency, false);
                    path.push((dependency, edges(dependency)));
                }
            }
            self.needs
                .entry(name.clone())
                .or_default()
                .insert(dependency.clone(), *kind);
            self.needed_by
                .entry(dependency.clone())
                .or_default()
                .insert(name.clone(), *kind);
        }
    }

    /// What a component depends on.
    pub fn needs(
        &self,
        name: &ComponentName,
    ) -> impl Iterator<Item = (&ComponentName, DependencyType)> {
        self.needs
            .get(name)
            .into_iter()
            .flatten()
            .map(|(name, kind)| (name, *kind))
    }

    /// What depends on a component.
    pub fn needed_by(
        &self,
        name: &ComponentName,
    ) -> impl Iterator<Item = (&ComponentName, DependencyType)> {
        self.needed_by
            .get(name)
            .into_iter()
            .flatten()
            .map(|(name, kind)| (name, *kind))
    }

    /// A component and its direct neighbours: whose chances a change of it may alter.
    pub fn around(&self, name: &ComponentName) -> BTreeSet<ComponentName> {
        let neighbours = self
            .needs(name)
            .chain(self.needed_by(name))
            .map(|(name, _)| name.clone());
        neighbours.chain([name.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fixture::{name, spec};
    use proptest::prelude::*;

    fn hard(of: &str, on: &[&str]) -> ComponentSpec {
        let mut spec = spec(of);
        spec.dependencies = on
            .iter()
            .map(|on| (name(on), DependencyType::Hard))
            .collect();
        spec
    }

    #[test]
    fn both_directions_are_known_and_absent_components_left_out() {
        let specs = [hard("a", &["b", "aws.greengrass.Nucleus"]), hard("b", &[])];
        let graph = Graph::new(&specs);
        assert_eq!(
            graph.needs(&name("a")).collect::<Vec<_>>(),
            [(&name("b"), DependencyType::Hard)]
        );
        assert_eq!(
            graph.needed_by(&name("b")).collect::<Vec<_>>(),
            [(&name("a"), DependencyType::Hard)]
        );
        assert_eq!(
            graph.around(&name("a")),
            BTreeSet::from([name("a"), name("b")])
        );
    }

    proptest! {
        /// Peeling off components without dependencies ends with none left, whatever the input.
        #[test]
        fn no_cycle_is_left(edges in prop::collection::vec((0u8..8, 0u8..8), 0..30)) {
            let specs: Vec<_> = (0u8..8)
                .map(|i| {
                    let on: Vec<String> = edges.iter().filter(|e| e.0 == i).map(|e| format!("c{}", e.1)).collect();
                    hard(&format!("c{i}"), &on.iter().map(String::as_str).collect::<Vec<_>>())
                })
                .collect();
            let graph = Graph::new(&specs);
            let mut left: BTreeSet<ComponentName> = specs.iter().map(|s| s.name.clone()).collect();
            while !left.is_empty() {
                let free: Vec<_> =
                    left.iter().filter(|n| !graph.needs(n).any(|(d, _)| left.contains(d))).cloned().collect();
                prop_assert!(!free.is_empty());
                left.retain(|n| !free.contains(n));
            }
        }
    }
}
