//! Topic names and filters as a client needs them: valid or not, matching or not.

/// Longest string on the wire.
const LONGEST: usize = 65_535;

/// Whether a message may be published under this name.
pub fn is_topic_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.contains(['+', '#', '\0'])
}

/// Whether it can be subscribed to, `$share/<group>/` included.
pub fn is_filter(filter: &str) -> bool {
    let fits = filter.len() <= LONGEST && !filter.contains('\0');
    let plain = match filter.strip_prefix("$share/") {
        Some(shared) => match shared.split_once('/') {
            Some((group, plain)) if !group.is_empty() && !group.contains(['+', '#']) => plain,
            _ => return false,
        },
        None => filter,
    };
    let mut levels = plain.split('/').peekable();
    let mut valid = fits && !plain.is_empty();
    while let Some(level) = levels.next() {
        valid &= match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            level => !level.contains(['+', '#']),
        };
    }
    valid
}

/// Whether `filter` is a shared subscription.
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// Whether a message on `topic` comes by the subscription `filter`; both are valid.
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter = filter
        .strip_prefix("$share/")
        .and_then(|shared| shared.split_once('/'))
        .map_or(filter, |(_, plain)| plain);
    // MQTT 4.7.2: a wildcard in front does not match topics that begin with `$`.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) | ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
        if level == "#" {
            return true;
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/"),
            ("+/+", "/a"),
            ("/+", "/a"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("#", "a/b"),
            ("+/b/#", "a/b"),
            ("$aws/things/+/jobs/#", "$aws/things/t/jobs/notify"),
            ("$share/group/a/+", "a/b"),
            ("é/+", "é/ü"),
        ] {
            assert!(is_filter(filter), "{filter}");
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("a/b", "a/b/c"),
            ("a/b/c", "a/b"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("+", "/a"),
            ("#", "$aws/a"),
            ("+/a", "$aws/a"),
            ("a/#", "ab"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn malformed_filters_and_names_are_refused() {
        for filter in [
            "",
            "a/#/b",
            "a#",
            "a+/b",
            "a/b+",
            "$share/g",
            "$share//a",
            "$share/+/a",
            "$share/g/",
            "a\0",
        ] {
            assert!(!is_filter(filter), "{filter}");
        }
        assert!(!is_filter(&"x".repeat(65_536)));
        for name in ["", "a/+", "#", "a\0b"] {
            assert!(!is_topic_name(name), "{name}");
        }
        assert!(is_topic_name("$aws/things/t/shadow"));
    }
}
