//! The launcher itself, in this process: checks every request, looks users up, and hands the rest to a back end.

use super::{
    Event, Events, LaunchError, Launcher, Options, Started, Unit, UnitId, UnitStatus,
    backend::Backend,
    check, folders,
    options::Backend as Choice,
    port::{EVENT_CAPACITY, work_folder},
    process::Processes,
    systemd::Systemd,
    users::Account,
};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use rustix::{
    fd::OwnedFd,
    fs::{FlockOperation, Mode, OFlags, flock, open},
};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::broadcast;

/// No grace is longer.
const MAX_GRACE: Duration = Duration::from_secs(3600);

/// A launcher that serves this process.
pub struct Local {
    options: Options,
    backend: Box<dyn Backend>,
    events: broadcast::Sender<Event>,
    /// Held as long as we live: two launchers on one root would end each other's components.
    _lock: OwnedFd,
}

impl Local {
    /// Gets ready. With the process back end, ends what an earlier launcher left behind.
    pub async fn open(mut options: Options) -> Result<Self, LaunchError> {
        options.root = fs::canonicalize(&options.root).map_err(|e| {
            LaunchError::system(
                format!("finding the root folder {}", options.root.display()),
                e,
            )
        })?;
        let lock = lock(&options.root)?;
        options.runtime_folder = make_runtime_folder(&options.runtime_folder)?;
        let (events, _) = broadcast::channel(EVENT_CAPACITY);
        let systemd = match options.backend {
            Choice::Systemd => true,
            Choice::Processes => false,
            Choice::Auto => Account::own().uid == 0 && Path::new("/run/systemd/system").is_dir(),
        };
        let backend: Box<dyn Backend> = if systemd {
            Box::new(Systemd::open(options.clone(), events.clone()).await?)
        } else {
            Box::new(Processes::open(options.clone(), events.clone()).await?)
        };
        Ok(Self {
            options,
            backend,
            events,
            _lock: lock,
        })
    }

    /// Ends what cannot outlive the launcher: under the process back end every unit, under systemd nothing.
    pub async fn close(&self, grace: Duration) {
        self.backend.close(grace).await;
    }

    /// Whom a unit runs as, and what of the request cannot be kept.
    async fn account(
        &self,
        user: Option<&str>,
        privileged: bool,
    ) -> Result<(Account, Vec<String>), LaunchError> {
        let own = Account::own();
        if own.uid == 0 {
            return match user {
                _ if privileged => Ok((Account::root(), Vec::new())),
                None => Ok((own, Vec::new())),
                Some(user) => Ok((resolve(user).await?, Vec::new())),
            };
        }
        let mut warnings = Vec::new();
        if privileged {
            warnings.push("it requires privilege, but this runtime does not run as root".into());
        } else if let Some(user) = user
            && !resolve(user)
                .await
                .is_ok_and(|account| account.uid == own.uid)
        {
            warnings.push(format!(
                "it cannot run as {user:?}, because this runtime does not run as root"
            ));
        }
        Ok((own, warnings))
    }
}

#[async_trait]
impl Launcher for Local {
    async fn start(&self, unit: Unit) -> Result<Started, LaunchError> {
        check::unit(&self.options, &unit)?;
        let (account, mut warnings) = self.account(unit.user.as_deref(), unit.privileged).await?;
        let started = self.backend.start(unit, account).await?;
        warnings.extend(started.warnings);
        Ok(Started {
            warnings,
            ..started
        })
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        self.backend.stop(id, grace.min(MAX_GRACE)).await
    }

    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.backend.freeze(component).await
    }

    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.backend.thaw(component).await
    }

    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError> {
        self.backend.inspect().await
    }

    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError> {
        self.backend.owner(pid).await
    }

    async fn own_artifacts(
        &self,
        component: &ComponentName,
        paths: &[PathBuf],
        user: &str,
    ) -> Result<(), LaunchError> {
        for path in paths {
            check::artifacts(&self.options.root, component, path)?;
        }
        let (account, _) = self.account(Some(user), false).await?;
        if Account::own().uid != 0 {
            return Ok(()); // only root gives files away, and the component runs as us
        }
        let (root, paths) = (self.options.root.clone(), paths.to_vec());
        blocking(move || {
            paths
                .iter()
                .try_for_each(|path| folders::own(&root, path, &account))
        })
        .await
    }

    async fn prepare_work_folder(
        &self,
        component: &ComponentName,
        user: Option<&str>,
    ) -> Result<PathBuf, LaunchError> {
        let (account, _) = self.account(user, false).await?;
        let folder = work_folder(&self.options.root, component);
        let (root, made) = (self.options.root.clone(), folder.clone());
        blocking(move || folders::work_folder(&root, &made, &account)).await?;
        Ok(folder)
    }

    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError> {
        check::limits(limits)?;
        self.backend.limits(component, limits).await
    }

    async fn reboot(&self) -> Result<(), LaunchError> {
        if !self.options.allow_reboot {
            return Err(LaunchError::Refused(
                "this launcher may not reboot the device".into(),
            ));
        }
        self.backend.reboot().await
    }

    fn events(&self) -> Events {
        Events::new(self.events.subscribe())
    }
}

async fn resolve(user: &str) -> Result<Account, LaunchError> {
    let user = user.to_owned();
    blocking(move || Account::resolve(&user)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LaunchError> + Send + 'static,
) -> Result<T, LaunchError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(LaunchError::system("working", e)))
}

fn lock(root: &Path) -> Result<OwnedFd, LaunchError> {
    let path = root.join("launcher.lock");
    let failed =
        |reason: String| LaunchError::system(format!("locking {}", path.display()), reason);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = open(&path, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed(e.to_string()))?;
    flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
        rustix::io::Errno::WOULDBLOCK => failed("another runtime runs on this root".into()),
        e => failed(e.to_string()),
    })?;
    Ok(fd)
}

/// Others may pass through it to the one script they own, and list nothing.
fn make_runtime_folder(folder: &Path) -> Result<PathBuf, LaunchError> {
    let failed = |e| LaunchError::system(format!("making {}", folder.display()), e);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(folder)
        .map_err(failed)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).map_err(failed)?;
    fs::canonicalize(folder).map_err(failed)
}
