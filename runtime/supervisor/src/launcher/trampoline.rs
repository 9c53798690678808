//! The step between fork and shell: this program, executed again, gives up what the component must not have and becomes its shell.
//! It keeps the launcher free of unsafe code that runs between fork and exec.
//!
//! The order comes over standard input, a socket, so that no secret shows in argv:
//!
//! ```text
//! launcher -> step   u32 big-endian length, Order as JSON
//! step -> launcher   nothing, then end of file: the shell runs
//!                    or text: why it does not, and exit code 127
//! ```

use rustix::{
    fs::{Mode, OFlags, open},
    io::fcntl_dupfd_cloexec,
    process::{setsid, umask},
    stdio::{dup2_stdin, stdin},
    thread::{
        Gid, Uid, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The argument that makes the program a step.
pub(super) const ARGUMENT: &str = "launch-step";
/// Longest order: a script and an environment at their limits, each byte escaped as `\u0000`.
const MAX_ORDER: u32 = 16 << 20;

/// What a step is to become.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// `cgroup.procs` of the cgroup to join.
    pub(super) cgroup: Option<PathBuf>,
    /// Whom to become; `None`: stay.
    pub(super) account: Option<Ids>,
    pub(super) no_new_privileges: bool,
    pub(super) work_folder: PathBuf,
    pub(super) shell: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
}

/// The numbers of an account.
#[derive(Serialize, Deserialize)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// Becomes the component's shell when this program was executed as a step of the launcher; returns at once otherwise.
///
/// Every program that runs a launcher with a trampoline calls this first thing in `main`, before any thread starts.
pub fn trampoline_main() {
    if std::env::args_os()
        .nth(1)
        .is_none_or(|argument| argument != ARGUMENT)
    {
        return;
    }
    // A copy that exec closes: the launcher sees the end of file exactly when the shell runs.
    let launcher = match fcntl_dupfd_cloexec(stdin(), 3) {
        Ok(fd) => fd,
        Err(e) => {
            eprintln!(
                "{ARGUMENT} is called by the launcher, with a socket as its standard input: {e}"
            );
            std::process::exit(127);
        }
    };
    let mut launcher = File::from(launcher);
    let reason = match run(&mut launcher) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    let _ = launcher.write_all(reason.as_bytes());
    std::process::exit(127);
}

fn run(launcher: &mut File) -> Result<std::convert::Infallible, String> {
    let order = read_order(launcher)?;
    setsid().map_err(|e| format!("cannot begin a session: {e}"))?;
    if let Some(procs) = &order.cgroup {
        std::fs::write(procs, "0")
            .map_err(|e| format!("cannot join the cgroup {}: {e}", procs.display()))?;
    }
    umask(Mode::from_raw_mode(0o022));
    if let Some(account) = &order.account {
        become_account(account)?;
    }
    if order.no_new_privileges {
        set_no_new_privs(true).map_err(|e| format!("cannot set no_new_privs: {e}"))?;
    }
    // As its user: root's right to enter any folder is not the component's.
    std::env::set_current_dir(&order.work_folder)
        .map_err(|e| format!("cannot enter {}: {e}", order.work_folder.display()))?;
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("cannot open /dev/null: {e}"))?;
    dup2_stdin(&null).map_err(|e| format!("cannot replace the standard input: {e}"))?;
    // exec also sets the signal mask and SIGPIPE back to their defaults.
    let shell = Path::new(&order.shell);
    let error = Command::new(shell)
        .arg0(shell.file_name().unwrap_or(shell.as_os_str()))
        .args(&order.arguments)
        .env_clear()
        .envs(&order.environment)
        .exec();
    Err(format!("cannot execute {}: {error}", order.shell))
}

fn read_order(launcher: &mut File) -> Result<Order, String> {
    let mut length = [0; 4];
    launcher
        .read_exact(&mut length)
        .map_err(|e| format!("no order came: {e}"))?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ORDER {
        return Err(format!("an order of {length} bytes is too long"));
    }
    let mut order = vec![0; usize::try_from(length).map_err(|e| e.to_string())?];
    launcher
        .read_exact(&mut order)
        .map_err(|e| format!("the order is cut short: {e}"))?;
    serde_json::from_slice(&order).map_err(|e| format!("the order makes no sense: {e}"))
}

/// Groups first, while still root. These calls change one thread; a step has only one.
fn become_account(account: &Ids) -> Result<(), String> {
    let Ids { uid, gid, groups } = account;
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (user, group) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    set_thread_groups(&groups).map_err(|e| format!("cannot set the groups of user {uid}: {e}"))?;
    set_thread_res_gid(group, group, group)
        .map_err(|e| format!("cannot become group {gid}: {e}"))?;
    set_thread_res_uid(user, user, user).map_err(|e| format!("cannot become user {uid}: {e}"))?;
    Ok(())
}

/// An order as it goes over the socket.
pub(super) fn frame(order: &Order) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(order).map_err(|e| e.to_string())?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MAX_ORDER)
        .ok_or("the order is too long")?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}
