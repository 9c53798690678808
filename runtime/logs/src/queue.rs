//! The writer thread. Callers hand over rendered lines and go on; while one batch is being written the next gathers, so
//! that the number of writes falls as the load grows and an idle device never wakes up. A slow disk holds callers back, a hung
//! one only for a moment: then lines are dropped and counted.

use crate::{
    Format, Settings, Utc,
    entry::Entry,
    file::{Limits, Lines, LogFile},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

/// Callers wait when more than this is not yet written.
const HIGH_WATER: usize = 256 * 1024;
/// How long they wait for a disk that does not move.
const PATIENCE: Duration = Duration::from_secs(1);

/// A handle to the writer thread; the last one to go waits until everything is written.
#[derive(Debug)]
pub(crate) struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something came in.
    filled: Condvar,
    /// The writer took or finished a batch.
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Arc<str>, Lines>,
    bytes: usize,
    /// Lines dropped because the disk did not move, by file.
    dropped: BTreeMap<Arc<str>, u64>,
    /// The disk did not move for `PATIENCE`; nobody waits again before it does.
    hung: bool,
    writing: bool,
    closed: bool,
    settings: Option<Settings>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, and losing logs over it would help nobody.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts the thread. `folder` is where files go unless the settings name another.
    pub fn start(folder: PathBuf, settings: Settings) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            moved: Condvar::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            folder,
            settings,
            files: HashMap::new(),
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("logs".into())
            .stack_size(128 * 1024)
            .spawn(|| writer.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Adds a line to the file of a stem.
    pub fn push(&self, stem: &Arc<str>, render: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.lock();
        let deadline = Instant::now() + PATIENCE;
        while state.bytes >= HIGH_WATER && !state.hung && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.hung = true;
                break;
            }
            state = self
                .shared
                .moved
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if state.bytes >= HIGH_WATER {
            *state.dropped.entry(Arc::clone(stem)).or_default() += 1;
            return;
        }
        let lines = state.waiting.entry(Arc::clone(stem)).or_default();
        let before = lines.len();
        lines.push(render);
        let added = lines.len() - before;
        state.bytes += added;
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Takes effect with the next batch.
    pub fn apply(&self, settings: Settings) {
        self.shared.lock().settings = Some(settings);
        self.shared.filled.notify_one();
    }

    /// Waits until everything pushed so far is written, or the time is over.
    pub fn flush(&self, patience: Duration) -> bool {
        let idle = |state: &mut State| state.bytes > 0 || state.writing;
        let (state, timeout) = self
            .shared
            .moved
            .wait_timeout_while(self.shared.lock(), patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timeout.timed_out()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        // A disk that hangs must not keep the process from ending.
        if self.flush(Duration::from_secs(5))
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    folder: PathBuf,
    settings: Settings,
    files: HashMap<Arc<str>, LogFile>,
    /// The last batch met an error, which was said once on stderr.
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut state = self.shared.lock();
            state.writing = false;
            self.shared.moved.notify_all();
            while state.bytes == 0 && state.settings.is_none() && !state.closed {
                state = self
                    .shared
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.bytes == 0 && state.closed {
                return;
            }
            let batch = std::mem::take(&mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            let settings = state.settings.take();
            state.bytes = 0;
            state.hung = false;
            state.writing = true;
            drop(state);
            self.shared.moved.notify_all();
            if let Some(settings) = settings {
                self.settings = settings;
                self.files.clear();
            }
            self.write(&batch, dropped);
        }
    }

    fn write(&mut self, batch: &HashMap<Arc<str>, Lines>, dropped: BTreeMap<Arc<str>, u64>) {
        for (stem, lines) in dropped {
            self.file(&stem).add_lost(lines);
        }
        let format = self.settings.format;
        let mut failure = None;
        for (stem, lines) in batch {
            let written = self
                .file(stem)
                .append(lines, |lost, buffer| confess(stem, lost, format, buffer));
            failure = written.err().map(|error| (stem, error)).or(failure);
        }
        match failure {
            Some((stem, error)) if !self.failing => {
                self.failing = true;
                eprintln!(
                    "cannot write {}: {error}; lines are dropped until it works again",
                    self.target(stem).display()
                );
            }
            Some(_) => {}
            None => self.failing = false,
        }
    }

    fn directory(&self) -> &Path {
        self.settings.directory.as_deref().unwrap_or(&self.folder)
    }

    fn target(&self, stem: &str) -> PathBuf {
        self.directory().join(format!("{stem}.log"))
    }

    fn file(&mut self, stem: &Arc<str>) -> &mut LogFile {
        if !self.files.contains_key(stem) {
            let limits = Limits {
                file: self.settings.file_size,
                total: self.settings.total_size,
            };
            let file = LogFile::new(self.directory().to_owned(), Arc::clone(stem), limits);
            self.files.insert(Arc::clone(stem), file);
        }
        self.files.get_mut(stem).expect("inserted above")
    }
}

/// The line that stands for lost ones.
fn confess(stem: &str, lost: u64, format: Format, buffer: &mut Vec<u8>) {
    let entry = Entry {
        thread: "logs".into(),
        level: "WARN".into(),
        event: Some("lines-lost".into()),
        message: Some("Lines could not be written and are lost".into()),
        contexts: vec![("lines".into(), lost.to_string().into())],
        logger: stem.into(),
        timestamp: Utc::from(SystemTime::now()).epoch_ms(),
        cause: None,
    };
    entry.render(format, buffer);
}
