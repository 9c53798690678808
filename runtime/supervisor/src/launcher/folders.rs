//! Handing folders to their users. Walks by file descriptors and follows no link, so that a component that swaps a folder
//! for a link while root walks it gains nothing.

use super::{LaunchError, users::Account};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat,
        open, openat, openat2,
    },
    io::Errno,
};
use std::{ffi::CStr, path::Path};

/// Folders nest no deeper than this; each level holds a descriptor open.
const MAX_DEPTH: usize = 128;

/// Gives `path` below `root`, and all below it, to the account. What is not there is a success.
pub(super) fn own(root: &Path, path: &Path, account: &Account) -> Result<(), LaunchError> {
    let failed = |e: &dyn std::fmt::Display| {
        LaunchError::system(
            format!("handing {} to {}", path.display(), account.numbers()),
            e,
        )
    };
    let root_fd = open_root(root)?;
    let inner = path
        .strip_prefix(root)
        .map_err(|e| LaunchError::Refused(e.to_string()))?;
    match open_below(&root_fd, inner, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(fd) => own_tree(fd.as_fd(), account, 0).map_err(|e| failed(&e)),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(failed(&e)),
    }
}

/// Makes `<root>/work/<component>` with mode 0700 and gives it to the account. Content is left as it is, unless the
/// folder belonged to somebody else before: then all of it moves on to the new user.
pub(super) fn work_folder(
    root: &Path,
    folder: &Path,
    account: &Account,
) -> Result<(), LaunchError> {
    let failed =
        |e: Errno| LaunchError::system(format!("making the work folder {}", folder.display()), e);
    let root_fd = open_root(root)?;
    let name = folder
        .file_name()
        .ok_or_else(|| LaunchError::Refused("a work folder has a name".into()))?;
    let ignore_present = |result| match result {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    };
    ignore_present(mkdirat(&root_fd, "work", Mode::from_raw_mode(0o755))).map_err(failed)?;
    let work = open_below(
        &root_fd,
        Path::new("work"),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )
    .map_err(failed)?;
    ignore_present(mkdirat(&work, name, Mode::from_raw_mode(0o700))).map_err(failed)?;
    let fd = open_below(
        &work,
        Path::new(name),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
    )
    .map_err(failed)?;
    let stat = fstat(&fd).map_err(failed)?;
    if (stat.st_uid, stat.st_gid) != (account.uid, account.gid) {
        own_tree(fd.as_fd(), account, 0).map_err(failed)?;
    }
    Ok(())
}

fn open_root(root: &Path) -> Result<OwnedFd, LaunchError> {
    open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| LaunchError::system(format!("opening the root folder {}", root.display()), e))
}

/// Opens a path that must stay below `at`, links forbidden on the way. Kernels before 5.6 have no openat2: there each part is
/// opened by itself.
fn open_below(at: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // The last part may be a link when NOFOLLOW with PATH asks for the link itself.
    match openat2(at.as_fd(), path, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS) => open_part_by_part(at, path, flags),
        other => other,
    }
}

fn open_part_by_part(at: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = openat(at, ".", folder, Mode::empty())?;
    let mut parts = path.iter().peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() {
            folder
        } else {
            flags | OFlags::NOFOLLOW
        };
        here = openat(&here, part, flags, Mode::empty())?;
    }
    Ok(here)
}

/// The entry itself first, then what is in it. Only folders, regular files and links change hands: nothing else belongs
/// in an artifact, and a file with several names may be somebody else's.
fn own_tree(entry: BorrowedFd<'_>, account: &Account, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    let stat = fstat(entry)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let ours = match kind {
        FileType::Directory => true,
        FileType::RegularFile | FileType::Symlink => stat.st_nlink == 1,
        _ => false,
    };
    if !ours {
        return Ok(());
    }
    if (stat.st_uid, stat.st_gid) != (account.uid, account.gid) {
        let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
        chownat(entry, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    if kind != FileType::Directory {
        return Ok(());
    }
    let folder = openat(
        entry,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for child in Dir::read_from(&folder)? {
        let child = child?;
        let name: &CStr = child.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let fd = match openat(
            &folder,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Err(Errno::NOENT) => continue, // removed meanwhile
            other => other?,
        };
        own_tree(fd.as_fd(), account, depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn other() -> Account {
        Account {
            uid: 54321,
            gid: 54322,
            groups: vec![],
            name: None,
            home: None,
        }
    }

    fn is_root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: only root gives files away");
        }
        root
    }

    #[test]
    fn a_tree_changes_hands_without_what_its_links_point_at() {
        if !is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        let inside = root.join("packages/artifacts/a/1.0.0");
        std::fs::create_dir_all(inside.join("deep/er")).unwrap();
        let outside = temp.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "x").unwrap();
        std::fs::write(inside.join("deep/er/file"), "x").unwrap();
        symlink(&outside, inside.join("folder-link")).unwrap();
        symlink(outside.join("secret"), inside.join("file-link")).unwrap();
        std::fs::hard_link(outside.join("secret"), inside.join("second-name")).unwrap();

        own(&root, &inside, &other()).unwrap();

        for path in [
            "",
            "deep",
            "deep/er",
            "deep/er/file",
            "folder-link",
            "file-link",
        ] {
            let meta = std::fs::symlink_metadata(inside.join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (54321, 54322), "{path}");
        }
        assert_eq!(std::fs::metadata(&outside).unwrap().uid(), 0);
        assert_eq!(std::fs::metadata(outside.join("secret")).unwrap().uid(), 0);
        assert_eq!(
            own(&root, &root.join("packages/artifacts/not-there"), &other()),
            Ok(())
        );
    }

    #[test]
    fn a_link_on_the_way_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        let outside = temp.path().join("outside");
        std::fs::create_dir_all(root.join("packages")).unwrap();
        std::fs::create_dir_all(outside.join("a")).unwrap();
        symlink(&outside, root.join("packages/artifacts")).unwrap();
        let before = std::fs::metadata(outside.join("a")).unwrap().uid();
        assert!(own(&root, &root.join("packages/artifacts/a"), &other()).is_err());
        assert_eq!(std::fs::metadata(outside.join("a")).unwrap().uid(), before);
        let fd = open(&root, OFlags::PATH, Mode::empty()).unwrap();
        let by_parts = open_part_by_part(&fd, Path::new("packages/artifacts/a"), OFlags::PATH);
        assert!(by_parts.is_err(), "the way for old kernels refuses it too");
    }

    #[test]
    fn a_work_folder_is_private_to_its_user_and_follows_it() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("work/a");
        work_folder(temp.path(), &folder, &Account::own()).unwrap();
        work_folder(temp.path(), &folder, &Account::own()).unwrap();
        assert_eq!(
            std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700
        );
        if !is_root() {
            return;
        }
        std::fs::write(folder.join("file"), "x").unwrap();
        work_folder(temp.path(), &folder, &other()).unwrap();
        assert_eq!(std::fs::metadata(folder.join("file")).unwrap().uid(), 54321);
        std::fs::remove_dir_all(&folder).unwrap();
        symlink("/etc", &folder).unwrap();
        assert!(work_folder(temp.path(), &folder, &other()).is_err());
        assert_eq!(std::fs::metadata("/etc").unwrap().uid(), 0);
    }
}
