//! One component's log file: appends whole lines, rotates by size, keeps the sum of its files under a cap, and outlives
//! a full disk, a file deleted under it and a line torn by a crash.

use crate::{
    Utc,
    names::{self, Stamp},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// How large files grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// One file, bytes.
    pub file: u64,
    /// All files of one stem, bytes.
    pub total: u64,
}

/// A log file and its rotated predecessors.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: PathBuf,
    stem: Arc<str>,
    limits: Limits,
    open: Option<Open>,
    /// Lines that could not be written since the last that could.
    lost: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// The last write may have left half a line behind.
    torn: bool,
}

/// Several lines in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Lines {
    /// Adds one line, rendered with its end of line.
    pub fn push(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        render(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Lines in all.
    pub fn count(&self) -> u64 {
        self.ends.len() as u64
    }
}

impl LogFile {
    /// Nothing is touched before the first line comes.
    pub fn new(folder: PathBuf, stem: Arc<str>, limits: Limits) -> Self {
        Self {
            folder,
            stem,
            limits: Limits {
                file: limits.file.min(limits.total),
                ..limits
            },
            open: None,
            lost: 0,
        }
    }

    /// Counts lines that were dropped before they came here.
    pub fn add_lost(&mut self, lines: u64) {
        self.lost += lines;
    }

    /// Writes lines; `note` renders the confession of how many were lost before them. What cannot be written is dropped and counted.
    pub fn append(
        &mut self,
        lines: &Lines,
        note: impl FnOnce(u64, &mut Vec<u8>),
    ) -> io::Result<()> {
        if self.lost > 0 {
            let mut confession = Lines::default();
            confession.push(|buffer| note(self.lost, buffer));
            if let Err((_, error)) = self.write(&confession) {
                self.lost += lines.count();
                return Err(error);
            }
            self.lost = 0;
        }
        self.write(lines).map_err(|(written, error)| {
            self.lost += lines.count() - written as u64;
            error
        })
    }

    /// Writes lines and rotates in between; on an error also says how many lines are safely in.
    fn write(&mut self, lines: &Lines) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < lines.ends.len() {
            let start = if done == 0 { 0 } else { lines.ends[done - 1] };
            let length = self.ready().map_err(|e| (done, e))?.length;
            let room = self.limits.file.saturating_sub(length);
            let fits = lines.ends[done..]
                .iter()
                .take_while(|end| (**end - start) as u64 <= room)
                .count();
            if fits == 0 && length > 0 {
                self.rotate().map_err(|e| (done, e))?;
                continue;
            }
            // A line longer than a whole file still goes into one piece.
            let ends = &lines.ends[done..done + fits.max(1)];
            let open = self.ready().map_err(|e| (done, e))?;
            open.put(&lines.bytes[start..ends[ends.len() - 1]], |written| {
                let whole = ends
                    .iter()
                    .take_while(|end| **end - start <= written)
                    .count();
                (
                    whole,
                    if whole == 0 {
                        0
                    } else {
                        ends[whole - 1] - start
                    },
                )
            })
            .map_err(|(whole, e)| (done + whole, e))?;
            done += ends.len();
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.stem))
    }

    /// The open file; opened again when someone deleted or moved it.
    fn ready(&mut self) -> io::Result<&mut Open> {
        let path = self.path();
        if let Some(open) = &self.open {
            let ours = open.file.metadata()?;
            let same = fs::symlink_metadata(&path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
            if !same {
                self.open = None;
            }
        }
        if self.open.is_none() {
            self.open = Some(Open::at(&self.folder, &path)?);
            self.make_room()?;
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    fn rotate(&mut self) -> io::Result<()> {
        let newest = names::rotated(&self.folder, &self.stem)?
            .last()
            .map(|(stamp, _)| *stamp);
        let name = Stamp::next(Utc::from(SystemTime::now()), newest).file_name(&self.stem);
        fs::rename(self.path(), self.folder.join(name))?;
        self.open = None;
        self.make_room()
    }

    /// Deletes the oldest rotated files until a full current file fits under the cap.
    fn make_room(&self) -> io::Result<()> {
        let rotated = names::rotated(&self.folder, &self.stem)?;
        let mut total: u64 = rotated.iter().map(|(_, size)| size).sum();
        for (stamp, size) in rotated {
            if total.saturating_add(self.limits.file) <= self.limits.total {
                break;
            }
            match fs::remove_file(self.folder.join(stamp.file_name(&self.stem))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= size,
            }
        }
        Ok(())
    }
}

impl Open {
    fn at(folder: &Path, path: &Path) -> io::Result<Self> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o640)
                .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
                .open(path)
        };
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                open()?
            }
            other => other?,
        };
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self {
            file,
            length,
            torn: last != [b'\n'],
        })
    }

    /// Writes it all, or takes back what is not a whole line. `whole` says for a number of bytes how many lines they are and where those end.
    fn put(
        &mut self,
        bytes: &[u8],
        whole: impl FnOnce(usize) -> (usize, usize),
    ) -> Result<(), (usize, io::Error)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|e| (0, e))?;
            self.length += 1;
            self.torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(n) if n > 0 => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    let error = other
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    let (lines, end) = whole(written);
                    self.torn =
                        written != end && self.file.set_len(self.length + end as u64).is_err();
                    self.length += if self.torn { written } else { end } as u64;
                    return Err((lines, error));
                }
            }
        }
        self.length += written as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(texts: &[String]) -> Lines {
        let mut lines = Lines::default();
        for text in texts {
            lines.push(|b| {
                b.extend_from_slice(text.as_bytes());
                b.push(b'\n');
            });
        }
        lines
    }

    fn note(n: u64, b: &mut Vec<u8>) {
        b.extend_from_slice(format!("{n} lost\n").as_bytes());
    }

    fn all(folder: &Path, stem: &str) -> String {
        let mut text = String::new();
        for (stamp, _) in names::rotated(folder, stem).unwrap() {
            text += &fs::read_to_string(folder.join(stamp.file_name(stem))).unwrap();
        }
        text + &fs::read_to_string(folder.join(format!("{stem}.log"))).unwrap()
    }

    fn total(folder: &Path) -> u64 {
        fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn below_the_cap_no_line_is_lost_or_torn_and_above_it_only_the_oldest_go(
            batches in prop::collection::vec(prop::collection::vec("[a-z]{0,40}", 1..8), 1..30),
            file in 40_u64..200,
            total_files in 1_u64..8,
            reopen: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { file, total: file * total_files };
            let mut log = LogFile::new(folder.path().into(), "c".into(), limits);
            let mut expected = String::new();
            for batch in &batches {
                for text in batch {
                    expected += text;
                    expected.push('\n');
                }
                log.append(&lines(batch), note).unwrap();
                if reopen {
                    log = LogFile::new(folder.path().into(), "c".into(), limits);
                }
                prop_assert!(total(folder.path()) <= limits.total.max(41), "{} > {}", total(folder.path()), limits.total);
            }
            let kept = all(folder.path(), "c");
            prop_assert!(expected.ends_with(&kept), "{kept:?} is not the end of {expected:?}");
            prop_assert!(kept.len() == expected.len() || expected.as_bytes()[expected.len() - kept.len() - 1] == b'\n');
            // Room for a whole current file is kept free, so this much at least survives.
            if expected.len() as u64 + 2 * file + 41 * total_files <= limits.total {
                prop_assert_eq!(kept, expected);
            }
        }
    }

    #[test]
    fn a_line_torn_by_a_crash_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c.log"), "half a li").unwrap();
        let mut log = LogFile::new(
            folder.path().into(),
            "c".into(),
            Limits {
                file: 100,
                total: 1000,
            },
        );
        log.append(&lines(&["next".into()]), note).unwrap();
        assert_eq!(all(folder.path(), "c"), "half a li\nnext\n");
    }

    #[test]
    fn a_deleted_or_moved_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(
            folder.path().into(),
            "c".into(),
            Limits {
                file: 100,
                total: 1000,
            },
        );
        log.append(&lines(&["one".into()]), note).unwrap();
        fs::remove_file(folder.path().join("c.log")).unwrap();
        log.append(&lines(&["two".into()]), note).unwrap();
        assert_eq!(all(folder.path(), "c"), "two\n");
        fs::remove_dir_all(folder.path()).unwrap();
        log.append(&lines(&["three".into()]), note).unwrap();
        assert_eq!(all(folder.path(), "c"), "three\n");
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::os::unix::fs::symlink(&target, folder.path().join("c.log")).unwrap();
        let mut log = LogFile::new(
            folder.path().into(),
            "c".into(),
            Limits {
                file: 100,
                total: 1000,
            },
        );
        log.append(&lines(&["one".into()]), note).unwrap_err();
        assert!(!target.exists());
        assert_eq!(log.lost, 1);
    }

    #[test]
    fn a_full_disk_drops_whole_lines_counts_them_and_says_so_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        // /dev/full takes the place of the disk.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = LogFile::new(
            folder.path().into(),
            "c".into(),
            Limits {
                file: 100,
                total: 1000,
            },
        );
        log.append(&lines(&["one".into()]), note).unwrap();
        let good = std::mem::replace(&mut log.open.as_mut().unwrap().file, full);
        let error = log
            .open
            .as_mut()
            .unwrap()
            .put(b"two\n", |_| (0, 0))
            .unwrap_err()
            .1;
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        log.add_lost(2);
        log.open.as_mut().unwrap().file = good;
        log.append(&lines(&["four".into()]), note).unwrap();
        assert_eq!(all(folder.path(), "c"), "one\n2 lost\nfour\n");
        assert_eq!(log.lost, 0);
    }

    #[test]
    fn files_are_readable_by_the_group_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::new(
            folder.path().into(),
            "c".into(),
            Limits {
                file: 100,
                total: 1000,
            },
        );
        log.append(&lines(&["one".into()]), note).unwrap();
        let mode = fs::metadata(folder.path().join("c.log")).unwrap().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }
}
