//! The states a component passes through, as Greengrass reports them.

use crate::{ComponentName, Version};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A component's lifecycle state, in Greengrass's order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Known by name only.
    Stateless,
    /// To be installed.
    New,
    /// Installed, waiting to start.
    Installed,
    /// Its startup step runs, or its run step is about to.
    Starting,
    /// Up.
    Running,
    /// On its way down.
    Stopping,
    /// Failed; recovery follows.
    Errored,
    /// Failed too often; stays down until restarted or redeployed.
    Broken,
    /// Ended with success.
    Finished,
    /// Its uninstall step runs.
    Uninstalling,
    /// Gone.
    Uninstalled,
}

impl State {
    /// The name on the wire, for example `RUNNING`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stateless => "STATELESS",
            Self::New => "NEW",
            Self::Installed => "INSTALLED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Errored => "ERRORED",
            Self::Broken => "BROKEN",
            Self::Finished => "FINISHED",
            Self::Uninstalling => "UNINSTALLING",
            Self::Uninstalled => "UNINSTALLED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a component is in an error state; the codes fleet status reports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // the names are the documentation: step, then what went wrong
pub enum StatusCode {
    #[default]
    None,
    InstallError,
    InstallConfigNotValid,
    InstallIoError,
    InstallMissingDefaultRunwith,
    InstallTimeout,
    StartupError,
    StartupConfigNotValid,
    StartupIoError,
    StartupMissingDefaultRunwith,
    StartupTimeout,
    RunError,
    RunConfigNotValid,
    RunIoError,
    RunMissingDefaultRunwith,
    RunTimeout,
    ShutdownError,
    ShutdownTimeout,
    UninstallError,
    UninstallTimeout,
}

/// What is known of one component at one moment; also the event sent when any of it changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Which component.
    pub name: ComponentName,
    /// The version that is (or was last) installed.
    pub version: Version,
    /// Where it is in its lifecycle.
    pub state: State,
    /// Why it failed, `None` when it did not.
    #[serde(default)]
    pub code: StatusCode,
    /// For a person: "The run script exited with code 3.", with the last lines of stderr when there are any.
    #[serde(default)]
    pub reason: String,
    /// The main process of its run or startup step, while there is one.
    #[serde(default)]
    pub pid: Option<u32>,
    /// Errors counted towards BROKEN in the state it failed in.
    #[serde(default)]
    pub errors: u32,
    /// Frozen by PauseComponent.
    #[serde(default)]
    pub paused: bool,
    /// Grows by one with each event of this component, so that a listener can tell old from new.
    #[serde(default)]
    pub sequence: u64,
}
