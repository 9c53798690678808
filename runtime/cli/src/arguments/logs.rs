//! `logs …`

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Commands about log files.
#[derive(Subcommand, Debug, PartialEq)]
pub enum LogsCommand {
    /// Print log lines of several files in the order of time
    Get(Get),
    /// List log files
    ListLogFiles {
        /// Folder to look into; may be repeated [default: the root's logs]
        #[arg(long = "log-dir", alias = "logDir", value_name = "FOLDER")]
        folders: Vec<PathBuf>,
    },
    /// List components that have log files
    ListLogGroups {
        /// Folder to look into; may be repeated [default: the root's logs]
        #[arg(long = "log-dir", alias = "logDir", value_name = "FOLDER")]
        folders: Vec<PathBuf>,
    },
    /// List keywords for --filter
    ListKeywords {
        /// Those of syslog files
        #[arg(short, long)]
        syslog: bool,
    },
}

/// Which files.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Sources {
    /// Folder of log files; may be repeated [default: the root's logs]
    #[arg(long = "log-dir", alias = "logDir", value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// Log file; may be repeated
    #[arg(long = "log-file", alias = "logFile", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only these components, separated by commas; "greengrass" is the runtime itself
    #[arg(short = 'n', long = "component", aliases = ["component-name", "name", "names", "log-group"], value_name = "NAME,...", value_delimiter = ',')]
    pub components: Vec<String>,
}

/// What to print.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Get {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sources: Sources,
    /// Text, regular expression or KEY=VALUE; commas mean "or", repeating the option means "and"
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    pub filter: Vec<String>,
    /// BEGIN,END in time (2026-01-31T12:00:00, 12:00, 2026-01-31) or as an offset (-2h15min); UTC; may be repeated
    #[arg(
        short,
        long = "time-window",
        alias = "timeWindow",
        value_name = "BEGIN,END",
        allow_hyphen_values = true
    )]
    pub time_window: Vec<String>,
    /// Also print N lines before each match
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub before: usize,
    /// Also print N lines after each match
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub after: usize,
    /// Only the last N matches
    #[arg(long = "max-log-entries", aliases = ["maxLogEntries", "lines", "tail"], value_name = "N")]
    pub max: Option<usize>,
    /// Go on with new lines as they come
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set, hide_possible_values = true)]
    pub follow: bool,
    /// Print without colours
    #[arg(long = "no-color", aliases = ["noColor", "no-colour"])]
    pub no_color: bool,
    /// Print all fields of a line
    #[arg(short, long)]
    pub verbose: bool,
    /// Read files of syslog [default files: /var/log/syslog, /var/log/messages]
    #[arg(short, long, conflicts_with_all = ["folders", "components"])]
    pub syslog: bool,
    /// Of the classic CLI; without effect, memory use does not grow with the logs
    #[arg(short = 'm', long = "max-log-queue-size", aliases = ["maxLogQueueSize", "max-long-queue-size"], value_name = "N", hide = true)]
    pub queue: Option<usize>,
}
