//! Reads the entries of one group in order, through rotations, also while they are being written.

use super::groups::Group;
use logs::Entry;
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// One entry as it stands in the file, further lines included.
#[derive(Clone, PartialEq, Debug)]
pub struct Raw {
    /// The lines, without the last end of line.
    pub text: String,
    /// Milliseconds since 1970; a line without time has that of the entry before it.
    pub time: i64,
}

/// Which time a line carries; `None` when it belongs to the entry before it.
pub type TimeOf = fn(&str) -> Option<i64>;

/// The time of a line of the Greengrass formats.
pub fn time_of(line: &str) -> Option<i64> {
    Entry::parse(line).map(|entry| entry.timestamp)
}

/// The entries of a group, oldest first.
pub struct Reader {
    group: Group,
    time_of: TimeOf,
    /// Files still to be opened, oldest first; the current file is always the last.
    waiting: VecDeque<PathBuf>,
    open: Option<Open>,
    /// An entry whose further lines may still follow.
    begun: Option<Raw>,
    last_time: i64,
}

struct Open {
    file: BufReader<File>,
    /// Device and inode.
    identity: (u64, u64),
    /// The beginning of a line that is not yet written to its end.
    partial: Vec<u8>,
}

impl Reader {
    /// Begins with the oldest file.
    pub fn new(group: Group, time_of: TimeOf) -> Self {
        let mut waiting: VecDeque<PathBuf> = group.rotated().into();
        waiting.push_back(group.current());
        Self {
            group,
            time_of,
            waiting,
            open: None,
            begun: None,
            last_time: i64::MIN,
        }
    }

    /// The next entry. `None`: there is no more now. With `live`, what stands unfinished at the end of the current file is
    /// kept back until it is finished; without, it is the last entry.
    pub fn next(&mut self, live: bool) -> io::Result<Option<Raw>> {
        loop {
            match self.line(live)? {
                Some(line) => match (self.time_of)(&line) {
                    Some(time) => {
                        self.last_time = time;
                        if let Some(done) = self.begun.replace(Raw { text: line, time }) {
                            return Ok(Some(done));
                        }
                    }
                    None => match &mut self.begun {
                        Some(begun) => {
                            begun.text.push('\n');
                            begun.text.push_str(&line);
                        }
                        None => {
                            self.begun = Some(Raw {
                                text: line,
                                time: self.last_time,
                            });
                        }
                    },
                },
                // Entries are written whole: what has begun is complete when nothing follows.
                None => return Ok(self.begun.take()),
            }
        }
    }

    /// The next line, from whichever file comes next.
    fn line(&mut self, live: bool) -> io::Result<Option<String>> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.waiting.pop_front() else {
                    return Ok(None);
                };
                match Open::at(&path) {
                    Ok(open) => self.open = Some(open),
                    // Rotated away while we read, or not there yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if self.waiting.is_empty() {
                            self.waiting.push_back(path);
                            return Ok(None);
                        }
                        continue;
                    }
                    Err(error) => {
                        return Err(io::Error::new(
                            error.kind(),
                            format!("{}: {error}", path.display()),
                        ));
                    }
                }
            }
            let open = self.open.as_mut().expect("opened above");
            open.file.read_until(b'\n', &mut open.partial)?;
            if open.partial.ends_with(b"\n") {
                return Ok(Some(open.take()));
            }
            // The end of this file. A newer one exists when it is no longer the current one.
            if self.waiting.is_empty() {
                let current = fs::metadata(self.group.current())
                    .map(|m| (m.dev(), m.ino()))
                    .ok();
                if current == Some(open.identity) {
                    // The file was emptied in place.
                    if fs::metadata(self.group.current())?.len() < open.position()? {
                        self.open = Some(Open::at(&self.group.current())?);
                        continue;
                    }
                    return Ok(if live || open.partial.is_empty() {
                        None
                    } else {
                        Some(open.take())
                    });
                }
                if current.is_none() && self.group.rotated().is_empty() {
                    return Ok(None);
                }
                self.waiting = self.after(self.open.as_ref().map(|open| open.identity));
            }
            // Lines may have come between the read and the rotation.
            let open = self.open.as_mut().expect("still open");
            open.file.read_until(b'\n', &mut open.partial)?;
            if !open.partial.is_empty() {
                return Ok(Some(open.take()));
            }
            self.open = None;
        }
    }

    /// The files newer than the one with this identity.
    fn after(&self, identity: Option<(u64, u64)>) -> VecDeque<PathBuf> {
        let rotated = self.group.rotated();
        let of = |path: &PathBuf| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        // A file that is gone was older than all that are left.
        let next = rotated
            .iter()
            .position(|path| of(path) == identity)
            .map_or(0, |at| at + 1);
        rotated
            .into_iter()
            .skip(next)
            .chain([self.group.current()])
            .collect()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file: BufReader::new(file),
            identity: (metadata.dev(), metadata.ino()),
            partial: Vec::new(),
        })
    }

    fn position(&mut self) -> io::Result<u64> {
        io::Seek::stream_position(&mut self.file)
    }

    /// The line read so far, as text.
    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::groups::in_folders;
    use std::io::Write;

    fn line(n: i64) -> String {
        format!("{} [INFO] (t) l: m{n}\n", logs::Utc::from_epoch_ms(n))
    }

    fn drain(reader: &mut Reader) -> Vec<i64> {
        std::iter::from_fn(|| reader.next(true).unwrap())
            .map(|raw| raw.time)
            .collect()
    }

    #[test]
    fn a_group_is_read_through_rotations_that_happen_while_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("c_2026_01_02_03_0.log"), line(1) + &line(2)).unwrap();
        fs::write(at("c.log"), line(3)).unwrap();
        let group = in_folders(&[folder.path().into()]).unwrap().remove(0);
        let mut reader = Reader::new(group, time_of);
        assert_eq!(drain(&mut reader), [1, 2, 3]);

        // Lines come, then the file is rotated twice before anybody looks.
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(at("c.log"))
            .unwrap();
        file.write_all(line(4).as_bytes()).unwrap();
        fs::rename(at("c.log"), at("c_2026_01_02_03_1.log")).unwrap();
        fs::write(at("c_2026_01_02_03_2.log"), line(5)).unwrap();
        fs::write(at("c.log"), line(6)).unwrap();
        assert_eq!(drain(&mut reader), [4, 5, 6]);

        // Rotated, and the new file is not there yet.
        fs::rename(at("c.log"), at("c_2026_01_02_03_3.log")).unwrap();
        assert_eq!(drain(&mut reader), [] as [i64; 0]);
        fs::write(at("c.log"), line(7)).unwrap();
        assert_eq!(drain(&mut reader), [7]);

        // The file we read is deleted altogether.
        fs::remove_file(at("c.log")).unwrap();
        fs::write(at("c.log"), line(8)).unwrap();
        let read = drain(&mut reader);
        assert_eq!(read.last(), Some(&8), "{read:?}");
    }

    #[test]
    fn half_a_line_is_kept_back_while_live_and_given_out_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        let whole = line(2);
        fs::write(&path, line(1) + &whole[..whole.len() - 3]).unwrap();
        let mut live = Reader::new(Group::single(&path), time_of);
        assert_eq!(drain(&mut live), [1]);
        let mut once = Reader::new(Group::single(&path), time_of);
        assert_eq!(once.next(false).unwrap().unwrap().time, 1);
        assert_eq!(
            once.next(false).unwrap().unwrap().text,
            whole[..whole.len() - 3]
        );
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&whole.as_bytes()[whole.len() - 3..])
            .unwrap();
        assert_eq!(drain(&mut live), [2]);
    }

    #[test]
    fn further_lines_belong_to_the_entry_before_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        fs::write(
            &path,
            format!("lost beginning\n{}    second\n{}", line(1), line(2)),
        )
        .unwrap();
        let mut reader = Reader::new(Group::single(&path), time_of);
        let texts: Vec<String> = std::iter::from_fn(|| reader.next(false).unwrap())
            .map(|raw| raw.text)
            .collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(texts[1].ends_with("m1\n    second"));
    }
}
