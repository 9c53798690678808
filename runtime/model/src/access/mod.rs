//! Access policies: the `accessControl` of components, and who may do what to which resource.
//!
//! Policies are compiled when a component's configuration changes; a decision is three hash look-ups and, only for
//! resources with wildcards, a scan of patterns. It is made for every message.

mod operations;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

pub use operations::{Style, operations, style};
pub use pattern::{Pattern, PatternError};

use std::collections::{HashMap, HashSet};

/// The principals whose names start so may use `aws.greengrass.Cli`.
const CLI_PRINCIPAL: &str = "greengrass-cli-";
const CLI: &str = "aws.greengrass.Cli";
const ANY: &str = "*";

/// The policies of one component, or of all of them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// principal, destination, operation
    grants: HashMap<String, HashMap<String, HashMap<String, Resources>>>,
    /// policy id -> its principal: ids are meant to be unique on a device.
    ids: HashMap<String, String>,
}

/// What one principal may do one operation to.
#[derive(Clone, Debug, Default)]
struct Resources {
    all: bool,
    exact: HashSet<String>,
    patterns: Vec<Pattern>,
}

/// Something in an `accessControl` that has no effect, and why.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Warning {
    /// The keys down to it, `aws.greengrass.ipc.pubsub/com.example:pubsub:1`.
    pub policy: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.policy.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.policy, self.message)
        }
    }
}

impl Policies {
    /// What holds on every device without a policy: any component may ask for cloud credentials.
    pub fn builtin() -> Self {
        let mut policies = Self::default();
        policies.grant(ANY, operations::TOKEN_EXCHANGE, operations::GET_CREDENTIALS);
        policies
    }

    /// Adds another component's policies. A policy id in both is worth a warning, and nothing more.
    pub fn merge(&mut self, other: Self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (id, principal) in other.ids {
            if let Some(first) = self
                .ids
                .insert(id.clone(), principal.clone())
                .filter(|first| *first != principal)
            {
                warnings.push(Warning {
                    message: format!(
                        "{first} and {principal} use the same policy id: give each its own"
                    ),
                    policy: id,
                });
            }
        }
        for (principal, destinations) in other.grants {
            let own = self.grants.entry(principal).or_default();
            for (destination, operations) in destinations {
                let own = own.entry(destination).or_default();
                for (operation, resources) in operations {
                    own.entry(operation).or_default().merge(resources);
                }
            }
        }
        warnings
    }

    /// Drops all policies of one component, before its new ones are merged or when it is removed.
    pub fn remove(&mut self, principal: &str) {
        self.grants.remove(principal);
        self.ids.retain(|_, owner| owner != principal);
    }

    /// Whether `principal` may do `operation` of `destination` to `resource`. `None`: the operation has no resource,
    /// any policy for it will do.
    pub fn authorized(
        &self,
        destination: &str,
        principal: &str,
        operation: &str,
        resource: Option<&str>,
    ) -> bool {
        if resource == Some("") || !operations::is_known(destination, operation) {
            return false;
        }
        if destination == CLI && principal.starts_with(CLI_PRINCIPAL) {
            return true;
        }
        [principal, ANY].iter().any(|principal| {
            let Some(operations) = self.grants.get(*principal).and_then(|d| d.get(destination))
            else {
                return false;
            };
            [operation, ANY]
                .iter()
                .filter_map(|operation| operations.get(*operation))
                .any(|resources| resource.is_none_or(|resource| resources.contain(resource)))
        })
    }

    fn grant(&mut self, principal: &str, destination: &str, operation: &str) -> &mut Resources {
        self.grants
            .entry(principal.to_owned())
            .or_default()
            .entry(destination.to_owned())
            .or_default()
            .entry(operation.to_owned())
            .or_default()
    }
}

impl Resources {
    fn add(&mut self, pattern: Pattern) {
        match pattern {
            Pattern::All => self.all = true,
            Pattern::Exact(text) => {
                self.exact.insert(text);
            }
            pattern => self.patterns.push(pattern),
        }
    }

    fn merge(&mut self, other: Self) {
        self.all |= other.all;
        self.exact.extend(other.exact);
        self.patterns.extend(other.patterns);
    }

    fn contain(&self, resource: &str) -> bool {
        self.all
            || self.exact.contains(resource)
            || self.patterns.iter().any(|p| p.matches(resource))
    }
}
