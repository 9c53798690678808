//! A root folder, a launcher on it and what it reported, for tests of either back end.
#![allow(dead_code, missing_docs, clippy::unwrap_used)] // each test program uses its part

use model::{ComponentName, SystemLimits};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use supervisor::launcher::{
    Event, Events, Exited, Launcher, Line, Options, StepKind, Stream, Unit, UnitId,
};

/// Nothing in these tests takes longer unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub type Lines = Arc<Mutex<Vec<(Stream, String)>>>;

/// A root folder that others may enter, as the runtime's own is.
pub struct Root {
    temp: tempfile::TempDir,
    pub lines: Lines,
}

impl Root {
    pub fn new() -> Self {
        let temp = tempfile::Builder::new()
            .prefix("greengrass-test")
            .tempdir()
            .unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(temp.path().join("root")).unwrap();
        Self {
            temp,
            lines: Lines::default(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    pub fn runtime_folder(&self) -> PathBuf {
        self.temp.path().join("run")
    }

    pub fn options(&self) -> Options {
        options(self.path(), self.runtime_folder(), self.lines.clone())
    }

    /// Waits until a component has written a line that satisfies.
    pub async fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        eventually(|| {
            self.lines
                .lock()
                .unwrap()
                .iter()
                .map(|(_, line)| line.clone())
                .find(|line| wanted(line))
        })
        .await
    }
}

/// Options for folders that a `Root` elsewhere owns.
pub fn options(root: PathBuf, runtime_folder: PathBuf, lines: Lines) -> Options {
    let sink = move |line: &Line<'_>| {
        let text = String::from_utf8_lossy(line.bytes).into_owned();
        lines.lock().unwrap().push((line.stream, text));
    };
    Options::new(root, runtime_folder, Arc::new(sink))
}

pub fn name(text: &str) -> ComponentName {
    text.parse().unwrap()
}

pub fn id(component: &str, step: StepKind) -> UnitId {
    UnitId::new(name(component), step)
}

/// A unit that runs a script as the launcher's own user.
pub fn unit(root: &Path, component: &str, step: StepKind, script: &str) -> Unit {
    let root = fs::canonicalize(root).unwrap();
    Unit {
        id: id(component, step),
        tag: "1.0.0".into(),
        script: script.into(),
        shell: "sh".into(),
        user: None,
        privileged: false,
        environment: BTreeMap::from([("SVCUID".into(), "0123456789ABCDEF".into())]),
        work_folder: root.join("work").join(component),
        limits: SystemLimits::default(),
    }
}

/// Waits until a condition gives something.
pub async fn eventually<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for the end of a unit.
pub async fn exited(events: &mut Events, id: &UnitId) -> Exited {
    let wait = async {
        loop {
            match events.next().await.expect("the launcher lives") {
                Event::Exited(exited) if exited.id == *id => return exited,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the unit ends")
}

/// Prepares the work folder and starts.
pub async fn start(launcher: &dyn Launcher, unit: Unit) -> u32 {
    let user = if unit.privileged {
        None
    } else {
        unit.user.clone()
    };
    launcher
        .prepare_work_folder(&unit.id.component, user.as_deref())
        .await
        .unwrap();
    launcher.start(unit).await.unwrap().pid
}

/// Processes that are not zombies and have this word in their command line.
pub fn living_with(word: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(word.len()).any(|part| part == word.as_bytes()) && *pid != std::process::id()
    })
    .collect()
}

/// Whether this process is still there, and not as a zombie.
pub fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat[stat.rfind(')').unwrap()..].starts_with(") Z"))
}

/// The one-character state of a process as `/proc` shows it.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs an async test on a runtime like the nucleus' own.
pub fn block_on<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// One named test for libtest-mimic.
pub fn trial<F, T>(name: &str, test: F) -> libtest_mimic::Trial
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    libtest_mimic::Trial::test(name, move || {
        block_on(test());
        Ok(())
    })
}
