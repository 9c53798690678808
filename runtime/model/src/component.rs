//! A component as it is to run: everything from the recipe resolved for this device, nothing left to interpolate.
//! `deploy` makes it, the database keeps it, `supervisor` runs it.

use crate::{ComponentName, Version};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// One component, ready to run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ComponentSpec {
    /// Its name.
    pub name: ComponentName,
    /// Its version.
    pub version: Version,
    /// The steps of the manifest chosen for this platform. A component without steps is FINISHED at once.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Direct dependencies; `true` means HARD.
    #[serde(default)]
    pub dependencies: BTreeMap<ComponentName, DependencyType>,
    /// Who it runs as and within what limits.
    #[serde(default)]
    pub run_with: RunWith,
    /// How it is restarted after a failure.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Its artifact folders, handed to its user before install. Absolute.
    #[serde(default)]
    pub artifact_folders: Vec<PathBuf>,
}

/// The lifecycle steps, interpolated.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Environment for every step; a step's own wins.
    #[serde(default)]
    pub setenv: BTreeMap<String, String>,
    /// Runs in a deployment before install; exit 100 restarts the runtime, 101 the device.
    #[serde(default)]
    pub bootstrap: Option<Step>,
    /// Runs once per version.
    #[serde(default)]
    pub install: Option<Step>,
    /// Runs to completion; RUNNING when it exits 0 or reports so.
    #[serde(default)]
    pub startup: Option<Step>,
    /// The long-running process; RUNNING as soon as it is spawned.
    #[serde(default)]
    pub run: Option<Step>,
    /// Runs when the component stops.
    #[serde(default)]
    pub shutdown: Option<Step>,
    /// Runs after an error, before the next try.
    #[serde(default)]
    pub recover: Option<Step>,
    /// Runs when the component is removed.
    #[serde(default)]
    pub uninstall: Option<Step>,
    /// Errors older than this no longer count towards BROKEN.
    #[serde(default = "Lifecycle::default_error_reset")]
    pub error_reset: Duration,
}

impl Default for Lifecycle {
    /// No steps, and Greengrass's time after which errors are forgotten.
    fn default() -> Self {
        Self {
            setenv: BTreeMap::new(),
            bootstrap: None,
            install: None,
            startup: None,
            run: None,
            shutdown: None,
            recover: None,
            uninstall: None,
            error_reset: Self::default_error_reset(),
        }
    }
}

impl Lifecycle {
    /// 3,600 s, as in Greengrass.
    pub fn default_error_reset() -> Duration {
        Duration::from_secs(3600)
    }
}

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Given to the shell.
    pub script: String,
    /// Run as root.
    #[serde(default)]
    pub requires_privilege: bool,
    /// Skip the step, with success, when this holds.
    #[serde(default)]
    pub skip_if: Option<SkipIf>,
    /// `None`: no limit (the default of `run`). The other defaults are filled in by the recipe.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Environment for this step alone.
    #[serde(default)]
    pub setenv: BTreeMap<String, String>,
    /// Bootstrap only: run it also when the deployment is rolled back.
    #[serde(default)]
    pub on_rollback: bool,
}

/// `onpath <exe>` or `exists <file>`, with `!` in front to negate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SkipIf {
    /// The condition is turned around.
    pub negated: bool,
    /// What is looked at.
    pub condition: SkipCondition,
}

/// What `Skipif` looks at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SkipCondition {
    /// An executable of this name is on `PATH`.
    OnPath(String),
    /// This file exists.
    Exists(PathBuf),
}

/// How strong a dependency is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DependencyType {
    /// Must be up first; when it restarts, so does the depender.
    #[default]
    Hard,
    /// Only an ordering.
    Soft,
}

/// Who a component runs as.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RunWith {
    /// `user` or `user:group`, names or numbers; `None` takes `runWithDefault`.
    #[serde(default)]
    pub posix_user: Option<String>,
    /// Limits of the component's cgroup.
    #[serde(default)]
    pub limits: SystemLimits,
}

/// `systemResourceLimits`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct SystemLimits {
    /// Memory, in KiB as Greengrass counts it.
    #[serde(default)]
    pub memory_kib: Option<u64>,
    /// CPUs, a fraction is allowed.
    #[serde(default)]
    pub cpus: Option<f64>,
}

/// How a component is restarted after a failure: Greengrass's own rule (three errors in a row, at once) softened by a growing pause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Errors in one state, within `error_reset`, that make it BROKEN. 0: never BROKEN.
    pub max_errors: u32,
    /// The pause before the first restart; it doubles with each error.
    pub first_delay: Duration,
    /// The pause grows no further than this.
    pub max_delay: Duration,
    /// After this long a BROKEN component is tried again by itself. `None`: only a restart or a deployment does that.
    pub retry_broken: Option<Duration>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_errors: 3,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(60),
            retry_broken: None,
        }
    }
}

/// What a change of its spec means for a component that is there already.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum Action {
    /// Its processes stay as they are; a BROKEN or stopped component is tried again.
    #[default]
    Keep,
    /// Down and up again, without install.
    Restart,
    /// Down, install, up.
    Reinstall,
}

/// What going from one spec of a component to another asks for, as Greengrass decides it: another version, install
/// step or user installs again, any other lifecycle change restarts, all else (limits, dependencies, restart policy)
/// takes effect in place.
pub fn change_between(old: &ComponentSpec, new: &ComponentSpec) -> Action {
    if old.version != new.version
        || old.lifecycle.install != new.lifecycle.install
        || old.run_with.posix_user != new.run_with.posix_user
    {
        return Action::Reinstall;
    }
    let scripts = |l: &Lifecycle| Lifecycle {
        error_reset: Duration::ZERO,
        ..l.clone()
    };
    if scripts(&old.lifecycle) == scripts(&new.lifecycle) {
        Action::Keep
    } else {
        Action::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ComponentSpec {
        ComponentSpec {
            name: ComponentName::new("a").unwrap(),
            version: "1.0.0".parse().unwrap(),
            lifecycle: Lifecycle {
                run: Some(step("sleep 1")),
                install: Some(step("true")),
                ..Lifecycle::default()
            },
            dependencies: BTreeMap::new(),
            run_with: RunWith::default(),
            restart_policy: RestartPolicy::default(),
            artifact_folders: Vec::new(),
        }
    }

    fn step(script: &str) -> Step {
        Step {
            script: script.into(),
            requires_privilege: false,
            skip_if: None,
            timeout: None,
            setenv: BTreeMap::new(),
            on_rollback: false,
        }
    }

    fn changed(f: impl FnOnce(&mut ComponentSpec)) -> Action {
        let mut new = spec();
        f(&mut new);
        change_between(&spec(), &new)
    }

    #[test]
    fn errors_are_forgotten_after_an_hour_unless_a_recipe_says_otherwise() {
        let hour = Duration::from_secs(3600);
        assert_eq!(Lifecycle::default().error_reset, hour);
        let read: Lifecycle = serde_json::from_str("{}").unwrap();
        assert_eq!(read, Lifecycle::default());
    }

    #[test]
    fn another_version_install_step_or_user_installs_again() {
        assert_eq!(
            changed(|s| s.version = "1.0.1".parse().unwrap()),
            Action::Reinstall
        );
        assert_eq!(
            changed(|s| s.lifecycle.install = Some(step("false"))),
            Action::Reinstall
        );
        assert_eq!(
            changed(|s| s.run_with.posix_user = Some("ggc_user".into())),
            Action::Reinstall
        );
    }

    #[test]
    fn any_other_step_or_environment_restarts() {
        assert_eq!(
            changed(|s| s.lifecycle.run = Some(step("sleep 2"))),
            Action::Restart
        );
        assert_eq!(
            changed(|s| s.lifecycle.shutdown = Some(step("true"))),
            Action::Restart
        );
        assert_eq!(
            changed(|s| drop(s.lifecycle.setenv.insert("A".into(), "b".into()))),
            Action::Restart
        );
    }

    #[test]
    fn limits_dependencies_and_policy_take_effect_in_place() {
        assert_eq!(changed(|_| ()), Action::Keep);
        assert_eq!(
            changed(|s| s.run_with.limits.memory_kib = Some(1024)),
            Action::Keep
        );
        assert_eq!(changed(|s| s.restart_policy.max_errors = 9), Action::Keep);
        assert_eq!(
            changed(|s| s.lifecycle.error_reset = Duration::from_secs(1)),
            Action::Keep
        );
        assert_eq!(
            changed(|s| {
                s.dependencies
                    .insert(ComponentName::new("b").unwrap(), DependencyType::Hard);
            }),
            Action::Keep
        );
    }
}
