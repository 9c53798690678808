//! Pages of a bucket's keys, in the order of their bytes. With a delimiter, all keys that share what stands before it are
//! one entry, and are skipped in one step.

use super::table::{COLUMNS, Object};
use rusqlite::{OptionalExtension, Transaction};
use store::StoreError;

/// What to list.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) bucket: String,
    pub(super) prefix: String,
    /// Empty for none.
    pub(super) delimiter: String,
    /// List what comes after this key or common prefix.
    pub(super) after: Option<String>,
    pub(super) limit: usize,
}

/// One entry of a page.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Object(Box<Object>),
    Prefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::Prefix(prefix) => prefix,
        }
    }
}

/// A page, and what to go on after when there is more.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    pub(super) next: Option<String>,
}

pub(super) fn list(t: &Transaction<'_>, query: &Query) -> Result<Listing, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM s3_object WHERE bucket = ?1 AND key >= ?2 ORDER BY key LIMIT 1"
    );
    let mut step = t.prepare_cached(&sql)?;
    let mut listing = Listing::default();
    let mut from = Some(start(query));
    while let Some(at) = from {
        let found = step
            .query_row((&query.bucket, &at), Object::read)
            .optional()?;
        let Some(object) = found.filter(|o| o.key.starts_with(&query.prefix)) else {
            break;
        };
        if listing.entries.len() == query.limit {
            listing.next = listing.entries.last().map(|e| e.name().to_owned());
            break;
        }
        match common_prefix(&object.key, query) {
            Some(prefix) => {
                from = after_all(&prefix);
                listing.entries.push(Entry::Prefix(prefix));
            }
            None => {
                from = Some(just_after(&object.key));
                listing.entries.push(Entry::Object(Box::new(object)));
            }
        }
    }
    Ok(listing)
}

/// The first key that may be listed.
fn start(query: &Query) -> String {
    let Some(after) = &query.after else {
        return query.prefix.clone();
    };
    let next = match common_prefix(after, query) {
        // The last page ended with this common prefix.
        Some(prefix) if prefix == *after => after_all(after).unwrap_or_else(|| just_after(after)),
        _ => just_after(after),
    };
    next.max(query.prefix.clone())
}

fn common_prefix(key: &str, query: &Query) -> Option<String> {
    if query.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(query.prefix.as_str())?;
    let end = rest.find(&query.delimiter)? + query.delimiter.len();
    Some(format!("{}{}", query.prefix, &rest[..end]))
}

fn just_after(key: &str) -> String {
    format!("{key}\0")
}

/// The first text in order that comes after everything that begins with the prefix.
fn after_all(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Surrogates are no characters.
        let next = match u32::from(last) + 1 {
            0xD800 => 0xE000,
            next => next,
        };
        if let Some(next) = char::from_u32(next) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::Timestamp,
        s3::table::{Attributes, put_object},
    };
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use store::Database;

    fn bucket(keys: &BTreeSet<String>) -> Database {
        let database = Database::in_memory(&[crate::s3::SCHEMA]).unwrap();
        let keys = keys.clone();
        database
            .write_blocking(move |t| {
                t.execute("INSERT INTO s3_bucket (name, created) VALUES ('b', 0)", [])?;
                for key in keys {
                    let object = Object {
                        file: "f".into(),
                        size: 1,
                        etag: String::new(),
                        modified: Timestamp::from_millis(0),
                        attributes: Attributes::default(),
                        key,
                    };
                    put_object(t, "b", &object)?;
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
        database
    }

    fn all_pages(database: &Database, prefix: &str, delimiter: &str, limit: usize) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let query = Query {
                bucket: "b".into(),
                prefix: prefix.into(),
                delimiter: delimiter.into(),
                after,
                limit,
            };
            let page = database.read_blocking(move |t| list(t, &query)).unwrap();
            assert!(page.entries.len() <= limit);
            names.extend(page.entries.iter().map(|e| e.name().to_owned()));
            after = page.next;
            if after.is_none() {
                return names;
            }
        }
    }

    #[test]
    fn folders_are_listed_once_and_pages_join_up() {
        let keys = ["a/1", "a/2", "a/b/3", "a0", "b", "é/x", "é/y"];
        let database = bucket(&keys.iter().map(|k| (*k).to_owned()).collect());
        for limit in 1..8 {
            assert_eq!(
                all_pages(&database, "", "/", limit),
                ["a/", "a0", "b", "é/"]
            );
            assert_eq!(
                all_pages(&database, "a/", "/", limit),
                ["a/1", "a/2", "a/b/"]
            );
            assert_eq!(all_pages(&database, "", "", limit), keys);
            assert_eq!(all_pages(&database, "a", "", limit), &keys[..4]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_are_what_a_plain_scan_gives(
            keys in proptest::collection::btree_set("[ab/\u{10FFFF}\u{D7FF}]{1,5}", 0..20),
            prefix in "[ab/]{0,2}", delimiter in "(/|//|a)?", limit in 1usize..5,
        ) {
            let mut expected = BTreeSet::new();
            for key in keys.iter().filter(|k| k.starts_with(&prefix)) {
                let rest = &key[prefix.len()..];
                match rest.find(&delimiter).filter(|_| !delimiter.is_empty()) {
                    Some(at) => expected.insert(format!("{prefix}{}", &rest[..at + delimiter.len()])),
                    None => expected.insert(key.clone()),
                };
            }
            let database = bucket(&keys);
            prop_assert_eq!(all_pages(&database, &prefix, &delimiter, limit), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
