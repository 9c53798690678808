//! Topic names and topic filters as types, for local publish/subscribe and for MQTT.

use std::fmt;

/// A topic a message is published to: no wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicName(String);

/// A topic, or several through the wildcards `+` and `#`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TopicFilter(String);

/// Why a text is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing at all.
    #[error("a topic may not be empty")]
    Empty,
    /// Longer than MQTT can say.
    #[error("a topic may have at most {limit} bytes, this one has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A NUL, which MQTT forbids.
    #[error("a topic may not hold a NUL character")]
    Nul,
    /// A wildcard where a single topic is wanted.
    #[error("messages are published to one topic: {0:?} may not hold '+', '#' or '*'")]
    Wildcard(String),
    /// `+` inside a level, or `#` not as the last level.
    #[error("'{wildcard}' must stand alone in a level of a topic filter{}: {filter:?}", if *wildcard == '#' { ", the last one" } else { "" })]
    Misplaced {
        /// Which wildcard.
        wildcard: char,
        /// The filter as given.
        filter: String,
    },
}

/// The longest topic MQTT can carry, in bytes.
pub const MAX_TOPIC_BYTES: usize = 65_535;

impl TopicName {
    /// Checks a topic to publish to. `*` is refused besides MQTT's wildcards, as Greengrass's publish/subscribe does.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        plain(text)?;
        if text.contains(['+', '#', '*']) {
            return Err(TopicError::Wildcard(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks a topic to publish over MQTT, where `*` is a character like others.
    pub fn mqtt(text: &str) -> Result<Self, TopicError> {
        plain(text)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::Wildcard(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// Checks a filter by MQTT's rules.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        plain(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let misplaced = |wildcard| TopicError::Misplaced {
                wildcard,
                filter: text.to_owned(),
            };
            if level.contains('+') && level != "+" {
                return Err(misplaced('+'));
            }
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(misplaced('#'));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it may fit more than one topic.
    pub fn has_wildcards(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// Whether a topic fits, by MQTT's rules: a wildcard in the first level does not fit a topic that starts with `$`.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut wanted, mut given) = (self.0.split('/'), topic.split('/'));
        loop {
            match (wanted.next(), given.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

fn plain(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong {
            length: text.len(),
            limit: MAX_TOPIC_BYTES,
        });
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TopicName> for TopicFilter {
    fn from(topic: TopicName) -> Self {
        Self(topic.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(filter: &str, topic: &str) -> bool {
        TopicFilter::new(filter).unwrap().matches(topic)
    }

    #[test]
    fn wildcards_fit_as_mqtt_says() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/"),
            ("+/+", "/a"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("+", "a"),
            ("a/+/c", "a//c"),
            ("$aws/#", "$aws/things"),
            ("a/*", "a/*"),
        ] {
            assert!(fits(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a/B"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("+", "/a"),
            ("a/#", "ab"),
            ("#", "$aws/x"),
            ("+/x", "$aws/x"),
            ("a/*", "a/b"),
        ] {
            assert!(!fits(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn a_wildcard_must_stand_alone_in_its_level() {
        for bad in ["a+", "+a/b", "a/#/b", "a#", "##", "a/b+/c"] {
            assert!(
                matches!(TopicFilter::new(bad), Err(TopicError::Misplaced { .. })),
                "{bad}"
            );
        }
        for good in ["+", "#", "/", "a/+/#", "+/+", "//"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn messages_are_published_to_exactly_one_topic() {
        for bad in ["a/+", "#", "a*"] {
            assert_eq!(TopicName::new(bad), Err(TopicError::Wildcard(bad.into())));
        }
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicName::new("a\0b"), Err(TopicError::Nul));
        assert!(TopicName::new(&"x".repeat(65_536)).is_err());
        assert_eq!(TopicName::new("/a/b").unwrap().as_str(), "/a/b");
        assert_eq!(TopicName::mqtt("a*").unwrap().as_str(), "a*");
    }

    proptest! {
        #[test]
        fn a_topic_fits_itself_and_itself_with_any_level_replaced(
            levels in prop::collection::vec("[a-z]{0,3}", 1..6), at in any::<prop::sample::Index>()
        ) {
            let topic = levels.join("/");
            prop_assume!(!topic.is_empty());
            prop_assert!(fits(&topic, &topic));
            let mut some = levels.clone();
            let index = at.index(levels.len());
            some[index] = "+".into();
            prop_assert!(fits(&some.join("/"), &topic));
            some.truncate(index + 1);
            some[index] = "#".into();
            prop_assert!(fits(&some.join("/"), &topic));
        }
    }
}
