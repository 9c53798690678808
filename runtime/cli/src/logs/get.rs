//! `logs get`: merges files in the order of time, filters, shows neighbours of matches, follows.

use super::{
    entries::{self, Raw, Reader},
    filter::Filter,
    groups::Group,
    sources, syslog,
};
use crate::{Failure, arguments::Get, output::Output};
use logs::{Entry, Utc};
use std::{
    collections::{BTreeSet, VecDeque},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Between two looks at files that are followed.
const PAUSE: Duration = Duration::from_millis(200);
const SYSLOG_FILES: [&str; 3] = [
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/system.log",
];

/// Prints what is asked for.
pub fn run(get: &Get, root: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let filter = Filter::new(&get.filter, &get.time_window, now(), get.syslog)?;
    let time_of = if get.syslog {
        syslog::time_of
    } else {
        entries::time_of
    };
    if get.syslog && get.verbose {
        output.warn("--verbose means nothing for syslog files");
    }
    let groups = groups(get, root)?;
    let mut known: BTreeSet<Group> = groups.iter().cloned().collect();
    let mut readers: Vec<Source> = groups
        .into_iter()
        .map(|group| Source::new(Reader::new(group, time_of)))
        .collect();
    let mut printer = Printer::new(get, &filter, output);

    while let Some(raw) = earliest(&mut readers, get.follow)? {
        printer.take(raw)?;
    }
    printer.catch_up()?;
    while get.follow && filter.end().is_none_or(|end| now() <= end) {
        std::thread::sleep(PAUSE);
        // Components may be new. Folders that went away may come back.
        for group in groups_now(get, root) {
            if known.insert(group.clone()) {
                readers.push(Source::new(Reader::new(group, time_of)));
            }
        }
        while let Some(raw) = earliest(&mut readers, true)? {
            printer.take(raw)?;
        }
        printer.flush()?;
    }
    Ok(())
}

fn now() -> i64 {
    Utc::from(SystemTime::now()).epoch_ms()
}

fn groups(get: &Get, root: &Path) -> Result<Vec<Group>, Failure> {
    if !get.syslog {
        return sources(&get.sources, root);
    }
    let named = |files: Vec<PathBuf>| {
        files
            .iter()
            .map(|file| Group::single(file))
            .collect::<Vec<_>>()
    };
    if !get.sources.files.is_empty() {
        return sources(&get.sources, root);
    }
    let found: Vec<PathBuf> = SYSLOG_FILES
        .iter()
        .map(PathBuf::from)
        .filter(|file| file.exists())
        .collect();
    if found.is_empty() {
        return Err(Failure::Failed(format!(
            "there is no {}; name a file with --log-file",
            SYSLOG_FILES.join(" or ")
        )));
    }
    Ok(named(found))
}

fn groups_now(get: &Get, root: &Path) -> Vec<Group> {
    groups(get, root).unwrap_or_default()
}

/// A reader with its next entry in hand.
struct Source {
    reader: Reader,
    next: Option<Raw>,
}

impl Source {
    fn new(reader: Reader) -> Self {
        Self { reader, next: None }
    }
}

/// The earliest entry of all sources.
fn earliest(sources: &mut [Source], live: bool) -> Result<Option<Raw>, Failure> {
    for source in sources.iter_mut().filter(|source| source.next.is_none()) {
        source.next = source
            .reader
            .next(live)
            .map_err(|error| Failure::Failed(format!("cannot read the logs: {error}")))?;
    }
    let first = sources
        .iter_mut()
        .filter(|source| source.next.as_ref().is_some());
    let first = first.min_by_key(|source| source.next.as_ref().map(|raw| raw.time));
    Ok(first.and_then(|source| source.next.take()))
}

/// Filters, adds the neighbours of matches, and writes.
struct Printer<'a, 'o> {
    get: &'a Get,
    filter: &'a Filter,
    output: &'a mut Output<'o>,
    /// Entries that are printed should the next one match.
    before: VecDeque<Raw>,
    /// Entries that are still to be printed after a match.
    after: usize,
    /// With a limit: the last matches, each with its neighbours.
    held: Option<VecDeque<(bool, Raw)>>,
    held_matches: usize,
}

impl<'a, 'o> Printer<'a, 'o> {
    fn new(get: &'a Get, filter: &'a Filter, output: &'a mut Output<'o>) -> Self {
        let held = get.max.map(|_| VecDeque::new());
        Self {
            get,
            filter,
            output,
            before: VecDeque::new(),
            after: 0,
            held,
            held_matches: 0,
        }
    }

    fn take(&mut self, raw: Raw) -> Result<(), Failure> {
        if self.filter.matches(&raw) {
            self.after = self.get.after;
            while let Some(neighbour) = self.before.pop_front() {
                self.hold_or_write(false, neighbour)?;
            }
            return self.hold_or_write(true, raw);
        }
        if self.after > 0 {
            self.after -= 1;
            return self.hold_or_write(false, raw);
        }
        if self.get.before > 0 {
            if self.before.len() == self.get.before {
                self.before.pop_front();
            }
            self.before.push_back(raw);
        }
        Ok(())
    }

    fn hold_or_write(&mut self, is_match: bool, raw: Raw) -> Result<(), Failure> {
        let (Some(held), Some(most)) = (&mut self.held, self.get.max) else {
            return self.write(is_match, &raw);
        };
        held.push_back((is_match, raw));
        self.held_matches += usize::from(is_match);
        // Let go of the oldest match, and of what belongs to it: everything up to the next one's neighbours.
        while self.held_matches > most {
            let Some((was_match, _)) = held.pop_front() else {
                break;
            };
            self.held_matches -= usize::from(was_match);
        }
        Ok(())
    }

    /// Writes what a limit held back; from now on everything is written at once.
    fn catch_up(&mut self) -> Result<(), Failure> {
        for (is_match, raw) in self.held.take().into_iter().flatten() {
            self.write(is_match, &raw)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.output.answer.flush()?)
    }

    fn write(&mut self, is_match: bool, raw: &Raw) -> Result<(), Failure> {
        let head = raw.text.lines().next().unwrap_or_default();
        let entry = if self.get.syslog {
            syslog::parse(head)
        } else {
            Entry::parse(head)
        };
        if self.output.is_json() {
            let mut line = Vec::new();
            let mut entry = entry.unwrap_or_else(|| plain(raw));
            if let Some((_, rest)) = raw.text.split_once('\n') {
                entry.message =
                    Some(format!("{}\n{rest}", entry.message.unwrap_or_default()).into());
            }
            entry.render(logs::Format::Json, &mut line);
            return Ok(self.output.answer.write_all(&line)?);
        }
        let text = match entry {
            Some(entry) if !self.get.syslog => self.simplify(&entry, raw),
            _ => raw.text.clone(),
        };
        let text = if is_match && self.output.colour && !self.get.no_color {
            self.filter.highlight(&text)
        } else {
            text
        };
        self.output.line(&text)
    }

    /// Without thread and contexts, unless those are asked for.
    fn simplify(&self, entry: &Entry<'_>, raw: &Raw) -> String {
        let mut line = Vec::new();
        if self.get.verbose {
            entry.render(logs::Format::Text, &mut line);
        } else {
            let event = entry
                .event
                .as_ref()
                .map(|event| format!("{event}. "))
                .unwrap_or_default();
            let message = entry.message.as_deref().unwrap_or_default();
            let time = Utc::from_epoch_ms(entry.timestamp);
            line = format!(
                "{time} [{}] {}: {event}{message}",
                entry.level, entry.logger
            )
            .into_bytes();
        }
        let mut text = String::from_utf8_lossy(&line)
            .trim_end_matches('\n')
            .to_owned();
        if let Some((_, rest)) = raw.text.split_once('\n') {
            text.push('\n');
            text.push_str(rest);
        }
        text
    }
}

/// A line of no known form.
fn plain(raw: &Raw) -> Entry<'_> {
    let head = raw.text.lines().next().unwrap_or_default();
    Entry {
        thread: "".into(),
        level: "INFO".into(),
        event: None,
        message: Some(head.into()),
        contexts: Vec::new(),
        logger: "".into(),
        timestamp: raw.time.max(0),
        cause: None,
    }
}
