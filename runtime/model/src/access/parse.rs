//! From the `accessControl` of a component's configuration to [`Policies`]. What makes no sense is left out and said,
//! it never takes the rest with it.

use super::{ANY, Pattern, Policies, Warning, operations, style};
use serde_json::{Map, Value};

impl Policies {
    /// Reads `accessControl`: service, policy id, `{policyDescription, operations, resources}`.
    ///
    /// A text that holds such a mapping as JSON is read as well, as Greengrass does.
    pub fn parse(principal: &str, access_control: &Value) -> (Self, Vec<Warning>) {
        let mut reader = Reader {
            principal,
            policies: Self::default(),
            warnings: Vec::new(),
        };
        match access_control {
            Value::Null => {}
            Value::Object(services) => reader.services(services),
            Value::String(text) if text.trim().is_empty() => {}
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Object(services)) => reader.services(&services),
                _ => reader.warn(
                    "",
                    "accessControl must be a mapping of service names to policies".into(),
                ),
            },
            _ => reader.warn(
                "",
                "accessControl must be a mapping of service names to policies".into(),
            ),
        }
        (reader.policies, reader.warnings)
    }
}

struct Reader<'a> {
    principal: &'a str,
    policies: Policies,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn warn(&mut self, policy: &str, message: String) {
        self.warnings.push(Warning {
            policy: policy.to_owned(),
            message,
        });
    }

    fn services(&mut self, services: &Map<String, Value>) {
        for (destination, policies) in services {
            if operations(destination).is_none() {
                let known: Vec<_> = operations::destinations().collect();
                self.warn(
                    destination,
                    format!("there is no such service; there are {}", known.join(", ")),
                );
                continue;
            }
            match policies {
                Value::Object(policies) => {
                    for (id, policy) in policies {
                        self.policy(destination, id, policy);
                    }
                }
                Value::Null => {}
                _ => self.warn(
                    destination,
                    "must be a mapping of policy ids to policies".into(),
                ),
            }
        }
    }

    fn policy(&mut self, destination: &str, id: &str, policy: &Value) {
        let path = format!("{destination}/{id}");
        let Value::Object(members) = policy else {
            return self.warn(
                &path,
                "a policy must be a mapping with operations and resources".into(),
            );
        };
        let member = |name: &str| {
            members
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(name))
                .map(|(_, v)| v)
        };
        if id.is_empty() {
            return self.warn(&path, "a policy must have an id".into());
        }
        if self
            .policies
            .ids
            .insert(id.to_owned(), self.principal.to_owned())
            .is_some()
        {
            self.warn(
                &path,
                "this policy id is used twice: give each policy its own".into(),
            );
        }
        for key in members.keys() {
            if !["policyDescription", "operations", "resources"]
                .iter()
                .any(|k| k.eq_ignore_ascii_case(key))
            {
                self.warn(&path, format!("unknown key {key:?}: a policy has policyDescription, operations and resources"));
            }
        }
        let Some(wanted) = self.texts(&path, "operations", member("operations")) else {
            return;
        };
        if wanted.is_empty() {
            return self.warn(
                &path,
                "the policy has no operations, so it allows nothing".into(),
            );
        }
        let known = operations(destination).unwrap_or_default();
        if let Some(unknown) = wanted.iter().find(|o| **o != ANY && !known.contains(o)) {
            let message = format!(
                "{destination} has no operation {unknown:?}, the policy is left out; it has {} and \"*\"",
                known.join(", ")
            );
            return self.warn(&path, message);
        }
        let Some(resources) = self.texts(&path, "resources", member("resources")) else {
            return;
        };
        let mut patterns = Vec::new();
        for resource in resources {
            match Pattern::new(resource, style(destination)) {
                Ok(pattern) => patterns.push(pattern),
                Err(e) => self.warn(&path, format!("resource {resource:?} is left out: {e}")),
            }
        }
        for operation in wanted {
            let granted = self.policies.grant(self.principal, destination, operation);
            patterns.iter().cloned().for_each(|p| granted.add(p));
        }
    }

    /// A list of texts; one text alone stands for a list of one, null for an empty one.
    fn texts<'v>(
        &mut self,
        path: &str,
        key: &str,
        value: Option<&'v Value>,
    ) -> Option<Vec<&'v str>> {
        match value {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::String(text)) => Some(vec![text]),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                if texts.is_none() {
                    self.warn(path, format!("{key} must be a list of texts"));
                }
                texts
            }
            Some(_) => {
                self.warn(path, format!("{key} must be a list of texts"));
                None
            }
        }
    }
}
