//! Watches one main process: reads what it writes, and when it has ended, ends what it left behind and tells it.

use super::{Inner, LEFTOVER_GRACE, cgroup, group::Group, reap};
use crate::launcher::{
    Event, Exited, Outcome, StepKind, UnitId,
    output::{Source, Stream, Tail},
    port::lock,
};
use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc, time::Duration};
use tokio::{process::Child, sync::watch as channel, task::JoinHandle, time::timeout};

/// How long the last output of a dead process may take to arrive.
const DRAIN: Duration = Duration::from_secs(1);

/// The tasks that read a unit's output.
pub(super) struct Pumps {
    tasks: Vec<JoinHandle<()>>,
    tail: Tail,
}

/// Waits for the end of one main process and tells it.
pub(super) struct Watcher {
    pub(super) inner: Arc<Inner>,
    pub(super) id: UnitId,
    pub(super) pid: u32,
    pub(super) group: Arc<Group>,
    pub(super) pumps: Pumps,
    pub(super) done: channel::Sender<bool>,
    pub(super) kills_before: u32,
}

impl Watcher {
    pub(super) async fn run(self, mut child: Child, main: reap::Main) {
        let status = child.wait().await;
        drop(main);
        self.group.main_ended();
        let outcome = self.outcome(&status);
        if !(self.id.step == StepKind::Startup && outcome.is_success()) {
            if let Err(e) = self.group.end(LEFTOVER_GRACE).await {
                log::error!("{e}");
            }
            for task in self.pumps.tasks {
                let _ = timeout(DRAIN, task).await;
            }
        }
        let stderr_tail = self.pumps.tail.lines();
        if let Some(record) = lock(&self.inner.units).get_mut(&self.id) {
            record.ended = Some((outcome, stderr_tail.clone()));
        }
        // Nobody may be listening.
        let _ = self.inner.events.send(Event::Exited(Exited {
            id: self.id,
            pid: self.pid,
            outcome,
            stderr_tail,
        }));
        self.done.send_replace(true);
    }

    fn outcome(&self, status: &io::Result<ExitStatus>) -> Outcome {
        let Ok(status) = status else {
            return Outcome::Unknown;
        };
        let kills = self
            .group
            .leaf()
            .map_or(0, cgroup::Leaf::out_of_memory_kills);
        match (status.code(), status.signal()) {
            (Some(0), _) => Outcome::Code(0),
            _ if kills > self.kills_before => Outcome::OutOfMemory,
            (Some(code), _) => Outcome::Code(code),
            (None, Some(signal)) => Outcome::Signal(signal),
            (None, None) => Outcome::Unknown,
        }
    }
}

impl Inner {
    /// Begins to read a unit's output.
    pub(super) fn pump(&self, id: &UnitId, child: &mut Child) -> Pumps {
        let tail = Tail::default();
        let mut tasks = Vec::new();
        let source = |stream| Source {
            component: id.component.clone(),
            step: id.step,
            stream,
        };
        if let Some(pipe) = child.stdout.take() {
            let (output, source) = (self.output.clone(), source(Stream::Stdout));
            tasks.push(tokio::spawn(async move {
                output.pump(pipe, source, Tail::default()).await;
            }));
        }
        if let Some(pipe) = child.stderr.take() {
            let (output, source, tail) =
                (self.output.clone(), source(Stream::Stderr), tail.clone());
            tasks.push(tokio::spawn(async move {
                output.pump(pipe, source, tail).await;
            }));
        }
        Pumps { tasks, tail }
    }
}
