//! Who subscribes to what: a tree of topic levels, so that finding the subscribers of a topic takes as long as the topic
//! has levels, however many subscriptions there are.

use std::collections::HashMap;

/// Subscriptions by topic filter.
#[derive(Debug)]
pub struct Trie<T> {
    root: Level<T>,
}

#[derive(Debug)]
struct Level<T> {
    below: HashMap<Box<str>, Level<T>>,
    here: Vec<(u32, T)>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self {
            below: HashMap::new(),
            here: Vec::new(),
        }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            root: Level::default(),
        }
    }
}

impl<T> Trie<T> {
    /// Adds a subscription under an id that is used once.
    pub fn insert(&mut self, filter: &str, id: u32, subscriber: T) {
        let mut level = &mut self.root;
        for key in filter.split('/') {
            // No entry(): it would copy the key of each level that is there already.
            if !level.below.contains_key(key) {
                level.below.insert(key.into(), Level::default());
            }
            level = level.below.get_mut(key).expect("it was just put there");
        }
        level.here.push((id, subscriber));
    }

    /// Removes a subscription, and the levels that are empty then.
    pub fn remove(&mut self, filter: &str, id: u32) {
        let levels: Vec<&str> = filter.split('/').collect();
        self.root.remove(&levels, id);
    }

    /// Calls `found` for each subscription that a topic fits, by MQTT's rules: `+` is one level, `#` this one and all
    /// below, neither in the first level fits a topic that starts with `$`.
    pub fn find(&self, topic: &str, found: &mut impl FnMut(&T)) {
        self.root.find(Some(topic), topic.starts_with('$'), found);
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl<T> Level<T> {
    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.here.is_empty()
    }

    fn remove(&mut self, levels: &[&str], id: u32) {
        let Some((key, rest)) = levels.split_first() else {
            return self.here.retain(|(other, _)| *other != id);
        };
        if let Some(level) = self.below.get_mut(*key) {
            level.remove(rest, id);
            if level.is_empty() {
                self.below.remove(*key);
            }
        }
    }

    fn find(&self, rest: Option<&str>, reserved: bool, found: &mut impl FnMut(&T)) {
        if !reserved && let Some(all) = self.below.get("#") {
            all.here
                .iter()
                .for_each(|(_, subscriber)| found(subscriber));
        }
        let Some(rest) = rest else {
            return self
                .here
                .iter()
                .for_each(|(_, subscriber)| found(subscriber));
        };
        let (key, rest) = match rest.split_once('/') {
            Some((key, rest)) => (key, Some(rest)),
            None => (rest, None),
        };
        if let Some(level) = self.below.get(key) {
            level.find(rest, false, found);
        }
        if !reserved && let Some(level) = self.below.get("+") {
            level.find(rest, false, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TopicFilter;
    use proptest::prelude::*;

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), Just("$x".into()), "[ab]"]
    }

    fn filter() -> impl Strategy<Value = String> {
        let levels = prop::collection::vec(prop_oneof![level(), Just("+".into())], 0..4);
        (levels, any::<bool>()).prop_filter_map("empty", |(mut levels, all)| {
            if all {
                levels.push("#".into());
            }
            Some(levels.join("/")).filter(|text| !text.is_empty())
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_the_rules_of_a_filter_say(
            filters in prop::collection::vec(filter(), 0..8),
            topic in prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/")),
            removed in any::<prop::sample::Index>(),
        ) {
            prop_assume!(!topic.is_empty());
            let mut trie = Trie::default();
            for (id, filter) in (0u32..).zip(&filters) {
                trie.insert(filter, id, id);
            }
            let gone = (!filters.is_empty()).then(|| removed.index(filters.len()));
            if let Some(gone) = gone {
                trie.remove(&filters[gone], u32::try_from(gone).unwrap());
            }
            let mut found = Vec::new();
            trie.find(&topic, &mut |id| found.push(*id));
            found.sort_unstable();
            let wanted: Vec<u32> = (0u32..).zip(&filters).enumerate()
                .filter(|(at, (_, filter))| Some(*at) != gone && TopicFilter::new(filter).unwrap().matches(&topic))
                .map(|(_, (id, _))| id)
                .collect();
            prop_assert_eq!(found, wanted);
            for (id, filter) in (0u32..).zip(&filters) {
                trie.remove(filter, id);
            }
            prop_assert!(trie.is_empty());
        }
    }
}
