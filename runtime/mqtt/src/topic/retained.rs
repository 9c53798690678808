//! Retained messages by topic, and those that match a filter in pages.
//!
//! One ordered map whose keys are topics with U+0000 in place of `/`: so all topics below a level stand together, right
//! after the level itself. A filter is answered by seeking: what cannot match is jumped over level by level. A cursor is the
//! key to go on from; the map may change between two pages: what is there all the time comes exactly once.

use super::validate::is_hidden;
use crate::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::SystemTime,
};

/// Stands between the levels of a key: below every character a topic may have.
const SEPARATOR: char = '\0';
/// Follows every key at and below a level, and none of another level.
const AFTER: char = '\x01';
/// The first key after those that begin with `$`.
const AFTER_DOLLAR: &str = "%";
/// Jumps a page may take besides those that find something, so that no page holds a lock for long.
const JUMPS: usize = 256;
/// What a message costs besides its content.
const OVERHEAD: usize = 200;

/// The retained messages, at most one a topic.
#[derive(Debug)]
pub struct Retained {
    messages: BTreeMap<Arc<str>, Message>,
    /// The keys of those that expire.
    expiring: BTreeSet<(SystemTime, Arc<str>)>,
    bytes: usize,
    max_count: usize,
    max_bytes: usize,
}

/// The message was not retained: there are too many already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for another retained message")]
pub struct Full;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

/// Some of the messages that match a filter.
#[derive(Debug)]
pub struct Page {
    /// In the order of their topics, level by level. May be empty although more pages follow.
    pub messages: Vec<Message>,
    /// Present until all have been seen.
    pub next: Option<Cursor>,
}

impl Retained {
    /// An empty tree for at most so many messages and bytes (topics, payloads, properties and a fixed overhead each).
    pub fn new(max_count: usize, max_bytes: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            expiring: BTreeSet::new(),
            bytes: 0,
            max_count,
            max_bytes,
        }
    }

    /// How many messages there are, expired ones included until [`Retained::expire`] takes them.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What they take, as counted against the limit.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Retains the message for its topic in place of an earlier one. When there is no room for it, the earlier one stays.
    /// An empty payload means to clear; that is for the caller to see.
    pub fn set(&mut self, message: Message) -> Result<Option<Message>, Full> {
        let key = key_of(&message.topic);
        let before = self.messages.get(&*key);
        let count = self.messages.len() + usize::from(before.is_none());
        let bytes = self.bytes - before.map_or(0, cost) + cost(&message);
        let grows = before.is_none_or(|before| cost(before) < cost(&message));
        if count > self.max_count || (bytes > self.max_bytes && grows) {
            return Err(Full);
        }
        let before = self.take(&key);
        self.bytes += cost(&message);
        let key: Arc<str> = key.into();
        if let Some(at) = message.expires {
            self.expiring.insert((at, key.clone()));
        }
        self.messages.insert(key, message);
        Ok(before)
    }

    /// Forgets what is retained for the topic, and gives it back.
    pub fn clear(&mut self, topic: &str) -> Option<Message> {
        self.take(&key_of(topic))
    }

    fn take(&mut self, key: &str) -> Option<Message> {
        let (key, message) = self.messages.remove_entry(key)?;
        self.bytes -= cost(&message);
        if let Some(at) = message.expires {
            self.expiring.remove(&(at, key));
        }
        Some(message)
    }

    /// What is retained for a topic, unless it has expired by `now`.
    pub fn get(&self, topic: &str, now: SystemTime) -> Option<&Message> {
        self.messages
            .get(&*key_of(topic))
            .filter(|message| !has_expired(message, now))
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// Takes out at most `limit` messages that have expired by `now`.
    pub fn expire(&mut self, now: SystemTime, limit: usize) -> Vec<Message> {
        let mut expired = Vec::new();
        while expired.len() < limit
            && let Some((at, key)) = self.expiring.first()
            && *at <= now
        {
            let key = key.clone();
            expired.extend(self.take(&key));
        }
        expired
    }

    /// At most `limit` (at least 1) messages whose topics match a valid filter, from the beginning or from a cursor of the
    /// same filter. The work is bounded by `limit` too.
    pub fn page(&self, filter: &str, from: Option<Cursor>, now: SystemTime, limit: usize) -> Page {
        let limit = limit.max(1);
        let pattern: Vec<&str> = filter.split('/').collect();
        let mut seek = match from {
            Some(Cursor(key)) => key,
            None => literal_start(&pattern),
        };
        let mut messages = Vec::new();
        for _ in 0..limit + JUMPS {
            if messages.len() == limit {
                break;
            }
            let from_here = (Bound::Included(seek.as_str()), Bound::Unbounded);
            let Some((key, message)) = self.messages.range::<str, _>(from_here).next() else {
                return Page {
                    messages,
                    next: None,
                };
            };
            match look(&pattern, key) {
                Look::Match => {
                    if !has_expired(message, now) {
                        messages.push(message.clone());
                    }
                    // The very next key there could be.
                    seek = format!("{key}{SEPARATOR}");
                }
                Look::Seek(next) => seek = next,
                Look::End => {
                    return Page {
                        messages,
                        next: None,
                    };
                }
            }
        }
        Page {
            messages,
            next: Some(Cursor(seek)),
        }
    }
}

enum Look {
    Match,
    /// Nothing before this key matches.
    Seek(String),
    /// Nothing after matches.
    End,
}

/// Where keys that match begin: the levels before the first wildcard.
fn literal_start(pattern: &[&str]) -> String {
    let literal = pattern.iter().take_while(|level| !is_wildcard(level));
    let levels: Vec<&str> = literal.copied().collect();
    levels.join("\0")
}

fn is_wildcard(level: &str) -> bool {
    matches!(level, "+" | "#")
}

/// Compares a key with the pattern; on a mismatch says from where to go on. The key is at or after all matches seen so far.
fn look(pattern: &[&str], key: &str) -> Look {
    if is_hidden(key) && is_wildcard(pattern[0]) {
        return Look::Seek(AFTER_DOLLAR.into());
    }
    // The end of the last level that matched a `+`: where to go on when nothing below it can match any more.
    let mut plus_end = None;
    // Where the current level begins; behind the end of the key when there is none left.
    let mut start = 0;
    for (at, wanted) in pattern.iter().enumerate() {
        if *wanted == "#" {
            return Look::Match;
        }
        if start > key.len() {
            // The key is an ancestor of what is wanted, which comes right after it.
            return Look::Seek(format!("{key}{SEPARATOR}{}", literal_start(&pattern[at..])));
        }
        let level = key[start..].split(SEPARATOR).next().unwrap_or_default();
        let end = start + level.len();
        if *wanted == "+" {
            plus_end = Some(end);
        } else if level < *wanted {
            return Look::Seek(format!(
                "{}{}",
                &key[..start],
                literal_start(&pattern[at..])
            ));
        } else if level > *wanted {
            return past(key, plus_end);
        }
        start = end + 1;
    }
    if start > key.len() {
        return Look::Match;
    }
    // Deeper than the pattern.
    past(key, plus_end)
}

/// Goes on behind everything that shares the last level matched by a `+`; without one, everything has been seen.
fn past(key: &str, plus_end: Option<usize>) -> Look {
    match plus_end {
        Some(end) => Look::Seek(format!("{}{AFTER}", &key[..end])),
        None => Look::End,
    }
}

fn key_of(topic: &str) -> String {
    topic.replace('/', "\0")
}

fn has_expired(message: &Message, now: SystemTime) -> bool {
    message.expires.is_some_and(|at| at <= now)
}

fn cost(message: &Message) -> usize {
    // The topic stands in the key too.
    OVERHEAD + message.topic.len() + message.size()
}
