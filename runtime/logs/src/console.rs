//! Lines on standard error: for a person, with colour when that is a terminal.

use crate::{Format, entry::Entry};
use std::io::{IsTerminal, Write};

/// Whether to use colour: a terminal, and nobody asked not to (`NO_COLOR`).
pub(crate) fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Writes an entry for a person: `03:04:05.678 WARN  deploy::fetch: message  key=value`.
pub(crate) fn write_human(entry: &Entry<'_>, colour: bool) {
    let time = crate::Utc::from_epoch_ms(entry.timestamp).to_string();
    let paint = match &*entry.level {
        _ if !colour => "",
        "ERROR" => "\x1b[31m",
        "WARN" => "\x1b[33m",
        "INFO" => "\x1b[32m",
        _ => "\x1b[2m",
    };
    let (dim, off) = if colour {
        ("\x1b[2m", "\x1b[0m")
    } else {
        ("", "")
    };
    let mut line = format!(
        "{dim}{}{off} {paint}{:<5}{off} {}:",
        &time[11..23],
        entry.level,
        entry.logger
    );
    for part in [&entry.event, &entry.message].into_iter().flatten() {
        line.push(' ');
        line.push_str(&part.replace('\n', "\n    "));
    }
    for (key, value) in &entry.contexts {
        line.push_str(&format!("  {dim}{key}={off}{value}"));
    }
    line.push('\n');
    put(line.as_bytes());
}

/// Writes an entry in a Greengrass format.
pub(crate) fn write_entry(entry: &Entry<'_>, format: Format) {
    let mut line = Vec::new();
    entry.render(format, &mut line);
    put(&line);
}

/// One write a line. When standard error is gone there is nowhere left to say so.
fn put(line: &[u8]) {
    let _ = std::io::stderr().lock().write_all(line);
}
