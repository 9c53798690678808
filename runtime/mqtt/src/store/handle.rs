//! The store as the engine sees it: notes changes at once, under one short lock.

use super::{
    Body, Delivery, Durable, Enqueued, Entry, Metrics, Options, Refused, SCHEMA, Seq, SessionId,
    SessionRecord, State, SubscriptionRecord, Ticket, Unavailable,
    batch::{Batch, Insert, OVERHEAD},
    queue::Queues,
    read,
    ticket::Progress,
    together::Open,
    writer,
};
use crate::{Message, packet::PacketId};
use ::store::{Database, SetAside, StoreError};
use bytestring::ByteString;
use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::Notify;

/// What the file held at start, without the queues' contents, which [`Store::page`] gives.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All sessions.
    pub sessions: Vec<LoadedSession>,
    /// All retained messages, expired ones included.
    pub retained: Vec<Message>,
}

/// A session as the file holds it.
#[derive(Debug)]
pub struct LoadedSession {
    /// Its number.
    pub id: SessionId,
    /// Client identifier, expiry, will.
    pub record: SessionRecord,
    /// Filters as given to [`Store::subscribe`].
    pub subscriptions: Vec<(ByteString, SubscriptionRecord)>,
    /// Identifiers of QoS 2 messages that were received and not yet released.
    pub received: Vec<PacketId>,
    /// Messages in its queue.
    pub messages: usize,
    /// Their bytes, as counted against the limits.
    pub bytes: u64,
}

/// A handle to the store; cheap to clone. When the last one is dropped, what is pending is still written.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
    worker: Arc<Worker>,
}

/// Ends the writer with the last handle.
struct Worker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    pub database: Database,
    pub options: Options,
    pub inner: Mutex<Inner>,
    /// Wakes the writer.
    pub wake: Condvar,
    /// Tells publishers that there is room again.
    pub room: Notify,
}

pub(super) struct Inner {
    pub collecting: Batch,
    /// When its first change came.
    pub opened: Option<Instant>,
    pub committing: Option<Arc<Batch>>,
    pub progress: Progress,
    pub queues: Queues,
    /// Not to be written yet.
    pub open: Open,
    /// Ended sessions whose queues are still in the file, with the group that ends them.
    pub orphans: VecDeque<(SessionId, u64)>,
    /// The writer sleeps until there is something, not until a group is due.
    pub idle: bool,
    /// Somebody wants the next commit now.
    pub flush: bool,
    pub stopping: bool,
    /// Set when the store is closed, or the writer has ended with something unwritten.
    pub closed: Option<Unavailable>,
    pub metrics: Metrics,
    last_session: u64,
    last_body: u64,
}

pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Inner> {
    shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the lock back, and then wakes whoever waited for what has changed.
pub(super) fn unlock(mut inner: MutexGuard<'_, Inner>) {
    let woken = inner.progress.take_woken();
    drop(inner);
    woken.into_iter().for_each(Waker::wake);
}

impl Inner {
    pub fn is_done(&self, ticket: Ticket) -> bool {
        let collecting = self.collecting.numbers();
        match &self.committing {
            Some(committing) => self
                .progress
                .is_done(ticket, &[collecting, committing.numbers()]),
            None => self.progress.is_done(ticket, &[collecting]),
        }
    }

    pub fn pending_bytes(&self) -> usize {
        self.collecting.bytes + self.committing.as_ref().map_or(0, |batch| batch.bytes)
    }

    /// A group of which nothing is left needs no commit.
    pub fn settle(&mut self) {
        if self.committing.is_none() && self.collecting.is_empty() && self.collecting.was_used() {
            let group = self.collecting.group;
            self.progress.committed = group;
            self.progress.wake_committed();
            self.collecting = Batch::new(group + 1);
            self.opened = None;
        }
    }

    /// Takes a message out of its queue; idempotent.
    pub fn remove(&mut self, session: SessionId, seq: Seq) -> Ticket {
        if !self.queues.remove(session, seq) {
            return Ticket::default();
        }
        self.take_out(session, seq)
    }

    pub fn receipt(&mut self, session: SessionId, id: PacketId, there: bool) -> Ticket {
        if !self.queues.has(session) {
            return Ticket::default();
        }
        self.collecting.received(session, id, there)
    }

    /// For a message that is not counted in its queue any more.
    fn take_out(&mut self, session: SessionId, seq: Seq) -> Ticket {
        match self.collecting.remove(session, seq) {
            Ok(ticket) => ticket,
            Err(news) => {
                self.metrics.cancelled += 1;
                if news {
                    let (group, numbers) = self.collecting.numbers();
                    self.progress.wake_done(group, numbers);
                }
                self.settle();
                Ticket::default()
            }
        }
    }
}

impl Store {
    /// Opens or creates the file and reads everything but the queues' contents. A damaged file is moved aside, which is
    /// logged and told. Blocks; for start-up.
    pub fn open(
        path: &Path,
        options: Options,
    ) -> Result<(Self, Loaded, Option<SetAside>), StoreError> {
        let (database, aside) = Database::open_or_set_aside(path, &[SCHEMA])?;
        if let Some(aside) = &aside {
            log::error!(
                reason = aside.reason.as_str();
                "{} is damaged: sessions, queued and retained messages in it are lost; it was moved to {}",
                path.display(),
                aside.path.display()
            );
        }
        let (store, loaded) = Self::on(database, options)?;
        Ok((store, loaded, aside))
    }

    /// Like [`Store::open`], on a database that was opened with [`SCHEMA`] and that nobody else writes much to.
    pub fn on(database: Database, options: Options) -> Result<(Self, Loaded), StoreError> {
        database.maintain_blocking(writer::configure)?;
        let everything = database.read_blocking(|t| read::everything(t))?;
        let shared = Arc::new(Shared {
            database,
            options,
            inner: Mutex::new(Inner {
                collecting: Batch::new(1),
                opened: None,
                committing: None,
                progress: Progress::default(),
                queues: everything.queues,
                open: Open::default(),
                orphans: everything.orphans.into_iter().map(|id| (id, 0)).collect(),
                idle: false,
                flush: false,
                stopping: false,
                closed: None,
                metrics: Metrics::default(),
                last_session: everything.last_session,
                last_body: everything.last_body,
            }),
            wake: Condvar::new(),
            room: Notify::new(),
        });
        let thread = writer::start(shared.clone())?;
        let worker = Worker {
            shared: shared.clone(),
            thread: Mutex::new(Some(thread)),
        };
        let store = Self {
            shared,
            worker: Arc::new(worker),
        };
        for id in everything.superseded {
            store.note(|inner| inner.collecting.session(id, None));
        }
        Ok((store, everything.loaded))
    }

    /// Notes changes, and wakes the writer if it has nothing to do, or if there is enough to write.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let limit = self.shared.options.pending_bytes;
        let mut inner = lock(&self.shared);
        let before = (inner.collecting.len(), inner.pending_bytes());
        let result = change(&mut inner);
        let after = (inner.collecting.len(), inner.pending_bytes());
        if before.0 == 0 && after.0 > 0 {
            inner.opened = Some(Instant::now());
        }
        let enough = after.0 >= writer::ENOUGH && before.0 < writer::ENOUGH
            || after.1 >= limit / 2 && before.1 < limit / 2;
        let wake = enough || after.0 > 0 && std::mem::take(&mut inner.idle);
        unlock(inner);
        if wake {
            self.shared.wake.notify_all();
        }
        if after.1 < limit && before.1 >= limit {
            self.shared.room.notify_waiters();
        }
        result
    }

    /// A new session. When a crash leaves two of one client, the later one counts.
    pub fn create(&self, record: SessionRecord) -> (SessionId, Ticket) {
        self.note(|inner| {
            inner.last_session += 1;
            let id = SessionId(inner.last_session);
            inner.queues.add(id);
            (id, inner.collecting.session(id, Some(Arc::new(record))))
        })
    }

    /// A session has changed: connected, disconnected, other expiry or will.
    pub fn update(&self, session: SessionId, record: SessionRecord) -> Ticket {
        self.note(|inner| {
            if !inner.queues.has(session) {
                return Ticket::default();
            }
            inner.collecting.session(session, Some(Arc::new(record)))
        })
    }

    /// Ends a session with all that belongs to it.
    pub fn end(&self, session: SessionId) -> Ticket {
        self.note(|inner| {
            if !inner.queues.end(session) {
                return Ticket::default();
            }
            let group = inner.collecting.group;
            inner.orphans.push_back((session, group));
            inner.collecting.session(session, None)
        })
    }

    /// A subscription is new or has other options. `filter` is kept as given, `$share/<group>/` included.
    pub fn subscribe(
        &self,
        session: SessionId,
        filter: ByteString,
        record: SubscriptionRecord,
    ) -> Ticket {
        self.subscription(session, filter, Some(record))
    }

    /// A subscription is gone.
    pub fn unsubscribe(&self, session: SessionId, filter: ByteString) -> Ticket {
        self.subscription(session, filter, None)
    }

    fn subscription(
        &self,
        session: SessionId,
        filter: ByteString,
        record: Option<SubscriptionRecord>,
    ) -> Ticket {
        self.note(|inner| {
            if !inner.queues.has(session) {
                return Ticket::default();
            }
            inner.collecting.subscription(session, filter, record)
        })
    }

    /// Prepares a message for [`Store::enqueue`]: once, however many sessions it is for. The payload should not be a small
    /// part of a large buffer, which it would keep alive.
    pub fn body(&self, message: Message) -> Body {
        let mut inner = lock(&self.shared);
        inner.last_body += 1;
        Body::new(inner.last_body, message)
    }

    /// Appends a message to a session's queue. Call it under the session's own lock, so that both agree on the order.
    pub fn enqueue(
        &self,
        session: SessionId,
        body: &Body,
        delivery: Delivery,
    ) -> Result<Enqueued, Refused> {
        let options = &self.shared.options;
        self.note(|inner| {
            let stuck = inner.metrics.failing && inner.pending_bytes() >= options.pending_bytes;
            if stuck || inner.closed.is_some() {
                return Err(Refused::Unavailable);
            }
            let size = u32::try_from(OVERHEAD + body.message().size()).unwrap_or(u32::MAX);
            let (seq, dropped) =
                inner
                    .queues
                    .push(session, size, options)
                    .inspect_err(|refused| {
                        if matches!(refused, Refused::SessionFull | Refused::StoreFull) {
                            inner.metrics.dropped_newest += 1;
                        }
                    })?;
            inner.metrics.dropped_oldest += dropped.len();
            if !inner.open.is_empty() {
                inner.open.add(body, session, seq);
            }
            let body = body.clone();
            body.count_use();
            let insert = Insert {
                body,
                delivery,
                state: State::Queued,
                size,
            };
            let ticket = inner.collecting.insert(session, seq, insert);
            for seq in &dropped {
                inner.take_out(session, *seq);
            }
            Ok(Enqueued {
                seq,
                ticket,
                dropped,
            })
        })
    }

    /// A queued message is about to be sent, or is sent again, under this identifier.
    pub fn sent(&self, session: SessionId, seq: Seq, id: PacketId) -> Ticket {
        self.state(session, seq, State::Sent(id))
    }

    /// PUBREC has come for a QoS 2 message: its content is not needed any more, only PUBREL is left.
    pub fn released(&self, session: SessionId, seq: Seq, id: PacketId) -> Ticket {
        self.state(session, seq, State::Released(id))
    }

    fn state(&self, session: SessionId, seq: Seq, state: State) -> Ticket {
        self.note(|inner| {
            if !inner.queues.contains(session, seq) {
                return Ticket::default();
            }
            inner.queues.sent(session, seq);
            inner.collecting.state(session, seq, state)
        })
    }

    /// A message leaves its queue: PUBACK or PUBCOMP has come, it has expired, or it cannot be sent. Harmless when it is
    /// gone already.
    pub fn remove(&self, session: SessionId, seq: Seq) -> Ticket {
        self.note(|inner| inner.remove(session, seq))
    }

    /// A QoS 2 message was received under this identifier (see also [`Store::together`]): until [`Store::forget`], another one is the same message.
    pub fn remember(&self, session: SessionId, id: PacketId) -> Ticket {
        self.note(|inner| inner.receipt(session, id, true))
    }

    /// PUBREL has come: the identifier may be used for another message.
    pub fn forget(&self, session: SessionId, id: PacketId) -> Ticket {
        self.note(|inner| inner.receipt(session, id, false))
    }

    /// Retains a message for its topic.
    pub fn retain(&self, message: Message) -> Ticket {
        self.note(|inner| {
            let topic = message.topic.clone();
            inner.collecting.retained(topic, Some(message))
        })
    }

    /// Nothing is retained for a topic any more: cleared or expired.
    pub fn unretain(&self, topic: ByteString) -> Ticket {
        self.note(|inner| inner.collecting.retained(topic, None))
    }

    /// Whether the ticket is done, without waiting.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        lock(&self.shared).is_done(ticket)
    }

    /// Waits until the ticket is done.
    pub fn durable(&self, ticket: Ticket) -> Durable {
        Durable::new(self.shared.clone(), ticket)
    }

    /// Waits until all that was noted before is on the disk, without lingering.
    pub async fn flush(&self) -> Result<(), Unavailable> {
        let ticket = {
            let mut inner = lock(&self.shared);
            inner.flush = true;
            let group = inner.collecting.group;
            if inner.collecting.is_empty() {
                Ticket::new(group - 1, u32::MAX)
            } else {
                Ticket::new(group, u32::MAX)
            }
        };
        self.shared.wake.notify_all();
        self.durable(ticket).await
    }

    /// Waits while too many bytes wait for the disk; to be called before a message is taken from a publisher. Returns at
    /// once while the disk refuses: the publisher must be told so.
    pub async fn ready(&self) {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            {
                let inner = lock(&self.shared);
                if inner.pending_bytes() < self.shared.options.pending_bytes
                    || inner.metrics.failing
                    || inner.closed.is_some()
                {
                    return;
                }
            }
            room.await;
        }
    }

    /// Whether [`Store::ready`] would return at once.
    pub fn has_room(&self) -> bool {
        let inner = lock(&self.shared);
        inner.pending_bytes() < self.shared.options.pending_bytes || inner.metrics.failing
    }

    /// Messages and bytes in a session's queue.
    pub fn queue_size(&self, session: SessionId) -> (usize, u64) {
        lock(&self.shared).queues.load_of(session)
    }

    /// What there is and has been.
    pub fn metrics(&self) -> Metrics {
        let inner = lock(&self.shared);
        Metrics {
            sessions: inner.queues.len(),
            messages: inner.queues.messages,
            bytes: inner.queues.bytes,
            pending_bytes: inner.pending_bytes(),
            purging: inner.orphans.len(),
            ..inner.metrics
        }
    }

    /// The messages of a session's queue behind `after` (0: from the beginning), in order, at most `limit` and about
    /// `max_bytes` of content. Empty only when there are none. Includes what is not durable yet.
    pub async fn page(
        &self,
        session: SessionId,
        after: Seq,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let shared = self.shared.clone();
        // On the database's thread no commit is half done: each group is in the file, or still with us, or both.
        let read = move |t: &::store::rusqlite::Transaction<'_>| {
            let mut after = after;
            loop {
                let (mut found, all) = read::rows(t, session, after, limit.max(1), max_bytes)?;
                let last = found.last_key_value().map(|(seq, _)| *seq);
                let to = if all { Seq::MAX } else { last.unwrap_or(after) };
                let mut inner = lock(&shared);
                for (seq, _) in found.extract_if(.., |_, entry| entry.is_none()) {
                    // Unreadable, and said so.
                    inner.remove(session, seq);
                }
                if let Some(committing) = &inner.committing {
                    read::overlay(&mut found, committing, session, after, to);
                }
                read::overlay(&mut found, &inner.collecting, session, after, to);
                unlock(inner);
                if !found.is_empty() || all {
                    return Ok(found.into_values().flatten().take(limit.max(1)).collect());
                }
                after = to;
            }
        };
        self.shared.database.read(read).await
    }

    /// Writes what is pending and closes the file; blocks. Fails when the disk refuses: then what was pending is lost, as
    /// the tickets tell. Other handles are refused afterwards.
    pub fn close(self) -> Result<(), Unavailable> {
        self.worker.stop();
        let thread = &self.worker.thread;
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the writer of the message store panicked");
        }
        self.shared.database.clone().shut_down();
        let mut inner = lock(&self.shared);
        if let Some(lost) = &inner.closed {
            return Err(lost.clone());
        }
        // For whoever still has a handle.
        inner.closed = Some(Unavailable {
            reason: "it is closed".into(),
        });
        Ok(())
    }
}

impl Worker {
    fn stop(&self) {
        lock(&self.shared).stopping = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
