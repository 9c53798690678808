//! All processes of one unit, and how to end them so that none is left: also those that began sessions of their own or were
//! orphaned by a double fork.
//!
//! A process belongs to a unit when it is in its cgroup; or was executed with the unit's mark in its environment; or is in
//! the session or process group of the unit's living main process; or descends from one that belongs; or was seen to
//! belong before. The cgroup alone would do if nothing could leave it (`su` through pam_systemd does).

use super::super::LaunchError;
use super::{cgroup::Leaf, proc};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The variable that holds the mark.
pub(super) const MARK: &str = "GREENGRASS_UNIT";
/// How long SIGKILL may take: a process deep in the kernel dies late.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A process that cannot be mistaken for a later one of the same number.
type Identity = (u32, u64);

/// The processes of a unit.
pub(super) struct Group {
    /// `<root id>/<component>/<step>/`, or a leading part of it to mean several units.
    mark: String,
    leaf: Option<Leaf>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The main process, until it has been reaped: its number may be another's afterwards.
    main: Option<u32>,
    /// Known to belong.
    known: BTreeSet<Identity>,
}

impl Group {
    /// Of a unit whose main process is `main`.
    pub(super) fn new(mark: String, leaf: Option<Leaf>, main: Option<u32>) -> Self {
        Self {
            mark,
            leaf,
            seen: Mutex::new(Seen {
                main,
                known: BTreeSet::new(),
            }),
        }
    }

    pub(super) fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// The main process has been reaped just now: remember who is left of its session.
    pub(super) fn main_ended(&self) {
        self.members();
        self.lock().main = None;
    }

    /// Whether a process that still has this number belongs to it.
    pub(super) fn contains(&self, process: &proc::Process) -> bool {
        let seen = self.lock();
        seen.known.contains(&(process.pid, process.started))
            || seen
                .main
                .is_some_and(|main| [process.pid, process.group, process.session].contains(&main))
    }

    /// Whether the process's environment says so. Anybody may write there what he likes.
    pub(super) fn claims(&self, pid: u32) -> bool {
        proc::variable(pid, MARK).is_some_and(|mark| mark.starts_with(&self.mark))
    }

    /// All that live now.
    pub(super) fn members(&self) -> Vec<u32> {
        let processes = proc::snapshot();
        let ours: BTreeSet<u32> = proc::ancestry(std::process::id())
            .iter()
            .map(|process| process.pid)
            .collect();
        let in_cgroup: BTreeSet<u32> = self.leaf.iter().flat_map(Leaf::pids).collect();
        let may_be = |process: &&proc::Process| !process.zombie && !ours.contains(&process.pid);
        let mut members: BTreeMap<u32, u64> = processes
            .values()
            .filter(may_be)
            .filter(|process| {
                in_cgroup.contains(&process.pid)
                    || self.contains(process)
                    || self.claims(process.pid)
            })
            .map(|process| (process.pid, process.started))
            .collect();
        loop {
            let children: Vec<_> = processes
                .values()
                .filter(may_be)
                .filter(|process| {
                    members.contains_key(&process.parent) && !members.contains_key(&process.pid)
                })
                .map(|process| (process.pid, process.started))
                .collect();
            if children.is_empty() {
                break;
            }
            members.extend(children);
        }
        self.lock().known = members
            .iter()
            .map(|(pid, started)| (*pid, *started))
            .collect();
        members.into_keys().collect()
    }

    /// A cheap look: certainly somebody lives.
    fn is_busy(&self) -> bool {
        if self.leaf.as_ref().is_some_and(Leaf::is_populated) {
            return true;
        }
        let known = self.lock().known.clone();
        known.into_iter().any(|identity| living(identity).is_some())
    }

    /// Sends a signal to all that live now.
    pub(super) fn signal(&self, signal: Signal) {
        self.members();
        for identity in self.lock().known.clone() {
            send(identity, signal);
        }
    }

    /// SIGTERM, wait, SIGKILL. Returns when none is left.
    pub(super) async fn end(&self, grace: Duration) -> Result<(), LaunchError> {
        if self.members().is_empty() {
            return Ok(());
        }
        self.signal(Signal::TERM);
        self.signal(Signal::CONT); // a stopped process would not see the other
        if self.wait_empty(grace).await {
            return Ok(());
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        loop {
            self.kill();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.wait_empty(left.min(Duration::from_millis(200))).await {
                return Ok(());
            }
            if left.is_zero() {
                let left: Vec<String> = self.members().iter().map(u32::to_string).collect();
                let reason = format!("these processes live on after SIGKILL: {}", left.join(", "));
                return Err(LaunchError::system(
                    format!("ending {}", self.mark.trim_end_matches('/')),
                    reason,
                ));
            }
        }
    }

    async fn wait_empty(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            if !self.is_busy() && self.members().is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Stops all before it kills any, so that none forks while the others die.
    fn kill(&self) {
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
        let mut stopped = BTreeSet::new();
        for _ in 0..50 {
            self.members();
            let known = self.lock().known.clone();
            let fresh: Vec<_> = known.difference(&stopped).copied().collect();
            if fresh.is_empty() {
                break;
            }
            for identity in fresh {
                send(identity, Signal::STOP);
                stopped.insert(identity);
            }
        }
        for identity in stopped {
            send(identity, Signal::KILL);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn living((pid, started): Identity) -> Option<proc::Process> {
    proc::process(pid).filter(|process| process.started == started && !process.zombie)
}

/// Through a pidfd, so that a number given to somebody else meanwhile does not hit him. One that is gone is fine.
fn send(identity: Identity, signal: Signal) {
    let Some(pid) = i32::try_from(identity.0).ok().and_then(Pid::from_raw) else {
        return;
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => {
            if living(identity).is_some() {
                let _ = pidfd_send_signal(fd, signal);
            }
        }
        Err(Errno::NOSYS) => {
            if living(identity).is_some() {
                let _ = kill_process(pid, signal);
            }
        }
        Err(_) => {}
    }
}
