//! `--filter`: terms separated by commas are alternatives, repeated options must all hold. A term is `KEY=VALUE` or a regular expression.

use super::{entries::Raw, syslog, window::Window};
use crate::Failure;
use logs::Entry;
use regex_lite::Regex;

/// What is looked for.
pub struct Filter {
    windows: Vec<Window>,
    /// All of these, each through one of its terms.
    rules: Vec<Vec<Term>>,
    syslog: bool,
}

enum Term {
    /// At least this severe.
    Level(usize),
    /// A keyword with its value; where an entry has no such keyword, the text as it is written.
    Keyword {
        key: String,
        value: String,
        text: Regex,
    },
    /// Anywhere in the entry.
    Text(Regex),
}

const LEVELS: [&str; 8] = [
    "ALL", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF",
];

fn severity(level: &str) -> Option<usize> {
    LEVELS
        .iter()
        .position(|known| known.eq_ignore_ascii_case(level))
}

impl Filter {
    /// Reads the options.
    pub fn new(
        filters: &[String],
        windows: &[String],
        now: i64,
        syslog: bool,
    ) -> Result<Self, Failure> {
        let terms = |filter: &String| {
            filter
                .split(',')
                .filter(|t| !t.is_empty())
                .map(term)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            windows: windows
                .iter()
                .map(|window| Window::parse(window, now))
                .collect::<Result<_, _>>()?,
            rules: filters.iter().map(terms).collect::<Result<_, _>>()?,
            syslog,
        })
    }

    /// When nothing more can match: after the end of all windows.
    pub fn end(&self) -> Option<i64> {
        self.windows.iter().map(|window| window.end).max()
    }

    /// Whether an entry is wanted.
    pub fn matches(&self, raw: &Raw) -> bool {
        if !self.windows.is_empty() && !self.windows.iter().any(|window| window.holds(raw.time)) {
            return false;
        }
        if self.rules.is_empty() {
            return true;
        }
        let head = raw.text.lines().next().unwrap_or_default();
        let line = if self.syslog {
            syslog::parse(head)
        } else {
            Entry::parse(head)
        };
        self.rules
            .iter()
            .all(|rule| rule.is_empty() || rule.iter().any(|term| term.matches(raw, line.as_ref())))
    }

    /// The text with what was looked for in bold red.
    pub fn highlight(&self, text: &str) -> String {
        let mut marks: Vec<(usize, usize)> = Vec::new();
        for term in self.rules.iter().flatten() {
            match term {
                Term::Level(_) => {}
                Term::Text(regex) => {
                    marks.extend(regex.find_iter(text).map(|m| (m.start(), m.end())));
                }
                Term::Keyword { value, .. } if !value.is_empty() => {
                    marks.extend(
                        text.match_indices(value.as_str())
                            .map(|(at, found)| (at, at + found.len())),
                    );
                }
                Term::Keyword { .. } => {}
            }
        }
        marks.sort_unstable();
        let mut out = String::new();
        let mut done = 0;
        for (start, end) in marks {
            if start >= done && end > start {
                out.push_str(&text[done..start]);
                out.push_str("\x1b[1;31m");
                out.push_str(&text[start..end]);
                out.push_str("\x1b[0m");
                done = end;
            }
        }
        out.push_str(&text[done..]);
        out
    }
}

fn term(text: &str) -> Result<Term, Failure> {
    let regex = |text: &str| {
        Regex::new(text).map_err(|error| Failure::Usage(format!("--filter {text}: {error}")))
    };
    let key_value = text.split_once('=').filter(|(key, _)| {
        !key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    let Some((key, value)) = key_value else {
        return Ok(Term::Text(regex(text)?));
    };
    if key.eq_ignore_ascii_case("level") {
        let level = severity(value).ok_or_else(|| {
            Failure::Usage(format!(
                "--filter {text}: the levels are {}",
                LEVELS.join(", ")
            ))
        })?;
        return Ok(Term::Level(level));
    }
    Ok(Term::Keyword {
        key: key.to_owned(),
        value: value.to_owned(),
        text: regex(&regex_lite::escape(text))?,
    })
}

impl Term {
    fn matches(&self, raw: &Raw, entry: Option<&Entry<'_>>) -> bool {
        match self {
            Self::Text(regex) => regex.is_match(&raw.text),
            Self::Level(least) => entry
                .and_then(|entry| severity(&entry.level))
                .is_some_and(|level| level >= *least),
            Self::Keyword { key, value, text } => {
                match entry.and_then(|entry| entry.keyword(key)) {
                    Some(found) if key.eq_ignore_ascii_case("error") => {
                        value == "any" || found.contains(value.as_str())
                    }
                    Some(found) => found.eq_ignore_ascii_case(value),
                    None => text.is_match(&raw.text),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(level: &str, message: &str, contexts: &str) -> Raw {
        let text =
            format!("2026-01-02T03:04:05.678Z [{level}] (main) com.A: stdout. {message}{contexts}");
        Raw {
            time: super::super::entries::time_of(&text).unwrap(),
            text,
        }
    }

    fn matches(filters: &[&str], raw: &Raw) -> bool {
        let filters: Vec<String> = filters.iter().map(|&f| f.to_owned()).collect();
        Filter::new(&filters, &[], 0, false)
            .ok()
            .unwrap()
            .matches(raw)
    }

    #[test]
    fn commas_are_or_and_options_are_and() {
        let entry = raw(
            "INFO",
            "Deployment done",
            ". {serviceName=com.A, name=beta}",
        );
        assert!(matches(&["thread=main", "Deploy.*ne,nothing"], &entry));
        assert!(matches(&["done", "name=alpha,name=beta"], &entry));
        assert!(!matches(&["done", "name=alpha"], &entry));
        assert!(!matches(&["thread=other"], &entry));
        assert!(matches(&[], &entry));
    }

    #[test]
    fn a_level_means_at_least() {
        assert!(matches(&["level=INFO"], &raw("ERROR", "x", "")));
        assert!(!matches(&["level=WARN"], &raw("INFO", "x", "")));
        assert!(Filter::new(&["level=LOUD".to_owned()], &[], 0, false).is_err());
    }

    #[test]
    fn a_pair_no_entry_knows_is_looked_for_in_the_text() {
        assert!(matches(&["speed=3"], &raw("INFO", "now speed=3 m/s", "")));
        assert!(!matches(&["speed=4"], &raw("INFO", "now speed=3 m/s", "")));
        assert!(matches(
            &["error=any"],
            &raw("WARN", "x", ". {error=disk full}")
        ));
        assert!(Filter::new(&["(".to_owned()], &[], 0, false).is_err());
    }

    #[test]
    fn matches_are_marked_once() {
        let filter = Filter::new(&["ab,b+".to_owned()], &[], 0, false)
            .ok()
            .unwrap();
        assert_eq!(
            filter.highlight("xabby"),
            "x\x1b[1;31mab\x1b[0m\x1b[1;31mb\x1b[0my".replace("\x1b[1;31mb\x1b[0m", "b")
        );
    }
}
