//! Specs for tests.

use model::{
    ComponentName, ComponentSpec, RunWith, Step,
    component::{Lifecycle, RestartPolicy},
};
use std::{collections::BTreeMap, time::Duration};

pub(crate) fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

pub(crate) fn step(script: &str) -> Step {
    Step {
        script: script.into(),
        requires_privilege: false,
        skip_if: None,
        timeout: None,
        setenv: BTreeMap::new(),
        on_rollback: false,
    }
}

/// A step that may run for so many seconds.
pub(crate) fn timed(script: &str, seconds: u64) -> Step {
    Step {
        timeout: Some(Duration::from_secs(seconds)),
        ..step(script)
    }
}

/// A component without any step.
pub(crate) fn spec(of: &str) -> ComponentSpec {
    ComponentSpec {
        name: name(of),
        version: "1.0.0".parse().unwrap(),
        lifecycle: Lifecycle {
            error_reset: Lifecycle::default_error_reset(),
            ..Lifecycle::default()
        },
        dependencies: BTreeMap::new(),
        run_with: RunWith::default(),
        restart_policy: RestartPolicy::default(),
        artifact_folders: Vec::new(),
    }
}

/// A component with a run step alone.
pub(crate) fn running(of: &str) -> ComponentSpec {
    let mut spec = spec(of);
    spec.lifecycle.run = Some(step("run"));
    spec
}
