//! What the launcher starts: one step of one component, and what it knows of it afterwards.

use super::Outcome;
use model::{ComponentName, SystemLimits};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::SystemTime};

/// The lifecycle step a unit runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the recipe's own words
pub enum StepKind {
    Bootstrap,
    Install,
    Startup,
    Run,
    Shutdown,
    Recover,
    Uninstall,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Bootstrap,
        Self::Install,
        Self::Startup,
        Self::Run,
        Self::Shutdown,
        Self::Recover,
        Self::Uninstall,
    ];

    /// In lower case, for example `install`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Install => "install",
            Self::Startup => "startup",
            Self::Run => "run",
            Self::Shutdown => "shutdown",
            Self::Recover => "recover",
            Self::Uninstall => "uninstall",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StepKind {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

/// Names a unit: at most one lives for each step of a component.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct UnitId {
    /// Whose step.
    pub component: ComponentName,
    /// Which step.
    pub step: StepKind,
}

impl UnitId {
    /// The step of a component.
    pub fn new(component: ComponentName, step: StepKind) -> Self {
        Self { component, step }
    }

    /// The systemd unit's name: `ggl.<component>.service` for startup and run, `ggl.<component>.<step>.service` otherwise.
    pub fn unit_name(&self) -> String {
        match self.step {
            StepKind::Startup | StepKind::Run => format!("ggl.{}.service", self.component),
            step => format!("ggl.{}.{step}.service", self.component),
        }
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.step)
    }
}

/// One step, ready to start.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub id: UnitId,
    /// Not secret, chosen by the caller, given back by [`inspect`](super::Launcher::inspect): how a restarted nucleus
    /// recognises what it started (the component's version and the like). At most 256 printable ASCII characters.
    pub tag: String,
    /// Given to the shell.
    pub script: String,
    /// The shell, an absolute path or a name looked up in `PATH`: `sh`. Called as `<shell> -c <script>`.
    pub shell: String,
    /// `user` or `user:group`, names or numbers. `None`: the launcher's own user.
    pub user: Option<String>,
    /// Run as root whatever `user` says. Without root rights a launcher runs it as its own user, with a warning.
    pub privileged: bool,
    /// The whole environment besides `PATH`, `HOME`, `USER`, `LOGNAME` and `SHELL`, which the launcher fills in when
    /// they are absent. Holds the component's token, so it never travels by argv or world-readable unit properties.
    pub environment: BTreeMap<String, String>,
    /// The current directory: the component's work folder or below.
    pub work_folder: PathBuf,
    /// Memory and CPU; they hold for all units of the component together where the back end can.
    pub limits: SystemLimits,
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds the token and the script may hold interpolated configuration.
        f.debug_struct("Unit")
            .field("id", &self.id)
            .field("tag", &self.tag)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A unit is under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Its main process.
    pub pid: u32,
    /// What was asked for and could not be done here, for a person: limits without a cgroup controller, privilege without root.
    pub warnings: Vec<String>,
}

/// A unit the launcher knows: one that lives, or one that ended and was neither stopped nor started anew since.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name.
    pub id: UnitId,
    /// As given at start.
    pub tag: String,
    /// The main process while it lives.
    pub pid: Option<u32>,
    /// When it was started.
    pub started: SystemTime,
    /// Frozen.
    pub frozen: bool,
    /// How the main process ended, with the last lines it wrote to stderr. A startup step that ended with success keeps
    /// the processes it left behind until [`stop`](super::Launcher::stop).
    pub ended: Option<(Outcome, Vec<String>)>,
}
