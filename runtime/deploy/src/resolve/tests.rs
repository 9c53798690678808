//! Examples, and a comparison with trying every combination on small universes.

use super::*;
use proptest::prelude::*;

fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// `known(&[("a", "1.0.0", &[("b", "^1.0.0")])])`
type Entry<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn universe(known: &[Entry<'_>], active: &[(&str, &str)]) -> Universe {
    let mut universe = Universe::default();
    for (component, at, dependencies) in known {
        let dependencies = dependencies
            .iter()
            .map(|(n, range)| (name(n), range.parse().unwrap()))
            .collect();
        universe
            .known
            .entry(name(component))
            .or_default()
            .insert(version(at), dependencies);
    }
    universe.active = active.iter().map(|(n, v)| (name(n), version(v))).collect();
    universe
}

fn roots(groups: &[(&str, &[(&str, &str)])]) -> Roots {
    groups
        .iter()
        .map(|(group, members)| {
            (
                (*group).to_owned(),
                members.iter().map(|(n, v)| (name(n), version(v))).collect(),
            )
        })
        .collect()
}

fn set(resolution: &Resolution) -> Vec<(&str, String)> {
    resolution
        .versions
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_string()))
        .collect()
}

#[test]
fn a_dependency_takes_the_highest_version_that_fits() {
    let u = universe(
        &[
            ("a", "1.0.0", &[("b", ">=1.0.0 <2.0.0")]),
            ("b", "1.0.0", &[]),
            ("b", "1.2.0", &[]),
            ("b", "2.0.0", &[]),
        ],
        &[],
    );
    let r = resolve(&roots(&[("LOCAL_DEPLOYMENT", &[("a", "1.0.0")])]), &u).unwrap();
    assert_eq!(set(&r), [("a", "1.0.0".into()), ("b", "1.2.0".into())]);
    assert_eq!(r.wanted_by[&name("b")], ["a (>=1.0.0 <2.0.0)"]);
}

#[test]
fn the_active_version_is_kept_while_it_fits() {
    let known: &[Entry<'_>] = &[
        ("a", "1.0.0", &[("b", "^1.0.0")]),
        ("b", "1.0.0", &[]),
        ("b", "1.2.0", &[]),
        ("b", "2.0.0", &[]),
    ];
    let r = roots(&[("LOCAL_DEPLOYMENT", &[("a", "1.0.0")])]);
    assert_eq!(
        set(&resolve(&r, &universe(known, &[("b", "1.0.0")])).unwrap())[1].1,
        "1.0.0"
    );
    assert_eq!(
        set(&resolve(&r, &universe(known, &[("b", "2.0.0")])).unwrap())[1].1,
        "1.2.0"
    );
}

#[test]
fn ranges_of_several_groups_meet_in_one_version() {
    let u = universe(
        &[
            ("a", "1.0.0", &[("c", ">1.0.0")]),
            ("b", "1.0.0", &[("c", "=1.0.1")]),
            ("c", "1.0.1", &[]),
            ("c", "1.0.2", &[]),
        ],
        &[("c", "1.0.2")],
    );
    let r = roots(&[
        ("thinggroup/g", &[("a", "1.0.0")]),
        ("thinggroup/h", &[("b", "1.0.0")]),
    ]);
    assert_eq!(set(&resolve(&r, &u).unwrap())[2], ("c", "1.0.1".into()));
}

#[test]
fn what_only_a_replaced_choice_needed_is_left_out() {
    // b 2 comes first and wants d; c then forces b 1, which does not.
    let u = universe(
        &[
            ("a", "1.0.0", &[("b", "*"), ("c", "*")]),
            ("b", "1.0.0", &[]),
            ("b", "2.0.0", &[("d", "*")]),
            ("c", "1.0.0", &[("b", "^1.0.0")]),
            ("d", "1.0.0", &[]),
        ],
        &[],
    );
    let r = resolve(&roots(&[("LOCAL_DEPLOYMENT", &[("a", "1.0.0")])]), &u).unwrap();
    assert_eq!(
        set(&r),
        [
            ("a", "1.0.0".into()),
            ("b", "1.0.0".into()),
            ("c", "1.0.0".into())
        ]
    );
}

#[test]
fn an_older_depender_is_taken_when_the_newest_leads_to_a_conflict() {
    let u = universe(
        &[
            ("top", "1.0.0", &[("a", "*")]),
            ("a", "1.0.0", &[("c", "^1.0.0")]),
            ("a", "2.0.0", &[("c", "^2.0.0")]),
            ("c", "1.0.0", &[]),
            ("c", "2.0.0", &[]),
        ],
        &[],
    );
    let r = resolve(&roots(&[("g", &[("top", "1.0.0"), ("c", "1.0.0")])]), &u).unwrap();
    assert_eq!(r.versions[&name("a")], version("1.0.0"));
}

#[test]
fn a_conflict_names_everybody_who_asks() {
    let u = universe(
        &[
            ("aws.greengrass.Cli", "2.1.0", &[("x", ">=2.1.0 <2.4.0")]),
            ("x", "2.3.0", &[]),
            ("x", "2.4.0", &[]),
        ],
        &[],
    );
    let r = roots(&[
        ("thing/t", &[("x", "2.4.0")]),
        ("LOCAL_DEPLOYMENT", &[("aws.greengrass.Cli", "2.1.0")]),
    ]);
    let error = resolve(&r, &u).unwrap_err().to_string();
    assert!(
        error.contains("'{thing/t==2.4.0, aws.greengrass.Cli=>=2.1.0 <2.4.0}'"),
        "{error}"
    );
    assert!(error.contains("versions here: 2.3.0, 2.4.0"), "{error}");
}

#[test]
fn a_component_nobody_has_is_named_with_what_would_help() {
    let error = resolve(
        &roots(&[("LOCAL_DEPLOYMENT", &[("a", "1.0.0")])]),
        &Universe::default(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no version of a satisfies '{LOCAL_DEPLOYMENT==1.0.0}'; no recipe of it is here; give the folder that holds it, with the recipes of its dependencies"
    );
}

#[test]
fn a_circle_is_named_from_where_it_begins() {
    let u = universe(
        &[
            ("a", "1.0.0", &[("b", "*")]),
            ("b", "1.0.0", &[("c", "*")]),
            ("c", "1.0.0", &[("b", "*")]),
        ],
        &[],
    );
    let error = resolve(&roots(&[("g", &[("a", "1.0.0")])]), &u).unwrap_err();
    assert_eq!(
        error,
        ResolveError::Circle {
            cycle: vec![name("b"), name("c"), name("b")]
        }
    );
}

const RANGES: [&str; 6] = ["*", ">=2.0.0", "<3.0.0", "1.0.0", "2.0.0", ">=2.0.0 <3.0.0"];

/// Up to five components of up to three versions, each with up to three dependencies, among them circles and missing ones.
fn universes() -> impl Strategy<Value = (Universe, Roots)> {
    let dependencies = prop::collection::btree_map(0..6_usize, 0..RANGES.len(), 0..3);
    let versions = prop::collection::btree_map(1..4_usize, dependencies, 1..4);
    let known = prop::collection::vec(versions, 1..6);
    let active = prop::collection::btree_map(0..5_usize, 1..4_usize, 0..4);
    let groups = prop::collection::vec(
        prop::collection::btree_map(0..5_usize, 1..4_usize, 0..3),
        1..3,
    );
    (known, active, groups).prop_map(|(known, active, groups)| {
        let n = |i: usize| name(&format!("c{i}"));
        let v = |i: usize| version(&format!("{i}.0.0"));
        let known = known
            .into_iter()
            .enumerate()
            .map(|(i, versions)| {
                let versions = versions.into_iter().map(|(at, dependencies)| {
                    let dependencies = dependencies.into_iter().filter(|(d, _)| *d != i);
                    (
                        v(at),
                        dependencies
                            .map(|(d, r)| (n(d), RANGES[r].parse().unwrap()))
                            .collect(),
                    )
                });
                (n(i), versions.collect())
            })
            .collect();
        let active = active.into_iter().map(|(i, at)| (n(i), v(at))).collect();
        let roots = groups
            .into_iter()
            .enumerate()
            .map(|(g, members)| {
                (
                    format!("g{g}"),
                    members.into_iter().map(|(i, at)| (n(i), v(at))).collect(),
                )
            })
            .collect();
        (Universe { known, active }, roots)
    })
}

/// Nothing missing, nothing superfluous, everything satisfied.
fn is_right(versions: &Versions, roots: &Roots, universe: &Universe) -> bool {
    let wanted = reachable(roots, versions, universe);
    wanted.len() == versions.len()
        && versions.iter().all(|(name, version)| {
            wanted.contains(name)
                && Constraints::of(name, roots, versions, universe)
                    .candidates(name, universe)
                    .contains(&version)
        })
}

/// Tries every combination.
fn any_right(roots: &Roots, universe: &Universe) -> bool {
    let choices: Vec<(&ComponentName, Vec<&Version>)> = universe
        .known
        .iter()
        .map(|(name, versions)| (name, versions.keys().collect()))
        .collect();
    let mut index = vec![0; choices.len()];
    loop {
        let versions: Versions = choices
            .iter()
            .zip(&index)
            .filter(|(_, i)| **i > 0)
            .map(|((name, versions), i)| ((*name).clone(), versions[i - 1].clone()))
            .collect();
        if is_right(&versions, roots, universe) {
            return true;
        }
        let Some(place) = (0..index.len()).find(|p| index[*p] < choices[*p].1.len()) else {
            return false;
        };
        index[place] += 1;
        index[..place].fill(0);
    }
}

proptest! {
    #[test]
    fn a_set_is_found_exactly_when_there_is_one((universe, roots) in universes()) {
        match resolve(&roots, &universe) {
            Ok(resolution) => {
                prop_assert!(is_right(&resolution.versions, &roots, &universe));
                prop_assert_eq!(find_circle(&resolution.versions, &universe), None);
                // Once it runs, nothing asks for a change.
                let again = Universe { active: resolution.versions.clone(), ..universe };
                let second = resolve(&roots, &again).unwrap();
                prop_assert!(is_right(&second.versions, &roots, &again));
            }
            Err(ResolveError::NoVersion { component, constraints, .. }) => {
                prop_assert!(!any_right(&roots, &universe));
                prop_assert!(!constraints.is_empty(), "{} without a reason", component);
            }
            Err(ResolveError::Circle { cycle }) => {
                prop_assert!(any_right(&roots, &universe));
                prop_assert!(cycle.len() > 2 && cycle.first() == cycle.last());
            }
        }
    }

    #[test]
    fn the_first_try_is_right_whenever_it_ends((universe, roots) in universes()) {
        if let Ok(versions) = greedy(&roots, &universe) {
            prop_assert!(is_right(&versions, &roots, &universe));
        }
    }
}
