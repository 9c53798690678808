//! Crash-safe persistence: SQLite state with versions and migrations, atomic files.
//!
//! ```
//! use store::{Database, Schema, StoreError};
//!
//! const NOTES: Schema = Schema {
//!     name: "notes",
//!     migrations: &["CREATE TABLE notes_text (text TEXT NOT NULL)"],
//! };
//!
//! # fn main() -> Result<(), StoreError> {
//! let folder = tempfile::tempdir().expect("a folder for the example");
//! let database = Database::open(&folder.path().join("state.db"), &[NOTES])?;
//! database.write_blocking(|t| {
//!     t.execute("INSERT INTO notes_text VALUES (?1)", ["durable when this returns"])?;
//!     Ok::<_, StoreError>(())
//! })?;
//! let count: i64 = database.read_blocking(|t| {
//!     Ok::<_, StoreError>(t.query_row("SELECT count(*) FROM notes_text", [], |row| row.get(0))?)
//! })?;
//! assert_eq!(count, 1);
//! database.close();
//! # Ok(())
//! # }
//! ```

mod crash;
mod database;
mod error;
pub mod file;
mod open;
mod schema;
mod versions;

pub use crash::crash_point;
pub use database::Database;
pub use error::StoreError;
pub use open::SetAside;
pub use rusqlite;
pub use schema::Schema;
