//! Orphans of components become our children when we are their subreaper, or PID 1 of a container: somebody must wait
//! for them. Our own children are waited for where they were started; orphans differ from them by their session or group.

use super::proc;
use rustix::process::{Pid, WaitOptions, set_child_subreaper, waitpid};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{RwLock, RwLockReadGuard},
    time::sleep,
};

/// Makes orphans our children. `false` when the kernel declines.
pub(super) fn adopt_orphans() -> bool {
    set_child_subreaper(Some(rustix::process::getpid())).is_ok()
}

/// The children that others wait for. Children belong to the process, so this does too.
static MAINS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
/// Held while a child is started and not yet among the mains, so that it is not taken for an orphan.
static STARTING: RwLock<()> = RwLock::const_new(());

/// Keeps sweeps away until it is dropped.
pub(super) async fn starting() -> RwLockReadGuard<'static, ()> {
    STARTING.read().await
}

/// Somebody else waits for this child, until this is dropped.
pub(super) struct Main(u32);

impl Main {
    pub(super) fn new(pid: u32) -> Self {
        mains().insert(pid);
        Self(pid)
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        mains().remove(&self.0);
    }
}

fn mains() -> MutexGuard<'static, BTreeSet<u32>> {
    MAINS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for orphans as they end, for ever.
pub(super) async fn run() {
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    loop {
        {
            let _none_starts = STARTING.write().await;
            sweep(&mains());
        }
        if ended.recv().await.is_none() {
            return;
        }
        sleep(Duration::from_millis(50)).await; // many ends, one sweep
    }
}

/// Orphans among our children, dead or alive.
fn orphans(mains: &BTreeSet<u32>) -> Vec<proc::Process> {
    let me = std::process::id();
    // As PID 1 of a container these may both be 0: they belong to a process outside.
    let Some(own) = proc::process(me) else {
        return Vec::new();
    };
    let foreign =
        |process: &proc::Process| process.session != own.session || process.group != own.group;
    let ours = |process: &proc::Process| process.parent == me && !mains.contains(&process.pid);
    proc::snapshot()
        .into_values()
        .filter(|process| ours(process) && foreign(process))
        .collect()
}

fn sweep(mains: &BTreeSet<u32>) {
    for process in orphans(mains) {
        if process.zombie
            && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
        {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}
