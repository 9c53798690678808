//! The task that owns all components: feeds their machines with events, hands effects to their workers, and opens the
//! gates between them (who may start, who may stop). It never waits for a component.

mod adopt;
mod bootstrap;
mod change;
mod entry;
mod flow;
mod mailbox;
mod worker;

#[cfg(test)]
mod tests;

use crate::{
    ApplyError, BootstrapError, BootstrapExit, Options, RequestError,
    board::Board,
    graph::Graph,
    launcher::{Event as Launched, Exited, Launcher, Outcome, StepKind, UnitStatus},
    machine::{Event, Refused},
    record::{Clock, Record, Records},
    supervisor::{Change, Reported},
    token::Token,
};
use adopt::Taken;
use bootstrap::Bootstrap;
use change::Pending;
use entry::Entry;
use model::{ComponentName, ComponentSpec};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use store::Database;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use worker::{ANSWER_LIMIT, Answer};

/// Answers of workers waiting for the task; workers wait when it is full.
const ANSWERS: usize = 256;
/// For the workers to write down what they know when the task ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// What the handle asks.
pub(crate) enum Command {
    Adopt {
        specs: Vec<ComponentSpec>,
        reply: oneshot::Sender<Result<(), ApplyError>>,
    },
    Reconfigure {
        options: Options,
        reply: oneshot::Sender<()>,
    },
    Apply {
        change: Change,
        reply: oneshot::Sender<Result<(), ApplyError>>,
    },
    Bootstrap {
        spec: Arc<ComponentSpec>,
        reply: oneshot::Sender<Result<BootstrapExit, BootstrapError>>,
    },
    Wish {
        name: ComponentName,
        wish: Wish,
        reply: oneshot::Sender<Result<(), RequestError>>,
    },
    Shutdown {
        reply: oneshot::Sender<()>,
    },
}

/// What is asked of one component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Restart,
    Stop,
    Pause,
    Resume,
    Report(Reported),
}

/// What the task's own helpers bring back.
enum Notice {
    /// What there is to adopt.
    Taken(Taken),
    /// What runs, after events were missed; with the launches that were under way before it was asked.
    Inspected(Vec<(ComponentName, u64)>, Vec<UnitStatus>),
    /// A bootstrap step is over.
    Bootstrapped(ComponentName),
}

/// Looking for ends that were not seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inspection {
    Idle,
    /// To be begun.
    Due,
    UnderWay,
    /// To be begun once more: there is something new since it began.
    Again,
}

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// Owns the components. Run it beside the rest of the runtime.
pub struct Task {
    options: Arc<Options>,
    launcher: Arc<dyn Launcher>,
    records: Records,
    board: Arc<Board>,
    clock: Clock,
    release: CancellationToken,
    queue: mpsc::Receiver<Command>,
    entries: BTreeMap<ComponentName, Entry>,
    graph: Graph,
    /// Records of components that are not among the entries.
    absent: BTreeMap<ComponentName, Record>,
    /// Tokens given out to bootstrap steps of components that are not among the entries yet.
    promised: BTreeMap<ComponentName, Token>,
    flow: flow::Flow,
    pending: Option<Pending>,
    inspection: Inspection,
    closing: Vec<oneshot::Sender<()>>,
    answers: Channel<(ComponentName, Answer)>,
    notices: Channel<Notice>,
    workers: JoinSet<()>,
    helpers: JoinSet<()>,
}

impl Task {
    pub(crate) fn new(
        options: Options,
        database: Database,
        launcher: Arc<dyn Launcher>,
        release: CancellationToken,
        queue: mpsc::Receiver<Command>,
        board: Arc<Board>,
    ) -> Self {
        Self {
            options: Arc::new(options),
            launcher,
            records: Records::new(database),
            board,
            clock: Clock::start(),
            release,
            queue,
            entries: BTreeMap::new(),
            graph: Graph::default(),
            absent: BTreeMap::new(),
            promised: BTreeMap::new(),
            flow: flow::Flow::default(),
            pending: None,
            inspection: Inspection::Idle,
            closing: Vec::new(),
            answers: mpsc::channel(ANSWERS),
            notices: mpsc::channel(ANSWERS),
            workers: JoinSet::new(),
            helpers: JoinSet::new(),
        }
    }

    /// Until [`Supervisor::shutdown`](crate::Supervisor::shutdown) is done, the release token is cancelled, or every
    /// handle is gone; the last two leave the components running.
    pub async fn run(mut self) {
        let mut events = self.launcher.events();
        let mut listening = true;
        while !self.is_closed() {
            let deadline = self
                .entries
                .values()
                .filter_map(|entry| entry.machine.deadline())
                .min();
            let deadline = deadline.map(|moment| self.clock.instant(moment));
            tokio::select! {
                () = self.release.cancelled() => break,
                event = events.next(), if listening => match event {
                    Some(event) => self.launched(event),
                    None => {
                        log::error!("the launcher is gone: components cannot be started or stopped");
                        listening = false;
                    }
                },
                Some((name, answer)) = self.answers.1.recv() => self.answered(&name, answer),
                Some(notice) = self.notices.1.recv() => self.noticed(notice),
                command = self.queue.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(_) = self.helpers.join_next() => {}
                Some(_) = self.workers.join_next() => {}
                () = sleep_until(deadline) => self.deadline(),
            }
            self.settle();
            if self.inspection == Inspection::Due {
                self.inspect();
            }
        }
        self.end().await;
    }

    fn command(&mut self, command: Command) {
        let closing = !self.closing.is_empty();
        // Who does not wait for an answer any more does not get one.
        match command {
            Command::Adopt { reply, .. } if closing => drop(reply.send(Err(ApplyError::Closed))),
            Command::Apply { reply, .. } if closing => drop(reply.send(Err(ApplyError::Closed))),
            Command::Bootstrap { reply, .. } if closing => {
                drop(reply.send(Err(BootstrapError::Closed)));
            }
            Command::Wish {
                reply,
                wish: Wish::Restart,
                ..
            } if closing => {
                drop(reply.send(Err(RequestError::Closed)));
            }
            Command::Adopt { specs, reply } => self.look_around(specs, reply),
            Command::Reconfigure { options, reply } => {
                self.options = Arc::new(options);
                let _ = reply.send(());
            }
            Command::Apply { change, reply } => self.apply(change, reply),
            Command::Bootstrap { spec, reply } => self.bootstrap(&spec, reply),
            Command::Wish { name, wish, reply } => self.wish(&name, wish, reply),
            Command::Shutdown { reply } => {
                self.closing.push(reply);
                self.refuse_pending(ApplyError::Closed);
                for name in self.entries.keys() {
                    self.flow.push(name, Event::Stop { orderly: true });
                }
            }
        }
    }

    fn wish(
        &mut self,
        name: &ComponentName,
        wish: Wish,
        reply: oneshot::Sender<Result<(), RequestError>>,
    ) {
        let (doing, event) = match wish {
            Wish::Restart => ("restart", Event::Restart),
            Wish::Stop => ("stop", Event::Stop { orderly: false }),
            Wish::Pause => ("pause", Event::Pause),
            Wish::Resume => ("resume", Event::Resume),
            Wish::Report(Reported::Running) => ("report RUNNING for", Event::ReportRunning),
            Wish::Report(Reported::Errored) => ("report ERRORED for", Event::ReportErrored),
        };
        if self.entries.get(name).is_none_or(|entry| entry.dismissed) {
            let _ = reply.send(Err(RequestError::NotFound(name.clone())));
            return;
        }
        match self.feed(name, event) {
            Ok(()) => {}
            Err(refused) => {
                let state = match refused {
                    Refused::State(state) => state,
                    Refused::Stale | Refused::Early(_) => self.entries[name].machine.state(),
                };
                let _ = reply.send(Err(RequestError::State {
                    name: name.clone(),
                    doing,
                    state,
                }));
                return;
            }
        }
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        match wish {
            Wish::Pause => entry.await_frozen(true, reply),
            Wish::Resume => entry.await_frozen(false, reply),
            _ => drop(reply.send(Ok(()))),
        }
    }

    fn bootstrap(
        &mut self,
        spec: &Arc<ComponentSpec>,
        reply: oneshot::Sender<Result<BootstrapExit, BootstrapError>>,
    ) {
        let name = &spec.name;
        let token = match self.token(name) {
            Ok(token) => token,
            Err(reason) => {
                let _ = reply.send(Err(BootstrapError::Launch {
                    name: name.clone(),
                    reason,
                }));
                return;
            }
        };
        if !self.entries.contains_key(name) {
            self.promised.insert(name.clone(), token.clone());
        }
        self.board.admit(name, &token);
        let bootstrap = Bootstrap {
            options: Arc::clone(&self.options),
            launcher: Arc::clone(&self.launcher),
            spec: Arc::new(self.complete((**spec).clone())),
            token,
        };
        let (notices, name) = (self.notices.0.clone(), name.clone());
        self.helpers.spawn(async move {
            bootstrap.run(reply).await;
            let _ = notices.send(Notice::Bootstrapped(name)).await;
        });
    }

    /// The token of a component, old or new.
    fn token(&self, name: &ComponentName) -> Result<Token, String> {
        let known = self.entries.get(name).map(|entry| &entry.token);
        let known = known.or_else(|| self.promised.get(name));
        match known.or_else(|| self.absent.get(name).map(|record| &record.token)) {
            Some(token) => Ok(token.clone()),
            None => Token::generate()
                .map_err(|error| format!("no random numbers for its token: {error}")),
        }
    }

    fn launched(&mut self, event: Launched) {
        match event {
            Launched::Exited(exited) => self.exited(exited),
            Launched::Missed => {
                for entry in self.entries.values_mut() {
                    let process = entry.machine.process();
                    entry.recheck = process.is_some_and(|process| process.pid.is_none());
                }
                self.inspect_soon();
            }
        }
    }

    fn exited(&mut self, exited: Exited) {
        let Some(entry) = self.entries.get_mut(&exited.id.component) else {
            return;
        };
        let Some(process) = entry
            .machine
            .process()
            .filter(|process| process.step == exited.id.step)
        else {
            return;
        };
        match process.pid {
            Some(pid) if pid == exited.pid => {
                let event = Event::Exited {
                    attempt: process.attempt,
                    outcome: exited.outcome,
                    stderr: exited.stderr_tail,
                };
                self.flow.push(&exited.id.component, event);
            }
            Some(_) => {}
            // The worker has not told yet which pid it has.
            None => entry.early = Some(exited),
        }
    }

    fn inspect_soon(&mut self) {
        self.inspection = match self.inspection {
            Inspection::Idle | Inspection::Due => Inspection::Due,
            Inspection::UnderWay | Inspection::Again => Inspection::Again,
        };
    }

    /// Asks what runs, since some ends were not seen.
    fn inspect(&mut self) {
        self.inspection = Inspection::UnderWay;
        let known = self.entries.iter().filter_map(|(name, entry)| {
            let process = entry
                .machine
                .process()
                .filter(|process| process.pid.is_some())?;
            Some((name.clone(), process.attempt))
        });
        let (known, launcher, notices) = (
            known.collect(),
            Arc::clone(&self.launcher),
            self.notices.0.clone(),
        );
        self.helpers.spawn(async move {
            loop {
                match timeout(ANSWER_LIMIT, launcher.inspect()).await {
                    Ok(Ok(units)) => {
                        let _ = notices.send(Notice::Inspected(known, units)).await;
                        return;
                    }
                    Ok(Err(error)) => log::warn!("cannot see which components run: {error}"),
                    Err(_) => {
                        log::warn!("cannot see which components run: the launcher does not answer");
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            // The task listened before the launcher was asked, so no end falls in between.
            Notice::Taken(taken) => self.take_over(taken),
            Notice::Inspected(known, units) => {
                self.compare(&known, &units);
                self.inspection = match self.inspection {
                    Inspection::Again => Inspection::Due,
                    _ => Inspection::Idle,
                };
            }
            Notice::Bootstrapped(name) => {
                if self.promised.contains_key(&name) && !self.entries.contains_key(&name) {
                    self.board.remove(&name);
                }
            }
        }
    }

    /// Ends that were not seen.
    fn compare(&mut self, known: &[(ComponentName, u64)], units: &[UnitStatus]) {
        for (name, attempt) in known {
            let Some(entry) = self.entries.get(name) else {
                continue;
            };
            let Some(process) = entry
                .machine
                .process()
                .filter(|process| process.attempt == *attempt)
            else {
                continue;
            };
            let tag = worker::tag(&entry.machine.spec, *attempt);
            let unit = units.iter().find(|unit| {
                unit.id.component == *name
                    && unit.id.step == process.step
                    && (unit.pid == process.pid || unit.tag == tag)
            });
            let (outcome, stderr) = match unit {
                Some(unit) if unit.pid.is_some() => continue,
                unit => unit
                    .and_then(|unit| unit.ended.clone())
                    .unwrap_or((Outcome::Unknown, Vec::new())),
            };
            self.flow.push(
                name,
                Event::Exited {
                    attempt: *attempt,
                    outcome,
                    stderr,
                },
            );
        }
    }

    fn answered(&mut self, name: &ComponentName, answer: Answer) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        match answer {
            Answer::Event(Event::Spawned { attempt, pid }) => {
                self.flow.push(name, Event::Spawned { attempt, pid });
                let recheck = std::mem::take(&mut entry.recheck);
                let early = entry.early.take().filter(|exited| exited.pid == pid);
                if let Some(Exited {
                    outcome,
                    stderr_tail: stderr,
                    ..
                }) = early
                {
                    self.flow.push(
                        name,
                        Event::Exited {
                            attempt,
                            outcome,
                            stderr,
                        },
                    );
                } else if recheck {
                    self.inspect_soon();
                }
            }
            Answer::Event(event) => self.flow.push(name, event),
            Answer::Froze(freeze, result) => {
                if freeze {
                    self.flow.push(name, Event::Frozen(result.is_ok()));
                }
                entry.frozen(freeze, &result);
            }
            Answer::Forgotten => self.forgotten(name),
        }
    }

    fn deadline(&mut self) {
        let now = self.clock.now();
        for (name, entry) in &self.entries {
            if entry
                .machine
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                self.flow.push(name, Event::Deadline);
            }
        }
    }

    /// Shutdown has been asked for, and nothing runs that could be ended.
    fn is_closed(&self) -> bool {
        !self.closing.is_empty()
            && self.flow.is_empty()
            && self
                .entries
                .values()
                .all(|entry| entry.machine.is_down() || entry.machine.is_stuck())
    }

    /// Workers write down what they know; then whoever waits for the end is told.
    async fn end(mut self) {
        for entry in self.entries.values() {
            entry.mailbox.put(|wants| wants.end = true);
        }
        self.helpers.abort_all();
        let answers = &mut self.answers.1;
        let flush = async {
            loop {
                tokio::select! {
                    // Nobody must wait for room to answer.
                    Some(_) = answers.recv() => {}
                    done = self.workers.join_next() => if done.is_none() { break },
                }
            }
        };
        if timeout(FLUSH_LIMIT, flush).await.is_err() {
            log::warn!("some components' workers did not end in time");
        }
        for reply in self.closing {
            let _ = reply.send(());
        }
    }
}

/// Never, without an instant.
async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Main processes, of which at most one lives.
fn is_main(step: StepKind) -> bool {
    matches!(step, StepKind::Startup | StepKind::Run)
}
