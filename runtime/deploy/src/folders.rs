//! Where things are on disk, and the exchange of folders: each move can be repeated and turned back, so a crash between any
//! two renames is put right by doing the list again.
//!
//! ```text
//! <root>/packages/recipes/<component>-<version>.<ext>
//! <root>/packages/artifacts/<component>/<version>/
//! <root>/packages/artifacts-unarchived/<component>/<version>/<archive>/
//! <root>/deployments/<id>/staged/…      the same below it: what is to come
//! <root>/deployments/<id>/previous/…    what was replaced, until the deployment ends
//! ```

use crate::Failure;
use model::{ComponentName, Version, deployment::DeploymentId};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use store::crash_point;

/// Paths below the root.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    pub(crate) fn recipes(&self) -> PathBuf {
        self.root.join("packages/recipes")
    }

    pub(crate) fn artifacts(&self, component: &ComponentName, version: &Version) -> PathBuf {
        self.root.join(artifacts(component, version))
    }

    pub(crate) fn unarchived(&self, component: &ComponentName, version: &Version) -> PathBuf {
        self.root.join(unarchived(component, version))
    }

    pub(crate) fn deployments(&self) -> PathBuf {
        self.root.join("deployments")
    }

    /// A deployment's own folder.
    pub(crate) fn deployment(&self, id: &DeploymentId) -> PathBuf {
        self.deployments().join(&id.0)
    }

    pub(crate) fn staged(&self, id: &DeploymentId) -> PathBuf {
        self.deployment(id).join("staged")
    }

    fn previous(&self, id: &DeploymentId) -> PathBuf {
        self.deployment(id).join("previous")
    }
}

/// Below the root or a staging folder.
pub(crate) fn artifacts(component: &ComponentName, version: &Version) -> PathBuf {
    PathBuf::from("packages/artifacts")
        .join(component.as_str())
        .join(version.to_string())
}

/// Below the root or a staging folder.
pub(crate) fn unarchived(component: &ComponentName, version: &Version) -> PathBuf {
    PathBuf::from("packages/artifacts-unarchived")
        .join(component.as_str())
        .join(version.to_string())
}

/// Below the root or a staging folder.
pub(crate) fn recipe(component: &ComponentName, version: &Version, extension: &str) -> PathBuf {
    PathBuf::from("packages/recipes").join(format!("{component}-{version}.{extension}"))
}

/// One place below the root whose content is exchanged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Below the root, and below `staged` and `previous`.
    pub place: PathBuf,
    /// Something is staged to come there; else the place is only cleared.
    pub comes: bool,
}

/// Puts what is staged in its places and what was there aside. Repeatable.
pub(crate) fn exchange(layout: &Layout, id: &DeploymentId, moves: &[Move]) -> Result<(), Failure> {
    let mut touched = BTreeSet::new();
    for one in moves {
        let (staged, place, previous) = paths(layout, id, one);
        let waiting = one.comes && exists(&staged)?;
        if one.comes && !waiting {
            continue; // done before
        }
        if exists(&place)? && !exists(&previous)? {
            rename(&place, &previous, &mut touched)?;
        }
        if waiting {
            rename(&staged, &place, &mut touched)?;
        }
    }
    sync(&touched)
}

/// The other way round. Repeatable.
pub(crate) fn put_back(layout: &Layout, id: &DeploymentId, moves: &[Move]) -> Result<(), Failure> {
    let mut touched = BTreeSet::new();
    for one in moves.iter().rev() {
        let (staged, place, previous) = paths(layout, id, one);
        if one.comes && !exists(&staged)? && exists(&place)? {
            rename(&place, &staged, &mut touched)?;
        }
        if exists(&previous)? {
            rename(&previous, &place, &mut touched)?;
        }
    }
    sync(&touched)
}

fn paths(layout: &Layout, id: &DeploymentId, one: &Move) -> (PathBuf, PathBuf, PathBuf) {
    (
        layout.staged(id).join(&one.place),
        layout.root.join(&one.place),
        layout.previous(id).join(&one.place),
    )
}

fn exists(path: &Path) -> Result<bool, Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Failure::io("look at", path, &e)),
    }
}

fn rename(from: &Path, to: &Path, touched: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    crash_point("deploy.rename.before");
    let above = to.parent().expect("every place is below the root");
    create_folders(above)?;
    fs::rename(from, to).map_err(|e| Failure::io("rename", from, &e))?;
    touched.extend(
        [from, to]
            .into_iter()
            .filter_map(Path::parent)
            .map(Path::to_owned),
    );
    crash_point("deploy.rename.after");
    Ok(())
}

fn sync(folders: &BTreeSet<PathBuf>) -> Result<(), Failure> {
    for folder in folders {
        store::file::fsync_dir(folder).map_err(|e| Failure::io("make durable", folder, &e))?;
    }
    Ok(())
}

/// Creates a folder and those above it, durably.
pub(crate) fn create_folders(path: &Path) -> Result<(), Failure> {
    let mut created = Vec::new();
    create(path, &mut created).map_err(|e| Failure::io("create", path, &e))?;
    let above = created
        .iter()
        .filter_map(|folder| folder.parent())
        .map(Path::to_owned);
    sync(&above.collect())
}

/// Creates a folder and those above it; the caller makes them durable.
pub(crate) fn create_all(path: &Path) -> io::Result<()> {
    create(path, &mut Vec::new())
}

/// Whatever the umask, everybody may look into what is created: components run as many users.
fn create(path: &Path, created: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create(above, created)?;
    }
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    created.push(path.to_owned());
    Ok(())
}

/// Removes a file or a folder with all below; that it is not there is success.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    let result = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::io("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Removes the folders of all deployments but one: what a crash or a failed removal left.
pub(crate) fn sweep(layout: &Layout, keep: Option<&DeploymentId>) {
    let Ok(entries) = fs::read_dir(layout.deployments()) else {
        return;
    };
    for entry in entries.flatten() {
        if keep.is_none_or(|keep| entry.file_name() != keep.0.as_str())
            && let Err(failure) = remove(&entry.path())
        {
            log::warn!("an old deployment folder stays: {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn setting() -> (tempfile::TempDir, Layout, DeploymentId, Vec<Move>) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: folder.path().to_owned(),
        };
        let id = DeploymentId("d".into());
        write(&folder.path().join("packages/a/1/f"), "old");
        write(&folder.path().join("packages/r.json"), "old recipe");
        write(&layout.staged(&id).join("packages/a/1/f"), "new");
        write(&layout.staged(&id).join("packages/b/1/f"), "added");
        let come = |p: &str| Move {
            place: p.into(),
            comes: true,
        };
        let moves = vec![
            come("packages/a/1"),
            come("packages/b/1"),
            Move {
                place: "packages/r.json".into(),
                comes: false,
            },
        ];
        (folder, layout, id, moves)
    }

    fn state(root: &Path) -> (Option<String>, Option<String>, Option<String>) {
        let read = |p: &str| fs::read_to_string(root.join(p)).ok();
        (
            read("packages/a/1/f"),
            read("packages/b/1/f"),
            read("packages/r.json"),
        )
    }

    #[test]
    fn an_exchange_can_be_repeated_and_turned_back_after_any_of_its_moves() {
        for done in 0..=3 {
            let (folder, layout, id, moves) = setting();
            let old = state(folder.path());
            exchange(&layout, &id, &moves[..done]).unwrap();
            put_back(&layout, &id, &moves).unwrap();
            assert_eq!(state(folder.path()), old, "{done} moves, then back");
            exchange(&layout, &id, &moves[..done]).unwrap();
            exchange(&layout, &id, &moves).unwrap();
            exchange(&layout, &id, &moves).unwrap();
            assert_eq!(
                state(folder.path()),
                (Some("new".into()), Some("added".into()), None)
            );
            put_back(&layout, &id, &moves).unwrap();
            put_back(&layout, &id, &moves).unwrap();
            assert_eq!(state(folder.path()), old);
        }
    }
}
