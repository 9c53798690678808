//! Starts one process: through the trampoline when there is one, else directly.

use super::super::{
    LaunchError, Options, Unit,
    trampoline::{ARGUMENT, Ids, Order, frame},
    users::Account,
};
use super::{cgroup::Leaf, group::MARK};
use rustix::{
    fs::{Gid, Uid, chown},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use std::{
    fs,
    io::Write,
    os::unix::{fs::OpenOptionsExt, net::UnixStream as StdStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

/// A longer script goes through a file: one string of argv holds 128 KiB.
const LONG_SCRIPT: usize = 100 << 10;
/// From fork to exec; generous, for slow flash under load.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process is started with, besides the unit.
pub(super) struct Setting<'a> {
    pub(super) options: &'a Options,
    pub(super) account: &'a Account,
    pub(super) mark: &'a str,
    pub(super) leaf: Option<&'a Leaf>,
}

/// Starts the unit's shell. Its output is piped.
pub(super) async fn spawn(setting: &Setting<'_>, unit: &Unit) -> Result<Child, LaunchError> {
    let failed = |reason: &dyn std::fmt::Display| LaunchError::start(&unit.id, reason);
    let arguments = arguments(setting, unit).map_err(|e| failed(&e))?;
    match &setting.options.trampoline {
        Some(program) => by_trampoline(setting, unit, program, arguments).await,
        None => directly(setting, unit, arguments),
    }
}

async fn by_trampoline(
    setting: &Setting<'_>,
    unit: &Unit,
    program: &Path,
    arguments: Vec<String>,
) -> Result<Child, LaunchError> {
    let failed = |reason: &dyn std::fmt::Display| LaunchError::start(&unit.id, reason);
    let own = Account::own();
    let account = setting.account;
    let order = Order {
        cgroup: setting.leaf.map(Leaf::procs_file),
        account: (own.uid == 0).then(|| Ids {
            uid: account.uid,
            gid: account.gid,
            groups: account.groups.clone(),
        }),
        no_new_privileges: setting.options.no_new_privileges
            && own.uid == 0
            && account.uid != 0
            && !unit.privileged,
        work_folder: unit.work_folder.clone(),
        shell: unit.shell.clone(),
        arguments,
        environment: environment(setting, unit),
    };
    let order = frame(&order).map_err(|e| failed(&e))?;
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| failed(&e))?;
    let ours = StdStream::from(ours);
    ours.set_nonblocking(true).map_err(|e| failed(&e))?;
    let mut ours = UnixStream::from_std(ours).map_err(|e| failed(&e))?;
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .env(MARK, setting.mark)
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&format!("cannot execute {}: {e}", program.display())))?;
    let mut answer = String::new();
    let talk = async {
        ours.write_all(&order).await?;
        ours.read_to_string(&mut answer).await
    };
    match timeout(PATIENCE, talk).await {
        Ok(Ok(0)) => Ok(child),
        outcome => {
            let _ = child.kill().await;
            Err(failed(&match outcome {
                Ok(Ok(_)) => answer,
                Ok(Err(e)) => format!("the step before the shell failed: {e}"),
                Err(_) => format!("the shell did not run within {} s", PATIENCE.as_secs()),
            }))
        }
    }
}

/// Without a trampoline the standard library does what it can: a process group, the user and its primary group.
fn directly(
    setting: &Setting<'_>,
    unit: &Unit,
    arguments: Vec<String>,
) -> Result<Child, LaunchError> {
    let mut command = Command::new(&unit.shell);
    command
        .args(arguments)
        .env_clear()
        .envs(environment(setting, unit))
        .current_dir(&unit.work_folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if Account::own().uid == 0 {
        command.gid(setting.account.gid).uid(setting.account.uid);
    }
    let child = command
        .spawn()
        .map_err(|e| LaunchError::start(&unit.id, format!("cannot execute {}: {e}", unit.shell)))?;
    if let (Some(leaf), Some(pid)) = (setting.leaf, child.id()) {
        let _ = leaf.join(pid); // one that ended at once needs no cgroup
    }
    Ok(child)
}

/// What the caller gave, completed by what every program may expect, and the mark.
fn environment(setting: &Setting<'_>, unit: &Unit) -> std::collections::BTreeMap<String, String> {
    let account = setting.account;
    let mut environment = unit.environment.clone();
    let mut complete = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            environment.entry(name.to_owned()).or_insert(value);
        }
    };
    let path = std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    complete("PATH", Some(path));
    complete(
        "HOME",
        account
            .home
            .as_ref()
            .and_then(|home| home.to_str().map(str::to_owned)),
    );
    complete("USER", account.name.clone());
    complete("LOGNAME", account.name.clone());
    complete("SHELL", Some("/bin/sh".into()));
    environment.insert(MARK.into(), setting.mark.into());
    environment
}

fn arguments(setting: &Setting<'_>, unit: &Unit) -> std::io::Result<Vec<String>> {
    if unit.script.len() <= LONG_SCRIPT {
        return Ok(vec!["-c".into(), unit.script.clone()]);
    }
    let path = script_file(setting.options, unit);
    write_script(&path, &unit.script, setting.account)?;
    Ok(vec![path.to_string_lossy().into_owned()])
}

/// Where a long script lies while its unit is known.
pub(super) fn script_file(options: &Options, unit: &Unit) -> PathBuf {
    options
        .runtime_folder
        .join(format!("{}.{}.sh", unit.id.component, unit.id.step))
}

/// Readable by its user alone.
fn write_script(path: &Path, script: &str, account: &Account) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)?;
    file.write_all(script.as_bytes())?;
    drop(file);
    if rustix::process::geteuid().is_root() {
        chown(
            path,
            Some(Uid::from_raw(account.uid)),
            Some(Gid::from_raw(account.gid)),
        )?;
    }
    Ok(())
}
