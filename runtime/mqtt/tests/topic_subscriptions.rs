//! The tree of subscriptions against a list that is searched.

#![allow(clippy::unwrap_used)]

use mqtt::topic::{Filter, Invalid, Match, Subscriptions, matches};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Key = u8;
type Model = BTreeMap<(Key, Option<String>, String), u32>;

#[derive(Clone, Debug)]
enum Step {
    Insert(Key, Option<String>, String, u32),
    Remove(Key, Option<String>, String),
    RemoveAll(Key),
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]",
        1 => Just(String::new()),
        1 => Just("$a".to_owned()),
        1 => Just("é".to_owned()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("topics are not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![3 => level(), 2 => Just("+".to_owned())], 0..5);
    (levels, any::<bool>())
        .prop_map(|(mut levels, all)| {
            if all || levels.is_empty() {
                levels.push("#".into());
            }
            levels.join("/")
        })
        .prop_filter("filters are not empty", |filter| !filter.is_empty())
}

fn step() -> impl Strategy<Value = Step> {
    let group = || prop::option::weighted(0.3, "[gh]");
    prop_oneof![
        6 => (0..25u8, group(), filter(), any::<u32>()).prop_map(|(k, g, f, o)| Step::Insert(k, g, f, o)),
        3 => (0..25u8, group(), filter()).prop_map(|(k, g, f)| Step::Remove(k, g, f)),
        1 => (0..25u8).prop_map(Step::RemoveAll),
    ]
}

fn as_filter<'a>(group: &'a Option<String>, filter: &'a str) -> Filter<'a> {
    Filter {
        group: group.as_deref(),
        filter,
    }
}

fn apply(tree: &mut Subscriptions<Key, u32>, model: &mut Model, step: Step) {
    match step {
        Step::Insert(key, group, filter, options) => {
            let before = tree
                .insert(&key, as_filter(&group, &filter), options)
                .unwrap();
            assert_eq!(before, model.insert((key, group, filter), options));
        }
        Step::Remove(key, group, filter) => {
            let removed = tree.remove(&key, as_filter(&group, &filter));
            assert_eq!(removed, model.remove(&(key, group, filter)));
        }
        Step::RemoveAll(key) => {
            let before = model.len();
            model.retain(|(owner, ..), _| *owner != key);
            assert_eq!(tree.remove_all(&key), before - model.len());
        }
    }
}

/// Everything a topic leads to, sorted: key, group, options. Groups give each member.
fn found(tree: &Subscriptions<Key, u32>, topic: &str) -> Vec<(Key, Option<String>, u32)> {
    let mut found = Vec::new();
    tree.matches(topic, |one| match one {
        Match::Own(key, options) => found.push((*key, None, *options)),
        Match::Shared(group) => {
            assert!(group.turn() < group.members().len());
            for (key, options) in group.members() {
                found.push((*key, Some(group.name().to_owned()), *options));
            }
        }
    });
    found.sort();
    found
}

fn expected(model: &Model, topic: &str) -> Vec<(Key, Option<String>, u32)> {
    let matching = model
        .iter()
        .filter(|((_, _, filter), _)| matches(filter, topic));
    let mut found: Vec<_> = matching
        .map(|((key, group, _), options)| (*key, group.clone(), *options))
        .collect();
    found.sort();
    found
}

/// One node for each distinct beginning of a filter, and the root.
fn nodes(model: &Model) -> usize {
    let beginnings = model.keys().flat_map(|(_, _, filter)| {
        let ends = filter.match_indices('/').map(|(at, _)| at);
        ends.chain([filter.len()]).map(|end| &filter[..end])
    });
    1 + beginnings.collect::<BTreeSet<_>>().len()
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_search_of_all_filters_finds(
        steps in prop::collection::vec(step(), 0..150),
        topics in prop::collection::vec(topic(), 1..20),
    ) {
        let mut tree = Subscriptions::new(16);
        let mut model = Model::new();
        for step in steps {
            apply(&mut tree, &mut model, step);
        }
        prop_assert_eq!(tree.len(), model.len());
        prop_assert_eq!(tree.nodes(), nodes(&model));
        for topic in &topics {
            let wanted = expected(&model, topic);
            prop_assert_eq!(tree.any(topic), !wanted.is_empty(), "{}", topic);
            prop_assert_eq!(found(&tree, topic), wanted, "{}", topic);
        }
        for key in 0..25u8 {
            let mut listed: Vec<_> = tree
                .of(&key)
                .map(|one| (one.group.map(str::to_owned), one.filter, *one.options))
                .collect();
            listed.sort();
            let own = model.iter().filter(|((owner, ..), _)| *owner == key);
            let wanted: Vec<_> = own.map(|((_, g, f), o)| (g.clone(), f.clone(), *o)).collect();
            prop_assert_eq!(&listed, &wanted);
            for (group, filter, options) in &wanted {
                prop_assert_eq!(tree.get(&key, as_filter(group, filter)), Some(options));
            }
        }
        for key in 0..25u8 {
            tree.remove_all(&key);
        }
        prop_assert_eq!(tree.nodes(), 1);
        prop_assert!(tree.is_empty());
    }
}

#[test]
fn ten_thousand_clients_come_and_go_and_the_tree_gives_their_nodes_back() {
    let mut tree = Subscriptions::new(16);
    for client in 0..10_000u32 {
        for own in 0..5 {
            let filter = format!("fleet/{client}/in/{own}");
            assert_eq!(tree.insert(&client, Filter::own(&filter), own), Ok(None));
        }
        assert_eq!(
            tree.insert(&client, Filter::own("fleet/all/+"), 9),
            Ok(None)
        );
        let shared = Filter {
            group: Some("g"),
            filter: "work/#",
        };
        assert_eq!(tree.insert(&client, shared, 8), Ok(None));
    }
    let count = |tree: &Subscriptions<u32, u32>, topic: &str| {
        let mut own = 0;
        let mut members = 0;
        tree.matches(topic, |one| match one {
            Match::Own(..) => own += 1,
            Match::Shared(group) => members += group.members().len(),
        });
        (own, members)
    };
    assert_eq!(count(&tree, "fleet/7777/in/3"), (1, 0));
    assert_eq!(count(&tree, "fleet/all/x"), (10_000, 0));
    assert_eq!(count(&tree, "work"), (0, 10_000));
    // All but a few leave; those few are still found, under whatever numbers their nodes have now.
    for client in (0..10_000).filter(|client| client % 1_000 != 7) {
        assert_eq!(tree.remove_all(&client), 7);
    }
    assert_eq!(tree.len(), 70);
    assert_eq!(count(&tree, "fleet/7/in/3"), (1, 0));
    assert_eq!(count(&tree, "fleet/8/in/3"), (0, 0));
    assert_eq!(count(&tree, "fleet/all/x"), (10, 0));
    assert_eq!(count(&tree, "work/a/b"), (0, 10));
    assert_eq!(tree.remove(&9_007, Filter::own("fleet/9007/in/0")), Some(0));
    for client in 0..10_000 {
        tree.remove_all(&client);
    }
    assert_eq!((tree.len(), tree.nodes()), (0, 1));
}

#[test]
fn members_of_a_group_take_turns() {
    let mut tree = Subscriptions::new(16);
    let shared = Filter {
        group: Some("g"),
        filter: "a",
    };
    for client in 0..3u8 {
        tree.insert(&client, shared, ()).unwrap();
    }
    let mut chosen = Vec::new();
    for _ in 0..6 {
        tree.matches("a", |one| {
            if let Match::Shared(group) = one {
                chosen.push(group.members()[group.turn()].0);
            }
        });
    }
    assert_eq!(chosen[..3], chosen[3..]);
    chosen.truncate(3);
    chosen.sort_unstable();
    assert_eq!(chosen, [0, 1, 2]);
}

#[test]
fn a_filter_has_at_most_the_levels_allowed_and_a_topic_may_have_any() {
    let mut tree = Subscriptions::new(100);
    let deep = vec!["+"; 100].join("/");
    assert_eq!(tree.insert(&1, Filter::own(&deep), ()), Ok(None));
    let deeper = deep.clone() + "/+";
    assert_eq!(
        tree.insert(&1, Filter::own(&deeper), ()),
        Err(Invalid::TooManyLevels)
    );
    assert_eq!(tree.nodes(), 101);
    assert!(tree.any(&"/".repeat(99)));
    assert!(!tree.any(&"/".repeat(65_535)));
    tree.insert(&1, Filter::own("#"), ()).unwrap();
    assert!(tree.any(&"/".repeat(65_535)));
}
