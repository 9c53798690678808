//! Log files that belong together: a component's current file and its rotated predecessors.

use crate::Failure;
use logs::names::{self, Stamp};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The files of one component, or one file that was named by itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Group {
    /// Where the files are.
    folder: PathBuf,
    /// What their names begin with.
    stem: String,
    /// The one file, when the group is nothing more.
    single: Option<PathBuf>,
}

impl Group {
    /// A file by itself.
    pub fn single(file: &Path) -> Self {
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            folder: PathBuf::new(),
            stem,
            single: Some(file.to_owned()),
        }
    }

    /// The component.
    pub fn name(&self) -> &str {
        // See `logs::names` for the sign behind names that would collide.
        self.stem.strip_suffix('~').unwrap_or(&self.stem)
    }

    /// The group of this component; `greengrass` is the runtime, not a component of that name.
    pub fn is_of(&self, name: &str) -> bool {
        self.stem == name || (self.name() == name && name != names::RUNTIME)
    }

    /// The file that is written to.
    pub fn current(&self) -> PathBuf {
        self.single
            .clone()
            .unwrap_or_else(|| self.folder.join(format!("{}.log", self.stem)))
    }

    /// The rotated files, oldest first.
    pub fn rotated(&self) -> Vec<(Stamp, PathBuf)> {
        if self.single.is_some() {
            return Vec::new();
        }
        // A folder that changes while it is listed may show a new file and not the one before it. What the first list shows, and
        // all that is older, was there before the second began, and so is in it.
        let list = || names::rotated(&self.folder, &self.stem).unwrap_or_default();
        let newest = list().last().map(|(stamp, _)| *stamp);
        let known = list()
            .into_iter()
            .map(|(stamp, _)| stamp)
            .take_while(|stamp| Some(*stamp) <= newest);
        known
            .map(|stamp| (stamp, self.folder.join(stamp.file_name(&self.stem))))
            .collect()
    }
}

/// The files of a group that are there, oldest first.
pub fn files(group: &Group) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = group.rotated().into_iter().map(|(_, path)| path).collect();
    files.extend(Some(group.current()).filter(|current| current.exists()));
    files
}

/// The groups in folders, by name.
pub fn in_folders(folders: &[PathBuf]) -> Result<Vec<Group>, Failure> {
    let mut groups = BTreeSet::new();
    for folder in folders {
        let list = fs::read_dir(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Usage(format!(
                "there are no log files in {}: the folder does not exist. When the runtime logs to the journal, read \
                 that: `journalctl -t greengrass`, or `journalctl -t <component>`.",
                folder.display()
            )),
            io::ErrorKind::PermissionDenied => {
                Failure::Failed(format!("permission denied: this user may not read {}; use sudo", folder.display()))
            }
            _ => Failure::Failed(format!("{}: {error}", folder.display())),
        })?;
        for file in list.flatten() {
            if let Some((stem, _)) = file.file_name().to_str().and_then(names::split) {
                groups.insert(Group {
                    folder: folder.clone(),
                    stem: stem.to_owned(),
                    single: None,
                });
            }
        }
    }
    Ok(groups.into_iter().collect())
}
