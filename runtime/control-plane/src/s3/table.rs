//! Rows of buckets and objects.

use super::{checksum::Checksums, objects::discard};
use crate::http::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use store::StoreError;

/// What is kept of an object besides its contents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<s3s::dto::Timestamp>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) checksums: Checksums,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// The file of its contents: [`super::Objects::read`].
    pub file: String,
    /// Length of the contents.
    pub size: u64,
    /// The ETag, without quotes.
    pub etag: String,
    /// When it was stored.
    pub modified: Timestamp,
    /// Everything else.
    pub attributes: Attributes,
}

pub(super) const COLUMNS: &str = "key, file, size, etag, modified, attributes";

impl Object {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let attributes: String = row.get(5)?;
        Ok(Self {
            key: row.get(0)?,
            file: row.get(1)?,
            size: row.get::<_, i64>(2)?.unsigned_abs(),
            etag: row.get(3)?,
            modified: row.get(4)?,
            attributes: serde_json::from_str(&attributes).unwrap_or_default(),
        })
    }
}

/// The object of a key.
pub fn find_object(
    t: &Transaction<'_>,
    bucket: &str,
    key: &str,
) -> Result<Option<Object>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM s3_object WHERE bucket = ?1 AND key = ?2");
    let mut statement = t.prepare_cached(&sql)?;
    Ok(statement
        .query_row((bucket, key), Object::read)
        .optional()?)
}

/// Whether there is such a bucket.
pub(super) fn bucket_exists(t: &Transaction<'_>, bucket: &str) -> Result<bool, StoreError> {
    let mut statement = t.prepare_cached("SELECT count(*) FROM s3_bucket WHERE name = ?1")?;
    Ok(statement.query_row([bucket], |row| row.get(0))?)
}

/// Stores an object in the place of what was there.
pub(super) fn put_object(
    t: &Transaction<'_>,
    bucket: &str,
    object: &Object,
) -> Result<(), StoreError> {
    remove_object(t, bucket, &object.key)?;
    let attributes = serde_json::to_string(&object.attributes).unwrap_or_default();
    let sql = "INSERT INTO s3_object (bucket, key, file, size, etag, modified, attributes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let size = i64::try_from(object.size).unwrap_or(i64::MAX);
    t.prepare_cached(sql)?.execute((
        bucket,
        &object.key,
        &object.file,
        size,
        &object.etag,
        object.modified,
        attributes,
    ))?;
    Ok(())
}

/// Removes an object; whether there was one.
pub(super) fn remove_object(
    t: &Transaction<'_>,
    bucket: &str,
    key: &str,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM s3_object WHERE bucket = ?1 AND key = ?2 RETURNING file";
    let file: Option<String> = t
        .prepare_cached(sql)?
        .query_row((bucket, key), |row| row.get(0))
        .optional()?;
    if let Some(file) = &file {
        discard(t, file)?;
    }
    Ok(file.is_some())
}
