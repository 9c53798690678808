//! The rules of topic names and topic filters (MQTT 5 section 4.7; 3.1.1 has the same), and matching one against the other.
//! Nothing here allocates. Control characters and non-characters are let through, as both versions permit.

/// Longest topic name or filter in bytes: it has a two byte length on the wire.
pub const MAX_LENGTH: usize = 65_535;

const SHARE: &str = "$share/";

/// Why a text is not a topic name or not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Names and filters have at least one character.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("it is longer than 65535 bytes")]
    TooLong,
    /// U+0000 is not allowed anywhere.
    #[error("it contains U+0000")]
    Nul,
    /// `+` or `#` in a topic name.
    #[error("a topic name has no wildcards")]
    WildcardInName,
    /// `+` or `#` beside other characters in a level, or `#` before the end.
    #[error("a wildcard stands alone in its level, and # in the last one")]
    WildcardMisplaced,
    /// `$share/` with an empty group, a wildcard in the group, or no filter after it.
    #[error("a shared subscription is $share/<group>/<filter>")]
    Share,
    /// More levels than this broker takes.
    #[error("it has more levels than allowed")]
    TooManyLevels,
}

/// Whether a message may be published to this name.
pub fn check_name(name: &str) -> Result<(), Invalid> {
    check_length(name)?;
    for byte in name.bytes() {
        match byte {
            0 => return Err(Invalid::Nul),
            b'+' | b'#' => return Err(Invalid::WildcardInName),
            _ => {}
        }
    }
    Ok(())
}

/// Whether this is a filter; `$share/` has no meaning here (see [`Filter::parse`]).
pub fn check_filter(filter: &str) -> Result<(), Invalid> {
    check_length(filter)?;
    let bytes = filter.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let misplaced = match byte {
            0 => return Err(Invalid::Nul),
            b'+' => bytes.get(at + 1).is_some_and(|next| *next != b'/'),
            b'#' => at + 1 != bytes.len(),
            _ => continue,
        };
        if misplaced || (at > 0 && bytes[at - 1] != b'/') {
            return Err(Invalid::WildcardMisplaced);
        }
    }
    Ok(())
}

fn check_length(text: &str) -> Result<(), Invalid> {
    match text.len() {
        0 => Err(Invalid::Empty),
        1..=MAX_LENGTH => Ok(()),
        _ => Err(Invalid::TooLong),
    }
}

/// How many levels a name or filter has: `/` has two, both empty.
pub fn levels(text: &str) -> usize {
    1 + text.bytes().filter(|byte| *byte == b'/').count()
}

/// A filter as SUBSCRIBE names it: shared within a group, or a client's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter<'a> {
    /// The group between `$share/` and the next `/`.
    pub group: Option<&'a str>,
    /// What topics are matched against.
    pub filter: &'a str,
}

impl<'a> Filter<'a> {
    /// Takes the `$share/<group>/` off and checks both parts.
    pub fn parse(text: &'a str) -> Result<Self, Invalid> {
        check_length(text)?;
        let Some(shared) = text.strip_prefix(SHARE) else {
            check_filter(text)?;
            return Ok(Self {
                group: None,
                filter: text,
            });
        };
        let (group, filter) = shared.split_once('/').ok_or(Invalid::Share)?;
        if group.is_empty() || filter.is_empty() || group.contains(['+', '#']) {
            return Err(Invalid::Share);
        }
        if group.contains('\0') {
            return Err(Invalid::Nul);
        }
        check_filter(filter)?;
        Ok(Self {
            group: Some(group),
            filter,
        })
    }

    /// A client's own filter, already checked.
    pub fn own(filter: &'a str) -> Self {
        Self {
            group: None,
            filter,
        }
    }
}

/// Whether a filter that begins with a wildcard must not see this topic: `$` topics are for filters that name them.
pub(super) fn is_hidden(topic: &str) -> bool {
    topic.starts_with('$')
}

/// Takes the first level off: the level, and the rest if a `/` follows.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (text, None),
    }
}

/// Whether a valid filter (without `$share/`) matches a valid topic name.
pub fn matches(filter: &str, topic: &str) -> bool {
    if is_hidden(topic) && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (Some(filter), Some(topic));
    loop {
        let Some(left) = filter else {
            return topic.is_none();
        };
        let (wanted, wanted_rest) = split(left);
        if wanted == "#" {
            // Also when the topic ends one level above.
            return true;
        }
        let Some(text) = topic else { return false };
        let (level, rest) = split(text);
        if wanted != "+" && wanted != level {
            return false;
        }
        (filter, topic) = (wanted_rest, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_wildcards_and_may_have_empty_levels() {
        for good in [
            "a",
            "/",
            "//",
            "/a",
            "a/",
            "a//b",
            "$aws/things",
            "é/temp",
            " ",
            "$share/g/t",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(""), Err(Invalid::Empty));
        assert_eq!(check_name("a\0b"), Err(Invalid::Nul));
        assert_eq!(check_name("a/+"), Err(Invalid::WildcardInName));
        assert_eq!(check_name("a#"), Err(Invalid::WildcardInName));
    }

    #[test]
    fn the_longest_text_has_65535_bytes() {
        let longest = "x".repeat(MAX_LENGTH);
        assert_eq!(check_name(&longest), Ok(()));
        assert_eq!(check_filter(&longest), Ok(()));
        let longer = longest + "x";
        assert_eq!(check_name(&longer), Err(Invalid::TooLong));
        assert_eq!(check_filter(&longer), Err(Invalid::TooLong));
        assert_eq!(Filter::parse(&longer), Err(Invalid::TooLong));
    }

    #[test]
    fn wildcards_stand_alone_in_a_level() {
        for good in [
            "#", "+", "/#", "+/", "/+", "a/#", "a/+/b", "+/+/#", "//", "$SYS/#",
        ] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in [
            "a/#/b", "#/", "a#", "#a", "a/b#", "a+", "+a", "a/+b/c", "++", "##", "é+",
        ] {
            assert_eq!(check_filter(bad), Err(Invalid::WildcardMisplaced), "{bad}");
        }
        assert_eq!(check_filter(""), Err(Invalid::Empty));
        assert_eq!(check_filter("a/\0"), Err(Invalid::Nul));
    }

    #[test]
    fn a_shared_subscription_names_a_group_and_a_filter() {
        let shared = |group, filter| {
            Ok(Filter {
                group: Some(group),
                filter,
            })
        };
        assert_eq!(Filter::parse("$share/g/a/+"), shared("g", "a/+"));
        assert_eq!(Filter::parse("$share/g//"), shared("g", "/"));
        assert_eq!(
            Filter::parse("$share/g/$share/h/t"),
            shared("g", "$share/h/t")
        );
        for bad in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//t",
            "$share/+/t",
            "$share/a#/t",
        ] {
            assert_eq!(Filter::parse(bad), Err(Invalid::Share), "{bad}");
        }
        assert_eq!(Filter::parse("$share/\0/t"), Err(Invalid::Nul));
        assert_eq!(
            Filter::parse("$share/g/t/#/x"),
            Err(Invalid::WildcardMisplaced)
        );
        assert_eq!(Filter::parse("$shared/g"), Ok(Filter::own("$shared/g")));
        assert_eq!(Filter::parse("$share"), Ok(Filter::own("$share")));
    }

    #[test]
    fn matching_follows_the_examples_of_the_specification() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
            ),
            ("sport/#", "sport"),
            ("#", "sport/x"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("a//b", "a//b"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/a"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("+", "$x"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("a/b/#", "a"),
            ("A", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }
}
