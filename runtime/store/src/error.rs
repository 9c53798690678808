//! What can go wrong with stored state.

use rusqlite::ErrorCode;
use std::{io, path::PathBuf};

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite refused a statement or a commit; nothing of the transaction is kept.
    #[error("the database refused: {source}")]
    Sqlite {
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer program wrote this file. It has not been touched.
    #[error(
        "{}: {feature} is at version {found}, this program knows versions up to {known}; the file is left as it is",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Whose tables are newer.
        feature: String,
        /// The version in the file.
        found: u32,
        /// The newest version this program knows.
        known: u32,
    },
    /// The file is damaged. It has not been changed; [`crate::Database::open_or_set_aside`] moves it away.
    #[error("{}: damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        reason: String,
    },
    /// Another process has the file open.
    #[error("{}: in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A migration failed; the file is as it was before.
    #[error("{}: migrating {feature} from version {from}: {source}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Whose tables.
        feature: &'static str,
        /// The version it started from.
        from: u32,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// "create", "rename", ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The closure panicked; its transaction was rolled back and the database goes on.
    #[error("a database operation panicked: {message}")]
    Panicked {
        /// The panic's text.
        message: String,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite { source }
    }
}

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether SQLite says that the file is damaged or no database at all.
    pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }

    /// Whether SQLite says that another process holds the lock.
    pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
}
