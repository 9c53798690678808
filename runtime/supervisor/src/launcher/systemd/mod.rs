//! The back end for machines with systemd: components are transient units, children of PID 1, that outlive launcher and nucleus.
//! systemd keeps all there is to know of them, so nothing is written down here: who opens this back end finds the units again.
//!
//! ```text
//! start   StartTransientUnit -> JobRemoved -> the shell runs
//! end     PropertiesChanged -> the unit has settled -> leftovers ended -> Exited; the unit stays until stop or a new start
//! stop    KillUnit TERM -> nobody left, or KillUnit KILL -> StopUnit, ResetFailedUnit -> the unit is gone
//! ```

mod bus;
mod journal;
mod properties;
mod proxy;
mod state;
mod watch;

use super::{
    Event, LaunchError, Options, Outcome, Started, StepKind, Unit, UnitId, UnitStatus,
    backend::Backend, port::lock, shell, users::Account,
};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use proxy::{LoginProxy, ManagerProxy};
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{Mutex as TurnLock, broadcast, watch as channel},
    task::JoinHandle,
    time::{sleep, timeout},
};
use zbus::{
    Connection, OwnedObjectPath, export::ordered_stream::OrderedStreamExt, proxy::CacheProperties,
};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// SIGTERM and SIGKILL, as D-Bus wants them.
const TERM: i32 = 15;
const KILL: i32 = 9;
/// What an ended main process leaves behind has this long.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);
/// systemd answers within this or not at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long processes may take to die of SIGKILL, and a unit to go.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Transient units.
pub(super) struct Systemd {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    connection: Connection,
    manager: ManagerProxy<'static>,
    events: broadcast::Sender<Event>,
    units: Mutex<BTreeMap<UnitId, Record>>,
    /// Calls on one unit queue here.
    turns: Mutex<BTreeMap<UnitId, Arc<TurnLock<()>>>>,
}

/// A unit that is watched.
#[derive(Clone)]
struct Record {
    name: String,
    path: OwnedObjectPath,
    pid: u32,
    ended: Option<(Outcome, Vec<String>)>,
    /// Becomes true when `ended` is set and the event is out.
    done: channel::Receiver<bool>,
    watcher: Arc<JoinHandle<()>>,
}

impl Systemd {
    /// Connects to the system's bus and takes up the units that live.
    pub(super) async fn open(
        options: Options,
        events: broadcast::Sender<Event>,
    ) -> Result<Self, LaunchError> {
        let failed = |e| LaunchError::system("talking to systemd on the system bus", e);
        let connection = Connection::system().await.map_err(failed)?;
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(failed)?;
        manager.subscribe().await.map_err(failed)?;
        let inner = Arc::new(Inner {
            options,
            connection,
            manager,
            events,
            units: Mutex::default(),
            turns: Mutex::default(),
        });
        inner.adopt().await?;
        Ok(Self { inner })
    }
}

#[async_trait]
impl Backend for Systemd {
    async fn start(&self, unit: Unit, account: Account) -> Result<Started, LaunchError> {
        // On a task of its own: a caller that gives up must not leave a unit nobody watches.
        let inner = self.inner.clone();
        let doing = format!("starting {}", unit.id);
        let task = tokio::spawn(async move { inner.start(unit, account).await });
        task.await
            .unwrap_or_else(|e| Err(LaunchError::system(doing, e)))
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        let (inner, id) = (self.inner.clone(), id.clone());
        let doing = format!("stopping {id}");
        let task = tokio::spawn(async move { inner.stop(&id, grace).await });
        task.await
            .unwrap_or_else(|e| Err(LaunchError::system(doing, e)))
    }

    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError> {
        let names = self.inner.names(component);
        if names.is_empty() {
            return Err(LaunchError::NotFound(component.to_string()));
        }
        for name in names {
            self.inner
                .manager
                .freeze_unit(&name)
                .await
                .map_err(|e| failed("freezing", &name, &e))?;
        }
        Ok(())
    }

    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        for name in self.inner.names(component) {
            self.inner
                .manager
                .thaw_unit(&name)
                .await
                .map_err(|e| failed("thawing", &name, &e))?;
        }
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError> {
        self.inner.adopt().await?;
        let records = lock(&self.inner.units).clone();
        let mut units = Vec::new();
        for (id, record) in records {
            let Some(seen) = self.inner.look(&record.path).await? else {
                continue;
            };
            // An end that is seen but not yet told will be; the event follows.
            units.push(UnitStatus {
                id,
                tag: seen.tag().to_owned(),
                pid: record.ended.is_none().then_some(record.pid),
                started: seen.started(),
                frozen: seen.frozen(),
                ended: record.ended,
            });
        }
        Ok(units)
    }

    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError> {
        let Some(path) = self.inner.unit_of(pid).await? else {
            return Ok(None);
        };
        let known = lock(&self.inner.units)
            .iter()
            .find(|(_, record)| record.path == path)
            .map(|(id, _)| id.component.clone());
        match known {
            Some(component) => Ok(Some(component)),
            // Being started just now, perhaps.
            None => Ok(self
                .inner
                .look(&path)
                .await?
                .and_then(|seen| seen.id())
                .map(|id| id.component)),
        }
    }

    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError> {
        for name in self.inner.names(component) {
            let properties = properties::limits(limits);
            self.inner
                .manager
                .set_unit_properties(&name, true, &properties)
                .await
                .map_err(|e| failed("limiting", &name, &e))?;
        }
        let missing = missing_controllers(limits);
        if missing.is_empty() {
            Ok(())
        } else {
            Err(LaunchError::Unsupported(missing.join("; ")))
        }
    }

    async fn reboot(&self) -> Result<(), LaunchError> {
        // logind honours inhibitors and tells who is logged in; a small image may do without it.
        let by_logind = async {
            LoginProxy::new(&self.inner.connection)
                .await?
                .reboot(false)
                .await
        };
        if let Err(e) = by_logind.await {
            log::info!("logind does not reboot ({e}); asking systemd");
            let started = self
                .inner
                .manager
                .start_unit("reboot.target", "replace-irreversibly")
                .await;
            started.map_err(|e| LaunchError::system("rebooting", e))?;
        }
        Ok(())
    }

    async fn close(&self, _grace: Duration) {
        // Units outlive the launcher.
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        for record in lock(&self.inner.units).values() {
            record.watcher.abort();
        }
    }
}

impl Inner {
    async fn start(self: &Arc<Self>, unit: Unit, account: Account) -> Result<Started, LaunchError> {
        let id = unit.id.clone();
        let turn = self.turn(&id);
        let _turn = turn.lock().await;
        let earlier = lock(&self.units).get(&id).cloned();
        if let Some(record) = earlier {
            if record.ended.is_none() {
                return Err(LaunchError::Exists(id));
            }
            self.remove(&id, &record, LEFTOVER_GRACE).await?;
        }
        let result = self.start_new(&unit, &account).await;
        if result.is_err() {
            self.remove_files(&id);
        }
        result
    }

    async fn start_new(
        self: &Arc<Self>,
        unit: &Unit,
        account: &Account,
    ) -> Result<Started, LaunchError> {
        let id = &unit.id;
        let refused = |e: zbus::Error| LaunchError::start(id, e);
        let name = self.free_name(id);
        let properties = properties::of(&self.options, unit, account)?;
        let mut removed = self
            .manager
            .receive_job_removed_with_args(&[(2, &name)])
            .await
            .map_err(refused)?;
        let job = self
            .manager
            .start_transient_unit(&name, "fail", &properties, &[])
            .await
            .map_err(refused)?;
        let finished = async {
            while let Some(signal) = removed.next().await {
                if let Ok(arguments) = signal.args()
                    && arguments.job == job
                {
                    return Ok(arguments.result.clone());
                }
            }
            Err(LaunchError::start(id, "the connection to systemd is lost"))
        };
        let result = timeout(PATIENCE, finished)
            .await
            .map_err(|_| LaunchError::start(id, "systemd does not finish the job"))??;
        let path = self.manager.get_unit(&name).await.map_err(refused)?;
        let seen = self.look(&path).await?.unwrap_or_default();
        // "failed" is also a shell that ran and ended with an error before systemd had noticed that it ran.
        let failure = match (result.as_str(), seen.start_failure()) {
            ("done", _) => None,
            ("failed", None) if seen.pid() != 0 => None,
            (_, Some(reason)) => Some(reason.to_owned()),
            (other, None) => Some(format!("systemd says {other:?}")),
        };
        if let Some(reason) = failure {
            let _ = self.manager.stop_unit(&name, "replace").await; // failed already, most likely
            let _ = self.manager.reset_failed_unit(&name).await;
            return Err(LaunchError::start(id, reason));
        }
        let pid = seen.pid();
        self.watch(id.clone(), name, path, pid).await?;
        Ok(Started {
            pid,
            warnings: missing_controllers(&unit.limits),
        })
    }

    /// Begins to watch a unit and makes it known.
    async fn watch(
        self: &Arc<Self>,
        id: UnitId,
        name: String,
        path: OwnedObjectPath,
        pid: u32,
    ) -> Result<(), LaunchError> {
        let (sender, done) = channel::channel(false);
        let watcher = watch::Watcher::new(
            self.clone(),
            id.clone(),
            name.clone(),
            path.clone(),
            pid,
            sender,
        )
        .await?;
        // The record is there before the watcher runs, which fills it in.
        let mut units = lock(&self.units);
        let watcher = Arc::new(tokio::spawn(watcher.run()));
        units.insert(
            id,
            Record {
                name,
                path,
                pid,
                ended: None,
                done,
                watcher,
            },
        );
        Ok(())
    }

    /// Takes up units that an earlier launcher started, and lets go of those that somebody else has removed.
    async fn adopt(self: &Arc<Self>) -> Result<(), LaunchError> {
        let listed = self
            .manager
            .list_units_by_patterns(&[], &["ggl.*.service"])
            .await;
        for unit in listed.map_err(|e| failed("listing", "ggl.*.service", &e))? {
            let (name, path) = (unit.0, unit.6);
            let Some(seen) = self.look(&path).await? else {
                continue;
            };
            let Some(id) = seen.id() else { continue };
            let turn = self.turn(&id);
            // One that is just being started or stopped is in good hands.
            let Ok(_turn) = turn.try_lock() else { continue };
            if !lock(&self.units).contains_key(&id) {
                log::info!("{id} is taken up again: process {}", seen.pid());
                self.watch(id, name, path, seen.pid()).await?;
            }
        }
        Ok(())
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let Some(record) = lock(&self.units).get(id).cloned() else {
            return Ok(());
        };
        self.remove(id, &record, grace).await
    }

    /// Ends a unit's processes, waits until its end is told, and has systemd forget it.
    async fn remove(
        &self,
        id: &UnitId,
        record: &Record,
        grace: Duration,
    ) -> Result<(), LaunchError> {
        if self
            .look(&record.path)
            .await?
            .is_some_and(|seen| seen.frozen())
        {
            self.manager
                .thaw_unit(&record.name)
                .await
                .map_err(|e| failed("thawing", &record.name, &e))?;
        }
        self.end_processes(&record.name, grace).await?;
        let mut done = record.done.clone();
        let told = timeout(KILL_PATIENCE, done.wait_for(|done| *done))
            .await
            .is_ok_and(|told| told.is_ok());
        let gone = async {
            while self.look(&record.path).await?.is_some() {
                // Both fail when there is nothing to do, or the unit is gone meanwhile.
                let _ = self.manager.stop_unit(&record.name, "replace").await;
                let _ = self.manager.reset_failed_unit(&record.name).await;
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(KILL_PATIENCE, gone)
            .await
            .unwrap_or_else(|_| Err(failed("removing", &record.name, &"it does not go")))?;
        if !told {
            record.watcher.abort();
        }
        lock(&self.units).remove(id);
        self.remove_files(id);
        Ok(())
    }

    /// `ggl.<component>.<step>.service` is also the name of another component's run step; who comes second gets another name.
    fn free_name(&self, id: &UnitId) -> String {
        let name = id.unit_name();
        let taken = lock(&self.units)
            .iter()
            .any(|(other, record)| other != id && record.name == name);
        if taken {
            format!("ggl.{}.{}-step.service", id.component, id.step)
        } else {
            name
        }
    }

    /// The names of a component's units that may have processes.
    fn names(&self, component: &ComponentName) -> Vec<String> {
        let units = lock(&self.units);
        let lives =
            |id: &UnitId, record: &Record| record.ended.is_none() || id.step == StepKind::Startup;
        let of_component = units
            .iter()
            .filter(|(id, record)| id.component == *component && lives(id, record));
        of_component
            .map(|(_, record)| record.name.clone())
            .collect()
    }

    fn remove_files(&self, id: &UnitId) {
        let _ = fs::remove_file(properties::environment_file(&self.options, id));
        let _ = fs::remove_file(shell::script_file(&self.options, id));
    }

    fn turn(&self, id: &UnitId) -> Arc<TurnLock<()>> {
        lock(&self.turns).entry(id.clone()).or_default().clone()
    }
}

fn missing_controllers(limits: &SystemLimits) -> Vec<String> {
    // With systemd the whole tree is v2, mounted here.
    let there = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let missing = |asked: bool, controller: &str| {
        asked
            && !there
                .split_ascii_whitespace()
                .any(|name| name == controller)
    };
    let mut warnings = Vec::new();
    for (asked, controller, what) in [
        (limits.memory_kib.is_some(), "memory", "memory"),
        (limits.cpus.is_some(), "cpu", "CPU"),
    ] {
        if missing(asked, controller) {
            warnings.push(format!("the {what} limit has no effect: this kernel offers systemd no cgroup v2 {what} controller"));
        }
    }
    warnings
}

fn failed(doing: &str, what: &str, error: &dyn std::fmt::Display) -> LaunchError {
    LaunchError::system(format!("{doing} {what}"), error)
}
