//! The document that devices get, made of what a deployment was asked to be. Pure.
//!
//! What people write and what devices read differ: `componentVersion` is `version`, `merge` is a JSON object and no text,
//! times have no unit in their names, and creation is told in milliseconds.

use crate::{
    http::{ApiError, Timestamp},
    iot::registry::names::of_arn,
    state::Account,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The document's format.
const SCHEMA_DATE: &str = "2021-05-17";

/// What decides about a deployment's document besides its names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// By component.
    pub components: BTreeMap<String, Component>,
    /// How devices go about it.
    pub policies: Policies,
}

/// One component of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Exactly this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_version: Option<String>,
    /// What changes in its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_update: Option<ConfigurationUpdate>,
    /// As whom it runs, and with how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_with: Option<RunWith>,
}

/// `configurationUpdate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationUpdate {
    /// A JSON object as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<String>,
    /// JSON pointers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Vec<String>>,
}

/// `runWith`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunWith {
    /// `user:group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posix_user: Option<String>,
    /// A user of Windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows_user: Option<String>,
    /// How much of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_resource_limits: Option<Limits>,
}

/// `systemResourceLimits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
}

/// `deploymentPolicies`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policies {
    /// `ROLLBACK` or `DO_NOTHING`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_handling_policy: Option<String>,
    /// Whether components are asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_update_policy: Option<UpdatePolicy>,
    /// Whether components may refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration_validation_policy: Option<ValidationPolicy>,
}

/// `componentUpdatePolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePolicy {
    /// How long they may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_in_seconds: Option<i64>,
    /// `NOTIFY_COMPONENTS` or `SKIP_NOTIFY_COMPONENTS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// `configurationValidationPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidationPolicy {
    /// How long they may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_in_seconds: Option<i64>,
}

impl Policies {
    /// With what is not given as AWS has it by default.
    pub fn filled(&self) -> Self {
        let update = self.component_update_policy.clone().unwrap_or_default();
        let validation = self
            .configuration_validation_policy
            .clone()
            .unwrap_or_default();
        Self {
            failure_handling_policy: Some(
                self.failure_handling_policy
                    .clone()
                    .unwrap_or_else(|| "ROLLBACK".to_owned()),
            ),
            component_update_policy: Some(UpdatePolicy {
                timeout_in_seconds: Some(update.timeout_in_seconds.unwrap_or(60)),
                action: Some(
                    update
                        .action
                        .unwrap_or_else(|| "NOTIFY_COMPONENTS".to_owned()),
                ),
            }),
            configuration_validation_policy: Some(ValidationPolicy {
                timeout_in_seconds: Some(validation.timeout_in_seconds.unwrap_or(60)),
            }),
        }
    }
}

/// Whose document it is.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// The deployment.
    pub id: &'a str,
    /// For people.
    pub name: Option<&'a str>,
    /// The ARN of thing or group.
    pub target: &'a str,
    /// The group that this refines.
    pub parent: Option<&'a str>,
    /// `arn:aws:greengrass:…:configuration:thinggroup/<group>:<revision>`.
    pub configuration: &'a str,
    /// When it was created.
    pub created: Timestamp,
}

/// The whole document.
pub fn whole(names: &Names<'_>, parts: &Parts) -> Result<Value, ApiError> {
    let mut components = Map::new();
    for (name, component) in &parts.components {
        components.insert(name.clone(), of_component(component)?);
    }
    let mut needed = BTreeSet::new();
    let limited = |c: &Component| {
        c.run_with
            .as_ref()
            .is_some_and(|r| r.system_resource_limits.is_some())
    };
    if parts.components.values().any(limited) {
        needed.insert("LINUX_RESOURCE_LIMITS");
    }
    let mut document = frame(names, parts, needed);
    document["components"] = components.into();
    Ok(document)
}

/// What is sent in place of a document that is too large: everything but the components.
pub fn without_components(names: &Names<'_>, parts: &Parts) -> Value {
    frame(names, parts, BTreeSet::from(["LARGE_CONFIGURATION"]))
}

fn frame(names: &Names<'_>, parts: &Parts, mut needed: BTreeSet<&'static str>) -> Value {
    let policies = parts.policies.filled();
    let update = policies.component_update_policy.unwrap_or_default();
    let validation = policies.configuration_validation_policy.unwrap_or_default();
    let mut document = json!({
        "deploymentId": names.id,
        "schemaDate": SCHEMA_DATE,
        "configurationArn": names.configuration,
        "creationTimestamp": names.created.millis(),
        "failureHandlingPolicy": policies.failure_handling_policy,
        "componentUpdatePolicy": { "timeout": update.timeout_in_seconds, "action": update.action },
        "configurationValidationPolicy": { "timeout": validation.timeout_in_seconds },
    });
    if let Some(name) = names.name {
        document["deploymentName"] = name.into();
    }
    if let Some(parent) = names.parent {
        document["parentTargetArn"] = parent.into();
        document["onBehalfOf"] = names.target.into();
        needed.insert("SUB_DEPLOYMENTS");
    }
    if !needed.is_empty() {
        document["requiredCapabilities"] = needed.into_iter().collect();
    }
    document
}

fn of_component(component: &Component) -> Result<Value, ApiError> {
    let mut out = json!({});
    if let Some(version) = &component.component_version {
        out["version"] = version.as_str().into();
    }
    if let Some(run_with) = &component.run_with {
        out["runWith"] = serde_json::to_value(run_with)?;
    }
    if let Some(update) = &component.configuration_update {
        let mut told = json!({});
        if let Some(merge) = update.merge.as_deref().filter(|m| !m.trim().is_empty()) {
            told["merge"] = serde_json::from_str(merge)?;
        }
        if let Some(reset) = &update.reset {
            told["reset"] = reset.clone().into();
        }
        out["configurationUpdate"] = told;
    }
    Ok(out)
}

/// The ARN of a target's revision.
pub fn configuration_arn(account: &Account, target: &str, revision: i64) -> String {
    let resource = target.splitn(6, ':').nth(5).unwrap_or_default();
    account.arn(
        "greengrass",
        &format!("configuration:{resource}:{revision}"),
    )
}

/// Target and revision of such an ARN.
pub fn target_of(configuration: &str) -> Option<(String, i64)> {
    let (rest, revision) = configuration.rsplit_once(':')?;
    let mut parts = rest.splitn(7, ':');
    let (arn, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account) = (parts.next()?, parts.next()?);
    let (kind, resource) = (parts.next()?, parts.next()?);
    if (arn, service, kind) != ("arn", "greengrass", "configuration") {
        return None;
    }
    let target = format!("arn:{partition}:iot:{region}:{account}:{resource}");
    let known = of_arn(&target, "thing").or_else(|| of_arn(&target, "thinggroup"));
    known?;
    Some((target, revision.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<'static> {
        Names {
            id: "d-1",
            name: Some("first"),
            target: "arn:aws:iot:us-east-1:123456789012:thinggroup/line",
            parent: None,
            configuration: "arn:aws:greengrass:us-east-1:123456789012:configuration:thinggroup/line:3",
            created: Timestamp::from_millis(1_700_000_000_123),
        }
    }

    fn parts() -> Parts {
        let component = serde_json::from_value(json!({
            "componentVersion": "1.2.3",
            "runWith": {"posixUser": "ggc:ggc"},
            "configurationUpdate": {"merge": "{\"a\": {\"b\": null}}", "reset": ["/c", ""]},
        }));
        Parts {
            components: [("com.example.A".to_owned(), component.unwrap())].into(),
            policies: Policies::default(),
        }
    }

    #[test]
    fn the_document_is_in_the_words_of_devices() {
        assert_eq!(
            whole(&names(), &parts()).unwrap(),
            json!({
                "deploymentId": "d-1",
                "deploymentName": "first",
                "schemaDate": "2021-05-17",
                "configurationArn": "arn:aws:greengrass:us-east-1:123456789012:configuration:thinggroup/line:3",
                "creationTimestamp": 1_700_000_000_123_i64,
                "failureHandlingPolicy": "ROLLBACK",
                "componentUpdatePolicy": {"timeout": 60, "action": "NOTIFY_COMPONENTS"},
                "configurationValidationPolicy": {"timeout": 60},
                "components": {"com.example.A": {
                    "version": "1.2.3",
                    "runWith": {"posixUser": "ggc:ggc"},
                    "configurationUpdate": {"merge": {"a": {"b": null}}, "reset": ["/c", ""]},
                }},
            })
        );
    }

    #[test]
    fn what_a_device_must_be_able_to_do_is_said() {
        let mut asked = parts();
        let component = asked.components.get_mut("com.example.A").unwrap();
        component.run_with.as_mut().unwrap().system_resource_limits = Some(Limits {
            memory: Some(1024),
            cpus: Some(0.5),
        });
        let mut names = names();
        names.parent = Some("arn:aws:iot:us-east-1:123456789012:thinggroup/all");
        let document = whole(&names, &asked).unwrap();
        assert_eq!(
            document["requiredCapabilities"],
            json!(["LINUX_RESOURCE_LIMITS", "SUB_DEPLOYMENTS"])
        );
        assert_eq!(document["onBehalfOf"], names.target);
        let small = without_components(&names, &asked);
        assert_eq!(small.get("components"), None);
        assert_eq!(
            small["requiredCapabilities"],
            json!(["LARGE_CONFIGURATION", "SUB_DEPLOYMENTS"])
        );
    }

    #[test]
    fn a_configuration_arn_leads_back_to_its_target() {
        assert_eq!(
            target_of(names().configuration),
            Some((names().target.to_owned(), 3))
        );
        let odd = "arn:aws:greengrass:us-east-1:1:configuration:thing/a:b:12";
        assert_eq!(
            target_of(odd),
            Some(("arn:aws:iot:us-east-1:1:thing/a:b".to_owned(), 12))
        );
        for wrong in [
            "LOCAL",
            "arn:aws:greengrass:us-east-1:1:configuration:thing/a:x",
            "arn:aws:greengrass:us-east-1:1:configuration:other/a:1",
            "arn:aws:iot:us-east-1:1:configuration:thing/a:1",
        ] {
            assert_eq!(target_of(wrong), None, "{wrong}");
        }
    }
}
