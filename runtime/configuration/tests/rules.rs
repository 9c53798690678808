//! The rules of merge, defaults, reset, replace and remove, one by one.

#![allow(clippy::unwrap_used)]

use configuration::{Change, ChangeKind, DEFAULT_AT, Operation, Timestamp, Tree, TreeError};
use serde_json::{Value, json};

fn path(text: &str) -> Vec<String> {
    text.split('/')
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

fn merge(at: Timestamp, value: Value) -> Operation {
    Operation::Merge {
        path: path("c"),
        value,
        at,
    }
}

fn defaults(value: Value) -> Operation {
    Operation::Defaults {
        path: path("c"),
        value,
    }
}

fn reset(pointers: &[&str], defaults: Value) -> Operation {
    Operation::Reset {
        path: path("c"),
        pointers: pointers.iter().map(|p| (*p).to_owned()).collect(),
        defaults,
    }
}

fn tree(operations: &[Operation]) -> Tree {
    Tree::empty().apply_all(operations).unwrap().0
}

fn c(tree: &Tree) -> Value {
    tree.get(&["c"]).unwrap()
}

fn at(tree: &Tree, key: &str) -> Timestamp {
    tree.entry(&path(key)).unwrap().at
}

fn set(text: &str) -> Change {
    Change {
        path: path(text),
        kind: ChangeKind::Set,
    }
}

fn removed(text: &str) -> Change {
    Change {
        path: path(text),
        kind: ChangeKind::Removed,
    }
}

#[test]
fn a_newer_or_equally_old_value_wins_leaf_by_leaf() {
    let before = tree(&[
        merge(5, json!({"a": 1, "b": {"x": 1}})),
        merge(9, json!({"b": {"y": 1}})),
    ]);
    let (after, changes) = before
        .apply(&merge(5, json!({"a": 2, "b": {"x": 2, "y": 2, "z": 2}})))
        .unwrap();
    assert_eq!(c(&after), json!({"a": 2, "b": {"x": 2, "y": 1, "z": 2}}));
    assert_eq!(changes, [set("c/a"), set("c/b/x"), set("c/b/z")]);
    let (after, changes) = before
        .apply(&merge(4, json!({"a": 2, "b": {"x": 2}})))
        .unwrap();
    assert_eq!(c(&after), c(&before));
    assert_eq!(changes, []);
}

#[test]
fn the_same_value_is_no_change_and_keeps_its_time() {
    let before = tree(&[merge(5, json!({"a": [1, {"b": null}]}))]);
    let (after, changes) = before
        .apply(&merge(9, json!({"a": [1, {"b": null}]})))
        .unwrap();
    assert_eq!(changes, []);
    assert_eq!(at(&after, "c/a"), 5);
}

#[test]
fn a_default_that_someone_confirms_outlives_a_new_default() {
    let before = tree(&[
        defaults(json!({"port": 8080})),
        merge(7, json!({"port": 8080})),
    ]);
    let (after, _) = before.apply(&defaults(json!({"port": 9090}))).unwrap();
    assert_eq!(c(&after), json!({"port": 8080}));
}

#[test]
fn lists_are_replaced_whole_and_null_is_a_value() {
    let after = tree(&[
        merge(1, json!({"l": [1, 2, 3], "n": 1})),
        merge(2, json!({"l": [4], "n": null})),
    ]);
    assert_eq!(c(&after), json!({"l": [4], "n": null}));
}

#[test]
fn a_leaf_and_a_container_replace_each_other_when_not_older() {
    let before = tree(&[merge(5, json!({"a": 1, "b": {"x": {"y": 1}}}))]);
    let (after, changes) = before
        .apply(&merge(5, json!({"a": {"k": 2}, "b": {"x": 3}})))
        .unwrap();
    assert_eq!(c(&after), json!({"a": {"k": 2}, "b": {"x": 3}}));
    assert_eq!(changes, [set("c/a/k"), set("c/b/x")]);
    let (after, changes) = before
        .apply(&merge(4, json!({"a": {"k": 2}, "b": {"x": 3}})))
        .unwrap();
    assert_eq!(c(&after), c(&before));
    assert_eq!(changes, []);
}

#[test]
fn an_empty_container_is_kept_and_told() {
    let (after, changes) = Tree::empty().apply(&merge(5, json!({"a": {}}))).unwrap();
    assert_eq!(c(&after), json!({"a": {}}));
    assert_eq!(changes, [set("c/a")]);
    let (after, _) = after.apply(&defaults(json!({"a": "default"}))).unwrap();
    assert_eq!(
        c(&after),
        json!({"a": {}}),
        "it was set later than any default"
    );
}

#[test]
fn keys_match_in_any_case_and_keep_the_first() {
    let after = tree(&[
        merge(1, json!({"SampleRate": 1, "Größe": 1})),
        merge(2, json!({"samplerate": 2, "GRÖSSE": 2, "größe": 3})),
    ]);
    assert_eq!(
        c(&after),
        json!({"SampleRate": 2, "Größe": 3, "GRÖSSE": 2}),
        "ß has no other case"
    );
    assert_eq!(after.get(&["C", "SAMPLERATE"]), Some(json!(2)));
    assert_eq!(
        after.entry(&["C", "samplerate"]).unwrap().path,
        ["c", "SampleRate"]
    );
}

#[test]
fn two_spellings_in_one_object_are_one_key() {
    for operation in [
        merge(1, json!({"A": 1, "a": {"x": 2}})),
        defaults(json!({"A": 1, "a": {"x": 2}})),
        reset(&[""], json!({"A": 1, "a": {"x": 2}})),
        Operation::Replace {
            path: path("c"),
            value: json!({"A": 1, "a": {"x": 2}}),
            at: 3,
        },
    ] {
        assert_eq!(c(&tree(&[operation])), json!({"A": {"x": 2}}));
    }
}

#[test]
fn numbers_stay_what_they_are() {
    let numbers = json!({"i": i64::MIN, "u": u64::MAX, "f": 1.0, "one": 1, "tiny": 5e-324, "third": 0.333_333_333_333_333_3});
    let after = tree(&[merge(1, numbers.clone())]);
    assert_eq!(c(&after), numbers);
    let (_, changes) = after.apply(&merge(2, json!({"one": 1.0}))).unwrap();
    assert_eq!(changes, [set("c/one")], "1 and 1.0 are different values");
}

#[test]
fn new_defaults_replace_old_ones_and_nothing_set_later() {
    let before = tree(&[
        defaults(json!({"a": 1, "b": 1, "l": [1]})),
        merge(50, json!({"b": 2, "own": 1})),
    ]);
    let (after, changes) = before
        .apply(&defaults(json!({"a": 9, "b": 9, "l": {"k": 9}, "new": 9})))
        .unwrap();
    assert_eq!(
        c(&after),
        json!({"a": 9, "b": 2, "l": {"k": 9}, "new": 9, "own": 1})
    );
    assert_eq!(changes, [set("c/a"), set("c/l/k"), set("c/new")]);
    assert_eq!(at(&after, "c/new"), DEFAULT_AT);
    let (same, changes) = after.apply(&defaults(Value::Null)).unwrap();
    assert_eq!((c(&same), changes), (c(&after), vec![]));
    assert_eq!(
        c(&tree(&[defaults(Value::Null)])),
        json!({}),
        "a component without defaults has an empty configuration"
    );
}

#[test]
fn a_reset_gives_the_default_or_removes() {
    let recipe = json!({"a": 1, "b": {"x": 1, "y": 1}});
    let before = tree(&[
        defaults(recipe.clone()),
        merge(50, json!({"A": 2, "b": {"x": 2, "z": 2}, "own": {"k": 1}})),
    ]);
    let (after, changes) = before
        .apply(&reset(
            &["/a", "/b/x", "/b/z", "/own", "/never"],
            recipe.clone(),
        ))
        .unwrap();
    assert_eq!(c(&after), json!({"a": 1, "b": {"x": 1, "y": 1}}));
    assert_eq!(
        changes,
        [set("c/a"), set("c/b/x"), removed("c/b/z"), removed("c/own")]
    );
    assert_eq!(
        at(&after, "c/a"),
        DEFAULT_AT,
        "an older deployment may set it again"
    );

    let (after, _) = before.apply(&reset(&["/b"], recipe.clone())).unwrap();
    assert_eq!(
        c(&after),
        json!({"a": 2, "b": {"x": 1, "y": 1}, "own": {"k": 1}})
    );
    let (after, _) = before.apply(&reset(&[""], recipe.clone())).unwrap();
    assert_eq!(c(&after), recipe);
    let (after, _) = before.apply(&reset(&[""], Value::Null)).unwrap();
    assert_eq!(c(&after), json!({}));
}

#[test]
fn a_reset_to_an_equal_value_forgets_its_time_without_a_change() {
    let before = tree(&[merge(50, json!({"a": {"b": 1}}))]);
    let (after, changes) = before
        .apply(&reset(&["/a"], json!({"a": {"b": 1}})))
        .unwrap();
    assert_eq!(changes, []);
    assert_eq!(at(&after, "c/a/b"), DEFAULT_AT);
}

#[test]
fn reset_pointers_are_escaped_as_in_rfc_6901() {
    let before = tree(&[merge(50, json!({"a/b": 1, "m~n": 1, "": 1, "~1": 1}))]);
    let (after, _) = before
        .apply(&reset(&["/a~1b", "/m~0n", "/", "/~01"], Value::Null))
        .unwrap();
    assert_eq!(c(&after), json!({}));
    let error = before.apply(&reset(&["/a", "b"], Value::Null)).unwrap_err();
    assert_eq!(
        error,
        TreeError::Pointer {
            pointer: "b".into()
        }
    );
}

#[test]
fn an_element_of_a_list_is_not_reset() {
    let before = tree(&[merge(50, json!({"l": [{"k": 1}], "n": {"10": 1}}))]);
    for recipe in [Value::Null, json!({"l": [{"k": 2}]})] {
        let (after, changes) = before.apply(&reset(&["/l/0", "/l/0/k"], recipe)).unwrap();
        assert_eq!((c(&after), changes), (c(&before), vec![]));
    }
    let (after, _) = before.apply(&reset(&["/n/10"], Value::Null)).unwrap();
    assert_eq!(
        c(&after),
        json!({"l": [{"k": 1}], "n": {}}),
        "a key may look like a number"
    );
}

#[test]
fn replace_makes_it_exactly_so_whatever_the_times() {
    let before = tree(&[merge(50, json!({"a": 1, "b": {"x": 1}, "gone": {"k": 1}}))]);
    let value = json!({"a": 1, "b": {"x": 2}, "n": {"e": {}}});
    let (after, changes) = before
        .apply(&Operation::Replace {
            path: path("c"),
            value: value.clone(),
            at: 3,
        })
        .unwrap();
    assert_eq!(c(&after), value);
    assert_eq!(changes, [set("c/b/x"), set("c/n/e"), removed("c/gone")]);
    assert_eq!((at(&after, "c/a"), at(&after, "c/b/x")), (50, 3));
    let through_a_leaf = Operation::Replace {
        path: path("c/a/deep"),
        value: json!(1),
        at: 3,
    };
    assert_eq!(
        c(&before.apply(&through_a_leaf).unwrap().0)["a"],
        json!({"deep": 1})
    );
}

#[test]
fn remove_spares_what_is_newer_and_remembers_nothing() {
    let before = tree(&[
        merge(5, json!({"a": 1, "b": {"x": 1}})),
        merge(9, json!({"b": {"y": 1}})),
    ]);
    let (after, changes) = before
        .apply(&Operation::Remove {
            path: path("c"),
            at: 5,
        })
        .unwrap();
    assert_eq!(c(&after), json!({"b": {"y": 1}}));
    assert_eq!(changes, [removed("c/b/x"), removed("c/a")]);
    let (after, changes) = before
        .apply(&Operation::Remove {
            path: path("C"),
            at: Timestamp::MAX,
        })
        .unwrap();
    assert_eq!(changes, [removed("c")]);
    assert!(!after.contains(&["c"]));
    let (after, _) = after.apply(&defaults(json!({"a": "again"}))).unwrap();
    assert_eq!(
        c(&after),
        json!({"a": "again"}),
        "a component deployed again starts from its defaults"
    );
    let (after, changes) = before
        .apply(&Operation::Remove {
            path: path("c/a/not/there"),
            at: 99,
        })
        .unwrap();
    assert_eq!((c(&after), changes), (c(&before), vec![]));
}

#[test]
fn the_root_takes_objects_only() {
    let root = |value| Operation::Merge {
        path: vec![],
        value,
        at: 1,
    };
    assert_eq!(tree(&[root(json!({"a": 1}))]).get(&["a"]), Some(json!(1)));
    assert_eq!(
        Tree::empty().apply(&root(json!(1))).unwrap_err(),
        TreeError::RootIsNoObject
    );
    let replace = Operation::Replace {
        path: vec![],
        value: json!([]),
        at: 1,
    };
    assert_eq!(
        Tree::empty().apply(&replace).unwrap_err(),
        TreeError::RootIsNoObject
    );
    let remove = Operation::Remove {
        path: vec![],
        at: 1,
    };
    assert_eq!(
        tree(&[root(json!({"a": 1})), remove]).get::<&str>(&[]),
        Some(json!({}))
    );
}

#[test]
fn depth_and_size_are_bounded_with_the_place_in_the_error() {
    let deep = |levels| (0..levels).fold(json!(1), |value, _| json!({"k": value}));
    assert!(
        Tree::empty()
            .apply(&merge(1, deep(configuration::MAX_DEPTH - 1)))
            .is_ok()
    );
    let error = Tree::empty()
        .apply(&merge(1, deep(configuration::MAX_DEPTH)))
        .unwrap_err();
    assert!(matches!(error, TreeError::TooDeep { .. }), "{error}");
    let nested_list = (0..configuration::MAX_DEPTH).fold(json!(1), |value, _| json!([value]));
    let error = Tree::empty()
        .apply(&merge(1, json!({"l": nested_list})))
        .unwrap_err();
    assert!(
        matches!(&error, TreeError::TooLarge { path, .. } if *path == ["c", "l"]),
        "{error}"
    );
    let error = Tree::empty()
        .apply(&merge(1, json!({"s": "x".repeat(configuration::MAX_LEAF)})))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("configuration at /c/s: too large"),
        "{error}"
    );
    let error = Tree::empty()
        .apply(&merge(
            1,
            json!({"k".repeat(configuration::MAX_KEY + 1): 1}),
        ))
        .unwrap_err();
    assert!(matches!(error, TreeError::KeyTooLong { .. }), "{error}");
    let leaf = "x".repeat(configuration::MAX_LEAF / 2);
    let many: serde_json::Map<_, _> = (0..200).map(|n| (n.to_string(), json!(leaf))).collect();
    let error = Tree::empty().apply(&merge(1, many.into())).unwrap_err();
    assert_eq!(
        error,
        TreeError::TooLarge {
            path: vec![],
            limit: configuration::MAX_TREE
        }
    );
}

#[test]
fn a_path_beyond_the_bound_finds_nothing_to_reset_or_remove() {
    let before = tree(&[merge(1, json!({"a": 1}))]);
    let pointer = "/a".repeat(1_000_000);
    let (after, changes) = before.apply(&reset(&[&pointer], Value::Null)).unwrap();
    assert_eq!((c(&after), changes), (c(&before), vec![]));
    let remove = Operation::Remove {
        path: vec!["c".into(); 1_000_000],
        at: Timestamp::MAX,
    };
    assert_eq!(before.apply(&remove).unwrap().1, []);
}

#[test]
fn several_operations_are_one_change_or_none() {
    let before = tree(&[merge(1, json!({"a": 1}))]);
    let there_and_back = [merge(2, json!({"a": 2})), merge(3, json!({"a": 1}))];
    assert_eq!(before.apply_all(&there_and_back).unwrap().1, []);
    assert!(
        before
            .apply_all(&[merge(2, json!({"a": 2})), reset(&["bad"], Value::Null)])
            .is_err()
    );
    assert_eq!(c(&before), json!({"a": 1}));
}
