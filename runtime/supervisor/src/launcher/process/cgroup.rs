//! The launcher's part of the cgroup v2 tree, where one is writable:
//!
//! ```text
//! <mount>/<own cgroup>/greengrass-<root id>/       the whole runtime's components; survives the launcher
//!                        ggl.<component>/          limits and freezing
//!                          <step>/                 the processes of one unit
//! ```

use super::super::{LaunchError, StepKind, UnitId};
use model::{ComponentName, SystemLimits};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// CPU time is dealt out in periods of this many microseconds.
const PERIOD_US: u32 = 100_000;

/// Where the launcher keeps its cgroups.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// The folder under the mount.
    folder: PathBuf,
    /// The same as `/proc/<pid>/cgroup` shows it.
    shown: String,
}

impl Tree {
    /// Makes the runtime's cgroup below our own. `None` when there is no cgroup v2 we may write to.
    pub(super) fn open(root_id: &str) -> Option<Self> {
        let own = super::proc::cgroup(std::process::id())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let name = format!("greengrass-{root_id}");
        // A launcher that is restarted from within a component's cgroup still finds its own place.
        let own = own
            .split_once("/greengrass-")
            .map_or(own.as_str(), |(outer, _)| outer)
            .trim_end_matches('/');
        mounts
            .lines()
            .filter_map(parse_mount)
            .find_map(|(within, at)| {
                let below = if within == "/" {
                    own
                } else {
                    own.strip_prefix(within.as_str())?
                };
                let base = at.join(below.trim_start_matches('/'));
                let folder = base.join(&name);
                match fs::create_dir(&folder) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return None,
                    _ => {}
                }
                // Being allowed to make it does not mean being allowed to fill it.
                fs::OpenOptions::new()
                    .write(true)
                    .open(folder.join("cgroup.procs"))
                    .ok()?;
                delegate(&base);
                delegate(&folder);
                Some(Self {
                    folder,
                    shown: format!("{own}/{name}"),
                })
            })
    }

    /// Makes the cgroup of a unit.
    pub(super) fn make(&self, id: &UnitId) -> io::Result<Leaf> {
        let component = self.component(&id.component);
        make_folder(&component)?;
        let folder = component.join(id.step.as_str());
        make_folder(&folder)?;
        Ok(Leaf { folder })
    }

    fn component(&self, name: &ComponentName) -> PathBuf {
        // The prefix keeps a component named like a kernel file ("cgroup.procs") apart from it.
        self.folder.join(format!("ggl.{name}"))
    }

    /// The units that have a cgroup, with or without processes in it.
    pub(super) fn units(&self) -> Vec<(UnitId, Leaf)> {
        let mut units = Vec::new();
        for (name, folder) in folders(&self.folder) {
            let Some(component) = name
                .strip_prefix("ggl.")
                .and_then(|name| name.parse::<ComponentName>().ok())
            else {
                continue;
            };
            for (step, folder) in folders(&folder) {
                if let Ok(step) = step.parse::<StepKind>() {
                    units.push((UnitId::new(component.clone(), step), Leaf { folder }));
                }
            }
        }
        units
    }

    /// The component whose cgroup a process is in.
    pub(super) fn owner(&self, pid: u32) -> Option<ComponentName> {
        let path = super::proc::cgroup(pid)?;
        let inner = path.strip_prefix(&self.shown)?.strip_prefix("/ggl.")?;
        inner.split('/').next()?.parse().ok()
    }

    pub(super) fn freeze(&self, component: &ComponentName, frozen: bool) -> io::Result<()> {
        match fs::write(
            self.component(component).join("cgroup.freeze"),
            if frozen { "1" } else { "0" },
        ) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !frozen => Ok(()),
            other => other,
        }
    }

    /// Whether the kernel has finished what [`freeze`](Self::freeze) asked for.
    pub(super) fn is_frozen(&self, component: &ComponentName) -> bool {
        event(&self.component(component), "frozen") == Some(1)
    }

    /// Sets the limits and says what could not be set.
    pub(super) fn limit(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<Vec<String>, LaunchError> {
        let folder = self.component(component);
        make_folder(&folder)
            .map_err(|e| LaunchError::system(format!("making the cgroup of {component}"), e))?;
        let memory = limits.memory_kib.map(|kib| (kib * 1024).to_string());
        let cpu = limits.cpus.map(|cpus| {
            format!(
                "{:.0} {PERIOD_US}",
                (cpus * f64::from(PERIOD_US)).max(1000.0)
            )
        });
        let mut missing = Vec::new();
        for (file, value, unlimited, what) in [
            ("memory.max", memory, "max".to_owned(), "memory"),
            ("cpu.max", cpu, format!("max {PERIOD_US}"), "CPU"),
        ] {
            let file = folder.join(file);
            match (file.exists(), value) {
                (false, None) => {}
                (false, Some(_)) => missing.push(no_controller(what)),
                (true, value) => fs::write(&file, value.unwrap_or(unlimited))
                    .map_err(|e| LaunchError::system(format!("writing {}", file.display()), e))?,
            }
        }
        Ok(missing)
    }

    /// Removes the cgroups of components that have no process.
    pub(super) fn tidy_units(&self) {
        for (_, component) in folders(&self.folder) {
            remove_tree(&component);
        }
    }

    /// Removes everything that has no process.
    pub(super) fn tidy(&self) {
        self.tidy_units();
        let _ = fs::remove_dir(&self.folder);
    }

    /// Removes a component's cgroup, and with it its limits, if it is empty.
    pub(super) fn forget(&self, component: &ComponentName) {
        let _ = fs::remove_dir(self.component(component));
    }
}

/// Why a limit does not hold, for a person.
pub(super) fn no_controller(what: &str) -> String {
    format!(
        "the {what} limit has no effect: this machine offers the launcher no cgroup v2 {what} controller"
    )
}

/// The cgroup of one unit.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    folder: PathBuf,
}

impl Leaf {
    /// The file a process joins by.
    pub(super) fn procs_file(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Moves another process in.
    pub(super) fn join(&self, pid: u32) -> io::Result<()> {
        fs::write(self.procs_file(), pid.to_string())
    }

    /// Whether a process lives in it or in a cgroup the component made below.
    pub(super) fn is_populated(&self) -> bool {
        event(&self.folder, "populated").is_some_and(|value| value != 0)
    }

    /// All processes in it and below.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut waiting = vec![self.folder.clone()];
        while let Some(folder) = waiting.pop() {
            let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
            waiting.extend(folders(&folder).into_iter().map(|(_, folder)| folder));
        }
        pids
    }

    /// SIGKILL to all, at once and below. `false` on kernels before 5.14, which have no such file.
    pub(super) fn kill(&self) -> bool {
        fs::write(self.folder.join("cgroup.kill"), "1").is_ok()
    }

    /// How often the kernel has killed a process of this component for want of memory.
    pub(super) fn out_of_memory_kills(&self) -> u32 {
        let component = self.folder.parent().unwrap_or(&self.folder);
        let text = fs::read_to_string(component.join("memory.events")).unwrap_or_default();
        value(&text, "oom_kill").unwrap_or(0)
    }

    /// Removes it, when it is empty.
    pub(super) fn remove(&self) {
        remove_tree(&self.folder);
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    Ok(())
}

/// Hands the memory and CPU controllers down to the children, where they are there to hand down. A cgroup that holds processes itself
/// may not (a container's root): if they are only us, we move into a child of our own first.
fn delegate(folder: &Path) {
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let control = folder.join("cgroup.subtree_control");
    for controller in ["memory", "cpu"] {
        if !offered
            .split_ascii_whitespace()
            .any(|name| name == controller)
        {
            continue;
        }
        let enable = || fs::write(&control, format!("+{controller}"));
        if enable().is_err_and(|e| e.kind() == io::ErrorKind::ResourceBusy) && step_aside(folder) {
            let _ = enable(); // limits that cannot be set are reported where they are asked for
        }
    }
}

fn step_aside(folder: &Path) -> bool {
    let me = std::process::id().to_string();
    let alone =
        fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|procs| procs.trim() == me);
    let own = folder.join("greengrass-runtime");
    alone && make_folder(&own).is_ok() && fs::write(own.join("cgroup.procs"), &me).is_ok()
}

fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

fn remove_tree(folder: &Path) {
    for (_, below) in folders(folder) {
        remove_tree(&below);
    }
    let _ = fs::remove_dir(folder);
}

fn event(folder: &Path, name: &str) -> Option<u32> {
    value(
        &fs::read_to_string(folder.join("cgroup.events")).ok()?,
        name,
    )
}

fn value(text: &str, name: &str) -> Option<u32> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?
        .trim()
        .parse()
        .ok()
}

/// From a line of mountinfo: which part of the cgroup v2 tree is mounted, and where.
fn parse_mount(line: &str) -> Option<(String, PathBuf)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (within, at) = (left.next()?, left.next()?);
    (right.split(' ').next()? == "cgroup2")
        .then(|| (within.to_owned(), PathBuf::from(at.replace("\\040", " "))))
}

/// Waits, within bounds, for a cgroup to freeze: a process in the kernel's hands takes its time.
pub(super) async fn wait_frozen(tree: &Tree, component: &ComponentName) -> Result<(), LaunchError> {
    for _ in 0..100 {
        if tree.is_frozen(component) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(LaunchError::system(
        format!("freezing {component}"),
        "its processes have not stopped within 2 s",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_cgroup_v2_are_found_among_others() {
        let v2 = "31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(
            parse_mount(v2),
            Some(("/".into(), "/sys/fs/cgroup/unified".into()))
        );
        let v1 = "32 24 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
        assert_eq!(parse_mount(v1), None);
    }

    #[test]
    fn kernel_files_are_read_by_whole_names() {
        assert_eq!(
            value("oom 1\noom_kill 3\noom_group_kill 7\n", "oom_kill"),
            Some(3)
        );
        assert_eq!(value("populated 0\nfrozen 1\n", "frozen"), Some(1));
    }
}
