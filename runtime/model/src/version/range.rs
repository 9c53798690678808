//! npm version ranges, as Greengrass reads them: `^1.2`, `~1`, `1.x`, `>=1 <2`, `1.0 - 2.0`, `a || b`, `*`.
//!
//! Written here: the crate for it would bring a second kind of version, takes words such as "and" for nothing, and
//! cannot follow Greengrass's rule for prereleases (see [`VersionRequirement::matches`]).

use super::{Version, VersionError};
use semver::{BuildMetadata, Prerelease};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};

/// An npm version range. Keeps its original text.
///
/// When several components ask for the same one, a version must satisfy each of their requirements.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRequirement {
    text: String,
    /// One of them must hold.
    alternatives: Vec<Alternative>,
}

/// Comparisons that must all hold; none at all holds for every version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Alternative {
    comparisons: Vec<Comparison>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Comparison {
    operator: Operator,
    version: semver::Version,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl VersionRequirement {
    /// Whether a version is inside the range.
    ///
    /// A prerelease is inside `>=1.0.0-alpha <2.0.0` only if the range names a prerelease of the same three numbers,
    /// as in npm; a range that is one plain comparison (`>=1.0.0`, `*`) takes prereleases by their order alone, as
    /// Greengrass has it.
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|a| a.matches(&version.0))
    }

    /// Whether a version is inside each of these ranges: how the wishes of several dependers meet.
    pub fn all_match<'a>(
        requirements: impl IntoIterator<Item = &'a Self>,
        version: &Version,
    ) -> bool {
        requirements.into_iter().all(|r| r.matches(version))
    }

    /// Whether it names exactly one version.
    pub fn is_exact(&self) -> bool {
        matches!(self.alternatives.as_slice(), [Alternative { comparisons }]
            if matches!(comparisons.as_slice(), [Comparison { operator: Operator::Equal, .. }]))
    }

    /// The range as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Alternative {
    fn matches(&self, version: &semver::Version) -> bool {
        if !self.comparisons.iter().all(|c| c.matches(version)) {
            return false;
        }
        version.pre.is_empty()
            || self.comparisons.len() < 2
            || self.comparisons.iter().any(|c| {
                let named = &c.version;
                !named.pre.is_empty()
                    && (named.major, named.minor, named.patch)
                        == (version.major, version.minor, version.patch)
            })
    }
}

impl Comparison {
    fn matches(&self, version: &semver::Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        match self.operator {
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Greater => order == Ordering::Greater,
        }
    }
}

/// A version with parts left open: `1`, `1.x`, `1.2.3-beta`.
#[derive(Clone, Debug)]
struct Partial {
    /// As far as they are given.
    numbers: Vec<u64>,
    pre: Prerelease,
}

impl Partial {
    fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let end = body.find(['-', '+']).unwrap_or(body.len());
        let (plain, suffix) = body.split_at(end);
        let parts: Vec<&str> = plain.split('.').collect();
        if parts.len() > 3 {
            return Err(format!("{text:?} has more than three numbers"));
        }
        let mut numbers = Vec::new();
        let mut open = false;
        for part in parts {
            if matches!(part, "x" | "X" | "*") {
                open = true;
            } else if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("{text:?} is not a version"));
            } else if !open {
                numbers.push(part.parse().map_err(|_| format!("{part} is too large"))?);
            }
        }
        if !suffix.is_empty() && numbers.len() < 3 {
            return Err(format!(
                "{text:?} must have three numbers in front of {suffix:?}"
            ));
        }
        let (pre, build) = suffix.split_once('+').unwrap_or((suffix, ""));
        let pre =
            Prerelease::new(pre.trim_start_matches('-')).map_err(|e| format!("{text:?}: {e}"))?;
        BuildMetadata::new(build).map_err(|e| format!("{text:?}: {e}"))?;
        Ok(Self { numbers, pre })
    }

    /// The lowest version it stands for.
    fn floor(&self) -> semver::Version {
        let at = |i: usize| self.numbers.get(i).copied().unwrap_or(0);
        semver::Version {
            pre: self.pre.clone(),
            ..semver::Version::new(at(0), at(1), at(2))
        }
    }

    /// The first version past all that share its first `kept` numbers, before any of its prereleases.
    fn past(&self, kept: usize) -> semver::Version {
        let mut numbers = [0; 3];
        for (index, number) in self.numbers.iter().take(kept).enumerate() {
            numbers[index] = *number;
        }
        numbers[kept - 1] = numbers[kept - 1].saturating_add(1);
        let pre = Prerelease::new("0").expect("0 is a prerelease");
        semver::Version {
            pre,
            ..semver::Version::new(numbers[0], numbers[1], numbers[2])
        }
    }

    /// Every version it stands for.
    fn whole(&self) -> Vec<Comparison> {
        match self.numbers.len() {
            0 => Vec::new(),
            3 => vec![Comparison {
                operator: Operator::Equal,
                version: self.floor(),
            }],
            kept => between(self.floor(), self.past(kept)),
        }
    }
}

fn between(from: semver::Version, before: semver::Version) -> Vec<Comparison> {
    vec![
        Comparison {
            operator: Operator::GreaterOrEqual,
            version: from,
        },
        Comparison {
            operator: Operator::Less,
            version: before,
        },
    ]
}

/// Nothing is below the lowest prerelease.
fn nothing() -> Vec<Comparison> {
    let pre = Prerelease::new("0").expect("0 is a prerelease");
    vec![Comparison {
        operator: Operator::Less,
        version: semver::Version {
            pre,
            ..semver::Version::new(0, 0, 0)
        },
    }]
}

/// One operator with its version.
fn simple(operator: &str, version: &Partial) -> Vec<Comparison> {
    let given = version.numbers.len();
    let one = |operator, version| vec![Comparison { operator, version }];
    match operator {
        "" | "=" | "==" => version.whole(),
        "^" if given == 0 => Vec::new(),
        "^" => {
            // Up to the first number that is not zero, or the last one given.
            let kept = version
                .numbers
                .iter()
                .position(|n| *n != 0)
                .map_or(given, |i| i + 1);
            between(version.floor(), version.past(kept))
        }
        "~" | "~>" if given == 0 => Vec::new(),
        "~" | "~>" => between(version.floor(), version.past(given.min(2))),
        ">" | "<" if given == 0 => nothing(),
        ">" if given < 3 => {
            let next = semver::Version {
                pre: Prerelease::EMPTY,
                ..version.past(given)
            };
            one(Operator::GreaterOrEqual, next)
        }
        ">" => one(Operator::Greater, version.floor()),
        "<" => one(Operator::Less, version.floor()),
        ">=" | "<=" if given == 0 => Vec::new(),
        "<=" if given < 3 => one(Operator::Less, version.past(given)),
        "<=" => one(Operator::LessOrEqual, version.floor()),
        _ => one(Operator::GreaterOrEqual, version.floor()),
    }
}

impl Alternative {
    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if let Some(at) = words.iter().position(|w| *w == "-") {
            let [from, _, to] = words.as_slice() else {
                return Err(
                    "a hyphen range is two versions with \" - \" between them, and nothing else"
                        .into(),
                );
            };
            if at != 1 {
                return Err("a hyphen range is two versions with \" - \" between them".into());
            }
            let (from, to) = (Partial::parse(from)?, Partial::parse(to)?);
            let mut comparisons = simple(">=", &from);
            comparisons.extend(simple("<=", &to));
            return Ok(Self { comparisons });
        }
        let mut comparisons = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let split = word.find(|c| !"<>=^~".contains(c)).unwrap_or(word.len());
            let (operator, rest) = word.split_at(split);
            if !matches!(
                operator,
                "" | "=" | "==" | "<" | "<=" | ">" | ">=" | "^" | "~" | "~>"
            ) {
                return Err(format!(
                    "{operator:?} is no operator; there are = < <= > >= ^ ~"
                ));
            }
            // ">= 1.0.0": the version is the next word.
            let rest = if rest.is_empty() {
                words
                    .next()
                    .ok_or_else(|| format!("a version is missing after {operator:?}"))?
            } else {
                rest
            };
            if rest.contains(',') {
                return Err("comparisons are separated by spaces, not commas".into());
            }
            comparisons.extend(simple(operator, &Partial::parse(rest)?));
        }
        Ok(Self { comparisons })
    }
}

impl Default for VersionRequirement {
    fn default() -> Self {
        let comparisons = simple(
            ">=",
            &Partial {
                numbers: vec![0, 0, 0],
                pre: Prerelease::EMPTY,
            },
        );
        Self {
            text: ">=0.0.0".into(),
            alternatives: vec![Alternative { comparisons }],
        }
    }
}

impl FromStr for VersionRequirement {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = |reason| VersionError {
            text: text.to_owned(),
            what: "version range",
            reason,
        };
        if text.len() > 1024 {
            return Err(error("it is longer than 1024 characters".into()));
        }
        let alternatives = text
            .split("||")
            .map(Alternative::parse)
            .collect::<Result<_, _>>()
            .map_err(error)?;
        Ok(Self {
            text: text.to_owned(),
            alternatives,
        })
    }
}

impl From<&Version> for VersionRequirement {
    fn from(version: &Version) -> Self {
        let comparison = Comparison {
            operator: Operator::Equal,
            version: version.0.clone(),
        };
        Self {
            text: format!("={version}"),
            alternatives: vec![Alternative {
                comparisons: vec![comparison],
            }],
        }
    }
}

impl fmt::Display for VersionRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for VersionRequirement {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<VersionRequirement> for String {
    fn from(v: VersionRequirement) -> Self {
        v.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(range: &str, version: &str) -> bool {
        range
            .parse::<VersionRequirement>()
            .unwrap()
            .matches(&version.parse().unwrap())
    }

    #[test]
    fn every_form_of_range_takes_what_npm_takes() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (
                "1.2.3",
                &["1.2.3", "1.2.3+build"],
                &["1.2.4", "1.2.3-a", "1.2.2"],
            ),
            ("=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("==1.2.3", &["1.2.3"], &["1.2.4"]),
            ("v1.2.3", &["1.2.3"], &["1.2.4"]),
            ("= v1.2.3", &["1.2.3"], &[]),
            ("", &["0.0.0", "9.9.9", "1.0.0-a"], &[]),
            ("*", &["0.0.0", "9.9.9", "1.0.0-a"], &[]),
            ("x", &["3.1.4"], &[]),
            (
                "v1",
                &["1.0.0", "1.9.9"],
                &["2.0.0", "0.9.9", "2.0.0-a", "1.5.0-a"],
            ),
            ("1.x", &["1.0.0", "1.9.9"], &["2.0.0"]),
            ("1.2.*", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9"]),
            ("1.x.3", &["1.0.0", "1.9.9"], &["2.0.3"]),
            (
                ">= 1.0.0 < 2",
                &["1.0.0", "1.9.9"],
                &["2.0.0", "0.9.9", "2.0.0-a"],
            ),
            (
                ">=1.0.0 <2.0.0",
                &["1.0.0", "1.5.0"],
                &["2.0.0", "1.5.0-beta", "2.0.0-beta"],
            ),
            (">1", &["2.0.0"], &["1.9.9", "1.0.0"]),
            (">1.2", &["1.3.0"], &["1.2.9"]),
            (">1.2.3", &["1.2.4"], &["1.2.3"]),
            ("<1.2", &["1.1.9"], &["1.2.0"]),
            ("<=1.2", &["1.2.9"], &["1.3.0"]),
            ("<=1.2.3", &["1.2.3"], &["1.2.4"]),
            (">=1.2", &["1.2.0"], &["1.1.9"]),
            (">*", &[], &["0.0.0", "1.0.0"]),
            ("<x", &[], &["0.0.0", "1.0.0"]),
            (">=*", &["0.0.0"], &[]),
            (
                "^1.2.3",
                &["1.2.3", "1.9.0"],
                &["1.2.2", "2.0.0", "2.0.0-a"],
            ),
            ("^1.2", &["1.2.0", "1.9.0"], &["1.1.9", "2.0.0"]),
            ("^1", &["1.0.0", "1.9.0"], &["2.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4", "0.0.2"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0.1.x", &["0.1.0", "0.1.9"], &["0.2.0"]),
            ("^0", &["0.0.0", "0.9.9"], &["1.0.0"]),
            ("^ 1.0.0", &["1.1.0"], &["2.0.0"]),
            ("^*", &["1.1.0"], &[]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]),
            ("~1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("~1", &["1.0.0", "1.9.9"], &["2.0.0"]),
            ("~>1.2", &["1.2.5"], &["1.3.0"]),
            ("~0.0.1", &["0.0.1", "0.0.9"], &["0.1.0"]),
            ("1.0 - 2.0", &["1.0.0", "2.0.9"], &["2.1.0", "0.9.9"]),
            ("1.2.3 - 2.3.4", &["1.2.3", "2.3.4"], &["2.3.5", "1.2.2"]),
            ("1.2.3 - 2", &["2.9.9"], &["3.0.0"]),
            ("1.0.0 || 2.x", &["1.0.0", "2.5.0"], &["1.0.1", "3.0.0"]),
            ("1.0.0||^3", &["1.0.0", "3.1.0"], &["2.0.0"]),
            ("1.2.3 || ", &["1.2.3", "7.0.0"], &[]),
            (">1.0.0 =1.0.1", &["1.0.1"], &["1.0.2", "1.0.0"]),
            (">=2.0.0 <2.1.0 ^2.0.3", &["2.0.5"], &["2.0.2", "2.1.0"]),
            ("<1.0.0 >2.0.0", &[], &["1.5.0", "0.5.0", "2.5.0"]),
        ];
        for (range, inside, outside) in table {
            for version in *inside {
                assert!(fits(range, version), "{range} takes {version}");
            }
            for version in *outside {
                assert!(!fits(range, version), "{range} leaves {version}");
            }
        }
    }

    #[test]
    fn prereleases_are_taken_where_the_range_names_one_of_the_same_numbers() {
        assert!(fits("^1.2.3-beta.2", "1.2.3-beta.4"));
        assert!(fits("^1.2.3-0", "1.2.3-beta"));
        assert!(!fits("^1.2.3", "2.0.0-0"));
        assert!(!fits("^1.2.3-beta.2", "1.2.3-beta.1"));
        assert!(!fits("^1.2.3-beta.2", "1.2.4-beta.4"));
        assert!(fits(">=1.0.0-alpha <2.0.0", "1.0.0-beta"));
        assert!(!fits(">=1.0.0-alpha <2.0.0", "1.1.0-beta"));
        assert!(!fits("~1.2.3", "1.2.4-beta"));
    }

    #[test]
    fn one_plain_comparison_takes_prereleases_by_their_order() {
        assert!(fits(">=1.0.0", "1.1.0-beta"));
        assert!(!fits(">=1.0.0", "1.0.0-beta"));
        assert!(fits("=1.0.0-beta", "1.0.0-beta"));
        assert!(VersionRequirement::default().matches(&"1.0.0-beta".parse().unwrap()));
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("abc", "not a version"),
            (">=1.0.0,<2.0.0", "spaces, not commas"),
            (">=1.0.0 and <2", "\"and\" is not a version"),
            ("=>1.0", "no operator"),
            (">=", "missing after"),
            ("1.2.3.4", "more than three"),
            ("1.2-beta", "three numbers in front"),
            ("1.0.0 - 2.0.0 - 3.0.0", "hyphen range"),
            ("- 1.0.0 2.0.0", "hyphen range"),
            ("[1.0,2.0)", "not"),
            ("1..2", "not a version"),
            ("99999999999999999999", "too large"),
            ("LATEST", "not a version"),
            ("1.0.0-a..b", "empty identifier"),
        ] {
            let error = bad.parse::<VersionRequirement>().unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    #[test]
    fn several_wishes_must_all_be_met() {
        let wishes: Vec<VersionRequirement> = [">1.0.0", "=1.0.1"]
            .iter()
            .map(|r| r.parse().unwrap())
            .collect();
        assert!(VersionRequirement::all_match(
            &wishes,
            &"1.0.1".parse().unwrap()
        ));
        assert!(!VersionRequirement::all_match(
            &wishes,
            &"1.0.2".parse().unwrap()
        ));
        assert!(wishes[1].is_exact() && !wishes[0].is_exact());
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, 0..1_000_000_u64]
    }

    fn version() -> impl Strategy<Value = Version> {
        (
            number(),
            number(),
            number(),
            prop_oneof![Just(""), Just("-alpha"), Just("-alpha.1"), Just("-0")],
        )
            .prop_map(|(a, b, c, pre)| format!("{a}.{b}.{c}{pre}").parse().unwrap())
    }

    proptest! {
        #[test]
        fn a_version_is_inside_the_ranges_made_from_it(v in version()) {
            let release = format!("{}.{}.{}", v.0.major, v.0.minor, v.0.patch);
            for range in [format!("{v}"), format!("={v}"), format!("^{v}"), format!("~{v}"), format!(">={v}"),
                          format!("<={v}"), format!("{v} - {v}"), format!("9.9.9 || {v}"), "*".into()] {
                prop_assert!(fits(&range, &v.to_string()), "{} {}", range, v);
            }
            let (above, below) = (format!(">{release}"), format!("<{release}"));
            prop_assert!(!fits(&above, &release));
            prop_assert!(!fits(&below, &release));
        }

        #[test]
        fn caret_and_tilde_never_reach_the_next_major(v in version(), w in version()) {
            for range in [format!("^{v}"), format!("~{v}")] {
                if fits(&range, &w.to_string()) {
                    prop_assert_eq!(v.0.major, w.0.major);
                    prop_assert!(w.cmp_precedence(&v) != Ordering::Less);
                }
            }
        }

        #[test]
        fn comparisons_divide_all_versions(v in version(), w in version()) {
            let (v, w) = (v.to_string(), w.to_string());
            let held = ["<", "=", ">"].iter().filter(|o| fits(&format!("{o}{v}"), &w)).count();
            prop_assert_eq!(held, 1);
            prop_assert_ne!(fits(&format!("<={v}"), &w), fits(&format!(">{v}"), &w));
            prop_assert_ne!(fits(&format!(">={v}"), &w), fits(&format!("<{v}"), &w));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[ vx0-9.*<>=^~|+a-c-]{0,24}|\\PC{0,24}") {
            let _ = text.parse::<VersionRequirement>();
            let _ = text.parse::<Version>();
        }
    }
}
