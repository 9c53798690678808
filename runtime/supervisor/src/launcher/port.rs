//! The trait between the nucleus and the launcher, and the events that come back.

use super::{LaunchError, Started, Unit, UnitId, UnitStatus};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast;

/// What the nucleus may ask of the launcher. Calls may run side by side; those on one unit take effect in the order they were made.
#[async_trait]
pub trait Launcher: Send + Sync {
    /// Starts one step's process. An ended unit of the same name is replaced, a living one refuses ([`LaunchError::Exists`]).
    ///
    /// Returns when the shell runs. A frozen component is thawed first. The end comes as [`Event::Exited`] with the same
    /// pid; a listener that does not wait for this call may see a very early end before it sees the result.
    async fn start(&self, unit: Unit) -> Result<Started, LaunchError>;

    /// SIGTERM to every process of the unit, also those that left its session, SIGKILL to all that live after `grace`.
    /// Returns when none is left. A unit that is not there is a success. A frozen one is thawed first.
    ///
    /// A main process that ends by this is still reported by [`Event::Exited`], before this call returns; afterwards
    /// the unit is forgotten.
    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError>;

    /// Freezes all processes of a component.
    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError>;

    /// Lets a frozen component go on. One that is not frozen is a success.
    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError>;

    /// All units known now: after a start of the nucleus these are to be adopted or stopped.
    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError>;

    /// Which component a process belongs to. `None`: to none.
    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError>;

    /// Hands a component's artifact folders (or files in them), with all below, to its user (`user[:group]`).
    /// Links are handed over, never followed. A path that is not there is a success.
    async fn own_artifacts(
        &self,
        component: &ComponentName,
        paths: &[PathBuf],
        user: &str,
    ) -> Result<(), LaunchError>;

    /// Makes `<root>/work/<component>`, mode 0700, and gives it to the user; `None`: the launcher's own. Returns its path.
    async fn prepare_work_folder(
        &self,
        component: &ComponentName,
        user: Option<&str>,
    ) -> Result<PathBuf, LaunchError>;

    /// Sets the limits of a component that runs. [`LaunchError::Unsupported`] where the kernel offers no means.
    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError>;

    /// Reboots the device, if the launcher was allowed to.
    async fn reboot(&self) -> Result<(), LaunchError>;

    /// Events from now on.
    fn events(&self) -> Events;
}

/// What the launcher reports by itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A unit's main process ended.
    Exited(Exited),
    /// Events may have been lost (a slow listener, a launcher that was restarted): ask [`Launcher::inspect`] again.
    Missed,
}

/// The end of a unit. What its main process left running is gone too, unless it was a startup step that succeeded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Exited {
    /// Which.
    pub id: UnitId,
    /// The pid [`Launcher::start`] gave: tells this end from that of an earlier run of the same step.
    pub pid: u32,
    /// How.
    pub outcome: Outcome,
    /// The last lines it wrote to stderr (to the journal, under systemd), at most 20, each at most 512 bytes.
    pub stderr_tail: Vec<String>,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// The kernel killed it, or one of its processes, for want of memory.
    OutOfMemory,
    /// It is gone and nobody saw how: it ended while no launcher ran.
    Unknown,
}

impl Outcome {
    /// It exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Outcome {
    /// Completes "the run script …": "exited with code 3", "was killed by signal 9".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("was killed because it ran out of memory"),
            Self::Unknown => f.write_str("ended while nobody watched it"),
        }
    }
}

/// Receives [`Event`]s. Bounded: a listener that falls behind gets [`Event::Missed`] in place of what it lost.
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// Wraps the receiving end of a channel; fakes use it too.
    pub fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next event; `None` when the launcher is gone for good. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// How many events wait for a slow listener.
pub(super) const EVENT_CAPACITY: usize = 256;

/// `<root>/work/<component>`.
pub(super) fn work_folder(root: &Path, component: &ComponentName) -> PathBuf {
    root.join("work").join(component.as_str())
}

/// The guarded values stay whole whatever a holder does, so a poisoned lock is as good as another.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
