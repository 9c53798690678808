//! ZIP archives, unpacked without leaving the folder: names are checked before anything is created, links are made last and
//! must end inside, and what comes out is counted, since what an archive says of itself may be a lie.

use super::artifacts::set_mode;
use crate::{Failure, folders, options::UnpackLimits};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Component, Path, PathBuf},
};
use tokio_util::sync::CancellationToken;
use zip::{ZipArchive, result::ZipError};

/// The bits of a UNIX mode that tell what an entry is.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
/// Longer than any path Linux takes.
const MAX_LINK: u64 = 4096;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("not a ZIP archive this runtime can read: {0}")]
    Archive(#[from] ZipError),
    #[error("entry {0:?} would leave the folder")]
    Escapes(String),
    #[error("entry {0:?} is there twice, or is both a file and a folder")]
    Twice(String),
    #[error("entry {0:?} is neither a file, a folder nor a link")]
    Kind(String),
    #[error("it holds {found} entries; at most {limit} are allowed")]
    Entries { found: usize, limit: usize },
    #[error("more than {0} bytes come out of it")]
    TooLarge(u64),
    #[error("it is a bomb: more than {0} bytes come out for each of its bytes")]
    Bomb(u64),
    #[error("entry {name:?}: {source}")]
    Io { name: String, source: io::Error },
    #[error("{0}")]
    Folder(#[from] Failure),
}

/// Counts what comes out.
struct Meter<'a> {
    limits: &'a UnpackLimits,
    archive: u64,
    out: u64,
}

impl Meter<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), UnpackError> {
        self.out += bytes as u64;
        if self.out > self.limits.total_bytes {
            return Err(UnpackError::TooLarge(self.limits.total_bytes));
        }
        if self.out > self.limits.ratio_from && self.out / self.limits.ratio > self.archive {
            return Err(UnpackError::Bomb(self.limits.ratio));
        }
        Ok(())
    }
}

/// Unpacks into an existing, empty folder; every file gets `mode`. `false` when canceled.
pub(crate) fn zip(
    archive: &Path,
    into: &Path,
    mode: u32,
    limits: &UnpackLimits,
    cancel: &CancellationToken,
) -> Result<bool, UnpackError> {
    let named = |source| UnpackError::Io {
        name: archive.display().to_string(),
        source,
    };
    let file = File::open(archive).map_err(named)?;
    let size = file.metadata().map_err(named)?.len();
    let mut zip = ZipArchive::new(io::BufReader::new(file))?;
    if zip.len() > limits.entries {
        return Err(UnpackError::Entries {
            found: zip.len(),
            limit: limits.entries,
        });
    }
    let mut meter = Meter {
        limits,
        archive: size.max(1),
        out: 0,
    };
    let (mut links, mut seen) = (Vec::new(), BTreeSet::new());
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index)?;
        let name = entry.name()?.into_owned();
        let relative = inside(&name)?;
        let kind = entry.unix_mode().map_or(0, |mode| mode & KIND);
        if relative.as_os_str().is_empty() {
            continue; // "./"
        }
        let path = into.join(&relative);
        if entry.is_dir() {
            if kind != 0 && kind != FOLDER {
                return Err(UnpackError::Kind(name));
            }
            create(&path, &name)?;
            continue;
        }
        if !seen.insert(relative.clone()) {
            return Err(UnpackError::Twice(name));
        }
        create(path.parent().expect("below the folder"), &name)?;
        match kind {
            0 | REGULAR => {
                if !write(&mut entry, &path, &name, &mut meter, cancel)? {
                    return Ok(false);
                }
                set_mode(&path, mode)?;
            }
            LINK => {
                let mut target = String::new();
                let read = entry
                    .by_ref()
                    .take(MAX_LINK + 1)
                    .read_to_string(&mut target);
                let read = read.map_err(|source| UnpackError::Io {
                    name: name.clone(),
                    source,
                })?;
                if read as u64 > MAX_LINK {
                    return Err(UnpackError::Escapes(name));
                }
                links.push((relative, target, name));
            }
            _ => return Err(UnpackError::Kind(name)),
        }
    }
    make_links(into, &links)?;
    Ok(true)
}

/// Creates a folder and those above it; the caller makes all durable at once.
fn create(path: &Path, name: &str) -> Result<(), UnpackError> {
    folders::create_all(path).map_err(|source| failed(name, source))
}

fn failed(name: &str, source: io::Error) -> UnpackError {
    match source.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            UnpackError::Twice(name.to_owned())
        }
        _ => UnpackError::Io {
            name: name.to_owned(),
            source,
        },
    }
}

/// The path below the folder; backslashes are separators too, as archives from Windows have them.
fn inside(name: &str) -> Result<PathBuf, UnpackError> {
    let escapes = || UnpackError::Escapes(name.to_owned());
    if name.contains('\0') {
        return Err(escapes());
    }
    let name = name.replace('\\', "/");
    let mut path = PathBuf::new();
    for part in Path::new(&name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(escapes());
            }
        }
    }
    Ok(path)
}

fn write(
    entry: &mut impl Read,
    path: &Path,
    name: &str,
    meter: &mut Meter<'_>,
    cancel: &CancellationToken,
) -> Result<bool, UnpackError> {
    let failed = |source| failed(name, source);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if cancel.is_cancelled() {
            return Ok(false);
        }
        match entry.read(&mut buffer).map_err(failed)? {
            0 => return Ok(true),
            n => {
                meter.add(n)?;
                file.write_all(&buffer[..n]).map_err(failed)?;
            }
        }
    }
}

/// All files are there by now, so nothing was written through a link; each must lead, through whatever other links, to
/// something inside.
fn make_links(into: &Path, links: &[(PathBuf, String, String)]) -> Result<(), UnpackError> {
    for (relative, target, name) in links {
        if Path::new(target).is_absolute() || target.is_empty() {
            return Err(UnpackError::Escapes(name.clone()));
        }
        symlink(target, into.join(relative)).map_err(|source| failed(name, source))?;
    }
    let root = fs::canonicalize(into).map_err(|source| UnpackError::Io {
        name: into.display().to_string(),
        source,
    })?;
    for (relative, _, name) in links {
        match fs::canonicalize(into.join(relative)) {
            Ok(end) if end.starts_with(&root) => {}
            _ => return Err(UnpackError::Escapes(name.clone())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use zip::{ZipWriter, write::SimpleFileOptions};

    const LIMITS: UnpackLimits = UnpackLimits {
        total_bytes: 1 << 20,
        entries: 100,
        ratio: 100,
        ratio_from: 64 << 10,
    };

    enum Entry<'a> {
        File(&'a str, &'a [u8]),
        Folder(&'a str),
        Link(&'a str, &'a str),
        Mode(&'a str, u32),
    }
    use Entry::*;

    fn unpack_with(
        entries: &[Entry<'_>],
        limits: &UnpackLimits,
        patch: impl Fn(&mut Vec<u8>),
    ) -> (tempfile::TempDir, Result<bool, UnpackError>) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ZipWriter::new(io::Cursor::new(Vec::new()));
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for entry in entries {
            match entry {
                File(name, content) => {
                    writer.start_file(*name, options).unwrap();
                    writer.write_all(content).unwrap();
                }
                Folder(name) => writer.add_directory(*name, options).unwrap(),
                Link(name, target) => writer.add_symlink(*name, *target, options).unwrap(),
                Mode(name, mode) => {
                    writer
                        .start_file(*name, options.unix_permissions(0o644))
                        .unwrap();
                    let _ = mode;
                }
            }
        }
        let mut bytes = writer.finish().unwrap().into_inner();
        for entry in entries {
            if let Mode(_, mode) = entry {
                // The writer makes regular files only: change the kind in the central directory.
                let old = (0o100_644_u32 << 16).to_le_bytes();
                let at = bytes.windows(4).rposition(|w| w == old).unwrap();
                bytes[at..at + 4].copy_from_slice(&(mode << 16).to_le_bytes());
            }
        }
        patch(&mut bytes);
        let archive = folder.path().join("a.zip");
        fs::write(&archive, bytes).unwrap();
        let into = folder.path().join("out");
        fs::create_dir(&into).unwrap();
        let result = zip(&archive, &into, 0o440, limits, &CancellationToken::new());
        (folder, result)
    }

    fn unpack(entries: &[Entry<'_>]) -> (tempfile::TempDir, Result<bool, UnpackError>) {
        unpack_with(entries, &LIMITS, |_| ())
    }

    #[test]
    fn files_folders_and_links_inside_come_out() {
        let (folder, result) = unpack(&[
            File("a/b.txt", b"hello"),
            Folder("empty"),
            File("./c.txt", b""),
            File("win\\d.txt", b"x"),
            Link("a/link", "../c.txt"),
            Link("dir", "a"),
        ]);
        assert!(result.unwrap());
        let out = folder.path().join("out");
        assert_eq!(fs::read(out.join("dir/b.txt")).unwrap(), b"hello");
        assert_eq!(
            fs::metadata(out.join("a/b.txt"))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777,
            0o440
        );
        assert!(out.join("empty").is_dir() && out.join("win/d.txt").is_file());
        assert_eq!(fs::read(out.join("a/link")).unwrap(), b"");
    }

    #[test]
    fn names_that_lead_outside_are_refused() {
        for name in ["../x", "a/../../x", "/etc/x", "..\\x", "a\\..\\..\\x"] {
            let (folder, result) = unpack(&[File(name, b"x")]);
            assert!(
                matches!(result, Err(UnpackError::Escapes(_))),
                "{name}: {result:?}"
            );
            assert!(!folder.path().join("x").exists());
        }
    }

    #[test]
    fn links_that_lead_outside_or_nowhere_are_refused() {
        let cases: [&[Entry<'_>]; 6] = [
            &[Link("a", "/etc/passwd")],
            &[Link("a", "../a.zip")],
            &[Link("a", "nothing")],
            &[Link("a", "a")],
            &[
                Folder("p/q"),
                Link("p/q/d", "../.."),
                Link("p/q/e", "d/../a.zip"),
            ],
            &[Folder("s"), Link("s/l", ".."), Link("m", "s/l/..")],
        ];
        for (index, case) in cases.iter().enumerate() {
            let (_folder, result) = unpack(case);
            assert!(
                matches!(result, Err(UnpackError::Escapes(_))),
                "case {index}: {result:?}"
            );
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (folder, result) = unpack(&[Link("d", ".."), File("d/x", b"evil")]);
        assert!(result.is_err());
        assert!(!folder.path().join("x").exists());
    }

    #[test]
    fn devices_and_pipes_are_refused() {
        for mode in [0o020_644, 0o060_644, 0o010_644, 0o140_644] {
            let (_folder, result) = unpack(&[Mode("dev", mode)]);
            assert!(
                matches!(result, Err(UnpackError::Kind(_))),
                "{mode:o}: {result:?}"
            );
        }
    }

    #[test]
    fn what_comes_out_is_bounded_by_size_ratio_and_number() {
        let zeros = vec![0; 512 << 10];
        let (_f, result) = unpack(&[File("a", &zeros)]);
        assert!(matches!(result, Err(UnpackError::Bomb(100))), "{result:?}");
        let lenient = UnpackLimits {
            ratio: 100_000,
            ..LIMITS
        };
        let (_f, result) = unpack_with(
            &[File("a", &zeros), File("b", &zeros), File("c", &zeros)],
            &lenient,
            |_| (),
        );
        assert!(
            matches!(result, Err(UnpackError::TooLarge(_))),
            "{result:?}"
        );
        let few = UnpackLimits {
            entries: 1,
            ..LIMITS
        };
        let (_f, result) = unpack_with(&[File("a", b""), File("b", b"")], &few, |_| ());
        assert!(
            matches!(result, Err(UnpackError::Entries { found: 2, limit: 1 })),
            "{result:?}"
        );
    }

    #[test]
    fn a_file_that_is_no_archive_or_is_cut_is_refused() {
        let (_f, result) = unpack_with(&[File("a", b"hello")], &LIMITS, |bytes| bytes.truncate(20));
        assert!(matches!(result, Err(UnpackError::Archive(_))), "{result:?}");
    }

    #[test]
    fn a_file_that_is_also_a_folder_is_refused() {
        let (_f, result) = unpack(&[File("a", b"x"), File("a/b", b"y")]);
        assert!(matches!(result, Err(UnpackError::Twice(_))), "{result:?}");
    }
}
