//! Component versions (semver) and the ranges recipes ask for.

mod range;

pub use range::VersionRequirement;

use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};

/// The longest version the recipe schema allows, in characters.
const MAX_LENGTH: usize = 64;
/// The largest number in a version the recipe schema allows.
const MAX_NUMBER: u64 = 999_999;

/// A component version: semver, at most 64 characters, no number above 999,999.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

/// Why a text is not a version or a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {reason}")]
pub struct VersionError {
    /// The text as given.
    pub text: String,
    /// "version" or "version range".
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Version {
    /// Order by precedence: build metadata does not count.
    pub fn cmp_precedence(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }

    /// Whether it is a prerelease, `1.0.0-beta`.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// The first number.
    pub fn major(&self) -> u64 {
        self.0.major
    }

    /// The second number.
    pub fn minor(&self) -> u64 {
        self.0.minor
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = |reason: String| VersionError {
            text: text.to_owned(),
            what: "version",
            reason,
        };
        let trimmed = text.trim();
        if trimmed.len() > MAX_LENGTH {
            return Err(error(format!(
                "at most {MAX_LENGTH} characters are allowed"
            )));
        }
        let version = semver::Version::parse(trimmed).map_err(|e| {
            let numbers = trimmed.split(['-', '+']).next().unwrap_or_default();
            error(match numbers.split('.').count() {
                _ if trimmed.is_empty() => {
                    "it is empty; write three numbers, such as 1.0.0".to_owned()
                }
                _ if trimmed.starts_with(['v', 'V']) => "write it without the \"v\"".to_owned(),
                1 | 2 if numbers.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                    "three numbers are wanted, such as 1.0.0".to_owned()
                }
                _ => format!("{e}; write three numbers, such as 1.0.0"),
            })
        })?;
        if [version.major, version.minor, version.patch]
            .into_iter()
            .any(|n| n > MAX_NUMBER)
        {
            return Err(error(format!("no number may be above {MAX_NUMBER}")));
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;
    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(v: Version) -> Self {
        v.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_keeps_to_the_schema() {
        for good in [
            "0.0.0",
            "1.2.3",
            "999999.999999.999999",
            "1.0.0-alpha.1+build.5",
            " 2.0.0 ",
        ] {
            assert_eq!(good.parse::<Version>().unwrap().to_string(), good.trim());
        }
        for (bad, reason) in [
            ("", "it is empty"),
            ("1", "three numbers"),
            ("1.0", "three numbers"),
            ("v1.0.0", "without the \"v\""),
            ("1.0.1000000", "999999"),
            ("01.0.0", "leading zero"),
            ("1.0.0.0", "such as 1.0.0"),
            (&format!("1.0.0-{}", "a".repeat(59)), "64 characters"),
        ] {
            let error = bad.parse::<Version>().unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    #[test]
    fn build_metadata_does_not_count_for_precedence() {
        let (a, b): (Version, Version) = ("1.0.0+a".parse().unwrap(), "1.0.0+b".parse().unwrap());
        assert_eq!(a.cmp_precedence(&b), Ordering::Equal);
        assert_ne!(a, b);
    }
}
