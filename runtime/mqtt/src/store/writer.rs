//! The thread that commits one group after the other.

use super::{
    SessionId, Unavailable,
    batch::Batch,
    format,
    handle::{Inner, Shared, lock, unlock},
    read, write,
};
use ::store::{
    StoreError, crash_point,
    rusqlite::{Connection, Transaction},
};
use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

/// A group of so many changes is committed without lingering.
pub(super) const ENOUGH: usize = 10_000;

/// How often expired messages are looked for, and how many go at once.
const SWEEP: Duration = Duration::from_secs(30);
const SWEPT: usize = 1_000;

/// Pauses after a failure: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const STACK: usize = 256 * 1024;

/// Free pages from which a file that is nearly empty is made small again, and how many it may use then: VACUUM copies them
/// through memory.
const WASTED: i64 = 4_096;
const LEFT: i64 = 1_024;

/// Settings for a file that is written all the time: see the crate `store` for the others. The log is folded back every
/// MiB: that takes a group some milliseconds longer, on a slow card some tens.
pub(super) fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.set_prepared_statement_cache_capacity(write::STATEMENTS);
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "wal_autocheckpoint", 256)?;
    Ok(())
}

pub(super) fn start(shared: Arc<Shared>) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name("mqtt-store".into())
        .stack_size(STACK)
        .spawn(move || Writer::new(shared).run())
        .map_err(|source: io::Error| StoreError::Io {
            action: "start",
            path: "the thread of the message store".into(),
            source,
        })
}

struct Writer {
    shared: Arc<Shared>,
    next_sweep: Instant,
    pause: Duration,
}

enum Work {
    Commit(Arc<Batch>),
    Purge,
    Sweep,
    End,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            next_sweep: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    fn run(mut self) {
        loop {
            match self.wait() {
                Work::Commit(batch) => {
                    self.commit(batch);
                    if self.next_sweep <= Instant::now() {
                        self.sweep();
                    }
                }
                Work::Purge => self.purge(),
                Work::Sweep => self.sweep(),
                Work::End => return,
            }
        }
    }

    /// What to do next; blocks until there is something.
    fn wait(&self) -> Work {
        let shared = self.shared.clone();
        let mut inner = lock(&shared);
        loop {
            let now = Instant::now();
            if !inner.collecting.is_empty() {
                let due = inner
                    .opened
                    .map_or(now, |opened| opened + self.shared.options.linger);
                let hurry = inner.flush || inner.stopping || inner.collecting.len() >= ENOUGH;
                if hurry
                    || due <= now
                    || inner.collecting.bytes >= self.shared.options.pending_bytes / 2
                {
                    return Work::Commit(take(&mut inner));
                }
                inner = Self::sleep(&shared, inner, due - now);
                continue;
            }
            inner.flush = false;
            if inner.stopping {
                return Work::End;
            }
            if !inner.orphans.is_empty() {
                return Work::Purge;
            }
            if self.next_sweep <= now {
                return Work::Sweep;
            }
            inner.idle = true;
            inner = Self::sleep(&shared, inner, self.next_sweep - now);
            inner.idle = false;
        }
    }

    fn sleep<'a>(
        shared: &Shared,
        inner: MutexGuard<'a, Inner>,
        time: Duration,
    ) -> MutexGuard<'a, Inner> {
        let woken = shared.wake.wait_timeout(inner, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn commit(&mut self, batch: Arc<Batch>) {
        crash_point("mqtt.store.batch.taken");
        let begun = Instant::now();
        let group = batch.group;
        // A piece of an ended session's queue goes along.
        let orphan = self.orphan(group);
        let outcome = self.shared.database.write_blocking(move |t| {
            write::apply(t, &batch)?;
            orphan.map_or(Ok(false), |session| write::purge(t, session))
        });
        let shared = self.shared.clone();
        let mut inner = lock(&shared);
        let time = begun.elapsed();
        inner.metrics.last_commit = time;
        inner.metrics.longest_commit = inner.metrics.longest_commit.max(time);
        match outcome {
            Ok(purged) => {
                if purged {
                    inner.orphans.pop_front();
                }
                inner.committing = None;
                inner.progress.committed = group;
                inner.progress.wake_committed();
                inner.settle();
                inner.metrics.commits += 1;
                if std::mem::take(&mut inner.metrics.failing) {
                    log::warn!("the message store can write again");
                }
                self.pause = FIRST_PAUSE;
                unlock(inner);
                shared.room.notify_waiters();
            }
            Err(error) => self.failed(inner, group, &error),
        }
    }

    /// Keeps the group, tells those who wait, and pauses.
    fn failed(&mut self, mut inner: MutexGuard<'_, Inner>, group: u64, error: &StoreError) {
        let shared = self.shared.clone();
        log::error!(
            pending_bytes = inner.pending_bytes();
            "the message store cannot write, and will try again: {error}"
        );
        let error = Unavailable {
            reason: error.to_string().into(),
        };
        inner.metrics.failures += 1;
        inner.metrics.failing = true;
        if let Some(batch) = inner.committing.take() {
            let mut batch = Arc::unwrap_or_clone(batch);
            let later = std::mem::replace(&mut inner.collecting, Batch::new(0));
            batch.merge(later);
            inner.collecting = batch;
        }
        inner.progress.fail(group, &error);
        inner.flush = false;
        // There may be nothing left to write.
        inner.settle();
        if inner.stopping {
            log::error!("the message store is closed with changes that could not be written");
            let group = inner.collecting.group;
            inner.progress.fail(group, &error);
            inner.collecting = Batch::new(group + 1);
            inner.closed = Some(error);
            unlock(inner);
            shared.room.notify_waiters();
            return;
        }
        unlock(inner);
        shared.room.notify_waiters();
        let mut inner = lock(&shared);
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        while !inner.stopping && !inner.flush && Instant::now() < until {
            inner = Self::sleep(&shared, inner, until - Instant::now());
        }
    }

    /// A session whose end is durable once this group is, and whose queue is still in the file.
    fn orphan(&self, group: u64) -> Option<SessionId> {
        let inner = lock(&self.shared);
        let (session, ended_by) = inner.orphans.front()?;
        (*ended_by <= group).then_some(*session)
    }

    /// Removes a piece of an ended session's queue, when there is nothing else to do.
    fn purge(&self) {
        let Some(session) = self.orphan(u64::MAX) else {
            return;
        };
        let work = move |t: &Transaction<'_>| write::purge(t, session);
        let outcome = self.shared.database.write_blocking(work);
        let done = outcome.unwrap_or_else(|error| {
            // The next start finds it again.
            log::error!("removing the queue of an ended session: {error}");
            true
        });
        if done {
            lock(&self.shared).orphans.pop_front();
        }
    }

    /// Takes out what has expired, and gives the disk back after a long queue has gone.
    fn sweep(&mut self) {
        let now = format::millis(SystemTime::now());
        let work = move |t: &Transaction<'_>| read::expired(t, now, SWEPT);
        let found = self.shared.database.read_blocking(work);
        let found = found.unwrap_or_else(|error| {
            log::error!("looking for expired messages: {error}");
            Vec::new()
        });
        if let Err(error) = self.shared.database.maintain_blocking(compact) {
            log::warn!("making the file of the message store smaller: {error}");
        }
        let mut inner = lock(&self.shared);
        let mut gone = 0;
        for (session, seq) in found {
            if inner.queues.contains(session, seq) {
                gone += 1;
                inner.remove(session, seq);
            }
        }
        inner.metrics.expired += gone;
        unlock(inner);
        // Goes on at once while there are more.
        if gone < SWEPT {
            self.next_sweep = Instant::now() + SWEEP;
        }
    }
}

/// The group that has collected is to be written; the next one begins.
fn take(inner: &mut Inner) -> Arc<Batch> {
    let next = Batch::new(inner.collecting.group + 1);
    let mut batch = std::mem::replace(&mut inner.collecting, next);
    inner.opened = None;
    if !inner.stopping && !inner.open.is_empty() {
        inner.open.carry(&mut batch, &mut inner.collecting);
        inner.opened = Some(Instant::now());
    }
    let batch = Arc::new(batch);
    inner.committing = Some(batch.clone());
    inner.flush = false;
    batch
}

fn compact(connection: &Connection) -> Result<(), StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (all, free) = (pragma("page_count")?, pragma("freelist_count")?);
    if free >= WASTED && all - free <= LEFT {
        connection.execute_batch("VACUUM")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}
