//! Lines of syslog files, both as RFC 3164 has them and with the ISO time that rsyslog writes today:
//!
//! ```text
//! <13>Jan  2 03:04:05 host logger[42]: message
//! 2026-01-02T03:04:05.678901+00:00 host logger (class): message
//! ```

use logs::{Entry, Utc};
use std::time::SystemTime;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A line in parts: host, logger, class and priority are keywords.
pub fn parse(line: &str) -> Option<Entry<'_>> {
    let (priority, rest) = match line.strip_prefix('<') {
        Some(rest) => rest
            .split_once('>')
            .map(|(priority, rest)| (Some(priority), rest))?,
        None => (None, line),
    };
    let (time, rest) = time(rest)?;
    let (host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest
        .split_once(": ")
        .unwrap_or((rest.strip_suffix(':').unwrap_or(rest), ""));
    let (logger, class) = match tag.split_once(['(', '[']) {
        Some((logger, class)) => (logger.trim_end(), class.strip_suffix([')', ']'])),
        None => (tag, None),
    };
    let mut contexts = vec![
        ("host".into(), host.into()),
        ("logger".into(), logger.into()),
    ];
    contexts.extend(class.map(|class| ("class".into(), class.into())));
    contexts.extend(priority.map(|priority| ("priority".into(), priority.into())));
    Some(Entry {
        thread: "".into(),
        level: level(priority.and_then(|p| p.parse().ok())).into(),
        event: None,
        message: Some(message.into()),
        contexts,
        logger: logger.into(),
        timestamp: time,
        cause: None,
    })
}

/// The time of a line.
pub fn time_of(line: &str) -> Option<i64> {
    parse(line).map(|entry| entry.timestamp)
}

/// Syslog's severity is the last three bits of the priority.
fn level(priority: Option<u8>) -> &'static str {
    match priority.map(|priority| priority % 8) {
        Some(0..=2) => "FATAL",
        Some(3) => "ERROR",
        Some(4) => "WARN",
        Some(7) => "DEBUG",
        _ => "INFO",
    }
}

fn time(text: &str) -> Option<(i64, &str)> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let (time, rest) = text.split_once(' ')?;
        return Some((Utc::parse(time)?.epoch_ms(), rest));
    }
    let (stamp, rest) = (text.get(..15)?, text.get(16..)?);
    let month = MONTHS.iter().position(|month| stamp.starts_with(month))? + 1;
    let day: u8 = stamp[4..6].trim().parse().ok()?;
    let now = Utc::from(SystemTime::now());
    let at = |year: i64| {
        Utc::parse(&format!("{year:04}-{month:02}-{day:02}T{}", &stamp[7..])).map(Utc::epoch_ms)
    };
    // There is no year in it: the latest one that is not in the future, give or take a day for the time zone.
    let this = at(now.year)?;
    let time = if this > now.epoch_ms() + 86_400_000 {
        at(now.year - 1)?
    } else {
        this
    };
    Some((time, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_lines_give_the_keywords() {
        let old = parse("<12>Jan  2 03:04:05 host kernel (mem): out of memory").unwrap();
        assert_eq!(old.keyword("priority").unwrap(), "12");
        assert_eq!(old.keyword("class").unwrap(), "mem");
        assert_eq!(
            (old.keyword("logger").unwrap().as_ref(), &*old.level),
            ("kernel", "WARN")
        );
        let new =
            parse("2026-01-02T03:04:05.678901+01:00 box systemd[1]: Started it: yes").unwrap();
        assert_eq!(
            new.timestamp,
            Utc::parse("2026-01-02T02:04:05.678Z").unwrap().epoch_ms()
        );
        assert_eq!(
            (
                new.keyword("host").unwrap().as_ref(),
                new.message.as_deref()
            ),
            ("box", Some("Started it: yes"))
        );
        assert!(parse("no syslog").is_none());
        assert!(parse("Jan ä").is_none());
    }
}
