//! What happens in the control plane, as lines for people: kept for a while in memory, and streamed to pages that watch.

use super::view::Mark;
use crate::{
    http::Timestamp,
    iot::{jobs::JobEvent, registry, shadow::ShadowEvent},
    state::State,
};
use mqtt::engine;
use serde::Serialize;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Lines that are kept.
const KEPT: usize = 500;

/// Lines that may wait for a slow page.
const WAITING: usize = 1024;

/// The shadow by which single devices are deployed to.
const DEPLOYMENT_SHADOW: &str = "AWSManagedGreengrassV2Deployment";

/// The namespace of jobs that are deployments.
const DEPLOYMENT_NAMESPACE: &str = "aws-gg-deployment";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Counts up from 1 since the start of the program.
    pub number: u64,
    /// When, RFC 3339.
    pub time: String,
    /// `connection`, `deployment`, `job`, `registry`, `shadow`, `console`.
    pub kind: &'static str,
    /// The class of its mark, as [`Mark`] has it.
    pub class: &'static str,
    /// What, for people.
    pub text: String,
    /// The device that it is about.
    pub thing: Option<String>,
    /// The job that it is about: a deployment to a group has one.
    pub job: Option<String>,
}

/// The lines. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    kept: Mutex<(u64, VecDeque<Arc<Line>>)>,
    sender: broadcast::Sender<Arc<Line>>,
}

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            sender: broadcast::Sender::new(WAITING),
        }))
    }
}

impl Log {
    /// Adds a line.
    pub fn add(
        &self,
        kind: &'static str,
        class: &'static str,
        text: String,
        thing: Option<String>,
        job: Option<String>,
    ) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let line = Arc::new(Line {
            number: kept.0,
            time: Timestamp::now().iso(),
            kind,
            class,
            text,
            thing,
            job,
        });
        if kept.1.len() >= KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(Arc::clone(&line));
        // Sent while it is locked, so that nobody who subscribes misses it or has it twice.
        let _ = self.0.sender.send(line);
    }

    /// The kept lines after a number, the oldest first.
    pub fn after(&self, number: u64) -> Vec<Arc<Line>> {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = kept.1.iter().filter(|line| line.number > number);
        lines.cloned().collect()
    }

    /// The same, and those that come from now on.
    pub fn follow(&self, number: Option<u64>) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = match number {
            // A number that was not given out yet is of the program's life before.
            Some(number) if number <= kept.0 => {
                let lines = kept.1.iter().filter(|line| line.number > number);
                lines.cloned().collect()
            }
            _ => Vec::new(),
        };
        (missed, self.0.sender.subscribe())
    }
}

/// Begins to listen to everything that tells what happens.
pub fn collect(state: &State, log: &Log, stop: &CancellationToken) {
    let own = log.clone();
    let stopped = |work: Box<dyn Future<Output = ()> + Send + Unpin>| {
        let stop = stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled(work).await });
    };
    stopped(Box::new(Box::pin(listen(
        state.registry.events(),
        own.clone(),
        registry_line,
    ))));
    stopped(Box::new(Box::pin(listen(
        state.jobs.events(),
        own.clone(),
        job_line,
    ))));
    stopped(Box::new(Box::pin(listen(
        state.shadows.events(),
        own.clone(),
        shadow_line,
    ))));
    if let Some(engine) = state.engine.get() {
        let mut events = engine.events();
        stopped(Box::new(Box::pin(async move {
            while let Some(event) = events.recv().await {
                connection_line(&own, &event);
            }
        })));
    }
}

async fn listen<E: Clone>(
    mut events: broadcast::Receiver<E>,
    log: Log,
    line: impl Fn(&Log, &E) + Send,
) {
    loop {
        match events.recv().await {
            Ok(event) => line(&log, &event),
            Err(RecvError::Lagged(count)) => log.add(
                "console",
                "quiet",
                format!("{count} events came faster than they could be shown"),
                None,
                None,
            ),
            Err(RecvError::Closed) => return,
        }
    }
}

fn registry_line(log: &Log, event: &registry::Event) {
    use registry::Event;
    let (class, text, thing) = match event {
        Event::ThingCreated { thing } => ("good", format!("{thing} was created"), Some(thing)),
        Event::ThingDeleted { thing } => ("quiet", format!("{thing} was deleted"), Some(thing)),
        Event::ThingAdded { thing, group } => {
            ("good", format!("{thing} joined {group}"), Some(thing))
        }
        Event::ThingRemoved { thing, group } => {
            ("quiet", format!("{thing} left {group}"), Some(thing))
        }
        Event::GroupDeleted { group } => ("quiet", format!("Group {group} was deleted"), None),
        Event::CertificateChanged {
            certificate,
            status,
        } => {
            let short = certificate.get(..12).unwrap_or(certificate);
            let status = status.as_deref().unwrap_or("DELETED");
            let class = if status == "ACTIVE" { "good" } else { "bad" };
            let status = Mark::of(status).word.to_lowercase();
            (class, format!("Certificate {short}… is {status}"), None)
        }
    };
    log.add("registry", class, text, thing.cloned(), None);
}

fn job_line(log: &Log, event: &JobEvent) {
    let run = &event.run;
    let mark = Mark::of(run.execution.status.name());
    let deployment = run.namespace.as_deref() == Some(DEPLOYMENT_NAMESPACE);
    let (kind, what) = if deployment {
        ("deployment", "deployment")
    } else {
        ("job", "job")
    };
    let cause = run.execution.details.get("deployment-failure-cause");
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!(
        "{}: {what} {} is {}{cause}",
        run.thing,
        run.job,
        mark.word.to_lowercase()
    );
    log.add(
        kind,
        mark.class,
        text,
        Some(run.thing.clone()),
        Some(run.job.clone()),
    );
}

fn shadow_line(log: &Log, event: &ShadowEvent) {
    let thing = &event.thing;
    let (kind, class, text) = match (&event.shadow, event.name.as_str()) {
        (Some(_), DEPLOYMENT_SHADOW) => (
            "deployment",
            "busy",
            format!("{thing}: its own deployment changed"),
        ),
        (Some(_), "") => ("shadow", "quiet", format!("{thing}: its shadow changed")),
        (Some(_), name) => (
            "shadow",
            "quiet",
            format!("{thing}: its shadow {name} changed"),
        ),
        (None, name) => (
            "shadow",
            "quiet",
            format!("{thing}: its shadow {name} was deleted"),
        ),
    };
    log.add(kind, class, text, Some(thing.clone()), None);
}

fn connection_line(log: &Log, event: &engine::Event) {
    use engine::{DisconnectCause, Event};
    let (class, text, identity) = match event {
        Event::Connected { identity, .. } => (
            "good",
            format!("{} connected", identity.client_id),
            identity,
        ),
        Event::Disconnected { identity, cause } => {
            let why = match cause {
                DisconnectCause::Client(_) => "said goodbye",
                DisconnectCause::ConnectionLost => "lost its connection",
                DisconnectCause::KeepAlive => "fell silent",
                DisconnectCause::TakenOver => "connected once more elsewhere",
                DisconnectCause::ProtocolError(_) => "broke the protocol",
                DisconnectCause::NotAuthorized => "was not allowed what it did",
                DisconnectCause::Server(_) => "was disconnected from here",
            };
            let class = match cause {
                DisconnectCause::Client(_) => "quiet",
                _ => "bad",
            };
            (class, format!("{} {why}", identity.client_id), identity)
        }
        Event::Subscribed { .. } | Event::Unsubscribed { .. } => return,
    };
    log.add(
        "connection",
        class,
        text,
        Some(identity.client_id.to_string()),
        None,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(log: &Log, text: &str) {
        log.add("job", "good", text.into(), None, None);
    }

    fn texts(lines: &[Arc<Line>]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_and_then_what_comes() {
        let log = Log::default();
        add(&log, "a");
        add(&log, "b");
        let (missed, mut next) = log.follow(Some(1));
        add(&log, "c");
        assert_eq!(texts(&missed), ["b"]);
        assert_eq!(next.try_recv().unwrap().text, "c");
        assert!(next.try_recv().is_err());
        assert!(log.follow(None).0.is_empty());
        assert!(log.follow(Some(99)).0.is_empty());
    }

    #[test]
    fn old_lines_make_room() {
        let log = Log::default();
        for n in 0..KEPT + 10 {
            add(&log, &n.to_string());
        }
        let kept = log.after(0);
        assert_eq!((kept.len(), kept[0].text.as_str()), (KEPT, "10"));
    }
}
