//! Reads the entries of one group in order, through rotations, also while they are being written.

use super::groups::Group;
use logs::{Entry, names::Stamp};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    os::unix::fs::MetadataExt,
    path::Path,
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
    open: Option<Open>,
    /// Rotated files up to this one are read, or gone.
    floor: Option<Stamp>,
    /// An entry whose further lines may still follow.
    begun: Option<Raw>,
    last_time: i64,
}

struct Open {
    file: BufReader<File>,
    /// Device and inode; nobody else gets them while we hold the file open.
    identity: (u64, u64),
    /// When it was rotated, if it was when we opened it.
    stamp: Option<Stamp>,
    /// The beginning of a line that is not yet written to its end.
    partial: Vec<u8>,
}

impl Reader {
    /// Begins with the oldest file.
    pub fn new(group: Group, time_of: TimeOf) -> Self {
        Self {
            group,
            time_of,
            open: None,
            floor: None,
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
            let Some(open) = &mut self.open else {
                let Some(first) = self.newer(None)? else {
                    return Ok(None);
                };
                self.floor = first.stamp;
                self.open = Some(first);
                continue;
            };
            if open.read()? {
                return Ok(Some(open.take()));
            }
            let identity = open.identity;
            let next = self.newer(Some(identity))?;
            let open = self.open.as_mut().expect("it was open above");
            match next {
                Some(next) => {
                    // Nobody writes to it any more; lines may have come between the last read and the rotation.
                    open.read()?;
                    if !open.partial.is_empty() {
                        return Ok(Some(open.take()));
                    }
                    self.floor = next.stamp.or(self.floor);
                    self.open = Some(next);
                }
                None if open.was_emptied()? => {
                    open.file.rewind()?;
                    open.partial.clear();
                }
                None => {
                    return Ok(if live || open.partial.is_empty() {
                        None
                    } else {
                        Some(open.take())
                    });
                }
            }
        }
    }

    /// The file after the one with this identity; `None` when that is the newest, or its successor is not there yet.
    fn newer(&mut self, than: Option<(u64, u64)>) -> io::Result<Option<Open>> {
        let found = |result: io::Result<Open>| match result {
            Ok(open) => Ok(Some(open)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        // First the current file, then the rotated ones: should the writer rotate in between, it is found among those.
        let current = found(Open::at(&self.group.current()))?;
        if than.is_some() && current.as_ref().map(|open| open.identity) == than {
            return Ok(None);
        }
        let mut waiting = Vec::new();
        for (stamp, path) in self.group.rotated() {
            if self.floor.is_some_and(|floor| stamp <= floor) {
                continue;
            }
            let Some(open) = found(Open::at(&path))? else {
                continue;
            };
            if Some(open.identity) == than {
                // The one we come from has been rotated; all before it are older.
                waiting.clear();
                self.floor = Some(stamp);
            } else {
                waiting.push((stamp, path));
            }
        }
        for (stamp, path) in waiting {
            if let Some(open) = found(Open::at(&path))? {
                return Ok(Some(Open {
                    stamp: Some(stamp),
                    ..open
                }));
            }
        }
        Ok(current)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(named)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file: BufReader::new(file),
            identity: (metadata.dev(), metadata.ino()),
            stamp: None,
            partial: Vec::new(),
        })
    }

    /// Reads on; whether a whole line is there.
    fn read(&mut self) -> io::Result<bool> {
        self.file.read_until(b'\n', &mut self.partial)?;
        Ok(self.partial.ends_with(b"\n"))
    }

    /// Someone has cut the file off, as `logrotate` does with `copytruncate`.
    fn was_emptied(&mut self) -> io::Result<bool> {
        Ok(self.file.get_ref().metadata()?.len() < self.file.stream_position()?)
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
    use std::{fs, io::Write};

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
    fn following_a_log_that_is_written_and_rotated_meanwhile_misses_nothing() {
        const LINES: usize = 3000;
        let folder = tempfile::tempdir().unwrap();
        let settings = logs::Settings {
            file_size: 16 * 1024,
            ..logs::Settings::default()
        };
        let options = logs::Options {
            target: logs::Target::Files,
            folder: folder.path().into(),
            settings,
            ..logs::Options::default()
        };
        let writer = logs::init(options).unwrap();
        let name: model::ComponentName = "com.a".parse().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        std::thread::scope(|scope| {
            let output = writer.component_output();
            scope.spawn(move || {
                for n in 0..LINES {
                    output.line(&name, "run", logs::Stream::Stdout, n.to_string().as_bytes());
                }
            });
            while !folder.path().join("com.a.log").exists() {
                assert!(std::time::Instant::now() < deadline, "nothing was written");
                std::thread::yield_now();
            }
            let group = in_folders(&[folder.path().into()]).unwrap().remove(0);
            let mut reader = Reader::new(group, time_of);
            let mut seen: Vec<usize> = Vec::new();
            while seen.len() < LINES {
                assert!(
                    std::time::Instant::now() < deadline,
                    "{} of {LINES} lines came",
                    seen.len()
                );
                while let Some(raw) = reader.next(true).unwrap() {
                    seen.push(
                        Entry::parse(&raw.text)
                            .unwrap()
                            .message
                            .unwrap()
                            .parse()
                            .unwrap(),
                    );
                }
                std::thread::yield_now();
            }
            assert_eq!(seen, (0..LINES).collect::<Vec<_>>());
        });
        assert!(
            fs::read_dir(folder.path()).unwrap().count() > 5,
            "it was not rotated"
        );
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
