//! The handle through which the rest of the runtime speaks to the supervisor's task.

use crate::{
    ApplyError, BootstrapError, Options, RequestError,
    board::Board,
    launcher::Launcher,
    task::{Command, Task, Wish},
};
use model::{ComponentName, ComponentSpec, ComponentStatus, component::Action};
use std::sync::Arc;
use store::Database;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests waiting for the task; callers wait when it is full.
const QUEUE: usize = 64;

/// Handle to the supervisor. Cheap to clone.
#[derive(Clone)]
pub struct Supervisor {
    commands: mpsc::Sender<Command>,
    board: Arc<Board>,
}

/// What is to be different.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Components to run, each with what its processes need. New ones are installed whatever the action says, and an
    /// action weaker than the difference between the specs is raised to it.
    pub set: Vec<(ComponentSpec, Action)>,
    /// Components to stop and uninstall.
    pub remove: Vec<ComponentName>,
}

/// How a bootstrap step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootstrapExit {
    /// Exit code 0, or nothing to do.
    Done,
    /// Exit code 100.
    RestartRuntime,
    /// Exit code 101.
    Reboot,
}

/// What a component says of itself with `UpdateState`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reported {
    /// It is up.
    Running,
    /// It has failed.
    Errored,
}

impl Supervisor {
    /// Makes the handle and the task behind it; nothing happens until the task is run.
    ///
    /// Cancelling `release` ends the task and leaves every component running, to be adopted by the next supervisor.
    /// [`Supervisor::shutdown`] is the call that stops them.
    pub fn open(
        options: Options,
        database: Database,
        launcher: Arc<dyn Launcher>,
        release: CancellationToken,
    ) -> (Self, Task) {
        let (commands, queue) = mpsc::channel(QUEUE);
        let board = Arc::new(Board::new());
        let task = Task::new(options, database, launcher, release, queue, board.clone());
        (Self { commands, board }, task)
    }

    /// Takes over at start: these are the components that should run. Units that still run with the same spec are kept
    /// as they are, pid unchanged; units that should not run are stopped; the rest is started, without install where
    /// that was done before. A component that was stopped by request is started, as after any restart of Greengrass.
    pub async fn adopt(&self, specs: Vec<ComponentSpec>) -> Result<(), ApplyError> {
        self.ask(|reply| Command::Adopt { specs, reply })
            .await
            .unwrap_or(Err(ApplyError::Closed))
    }

    /// Takes other options, for components that enter or change from now on; the others keep what they were started with.
    pub async fn reconfigure(&self, options: Options) {
        // No answer: the task has ended, and nothing starts any more.
        let _ = self
            .ask(|reply| Command::Reconfigure { options, reply })
            .await;
    }

    /// Changes the set. Returns when the old processes are down and the new set is under way; the scripts of the old
    /// version shut it down and uninstall it. Bounded by the components' own timeouts.
    ///
    /// Dropping the future does not undo the change: apply another one, which takes its place at once.
    pub async fn apply(&self, change: Change) -> Result<(), ApplyError> {
        self.ask(|reply| Command::Apply { change, reply })
            .await
            .unwrap_or(Err(ApplyError::Closed))
    }

    /// Runs the bootstrap step, within its timeout. Dropping the future stops it.
    pub async fn bootstrap(&self, spec: &ComponentSpec) -> Result<BootstrapExit, BootstrapError> {
        let spec = Arc::new(spec.clone());
        self.ask(|reply| Command::Bootstrap { spec, reply })
            .await
            .unwrap_or(Err(BootstrapError::Closed))
    }

    /// Down and up again, also out of BROKEN and FINISHED; its error counts are forgotten. HARD dependers restart with
    /// it. Returns when it is accepted.
    pub async fn restart(&self, name: &ComponentName) -> Result<(), RequestError> {
        self.wish(name, Wish::Restart).await
    }

    /// Down, until a restart, a deployment that names it or a restart of the runtime. Returns when it is accepted.
    pub async fn stop(&self, name: &ComponentName) -> Result<(), RequestError> {
        self.wish(name, Wish::Stop).await
    }

    /// Freezes a RUNNING component. Returns when it is frozen.
    pub async fn pause(&self, name: &ComponentName) -> Result<(), RequestError> {
        self.wish(name, Wish::Pause).await
    }

    /// Thaws it. Returns when it goes on; one that is not paused is a success.
    pub async fn resume(&self, name: &ComponentName) -> Result<(), RequestError> {
        self.wish(name, Wish::Resume).await
    }

    /// `UpdateState`, by the component itself.
    pub async fn report(
        &self,
        name: &ComponentName,
        reported: Reported,
    ) -> Result<(), RequestError> {
        self.wish(name, Wish::Report(reported)).await
    }

    /// All components, by name. What a change made of them is visible here before it is announced.
    pub fn statuses(&self) -> Vec<ComponentStatus> {
        self.board.statuses()
    }

    /// One component.
    pub fn status(&self, name: &ComponentName) -> Option<ComponentStatus> {
        self.board.status(name)
    }

    /// Changes from now on. A listener that falls behind is told how many it lost and reads [`Supervisor::statuses`].
    pub fn watch(&self) -> broadcast::Receiver<ComponentStatus> {
        self.board.watch()
    }

    /// Whose token this is. Takes the same time for every wrong token.
    pub fn authenticate(&self, token: &str) -> Option<ComponentName> {
        self.board.authenticate(token)
    }

    /// Stops all components in reverse dependency order and ends the task. Bounded by the components' own shutdown
    /// timeouts. Keep IPC open until it returns.
    pub async fn shutdown(&self) {
        // No answer: the task has ended before, which is what was asked for.
        let _ = self.ask(|reply| Command::Shutdown { reply }).await;
    }

    async fn wish(&self, name: &ComponentName, wish: Wish) -> Result<(), RequestError> {
        self.ask(|reply| Command::Wish {
            name: name.clone(),
            wish,
            reply,
        })
        .await
        .unwrap_or(Err(RequestError::Closed))
    }

    /// `None` when the task has ended.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}
