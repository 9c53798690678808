//! How a script is given to its shell, and in which environment: the same for both back ends.

use super::{Options, Unit, UnitId, users::Account};
use rustix::fs::{Gid, Uid, chown};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A longer script goes through a file: one string of argv holds 128 KiB.
const LONG_SCRIPT: usize = 100 << 10;

/// What the caller gave, completed by what every program may expect.
pub(super) fn environment(account: &Account, unit: &Unit) -> BTreeMap<String, String> {
    let mut environment = unit.environment.clone();
    let mut complete = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            environment.entry(name.to_owned()).or_insert(value);
        }
    };
    complete("PATH", Some(search_path()));
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
    environment
}

/// Our own, or what Debian gives to root.
pub(super) fn search_path() -> String {
    std::env::var("PATH")
        .unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into())
}

/// The program of a shell, looked for where the launcher looks and not in the component's PATH, which may lead anywhere.
pub(super) fn find(shell: &str) -> Option<String> {
    if shell.starts_with('/') {
        return Path::new(shell).is_file().then(|| shell.to_owned());
    }
    search_path()
        .split(':')
        .map(|folder| format!("{folder}/{shell}"))
        .find(|path| path.starts_with('/') && Path::new(path).is_file())
}

/// The shell's arguments: `-c` and the script, or a file with it.
pub(super) fn arguments(
    options: &Options,
    account: &Account,
    unit: &Unit,
) -> io::Result<Vec<String>> {
    if unit.script.len() <= LONG_SCRIPT {
        return Ok(vec!["-c".into(), unit.script.clone()]);
    }
    let path = script_file(options, &unit.id);
    write_private(&path, &unit.script, account)?;
    Ok(vec![path.to_string_lossy().into_owned()])
}

/// Where a long script lies while its unit is known.
pub(super) fn script_file(options: &Options, id: &UnitId) -> PathBuf {
    options
        .runtime_folder
        .join(format!("{}.{}.sh", id.component, id.step))
}

/// A new file that only the account may read.
pub(super) fn write_private(path: &Path, text: &str, account: &Account) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    if rustix::process::geteuid().is_root() {
        chown(
            path,
            Some(Uid::from_raw(account.uid)),
            Some(Gid::from_raw(account.gid)),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_found_by_name_or_path() {
        assert!(find("sh").unwrap().ends_with("/sh"));
        assert_eq!(find("/bin/sh").unwrap(), "/bin/sh");
        assert_eq!(find("no-such-shell"), None);
    }
}
