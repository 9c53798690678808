//! Simple Storage Service, for artifacts. The `s3s` crate speaks the protocol: routing, XML, signatures with chunked and
//! trailing forms. Its companion `s3s-fs` is a sample (names of keys become file names, nothing is durable), so what is
//! stored is kept by ourselves: contents in files, all else in SQLite.
//!
//! ```text
//! front    a request that claims to be for S3: whose key, then s3s
//! access   what a role's policies allow
//! service  buckets and objects; uploads: the multipart operations; listing: pages and common prefixes
//! storing  bodies become files, rows change
//! table    rows
//! objects  files
//! ```

mod access;
mod checksum;
mod conditions;
mod front;
mod keep;
mod link;
mod listing;
mod names;
mod objects;
mod service;
mod storing;
mod table;
mod uploads;

pub use front::{Front, Proof};
pub use keep::{discard, keep};
pub use link::link;
pub use objects::{Objects, Stored};
pub use table::{Object, find_object};

use store::Schema;

/// Buckets, objects, uploads, and files that are to be removed.
pub const SCHEMA: Schema = Schema {
    name: "s3",
    migrations: &["
        CREATE TABLE s3_bucket (
            name TEXT PRIMARY KEY NOT NULL,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE s3_object (
            bucket TEXT NOT NULL REFERENCES s3_bucket (name),
            key TEXT NOT NULL,
            file TEXT NOT NULL,
            size INTEGER NOT NULL,
            etag TEXT NOT NULL,
            modified INTEGER NOT NULL,
            attributes TEXT NOT NULL,
            PRIMARY KEY (bucket, key)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE s3_upload (
            id TEXT PRIMARY KEY NOT NULL,
            bucket TEXT NOT NULL REFERENCES s3_bucket (name),
            key TEXT NOT NULL,
            attributes TEXT NOT NULL,
            algorithm TEXT,
            whole INTEGER NOT NULL,
            started INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX s3_upload_bucket ON s3_upload (bucket, key, id);
        CREATE TABLE s3_part (
            upload TEXT NOT NULL REFERENCES s3_upload (id),
            number INTEGER NOT NULL,
            file TEXT NOT NULL,
            size INTEGER NOT NULL,
            etag TEXT NOT NULL,
            checksums TEXT NOT NULL,
            modified INTEGER NOT NULL,
            PRIMARY KEY (upload, number)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE s3_garbage (
            file TEXT PRIMARY KEY NOT NULL
        ) WITHOUT ROWID, STRICT;
    "],
};
