//! Reads `/proc`: who is whose child, in which session, and which unit a process says it belongs to.

use std::{collections::BTreeMap, fs, io::Read};

/// One living process. Its number and start time together never come again until the next boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) session: u32,
    pub(super) started: u64, // clock ticks since boot
    pub(super) zombie: bool,
}

/// All processes at one moment, or nearly so.
pub(super) fn snapshot() -> BTreeMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, process(pid)?)))
        .collect()
}

/// One process, `None` when it is gone.
pub(super) fn process(pid: u32) -> Option<Process> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid pgrp session …`; the name may hold spaces and brackets.
fn parse_stat(pid: u32, stat: &str) -> Option<Process> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        session,
        started,
        zombie: matches!(state, "Z" | "X"),
    })
}

/// The value of a variable in the environment a process was executed with. `None` too when we may not look.
pub(super) fn variable(pid: u32, name: &str) -> Option<String> {
    let mut environment = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ"))
        .ok()?
        .take(4 << 20)
        .read_to_end(&mut environment)
        .ok()?;
    let value = environment
        .split(|b| *b == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// Who a process runs as (its real uid).
pub(super) fn uid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The cgroup v2 path of a process, relative to the mount.
pub(super) fn cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(str::to_owned)
}

/// A process and its ancestors, nearest first.
pub(super) fn ancestry(pid: u32) -> Vec<Process> {
    let mut line: Vec<Process> = Vec::new();
    let mut next = pid;
    while next > 0
        && line.len() < 256
        && let Some(process) = process(next)
    {
        line.push(process);
        next = process.parent;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_and_spaces_does_not_confuse() {
        let stat = "42 (a) b (c)) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        let expected = Process {
            pid: 42,
            parent: 1,
            group: 40,
            session: 39,
            started: 98765,
            zombie: false,
        };
        assert_eq!(parse_stat(42, stat), Some(expected));
        assert_eq!(parse_stat(42, "42 (a"), None);
    }

    #[test]
    fn this_process_finds_itself() {
        let me = std::process::id();
        let seen = snapshot();
        assert_eq!(seen[&me].pid, me);
        assert_eq!(ancestry(me)[0].pid, me);
        assert!(variable(me, "PATH").is_some());
        assert_eq!(uid(me), Some(rustix::process::getuid().as_raw()));
    }
}
