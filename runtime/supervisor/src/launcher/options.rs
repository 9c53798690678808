//! How a launcher is set up. Fixed at its start: no request changes what it is allowed to do.

use super::output::LineSink;
use std::{path::PathBuf, sync::Arc};

/// Set-up of a launcher.
#[derive(Clone)]
pub struct Options {
    /// The runtime's root folder. Every path in a request must lie below it. Must exist.
    pub root: PathBuf,
    /// For environment files and long scripts while their unit lives; made with mode 0711. Volatile: `/run/greengrass`.
    pub runtime_folder: PathBuf,
    /// Which back end starts processes.
    pub backend: Backend,
    /// Whether the process back end uses cgroup v2 where it may write to it.
    pub cgroups: bool,
    /// The program re-executed as the step between fork and shell; it must call
    /// [`trampoline_main`](super::trampoline_main) first thing. `None`: processes are started directly, without their
    /// own session and without supplementary groups.
    pub trampoline: Option<PathBuf>,
    /// Set no_new_privs on processes that run as another user than a root launcher, unless they require privilege.
    pub no_new_privileges: bool,
    /// Whether units may be privileged.
    pub allow_privileged: bool,
    /// Whether [`reboot`](super::Launcher::reboot) does anything.
    pub allow_reboot: bool,
    /// Takes what components write to stdout and stderr. Not used under systemd, where the journal takes it.
    pub sink: Arc<dyn LineSink>,
}

impl Options {
    /// The defaults for a root folder: no reboot, all else as the appliance and `greengrass run` want it.
    pub fn new(
        root: impl Into<PathBuf>,
        runtime_folder: impl Into<PathBuf>,
        sink: Arc<dyn LineSink>,
    ) -> Self {
        Self {
            root: root.into(),
            runtime_folder: runtime_folder.into(),
            backend: Backend::Auto,
            cgroups: true,
            trampoline: Some("/proc/self/exe".into()),
            no_new_privileges: true,
            allow_privileged: true,
            allow_reboot: false,
            sink,
        }
    }
}

/// What starts processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// systemd when this process is root and systemd is PID 1, else processes.
    #[default]
    Auto,
    /// Transient units of the system's systemd.
    Systemd,
    /// Own child processes.
    Processes,
}
