//! Retained messages against a list that is searched; pages while the tree changes.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use mqtt::{
    Message, QoS,
    topic::{Full, Retained, matches},
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn message(topic: &str, payload: &str, expires: Option<u64>) -> Message {
    Message {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: true,
        expires: expires.map(at),
        properties: None,
    }
}

fn level() -> impl Strategy<Value = String> {
    // Neighbours of the slash in ASCII, and of the key's own separators.
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just(String::new()),
        1 => Just("a-".to_owned()),
        1 => Just("a\u{1}".to_owned()),
        1 => Just("\u{1}".to_owned()),
        1 => Just("$a".to_owned()),
        1 => Just("a%".to_owned()),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("topics are not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![3 => level(), 3 => Just("+".to_owned())], 0..5);
    (levels, any::<bool>())
        .prop_map(|(mut levels, all)| {
            if all || levels.is_empty() {
                levels.push("#".into());
            }
            levels.join("/")
        })
        .prop_filter("filters are not empty", |filter| !filter.is_empty())
}

fn collect(tree: &Retained, filter: &str, now: SystemTime, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = tree.page(filter, cursor, now, limit);
        assert!(page.messages.len() <= limit);
        found.extend(page.messages.iter().map(|m| m.topic.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn pages_hold_exactly_what_matches(
        steps in prop::collection::vec((topic(), any::<bool>(), prop::option::of(0..20u64)), 0..80),
        filters in prop::collection::vec(filter(), 1..12),
        limit in 1..7usize,
        now in 0..20u64,
    ) {
        let mut tree = Retained::new(1_000, 1_000_000);
        let mut model = BTreeMap::new();
        for (topic, set, expires) in steps {
            if set {
                let new = message(&topic, "x", expires);
                prop_assert_eq!(tree.set(new.clone()), Ok(model.insert(topic, new)));
            } else {
                prop_assert_eq!(tree.clear(&topic), model.remove(&topic));
            }
        }
        let live = |m: &Message| m.expires.is_none_or(|t| t > at(now));
        for (topic, message) in &model {
            prop_assert_eq!(tree.get(topic, at(now)), Some(message).filter(|m| live(m)));
        }
        for filter in &filters {
            let found = collect(&tree, filter, at(now), limit);
            let once: BTreeSet<_> = found.iter().cloned().collect();
            prop_assert_eq!(found.len(), once.len(), "once each: {:?}", found);
            let matching = model.iter().filter(|(topic, m)| matches(filter, topic) && live(m));
            let wanted: BTreeSet<_> = matching.map(|(topic, _)| topic.clone()).collect();
            prop_assert_eq!(once, wanted, "{:?}", filter);
        }
        let gone: BTreeSet<_> = tree.expire(at(now), usize::MAX).into_iter().map(|m| m.topic.to_string()).collect();
        let wanted: BTreeSet<_> = model.iter().filter(|(_, m)| !live(m)).map(|(t, _)| t.clone()).collect();
        prop_assert_eq!(gone, wanted);
        prop_assert!(tree.next_expiry().is_none_or(|next| next > at(now)));
        model.retain(|_, m| live(m));
        prop_assert_eq!(tree.len(), model.len());
        for topic in model.keys() {
            tree.clear(topic);
        }
        prop_assert_eq!((tree.len(), tree.bytes(), tree.next_expiry()), (0, 0, None));
    }

    #[test]
    fn what_stays_comes_exactly_once_while_others_come_and_go(
        stay in prop::collection::btree_set(topic(), 0..30),
        changes in prop::collection::vec((topic(), any::<bool>()), 0..60),
        filter in filter(),
        limit in 1..4usize,
    ) {
        let mut tree = Retained::new(1_000, 1_000_000);
        for topic in &stay {
            tree.set(message(topic, "x", None)).unwrap();
        }
        let mut changes = changes.iter().filter(|(topic, _)| !stay.contains(topic));
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = tree.page(&filter, cursor, at(0), limit);
            found.extend(page.messages.iter().map(|m| m.topic.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            for (topic, set) in changes.by_ref().take(5) {
                if *set {
                    tree.set(message(topic, "x", None)).unwrap();
                } else {
                    tree.clear(topic);
                }
            }
        }
        for topic in stay.iter().filter(|topic| matches(&filter, topic)) {
            prop_assert_eq!(found.iter().filter(|f| *f == topic).count(), 1, "{:?}", topic);
        }
    }
}

#[test]
fn a_thousand_retained_topics_all_come() {
    let mut tree = Retained::new(2_000, 10_000_000);
    for n in 0..1_000 {
        tree.set(message(&format!("mr/{n}"), "x", None)).unwrap();
        tree.set(message(&format!("mr/{n}/deeper"), "x", None))
            .unwrap();
    }
    assert_eq!(collect(&tree, "mr/+", at(0), 100).len(), 1_000);
    assert_eq!(collect(&tree, "mr/+/deeper", at(0), 100).len(), 1_000);
    assert_eq!(collect(&tree, "#", at(0), 100).len(), 2_000);
    assert_eq!(
        collect(&tree, "mr/7/#", at(0), 100),
        ["mr/7", "mr/7/deeper"]
    );
}

#[test]
fn a_page_that_finds_nothing_ends_early_and_the_next_goes_on() {
    let mut tree = Retained::new(10_000, 10_000_000);
    for n in 0..5_000 {
        tree.set(message(&format!("t/{n:04}/no"), "x", None))
            .unwrap();
    }
    tree.set(message("t/9999/yes", "x", None)).unwrap();
    let first = tree.page("t/+/yes", None, at(0), 10);
    assert!(first.messages.is_empty());
    assert!(first.next.is_some());
    assert_eq!(collect(&tree, "t/+/yes", at(0), 10), ["t/9999/yes"]);
}

#[test]
fn caps_refuse_a_new_topic_and_a_larger_message_but_not_a_smaller_one() {
    let mut tree = Retained::new(2, 1_000);
    tree.set(message("a", "1", None)).unwrap();
    tree.set(message("b", &"2".repeat(300), None)).unwrap();
    assert_eq!(tree.set(message("c", "3", None)), Err(Full));
    assert_eq!(tree.set(message("a", &"1".repeat(500), None)), Err(Full));
    assert_eq!(tree.get("a", at(0)).unwrap().payload, "1");
    tree.set(message("b", "2", None)).unwrap();
    tree.set(message("a", &"1".repeat(400), None)).unwrap();
    tree.clear("b");
    tree.set(message("c", "3", None)).unwrap();
    assert_eq!(tree.len(), 2);
}
