//! Where log lines go: the systemd journal, or standard error and rotated files in the Greengrass formats.
//!
//! A role calls [`init`] once and logs through the `log` crate with key-values (`component`, `deployment`, `thing`); what components
//! print goes through [`ComponentOutput::line`].
//!
//! ```no_run
//! let logs = logs::init(logs::Options { folder: "/tmp/greengrass/logs".into(), ..Default::default() })?;
//! log::info!(component = "com.example.A"; "started");
//! let output = logs.component_output();
//! output.line(&"com.example.A".parse().expect("a name"), "run", logs::Stream::Stdout, b"hello");
//! logs.flush(std::time::Duration::from_secs(1));
//! # Ok::<(), logs::LogsError>(())
//! ```

mod backend;
mod civil;
mod console;
mod entry;
mod file;
pub mod names;
mod output;
mod queue;
mod settings;

pub use backend::{Logs, Options, Target, init};
pub use civil::Utc;
pub use entry::{Contexts, Entry};
pub use output::{ComponentOutput, Stream};
pub use settings::{Format, Output, Settings};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The journal was asked for and is not there.
    #[error("cannot reach the systemd journal")]
    Journal(#[source] std::io::Error),
    /// The writer thread could not be started.
    #[error("cannot start the thread that writes log files")]
    Thread(#[source] std::io::Error),
    /// Only one back end fits into a process.
    #[error("logging is already set up in this process")]
    Twice,
}
