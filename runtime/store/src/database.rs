//! The handle to the one thread that owns the SQLite connection.

use crate::{Schema, StoreError, crash_point, open, open::SetAside};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, JoinHandle, Thread},
};
use tokio::sync::{mpsc, oneshot};

/// Operations that may wait for the thread; further callers wait for a place.
const QUEUE: usize = 64;

/// The thread only runs SQLite and the closures; its stack need not be the default 2 MiB.
const STACK: usize = 512 * 1024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Command {
    Run(Job),
    End,
}

/// A handle to one thread owning one SQLite connection. Cheap to clone; the file is closed with the last handle.
#[derive(Clone, Debug)]
pub struct Database {
    jobs: mpsc::Sender<Command>,
    thread: Arc<Worker>,
}

impl Database {
    /// Opens or creates the file, bringing its tables to the versions known here (see the crate's `versions` module for
    /// what happens to files of other versions). Blocks; for start-up.
    pub fn open(path: &Path, schemas: &[Schema]) -> Result<Self, StoreError> {
        Self::start(open::open(path, schemas)?)
    }

    /// Like [`Database::open`], but a damaged file is renamed, never deleted, and a new one is begun.
    /// The caller must say so where an operator sees it.
    pub fn open_or_set_aside(
        path: &Path,
        schemas: &[Schema],
    ) -> Result<(Self, Option<SetAside>), StoreError> {
        let (connection, aside) = open::open_or_set_aside(path, schemas)?;
        Ok((Self::start(connection)?, aside))
    }

    /// A database that lives in memory only, for tests.
    pub fn in_memory(schemas: &[Schema]) -> Result<Self, StoreError> {
        Self::start(open::in_memory(schemas)?)
    }

    fn start(mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, mut queue) = mpsc::channel::<Command>(QUEUE);
        let worker = thread::Builder::new()
            .name("store".into())
            .stack_size(STACK)
            .spawn(move || {
                while let Some(Command::Run(job)) = queue.blocking_recv() {
                    job(&mut connection);
                }
                // Who waits for an answer now learns that it will not come.
                drop(queue);
                if let Err((_, error)) = connection.close() {
                    log::error!("closing the database: {error}");
                }
            })
            .map_err(StoreError::io("start", "the store thread"))?;
        Ok(Self {
            jobs,
            thread: Arc::new(Worker(Mutex::new(Some(worker)))),
        })
    }

    /// Runs `work` in one transaction. When this returns `Ok`, it is on the disk; on `Err` nothing of it is.
    ///
    /// Once started, the transaction runs to its end also when the caller is dropped. `work` runs on the database's own
    /// thread: it must be short and must not wait for another operation of this database.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_then(work, |_| ()).await
    }

    /// [`Database::write`], and then `after` on the same thread as soon as the transaction is durable, before any other
    /// operation and also when the caller was dropped: the place to let others see what was written.
    pub async fn write_then<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(move |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(StoreError::from)?;
            let value = work(&transaction)?;
            crash_point("store.commit.before");
            transaction.commit().map_err(StoreError::from)?;
            crash_point("store.commit.after");
            after(&value);
            Ok(value)
        })
        .await
    }

    /// Runs `work` on a consistent state; anything it writes is dropped.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(move |connection| {
            let transaction = connection.transaction().map_err(StoreError::from)?;
            work(&transaction)
        })
        .await
    }

    /// [`Database::write`] for start-up code: blocks the calling thread.
    pub fn write_blocking<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        block_on(self.write(work))
    }

    /// [`Database::read`] for start-up code: blocks the calling thread.
    pub fn read_blocking<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        block_on(self.read(work))
    }

    /// Runs `work` outside of any transaction, for upkeep that cannot be done within one (VACUUM, checkpoints, settings).
    /// Blocks the calling thread.
    pub fn maintain_blocking<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        block_on(self.run(|connection| work(connection)))
    }

    /// Gives up this handle; if it was the last one, waits until the file is closed.
    pub fn close(self) {
        let Self { jobs, thread } = self;
        drop(jobs);
        if let Some(worker) = Arc::into_inner(thread) {
            worker.join();
        }
    }

    /// Does what was asked before, then closes the file, whoever else has a handle: their calls fail with
    /// [`StoreError::Closed`] from then on. Blocks until the log is folded into the file and another process may open it.
    pub fn shut_down(self) {
        // It has ended already when this cannot be sent.
        let _ = block_on(self.jobs.send(Command::End));
        self.thread.join();
    }

    async fn run<T, E>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A panic unwinds through the transaction, which rolls back; the connection stays usable.
            let outcome = catch_unwind(AssertUnwindSafe(|| job(connection)));
            let outcome = outcome.unwrap_or_else(|panic| {
                Err(StoreError::Panicked {
                    message: text_of(&*panic),
                }
                .into())
            });
            // A caller that went away does not want the answer.
            let _ = answer.send(outcome);
        });
        self.jobs
            .send(Command::Run(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

/// The thread, waited for by whoever closes last.
#[derive(Debug)]
struct Worker(Mutex<Option<JoinHandle<()>>>);

impl Worker {
    fn join(&self) {
        let handle = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            log::error!("the store thread panicked");
        }
    }
}

/// Waits on this thread for a future that another thread completes. Unlike the runtime's own blocking calls it may be used
/// inside a runtime, since the database's thread never needs it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
