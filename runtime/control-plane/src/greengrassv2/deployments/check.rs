//! Whether a deployment can be carried out, before anything is written.

use super::{
    document::{Component, Parts, Policies},
    table::JobConfiguration,
};
use crate::{
    greengrassv2::{
        components::table::{Component as Version, DEPLOYABLE},
        names::{Kind, component_arn, invalid_field, not_found},
    },
    http::{ApiError, validate},
    iot::registry::{groups::Group, names::of_arn, things::Thing},
    state::Account,
};
use model::ComponentName;
use rusqlite::Transaction;
use serde_json::Value;

/// Components that are part of a nucleus, or that devices have from elsewhere: a deployment may name them although
/// nobody has put a recipe here.
const BUILT_IN: &str = "aws.greengrass.";

/// The longest `merge`.
const MAX_MERGE: usize = 10 * 1024 * 1024;

/// What can be said without looking at anything else.
pub fn request(
    name: Option<&str>,
    parts: &Parts,
    jobs: Option<&JobConfiguration>,
) -> Result<(), ApiError> {
    if let Some(name) = name {
        validate::length("deploymentName", name, 1..=256)?;
    }
    policies(&parts.policies)?;
    for (name, component) in &parts.components {
        ComponentName::new(name).map_err(|error| invalid_field("components", error.to_string()))?;
        self::component(name, component)?;
    }
    if let Some(jobs) = jobs {
        if let Some(rollout) = &jobs.job_executions_rollout_config {
            rollout
                .check()
                .map_err(|e| invalid_field("iotJobConfiguration.jobExecutionsRolloutConfig", e))?;
        }
        if let Some(abort) = &jobs.abort_config {
            abort
                .check()
                .map_err(|e| invalid_field("iotJobConfiguration.abortConfig", e))?;
        }
        let timeout = jobs.timeout_config.as_ref();
        if let Some(minutes) = timeout.and_then(|t| t.in_progress_timeout_in_minutes) {
            validate::range("inProgressTimeoutInMinutes", minutes, 1..=10_080)?;
        }
    }
    Ok(())
}

fn policies(policies: &Policies) -> Result<(), ApiError> {
    if let Some(policy) = &policies.failure_handling_policy {
        validate::one_of(
            "deploymentPolicies.failureHandlingPolicy",
            policy,
            &["ROLLBACK", "DO_NOTHING"],
        )?;
    }
    if let Some(update) = &policies.component_update_policy {
        if let Some(action) = &update.action {
            validate::one_of(
                "deploymentPolicies.componentUpdatePolicy.action",
                action,
                &["NOTIFY_COMPONENTS", "SKIP_NOTIFY_COMPONENTS"],
            )?;
        }
        seconds("componentUpdatePolicy", update.timeout_in_seconds)?;
    }
    let validation = policies.configuration_validation_policy.as_ref();
    seconds(
        "configurationValidationPolicy",
        validation.and_then(|v| v.timeout_in_seconds),
    )
}

fn seconds(policy: &str, seconds: Option<i64>) -> Result<(), ApiError> {
    let member = format!("deploymentPolicies.{policy}.timeoutInSeconds");
    seconds.map_or(Ok(()), |s| {
        validate::range(&member, s, 1..=i64::from(i32::MAX))
    })
}

fn component(name: &str, component: &Component) -> Result<(), ApiError> {
    let Some(version) = &component.component_version else {
        return Err(invalid_field(
            "components",
            format!("The component {name} has no componentVersion"),
        ));
    };
    version.parse::<model::Version>().map_err(|error| {
        invalid_field(
            "components",
            format!("The version of the component {name}: {error}"),
        )
    })?;
    if let Some(update) = &component.configuration_update {
        if let Some(merge) = update.merge.as_deref().filter(|m| !m.trim().is_empty()) {
            let read = serde_json::from_str::<Value>(merge);
            if merge.len() > MAX_MERGE || !matches!(read, Ok(Value::Object(_))) {
                let why = read.err().map_or_else(String::new, |e| format!(": {e}"));
                return Err(invalid_field(
                    "configurationUpdate.merge",
                    format!(
                        "The configuration to merge into the component {name} is not a JSON object{why}"
                    ),
                ));
            }
        }
        for path in update.reset.iter().flatten() {
            validate::length("configurationUpdate.reset", path, 0..=256)?;
            if !path.is_empty() && !path.starts_with('/') {
                return Err(invalid_field(
                    "configurationUpdate.reset",
                    format!(
                        "'{path}', to be reset in the component {name}, is no JSON pointer: it must be empty or start with '/'"
                    ),
                ));
            }
        }
    }
    let Some(run_with) = &component.run_with else {
        return Ok(());
    };
    if let Some(user) = &run_with.posix_user {
        let parts: Vec<&str> = user.split(':').collect();
        if parts.len() > 2 || parts.first().is_none_or(|u| u.is_empty()) {
            return Err(invalid_field(
                "runWith.posixUser",
                format!(
                    "'{user}', as whom the component {name} is to run, is not user or user:group"
                ),
            ));
        }
    }
    if let Some(user) = &run_with.windows_user {
        validate::length("runWith.windowsUser", user, 1..=256)?;
    }
    let limits = run_with.system_resource_limits.as_ref();
    if let Some(memory) = limits.and_then(|l| l.memory) {
        validate::range(
            "runWith.systemResourceLimits.memory",
            memory,
            0..=9_223_372_036_854_771_712,
        )?;
    }
    if let Some(cpus) = limits.and_then(|l| l.cpus)
        && !(cpus.is_finite() && cpus >= 0.0)
    {
        return Err(invalid_field(
            "runWith.systemResourceLimits.cpus",
            format!("The component {name} cannot have {cpus} processors"),
        ));
    }
    Ok(())
}

/// What a deployment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A thing.
    Thing(String),
    /// A group.
    Group(String),
}

/// The target of an ARN, which must exist; so must the parent.
pub fn target(
    t: &Transaction<'_>,
    account: &Account,
    arn: &str,
    parent: Option<&str>,
) -> Result<Target, ApiError> {
    let missing = |arn: &str| {
        not_found(
            Kind::Target,
            arn,
            format!("The target {arn} does not exist."),
        )
    };
    let own = |arn: &str| arn.starts_with(&account.arn("iot", ""));
    let target = match (of_arn(arn, "thing"), of_arn(arn, "thinggroup")) {
        (Some(thing), _) => Target::Thing(thing.to_owned()),
        (_, Some(group)) => Target::Group(group.to_owned()),
        _ => {
            return Err(invalid_field(
                "targetArn",
                format!(
                    "Value '{arn}' at 'targetArn' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:[^:]*:iot:[^:]*:[0-9]+:(thing|thinggroup)/.+"
                ),
            ));
        }
    };
    let exists = match &target {
        Target::Thing(thing) => Thing::find(t, thing)?.is_some(),
        Target::Group(group) => Group::find(t, group)?.is_some(),
    };
    if !own(arn) || !exists {
        return Err(missing(arn));
    }
    let Some(parent) = parent else {
        return Ok(target);
    };
    let Some(group) = of_arn(parent, "thinggroup") else {
        return Err(invalid_field(
            "parentTargetArn",
            format!("{parent} is not the ARN of a thing group"),
        ));
    };
    if !own(parent) || Group::find(t, group)?.is_none() {
        return Err(missing(parent));
    }
    if !matches!(target, Target::Group(_)) || parent == arn {
        return Err(invalid_field(
            "targetArn",
            "The target of a sub-deployment must be a thing group other than its parent",
        ));
    }
    Ok(target)
}

/// Whether the versions are here and can be deployed.
pub fn versions(t: &Transaction<'_>, account: &Account, parts: &Parts) -> Result<(), ApiError> {
    for (name, component) in &parts.components {
        let version = component.component_version.as_deref().unwrap_or_default();
        let arn = component_arn(account, name, Some(version));
        match Version::find(t, name, version)? {
            Some(found) if found.state == DEPLOYABLE => {}
            Some(found) => {
                return Err(invalid_field(
                    "components",
                    format!(
                        "Component {arn} is {} and cannot be deployed: {}",
                        found.state, found.message
                    ),
                ));
            }
            None if name.starts_with(BUILT_IN) => {}
            None => {
                return Err(not_found(
                    Kind::Component,
                    &arn,
                    format!("Component {arn} does not exist."),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(component: Value) -> String {
        let component = serde_json::from_value(component).unwrap();
        let parts = Parts {
            components: [("com.example.A".to_owned(), component)].into(),
            policies: Policies::default(),
        };
        match request(None, &parts, None) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_component_is_refused_with_what_is_wrong_with_it() {
        let version = "1.0.0";
        for (component, text) in [
            (json!({}), "no componentVersion"),
            (
                json!({"componentVersion": ">=1"}),
                "version of the component",
            ),
            (
                json!({"componentVersion": version, "configurationUpdate": {"merge": "{"}}),
                "not a JSON object",
            ),
            (
                json!({"componentVersion": version, "configurationUpdate": {"merge": "[]"}}),
                "not a JSON object",
            ),
            (
                json!({"componentVersion": version, "configurationUpdate": {"reset": ["a"]}}),
                "no JSON pointer",
            ),
            (
                json!({"componentVersion": version, "runWith": {"posixUser": "a:b:c"}}),
                "user or user:group",
            ),
            (
                json!({"componentVersion": version, "runWith": {"systemResourceLimits": {"cpus": -1.0}}}),
                "processors",
            ),
        ] {
            let said = refused(component.clone());
            assert!(said.contains(text), "{component}: {said}");
        }
        let fine = json!({"componentVersion": version, "configurationUpdate": {"merge": "{\"a\": 1}", "reset": ["", "/b"]}});
        assert_eq!(refused(fine), "");
    }
}
