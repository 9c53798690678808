//! The back end for machines without systemd: components are our own child processes, in their own sessions, and in cgroups where we
//! may make some. They do not outlive the launcher: what a killed one left behind is ended when the next one opens.

mod cgroup;
mod group;
mod proc;
mod reap;
mod spawn;
mod watch;

use super::{
    Event, LaunchError, Options, Outcome, Started, StepKind, Unit, UnitId, UnitStatus,
    backend::Backend, output::Output, port::lock, shell, users::Account,
};
use async_trait::async_trait;
use cgroup::Tree;
use group::Group;
use model::{ComponentName, SystemLimits};
use rustix::process::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Mutex as TurnLock, broadcast, watch as channel},
    task::JoinHandle,
};

/// What a main process leaves running has this long to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

/// Own processes.
pub(super) struct Processes {
    inner: Arc<Inner>,
    reaper: Option<JoinHandle<()>>,
}

struct Inner {
    options: Options,
    root_id: String,
    tree: Option<Tree>,
    output: Output,
    events: broadcast::Sender<Event>,
    units: Mutex<BTreeMap<UnitId, Record>>,
    frozen: Mutex<BTreeSet<ComponentName>>,
    /// Calls on one unit queue here.
    turns: Mutex<BTreeMap<UnitId, Arc<TurnLock<()>>>>,
}

/// One unit that lives, or ended and was neither stopped nor started again.
struct Record {
    tag: String,
    pid: u32,
    uid: u32,
    started: SystemTime,
    group: Arc<Group>,
    script_file: PathBuf,
    ended: Option<(Outcome, Vec<String>)>,
    /// Becomes true when `ended` is set and the event is out.
    done: channel::Receiver<bool>,
}

impl Processes {
    /// Ends what an earlier launcher left and gets ready.
    pub(super) async fn open(
        options: Options,
        events: broadcast::Sender<Event>,
    ) -> Result<Self, LaunchError> {
        let root_id = root_id(&options.root)
            .map_err(|e| LaunchError::system(format!("finding {}", options.root.display()), e))?;
        let tree = if options.cgroups {
            Tree::open(&root_id)
        } else {
            None
        };
        if tree.is_none() && options.cgroups {
            log::info!(
                "no writable cgroup v2 here: components have no memory and CPU limits, and are paused by signals"
            );
        }
        end_leftovers(&root_id, tree.as_ref()).await?;
        // With cgroups orphans cannot escape, and belong to init; as PID 1 we are init.
        let reaps = std::process::id() == 1 || (tree.is_none() && reap::adopt_orphans());
        let output = Output::new(options.sink.clone())
            .map_err(|e| LaunchError::system("starting the log thread", e))?;
        let inner = Arc::new(Inner {
            options,
            root_id,
            tree,
            output,
            events,
            units: Mutex::default(),
            frozen: Mutex::default(),
            turns: Mutex::default(),
        });
        let reaper = reaps.then(|| tokio::spawn(reap::run()));
        Ok(Self { inner, reaper })
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.reaper.as_ref().inspect(|task| task.abort());
        self.inner.tree.as_ref().inspect(|tree| tree.tidy());
    }
}

#[async_trait]
impl Backend for Processes {
    async fn start(&self, unit: Unit, account: Account) -> Result<Started, LaunchError> {
        // On a task of its own: a caller that gives up must not leave a process nobody knows.
        let inner = self.inner.clone();
        let id = unit.id.clone();
        joined(
            tokio::spawn(async move { inner.start(unit, account).await }),
            &id,
        )
        .await
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        let inner = self.inner.clone();
        let unit = id.clone();
        joined(
            tokio::spawn(async move { inner.stop(&unit, grace).await }),
            id,
        )
        .await
    }

    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError> {
        let groups = self.inner.living(component);
        if groups.is_empty() {
            return Err(LaunchError::NotFound(component.to_string()));
        }
        lock(&self.inner.frozen).insert(component.clone());
        match &self.inner.tree {
            Some(tree) => {
                tree.freeze(component, true)
                    .map_err(|e| LaunchError::system(format!("freezing {component}"), e))?;
                cgroup::wait_frozen(tree, component).await
            }
            None => {
                for group in groups {
                    group.signal(Signal::STOP);
                }
                Ok(())
            }
        }
    }

    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.inner.thaw(component)
    }

    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError> {
        let frozen = lock(&self.inner.frozen).clone();
        let status = |(id, record): (&UnitId, &Record)| UnitStatus {
            id: id.clone(),
            tag: record.tag.clone(),
            pid: record.ended.is_none().then_some(record.pid),
            started: record.started,
            frozen: frozen.contains(&id.component),
            ended: record.ended.clone(),
        };
        Ok(lock(&self.inner.units).iter().map(status).collect())
    }

    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError> {
        Ok(self.inner.owner(pid))
    }

    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError> {
        let missing = match &self.inner.tree {
            Some(tree) => tree.limit(component, limits)?,
            None => without_cgroup(limits),
        };
        if missing.is_empty() {
            Ok(())
        } else {
            Err(LaunchError::Unsupported(missing.join("; ")))
        }
    }

    async fn reboot(&self) -> Result<(), LaunchError> {
        let status = tokio::process::Command::new("reboot").status().await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(LaunchError::system(
                "rebooting",
                format!("the reboot command ended with {status}"),
            )),
            Err(e) => Err(LaunchError::system("executing the reboot command", e)),
        }
    }

    async fn close(&self, grace: Duration) {
        let ids: Vec<UnitId> = lock(&self.inner.units).keys().cloned().collect();
        let stops: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let inner = self.inner.clone();
                tokio::spawn(async move { inner.stop(&id, grace).await })
            })
            .collect();
        for stop in stops {
            if let Ok(Err(e)) = stop.await {
                log::error!("{e}");
            }
        }
    }
}

impl Inner {
    async fn start(self: &Arc<Self>, unit: Unit, account: Account) -> Result<Started, LaunchError> {
        let turn = self.turn(&unit.id);
        let _turn = turn.lock().await;
        let earlier = lock(&self.units)
            .get(&unit.id)
            .map(|record| (record.ended.is_some(), record.group.clone()));
        match earlier {
            Some((false, _)) => return Err(LaunchError::Exists(unit.id)),
            Some((true, group)) => {
                group.end(LEFTOVER_GRACE).await?;
                self.forget(&unit.id);
            }
            None => {}
        }
        self.thaw(&unit.id.component)?;
        let (leaf, warnings) = self.confine(&unit)?;
        let mark = format!("{}/{}/", self.root_id, unit.id);
        let setting = spawn::Setting {
            options: &self.options,
            account: &account,
            mark: &mark,
            leaf: leaf.as_ref(),
        };

        let starting = reap::starting().await;
        let kills_before = leaf.as_ref().map_or(0, cgroup::Leaf::out_of_memory_kills);
        let mut child = match spawn::spawn(&setting, &unit).await {
            Ok(child) => child,
            Err(e) => {
                let _ = fs::remove_file(shell::script_file(&self.options, &unit.id));
                leaf.inspect(cgroup::Leaf::remove);
                return Err(e);
            }
        };
        // A child that was not waited for has a pid.
        let pid = child
            .id()
            .ok_or_else(|| LaunchError::start(&unit.id, "it is gone already"))?;
        let main = reap::Main::new(pid);
        drop(starting);
        let group = Arc::new(Group::new(mark, leaf, Some(pid)));
        let pumps = self.pump(&unit.id, &mut child);
        let (done_sender, done) = channel::channel(false);
        let record = Record {
            tag: unit.tag.clone(),
            pid,
            uid: account.uid,
            started: SystemTime::now(),
            group: group.clone(),
            script_file: shell::script_file(&self.options, &unit.id),
            ended: None,
            done,
        };
        lock(&self.units).insert(unit.id.clone(), record);

        let watcher = watch::Watcher {
            inner: self.clone(),
            id: unit.id,
            pid,
            group,
            pumps,
            done: done_sender,
            kills_before,
        };
        tokio::spawn(watcher.run(child, main));
        Ok(Started { pid, warnings })
    }

    /// The unit's cgroup with the component's limits, and what of them has no effect.
    fn confine(&self, unit: &Unit) -> Result<(Option<cgroup::Leaf>, Vec<String>), LaunchError> {
        let Some(tree) = &self.tree else {
            return Ok((None, without_cgroup(&unit.limits)));
        };
        let warnings = tree.limit(&unit.id.component, &unit.limits)?;
        let leaf = tree
            .make(&unit.id)
            .map_err(|e| LaunchError::system(format!("making the cgroup of {}", unit.id), e))?;
        Ok((Some(leaf), warnings))
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let found = lock(&self.units)
            .get(id)
            .map(|record| (record.group.clone(), record.done.clone()));
        let Some((group, mut done)) = found else {
            return Ok(());
        };
        self.thaw(&id.component)?;
        group.end(grace).await?;
        // Fails when the watcher is gone, which means the same.
        let _ = done.wait_for(|done| *done).await;
        self.forget(id);
        Ok(())
    }

    /// The unit is over and nobody needs to know how it ended.
    fn forget(&self, id: &UnitId) {
        let mut units = lock(&self.units);
        let Some(record) = units.remove(id) else {
            return;
        };
        let _ = fs::remove_file(&record.script_file);
        record.group.leaf().inspect(|leaf| leaf.remove());
        if !units.keys().any(|other| other.component == id.component)
            && let Some(tree) = &self.tree
        {
            tree.forget(&id.component);
        }
    }

    fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        if !lock(&self.frozen).remove(component) {
            return Ok(());
        }
        match &self.tree {
            Some(tree) => tree
                .freeze(component, false)
                .map_err(|e| LaunchError::system(format!("thawing {component}"), e)),
            None => {
                for group in self.living(component) {
                    group.signal(Signal::CONT);
                }
                Ok(())
            }
        }
    }

    /// By cgroup; without one by descent, and only then by what the process claims, if it runs as the unit's user.
    fn owner(&self, pid: u32) -> Option<ComponentName> {
        if let Some(component) = self.tree.as_ref().and_then(|tree| tree.owner(pid)) {
            return Some(component);
        }
        let line = proc::ancestry(pid);
        let units = lock(&self.units);
        for process in &line {
            if let Some((id, _)) = units
                .iter()
                .find(|(_, record)| record.group.contains(process))
            {
                return Some(id.component.clone());
            }
        }
        let uid = proc::uid(pid)?;
        units
            .iter()
            .find(|(_, record)| record.uid == uid && record.group.claims(pid))
            .map(|(id, _)| id.component.clone())
    }

    /// The groups of a component's units.
    fn living(&self, component: &ComponentName) -> Vec<Arc<Group>> {
        let units = lock(&self.units);
        let of_component = units.iter().filter(|(id, _)| id.component == *component);
        // A startup step that succeeded may have left processes.
        let lives =
            |id: &UnitId, record: &Record| record.ended.is_none() || id.step == StepKind::Startup;
        of_component
            .filter(|(id, record)| lives(id, record))
            .map(|(_, record)| record.group.clone())
            .collect()
    }

    fn turn(&self, id: &UnitId) -> Arc<TurnLock<()>> {
        lock(&self.turns).entry(id.clone()).or_default().clone()
    }
}

/// Ends the components of an earlier launcher for the same root: their output goes nowhere and their exit codes are lost.
async fn end_leftovers(root_id: &str, tree: Option<&Tree>) -> Result<(), LaunchError> {
    let marked = Group::new(format!("{root_id}/"), None, None);
    let in_cgroups: Vec<_> = tree.map(Tree::units).unwrap_or_default();
    for (id, leaf) in in_cgroups {
        if let Some(tree) = tree {
            let _ = tree.freeze(&id.component, false);
        }
        let group = Group::new(format!("{root_id}/{id}/"), Some(leaf), None);
        let pids = group.members();
        if !pids.is_empty() {
            log::warn!("ending {id}, which an earlier runtime left behind: processes {pids:?}");
            group.end(LEFTOVER_GRACE).await?;
        }
    }
    let pids = marked.members();
    if !pids.is_empty() {
        log::warn!("ending components that an earlier runtime left behind: processes {pids:?}");
        marked.end(LEFTOVER_GRACE).await?;
    }
    tree.inspect(|tree| tree.tidy_units());
    Ok(())
}

fn without_cgroup(limits: &SystemLimits) -> Vec<String> {
    let asked = [
        (limits.memory_kib.is_some(), "memory"),
        (limits.cpus.is_some(), "CPU"),
    ];
    asked
        .into_iter()
        .filter(|(asked, _)| *asked)
        .map(|(_, what)| cgroup::no_controller(what))
        .collect()
}

/// Tells the components of this root from those of others: FNV-1a of its real path, stable across versions of the program.
fn root_id(root: &std::path::Path) -> io::Result<String> {
    let path = fs::canonicalize(root)?;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, mix);
    Ok(format!("{hash:016x}"))
}

async fn joined<T>(
    task: JoinHandle<Result<T, LaunchError>>,
    id: &UnitId,
) -> Result<T, LaunchError> {
    task.await
        .unwrap_or_else(|e| Err(LaunchError::system(format!("working on {id}"), e)))
}
