//! The `log` back end of every role: the journal when there is one, else standard error and `logs/greengrass.log`.

use crate::{
    LogsError, Settings, Utc, console,
    entry::{Contexts, Entry},
    names,
    output::{ComponentOutput, Place, Sink},
    queue::Queue,
};
use log::{
    Log, Metadata, Record,
    kv::{self, Key, Source, Value, VisitSource},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Where log lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// The journal when standard error already goes there, else files.
    #[default]
    Auto,
    /// The systemd journal.
    Journal,
    /// Files, and standard error for the runtime's own lines.
    Files,
    /// Standard error only.
    Console,
}

/// How to begin.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// `<root>/logs`.
    pub folder: PathBuf,
    /// The process: identifier in the journal, name of its log file. `greengrass` for the nucleus and for a single process with all roles;
    /// other roles of their own have their own, because two processes may not share a file.
    pub program: &'static str,
    /// Level, format and sizes.
    pub settings: Settings,
}

/// The running back end. Keep it until the end of the process and [`flush`](Logs::flush) it before.
#[derive(Clone)]
pub struct Logs {
    sink: Arc<Sink>,
    context: Arc<RwLock<Vec<(String, String)>>>,
}

/// Sets up logging for this process; once.
pub fn init(options: Options) -> Result<Logs, LogsError> {
    let target = match options.target {
        Target::Auto if connected_to_journal() => Target::Journal,
        Target::Auto => Target::Files,
        other => other,
    };
    let journal = if target == Target::Journal {
        let sender = JournalLog::empty().map_err(LogsError::Journal)?;
        Some(sender.with_syslog_identifier(options.program.to_owned()))
    } else {
        None
    };
    let level = options.settings.level;
    let place = match target {
        Target::Journal => Place::Journal(Mutex::new(HashMap::new())),
        Target::Console => Place::Console,
        _ => Place::Files(
            Queue::start(options.folder, options.settings.clone()).map_err(LogsError::Thread)?,
        ),
    };
    let logs = Logs {
        sink: Arc::new(Sink {
            place,
            settings: RwLock::new(options.settings),
        }),
        context: Arc::default(),
    };
    let backend = Backend {
        logs: logs.clone(),
        journal,
        stem: options.program.into(),
        colour: console::colour(),
    };
    log::set_boxed_logger(Box::new(backend)).map_err(|_| LogsError::Twice)?;
    log::set_max_level(level);
    Ok(logs)
}

impl Logs {
    /// Where components' output goes.
    pub fn component_output(&self) -> ComponentOutput {
        ComponentOutput(Arc::clone(&self.sink))
    }

    /// New settings, at once and for everything.
    pub fn apply(&self, settings: Settings) {
        log::set_max_level(settings.level);
        if let Place::Files(queue) = &self.sink.place {
            queue.apply(settings.clone());
        }
        *self
            .sink
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// A key-value on every further line of the runtime, for example `thing`.
    pub fn set_context(&self, key: &str, value: &str) {
        let mut context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        context.retain(|(k, _)| k != key);
        context.push((key.to_owned(), value.to_owned()));
    }

    /// Waits until everything logged so far is written, or the time is over.
    pub fn flush(&self, patience: Duration) -> bool {
        self.component_output().flush(patience)
    }
}

struct Backend {
    logs: Logs,
    journal: Option<JournalLog>,
    stem: Arc<str>,
    colour: bool,
}

impl Log for Backend {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let context = self
            .logs
            .context
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = &self.journal {
            let source = Both(record.key_values(), &context);
            let _ = journal.journal_send(&record.to_builder().key_values(&source).build());
            return;
        }
        let entry = entry(record, &context);
        let (format, _, console_only) = self.logs.sink.format_and_level();
        if let (Place::Files(queue), false) = (&self.logs.sink.place, console_only) {
            queue.push(&self.stem, |buffer| entry.render(format, buffer));
        }
        console::write_human(&entry, self.colour);
    }

    fn flush(&self) {
        self.logs.flush(Duration::from_secs(5));
    }
}

/// A record's own key-values, then the process's.
struct Both<'a>(&'a dyn Source, &'a [(String, String)]);

impl Source for Both<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.0.visit(visitor)?;
        self.1.visit(visitor)
    }
}

/// A record in the parts of a Greengrass line. The key `event` becomes the event type, `error` the cause.
fn entry<'a>(record: &'a Record<'_>, context: &'a [(String, String)]) -> Entry<'a> {
    struct Collect(Vec<(String, String)>);
    impl<'kvs> VisitSource<'kvs> for Collect {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
            self.0.push((key.to_string(), value.to_string()));
            Ok(())
        }
    }
    let mut pairs = Collect(Vec::new());
    let _ = record.key_values().visit(&mut pairs); // it only fails when we do
    let mut event = None;
    let mut contexts: Contexts<'a> = Vec::new();
    let mut cause = None;
    for (key, value) in pairs.0 {
        match key.as_str() {
            "event" => event = Some(value.into()),
            "error" => {
                cause = Some(serde_json::json!({ "message": value }));
                contexts.push((key.into(), value.into()));
            }
            _ => contexts.push((key.into(), value.into())),
        }
    }
    contexts.extend(
        context
            .iter()
            .map(|(k, v)| (Cow::from(k.as_str()), Cow::from(v.as_str()))),
    );
    let message = record
        .args()
        .as_str()
        .map_or_else(|| Cow::from(record.args().to_string()), Cow::from);
    Entry {
        thread: std::thread::current()
            .name()
            .unwrap_or("worker")
            .to_owned()
            .into(),
        level: record.level().as_str().into(),
        event,
        message: Some(message),
        contexts,
        logger: record.target().into(),
        timestamp: Utc::from(SystemTime::now()).epoch_ms(),
        cause,
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: Target::Auto,
            folder: PathBuf::from("/var/lib/greengrass/logs"),
            program: names::RUNTIME,
            settings: Settings::default(),
        }
    }
}
