//! What is asked of systemd about a unit that is there, and how its processes are ended.

use super::{Inner, KILL, KILL_PATIENCE, SERVICE, TERM, UNIT, failed, state::Seen};
use crate::launcher::LaunchError;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::{
    collections::HashMap,
    fs,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use zbus::{
    DBusError, OwnedObjectPath, OwnedVariant, fdo::PropertiesProxy, names::InterfaceName,
    proxy::CacheProperties,
};

impl Inner {
    /// SIGTERM, wait, SIGKILL. Returns when none is left.
    pub(super) async fn end_processes(
        &self,
        name: &str,
        grace: Duration,
    ) -> Result<(), LaunchError> {
        if self.processes(name).await?.is_empty() {
            return Ok(());
        }
        let _ = self.manager.kill_unit(name, "all", TERM).await; // fails when they are gone meanwhile
        if self.wait_empty(name, grace).await? {
            return Ok(());
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        loop {
            let _ = self.manager.kill_unit(name, "all", KILL).await;
            if self.wait_empty(name, Duration::from_millis(200)).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let left = self.processes(name).await?;
                return Err(failed(
                    "ending",
                    name,
                    &format!("these processes live on after SIGKILL: {left:?}"),
                ));
            }
        }
    }

    async fn wait_empty(&self, name: &str, patience: Duration) -> Result<bool, LaunchError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(5);
        loop {
            if self.processes(name).await?.is_empty() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The unit's processes; zombies are none.
    async fn processes(&self, name: &str) -> Result<Vec<u32>, LaunchError> {
        match self.manager.get_unit_processes(name).await {
            Ok(processes) => Ok(processes
                .into_iter()
                .map(|(_, pid, _)| pid)
                .filter(|pid| !is_zombie(*pid))
                .collect()),
            Err(e) if is_gone(&e) => Ok(Vec::new()),
            Err(e) => Err(failed("looking at the processes of", name, &e)),
        }
    }

    /// A unit as it is now; `None` when it is not loaded.
    pub(super) async fn look(&self, path: &OwnedObjectPath) -> Result<Option<Seen>, LaunchError> {
        let unit = self.properties(path, UNIT).await?;
        let service = self.properties(path, SERVICE).await?;
        let mut seen = Seen::default();
        Ok(seen.replace(&unit, &service).then_some(seen))
    }

    async fn properties(
        &self,
        path: &OwnedObjectPath,
        interface: &'static str,
    ) -> Result<HashMap<String, OwnedVariant>, LaunchError> {
        let answer = async {
            let proxy = self.properties_proxy(path).await?;
            proxy
                .get_all(InterfaceName::from_static_str(interface)?)
                .await
                .map_err(zbus::Error::from)
        };
        match answer.await {
            Ok(properties) => Ok(properties),
            Err(e) if is_gone(&e) => Ok(HashMap::new()),
            Err(e) => Err(failed("looking at", path.as_str(), &e)),
        }
    }

    pub(super) async fn properties_proxy(
        &self,
        path: &OwnedObjectPath,
    ) -> zbus::Result<PropertiesProxy<'static>> {
        PropertiesProxy::builder(&self.connection)
            .destination("org.freedesktop.systemd1")
            .path(path.clone())
            .cache_properties(CacheProperties::No)
            .build()
            .await
    }

    /// The unit a process is in, if it is one of a component. By pidfd, lest the number be given to another meanwhile.
    pub(super) async fn unit_of(&self, pid: u32) -> Result<Option<OwnedObjectPath>, LaunchError> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else {
            return Ok(None);
        };
        match self.manager.get_unit_by_pidfd((&pidfd).into()).await {
            Ok((path, _, _)) => return Ok(Some(path)),
            Err(e) if !is_unknown_method(&e) => {
                return if is_gone(&e) {
                    Ok(None)
                } else {
                    Err(failed("finding", "its unit", &e))
                };
            }
            Err(_) => {}
        }
        match self.manager.get_unit_by_pid(pid).await {
            Ok(path) if is_pid_of(&pidfd, pid) => Ok(Some(path)),
            Ok(_) => Ok(None),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(failed("finding the unit of", &pid.to_string(), &e)),
        }
    }
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rfind(')')
            .and_then(|end| stat[end + 1..].trim_start().chars().next());
        matches!(state, Some('Z' | 'X'))
    })
}

/// Whether a descriptor's process has not been reaped, so that its number has been nobody else's since it was opened.
fn is_pid_of(pidfd: &OwnedFd, pid: u32) -> bool {
    let information =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    information.lines().any(|line| {
        line.strip_prefix("Pid:")
            .is_some_and(|value| value.trim() == pid.to_string())
    })
}

fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, _, _) => Some(name.to_string()),
        zbus::Error::FDO(error) => Some(error.name().to_string()),
        _ => None,
    }
}

fn is_gone(error: &zbus::Error) -> bool {
    // A scope or a device has no service interface: it is none of ours.
    let gone = [
        "NoSuchUnit",
        "NoUnitForPID",
        "NoSuchProcess",
        "UnknownObject",
        "UnknownInterface",
    ];
    error_name(error).is_some_and(|name| gone.iter().any(|end| name.ends_with(end)))
}

fn is_unknown_method(error: &zbus::Error) -> bool {
    error_name(error).is_some_and(|name| name.ends_with("UnknownMethod"))
}
