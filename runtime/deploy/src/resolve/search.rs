//! The exhaustive search: one component after the other, best version first, back when nothing fits.

use super::{
    Roots, Universe, Versions,
    constraint::{Constraints, reachable},
};

/// Choices that are tried before the search gives up; a device has tens of components with a few versions each.
const BUDGET: u32 = 20_000;

/// A set that satisfies everything, or `None`.
pub(super) fn search(roots: &Roots, universe: &Universe) -> Option<Versions> {
    let mut chosen = Versions::new();
    let mut budget = BUDGET;
    let found = extend(roots, universe, &mut chosen, &mut budget);
    if budget == 0 {
        log::warn!("the search for a set of versions that fit was given up after {BUDGET} choices");
    }
    found.then_some(chosen)
}

fn extend(roots: &Roots, universe: &Universe, chosen: &mut Versions, budget: &mut u32) -> bool {
    let wanted = reachable(roots, chosen, universe);
    // Everything chosen must still fit; everything wanted must still have a candidate.
    let mut next = None;
    for name in &wanted {
        let candidates = Constraints::of(name, roots, chosen, universe).candidates(name, universe);
        match chosen.get(name) {
            Some(version) if candidates.contains(&version) => {}
            Some(_) => return false,
            None if candidates.is_empty() => return false,
            None if next.is_none() => next = Some((name, candidates)),
            None => {}
        }
    }
    let Some((name, candidates)) = next else {
        return true;
    };
    for version in candidates {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        chosen.insert(name.clone(), version.clone());
        if extend(roots, universe, chosen, budget) {
            return true;
        }
        chosen.remove(name);
    }
    false
}
