//! What a device is, and whether a manifest is meant for it.
//!
//! A manifest's `Platform` is matched key by key: every key it names must fit, what it does not name does not matter.
//! A manifest without `runtime` therefore fits any runtime, unlike in nucleus lite.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The attributes of a device: `os`, `architecture`, `architecture.detail`, `runtime` and what its operator adds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Platform {
    attributes: BTreeMap<String, String>,
}

impl Platform {
    /// The runtime we report, so that the cloud hands out components made for nucleus lite.
    pub const RUNTIME: &str = "aws_nucleus_lite";

    /// From what `uname -s` and `uname -m` say.
    pub fn from_uname(system: &str, machine: &str) -> Self {
        let mut platform = Self::default();
        platform.set("os", &system.to_ascii_lowercase());
        let machine = machine.to_ascii_lowercase();
        let architecture = match machine.as_str() {
            "x86_64" | "amd64" => "amd64",
            "i386" | "i486" | "i586" | "i686" | "x86" => "x86",
            "aarch64" | "arm64" | "aarch64_be" => "aarch64",
            other if other.starts_with("arm") => "arm",
            other => other,
        };
        platform.set("architecture", architecture);
        if matches!(architecture, "arm" | "aarch64") && machine.starts_with("armv") {
            platform.set("architecture.detail", &machine);
        }
        platform.set("runtime", Self::RUNTIME);
        platform
    }

    /// One attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Sets one attribute.
    pub fn set(&mut self, name: &str, value: &str) {
        self.attributes.insert(name.to_owned(), value.to_owned());
    }

    /// `platformOverride`: its texts win over what was detected, an empty one removes the attribute.
    #[must_use]
    pub fn with_overrides<'a>(
        mut self,
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        for (name, value) in overrides {
            if value.is_empty() {
                self.attributes.remove(name);
            } else {
                self.set(name, value);
            }
        }
        self
    }

    /// All attributes, by name.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.attributes.iter().enumerate() {
            write!(f, "{}{name} {value}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// The `Platform` of a manifest.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PlatformRule {
    terms: BTreeMap<String, Term>,
}

/// What one attribute must be.
#[derive(Clone, Debug)]
enum Term {
    /// `*` or null: anything, also nothing.
    Any,
    /// `/regex/`, matched against the whole value.
    Pattern { source: String, regex: Regex },
    /// Exactly this.
    Exact(String),
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Pattern { source: a, .. }, Self::Pattern { source: b, .. }) => a == b,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            _ => false,
        }
    }
}

/// Why a value in `Platform` says nothing we understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a regular expression: {reason}")]
pub struct PatternError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl PlatformRule {
    /// Adds a term; `None` is null.
    pub fn insert(&mut self, name: &str, value: Option<&str>) -> Result<(), PatternError> {
        let term = match value {
            None | Some("*") => Term::Any,
            Some("all" | "any") if matches!(name, "os" | "architecture") => Term::Any,
            Some(text) if text.len() >= 2 && text.starts_with('/') && text.ends_with('/') => {
                let source = &text[1..text.len() - 1];
                let regex = Regex::new(&format!("^(?:{source})$")).map_err(|e| PatternError {
                    text: text.to_owned(),
                    reason: e.to_string(),
                })?;
                Term::Pattern {
                    source: text.to_owned(),
                    regex,
                }
            }
            Some(text) => Term::Exact(text.to_owned()),
        };
        self.terms.insert(name.to_owned(), term);
        Ok(())
    }

    /// Whether the manifest is meant for this device.
    pub fn matches(&self, platform: &Platform) -> bool {
        self.terms.iter().all(|(name, term)| {
            let value = platform.get(name).filter(|v| !v.is_empty());
            match (term, value) {
                (Term::Any, _) => true,
                (_, None) => false,
                (Term::Pattern { regex, .. }, Some(value)) => regex.is_match(value),
                // Greengrass keeps texts that start with a sign for later use: they match nothing.
                (Term::Exact(text), Some(value)) => {
                    text == value && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                }
            }
        })
    }

    /// The terms as texts; `*` for anything.
    pub fn terms(&self) -> BTreeMap<&str, &str> {
        self.terms
            .iter()
            .map(|(name, term)| {
                let text = match term {
                    Term::Any => "*",
                    Term::Pattern { source, .. } => source,
                    Term::Exact(text) => text,
                };
                (name.as_str(), text)
            })
            .collect()
    }
}

impl fmt::Display for PlatformRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("any platform");
        }
        for (index, (name, text)) in self.terms().into_iter().enumerate() {
            write!(f, "{}{name} {text}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(terms: &[(&str, Option<&str>)]) -> PlatformRule {
        let mut rule = PlatformRule::default();
        for (name, value) in terms {
            rule.insert(name, *value).unwrap();
        }
        rule
    }

    fn pi() -> Platform {
        Platform::from_uname("Linux", "armv7l")
    }

    #[test]
    fn uname_becomes_the_attributes_greengrass_uses() {
        for (machine, architecture, detail) in [
            ("x86_64", "amd64", None),
            ("i686", "x86", None),
            ("aarch64", "aarch64", None),
            ("arm64", "aarch64", None),
            ("armv7l", "arm", Some("armv7l")),
            ("armv6l", "arm", Some("armv6l")),
            ("armv8l", "arm", Some("armv8l")),
            ("riscv64", "riscv64", None),
        ] {
            let platform = Platform::from_uname("Linux", machine);
            assert_eq!(platform.get("os"), Some("linux"));
            assert_eq!(
                platform.get("architecture"),
                Some(architecture),
                "{machine}"
            );
            assert_eq!(platform.get("architecture.detail"), detail, "{machine}");
            assert_eq!(platform.get("runtime"), Some("aws_nucleus_lite"));
        }
    }

    #[test]
    fn an_empty_platform_fits_every_device() {
        assert!(rule(&[]).matches(&pi()));
        assert!(rule(&[]).matches(&Platform::default()));
    }

    #[test]
    fn a_manifest_without_runtime_fits_and_one_for_another_runtime_does_not() {
        assert!(rule(&[("os", Some("linux"))]).matches(&pi()));
        assert!(rule(&[("os", Some("linux")), ("runtime", Some("*"))]).matches(&pi()));
        assert!(
            rule(&[("os", Some("linux")), ("runtime", Some("aws_nucleus_lite"))]).matches(&pi())
        );
        assert!(
            !rule(&[
                ("os", Some("linux")),
                ("runtime", Some("aws_nucleus_classic"))
            ])
            .matches(&pi())
        );
    }

    #[test]
    fn star_and_null_fit_a_missing_attribute_but_nothing_else_does() {
        assert!(rule(&[("gpu", Some("*"))]).matches(&pi()));
        assert!(rule(&[("gpu", None)]).matches(&pi()));
        assert!(!rule(&[("gpu", Some("cuda"))]).matches(&pi()));
        assert!(!rule(&[("gpu", Some("/.*/"))]).matches(&pi()));
        assert!(!rule(&[("gpu", Some("any"))]).matches(&pi()));
    }

    #[test]
    fn all_and_any_are_wildcards_for_os_and_architecture_alone() {
        assert!(rule(&[("os", Some("all")), ("architecture", Some("any"))]).matches(&pi()));
        assert!(!rule(&[("architecture.detail", Some("all"))]).matches(&pi()));
    }

    #[test]
    fn a_regular_expression_must_fit_the_whole_value() {
        assert!(rule(&[("architecture", Some("/arm|aarch64/"))]).matches(&pi()));
        assert!(rule(&[("architecture.detail", Some("/armv[67].*/"))]).matches(&pi()));
        assert!(!rule(&[("architecture.detail", Some("/armv7/"))]).matches(&pi()));
        assert!(!rule(&[("os", Some("/lin|win/"))]).matches(&pi()));
        assert!(PlatformRule::default().insert("os", Some("/(/")).is_err());
    }

    #[test]
    fn values_match_with_their_case_and_signs_at_the_start_match_nothing() {
        assert!(!rule(&[("os", Some("Linux"))]).matches(&pi()));
        let odd = Platform::default().with_overrides([("os", "-linux")]);
        assert!(!rule(&[("os", Some("-linux"))]).matches(&odd));
    }

    #[test]
    fn overrides_win_and_an_empty_one_removes() {
        let platform = pi().with_overrides([
            ("architecture.detail", "armv6l"),
            ("runtime", ""),
            ("site", "berlin"),
        ]);
        assert_eq!(platform.get("architecture.detail"), Some("armv6l"));
        assert_eq!(platform.get("runtime"), None);
        assert!(rule(&[("site", Some("berlin"))]).matches(&platform));
    }
}
