//! What components print: one call for each line, from any task or thread.

use crate::{
    Format, Utc, console,
    entry::{Contexts, Entry},
    names,
    queue::Queue,
    settings::Settings,
};
use log::{Level, LevelFilter, Record};
use model::ComponentName;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use systemd_journal_logger::JournalLog;

/// Which of its two streams a component wrote to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Logged at INFO.
    Stdout,
    /// Logged at WARN.
    Stderr,
}

impl Stream {
    fn event(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn level(self) -> Level {
        match self {
            Self::Stdout => Level::Info,
            Self::Stderr => Level::Warn,
        }
    }
}

/// Takes the lines that components print to where they are kept. Cheap to clone.
#[derive(Clone)]
pub struct ComponentOutput(pub(crate) Arc<Sink>);

/// Where lines end up, shared with the `log` back end.
pub(crate) struct Sink {
    pub place: Place,
    pub settings: RwLock<Settings>,
}

/// One of the places lines go to.
pub(crate) enum Place {
    Files(Queue),
    Console,
    /// A sender for each component, because each has its own identifier.
    Journal(Mutex<HashMap<ComponentName, Arc<JournalLog>>>),
}

impl Sink {
    /// What lines are rendered with.
    pub fn format_and_level(&self) -> (Format, LevelFilter, bool) {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        (
            settings.format,
            settings.level,
            settings.output == crate::Output::Console,
        )
    }
}

impl ComponentOutput {
    /// Logs what a component's step printed: one line, without its end; should there be several, each is logged for itself.
    /// Text that is not UTF-8 is shown with replacement characters.
    ///
    /// `step` is the lifecycle step's key, for example `run`. Blocks only when the disk is slower than all components together.
    pub fn line(&self, component: &ComponentName, step: &str, stream: Stream, bytes: &[u8]) {
        let (format, level, console_only) = self.0.format_and_level();
        if stream.level() > level {
            return;
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for line in bytes.split(|b| *b == b'\n') {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            match &self.0.place {
                Place::Journal(senders) => send(senders, component, step, stream, &text),
                Place::Files(queue) if !console_only => {
                    let entry = entry(component, step, stream, text);
                    queue.push(&names::stem(component), |buffer| {
                        entry.render(format, buffer);
                    });
                }
                _ => console::write_entry(&entry(component, step, stream, text), format),
            }
        }
    }

    /// Waits until everything logged so far is written, or the time is over.
    pub fn flush(&self, patience: Duration) -> bool {
        match &self.0.place {
            Place::Files(queue) => queue.flush(patience),
            _ => true,
        }
    }
}

fn entry<'a>(
    component: &'a ComponentName,
    step: &str,
    stream: Stream,
    text: Cow<'a, str>,
) -> Entry<'a> {
    let name = component.as_str();
    let mut contexts: Contexts<'_> = vec![
        (
            "scriptName".into(),
            format!("services.{name}.lifecycle.{step}.Script").into(),
        ),
        ("serviceName".into(), name.into()),
    ];
    if let Some(state) = state_during(step) {
        contexts.push(("currentState".into(), state.as_str().into()));
    }
    Entry {
        thread: "Copier".into(), // the classic nucleus's name for whoever copies output; log filters match on it
        level: stream.level().as_str().into(),
        event: Some(stream.event().into()),
        message: Some(text),
        contexts,
        logger: name.into(),
        timestamp: Utc::from(SystemTime::now()).epoch_ms(),
        cause: None,
    }
}

/// The lifecycle state in which a step runs.
fn state_during(step: &str) -> Option<model::State> {
    use model::State;
    Some(match step.to_ascii_lowercase().as_str() {
        "bootstrap" | "install" => State::New,
        "startup" => State::Starting,
        "run" => State::Running,
        "shutdown" => State::Stopping,
        "recover" => State::Errored,
        "uninstall" => State::Uninstalling,
        _ => return None,
    })
}

fn send(
    senders: &Mutex<HashMap<ComponentName, Arc<JournalLog>>>,
    component: &ComponentName,
    step: &str,
    stream: Stream,
    text: &str,
) {
    let sender = {
        let mut senders = senders.lock().unwrap_or_else(PoisonError::into_inner);
        match senders.get(component) {
            Some(sender) => Arc::clone(sender),
            None => {
                let Ok(sender) = JournalLog::empty() else {
                    return;
                };
                let sender = Arc::new(
                    sender
                        .with_syslog_identifier(component.as_str().to_owned())
                        .with_extra_fields([
                            ("COMPONENT", component.as_str()),
                            // From a root process this makes `journalctl -u ggl.<component>.service` show the line.
                            ("OBJECT_SYSTEMD_UNIT", &format!("ggl.{component}.service")),
                        ]),
                );
                senders.insert(component.clone(), Arc::clone(&sender));
                sender
            }
        }
    };
    let contexts = [("step", step), ("stream", stream.event())];
    let _ = sender.journal_send(
        &Record::builder()
            .args(format_args!("{text}"))
            .level(stream.level())
            .target(component.as_str())
            .key_values(&contexts)
            .build(),
    );
}
