//! Crash-safe persistence: SQLite state with versions and migrations, atomic files.
