//! Starts one process: through the trampoline when there is one, else directly.

use super::super::{
    LaunchError, Options, Unit, shell,
    trampoline::{ARGUMENT, Ids, Order, frame},
    users::Account,
};
use super::{cgroup::Leaf, group::MARK};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::{
    collections::BTreeMap, os::unix::net::UnixStream as StdStream, path::Path, process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

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
    let arguments =
        shell::arguments(setting.options, setting.account, unit).map_err(|e| failed(&e))?;
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
        shell: program_of(unit),
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
    let mut command = Command::new(program_of(unit));
    command
        .arg0(&unit.shell)
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

/// One that is not found is left for the system to refuse, with its own words.
fn program_of(unit: &Unit) -> String {
    shell::find(&unit.shell).unwrap_or_else(|| unit.shell.clone())
}

fn environment(setting: &Setting<'_>, unit: &Unit) -> BTreeMap<String, String> {
    let mut environment = shell::environment(setting.account, unit);
    environment.insert(MARK.into(), setting.mark.into());
    environment
}
