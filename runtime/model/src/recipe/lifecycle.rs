//! The steps of the manifest that was chosen, as written: nothing interpolated, nothing typed yet, since a `Timeout`
//! or a `RequiresPrivilege` may be a recipe variable.

use super::Position;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// A lifecycle step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // the recipe's own words, in the order they run
pub enum StepName {
    Bootstrap,
    Install,
    Startup,
    Run,
    Shutdown,
    Recover,
    Uninstall,
}

impl StepName {
    /// Every step.
    pub const ALL: [Self; 7] = [
        Self::Bootstrap,
        Self::Install,
        Self::Startup,
        Self::Run,
        Self::Shutdown,
        Self::Recover,
        Self::Uninstall,
    ];

    /// As the recipe reference writes it: `Install`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "Bootstrap",
            Self::Install => "Install",
            Self::Startup => "Startup",
            Self::Run => "Run",
            Self::Shutdown => "Shutdown",
            Self::Recover => "Recover",
            Self::Uninstall => "Uninstall",
        }
    }

    /// How long the step may take when its recipe does not say: `Run` has no limit.
    pub fn default_timeout(self) -> Option<Duration> {
        match self {
            Self::Run => None,
            Self::Shutdown => Some(Duration::from_secs(15)),
            Self::Recover => Some(Duration::from_secs(60)),
            _ => Some(Duration::from_secs(120)),
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A single value as text, with its place and the keys down to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scalar {
    /// Where it stands.
    pub at: Position,
    /// The keys down to it.
    pub key: String,
    /// Numbers and booleans as they are written.
    pub text: String,
}

/// Every step of one manifest, as written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawLifecycle {
    /// `Setenv` for every step.
    pub setenv: BTreeMap<String, Scalar>,
    /// The steps there are.
    pub steps: BTreeMap<StepName, RawStep>,
    /// `ErrorResetTime`, seconds.
    pub error_reset: Option<Scalar>,
}

/// One step, as written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawStep {
    /// `Script`.
    pub script: Scalar,
    /// `RequiresPrivilege`.
    pub requires_privilege: Option<Scalar>,
    /// `Skipif`.
    pub skip_if: Option<Scalar>,
    /// `Timeout`, seconds.
    pub timeout: Option<Scalar>,
    /// `Setenv`.
    pub setenv: BTreeMap<String, Scalar>,
    /// `BootstrapOnRollback`.
    pub on_rollback: Option<Scalar>,
}

impl RawStep {
    /// A step that is a script and nothing else.
    pub(super) fn new(script: Scalar) -> Self {
        Self {
            script,
            requires_privilege: None,
            skip_if: None,
            timeout: None,
            setenv: BTreeMap::new(),
            on_rollback: None,
        }
    }
}
