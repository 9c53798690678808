//! The task that owns the client: dials, serves one connection after the other, waits in between.

mod deliver;
mod serve;

use super::{
    Cause, Options, Status,
    back_off::{self, Ending, Schedule},
    error::{PubAck, PublishError, SubscribeError},
    handle::PublishOptions,
    incoming::{Incoming, Token},
    journal::Journal,
    link::Link,
    net::Dial,
    options::{SubscribeOptions, WhenOffline},
    outgoing::{Flight, Outgoing},
    queue::{Bell, Queue, SubscriberId},
    reason::Reason,
    subscriptions::Subscriptions,
};
use crate::{
    Message, QoS,
    packet::{PacketId, Version},
};
use bytestring::ByteString;
use deliver::Pushing;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

/// Whoever waits for a message's end.
pub type Reply = oneshot::Sender<Result<PubAck, PublishError>>;

/// A message to publish.
#[derive(Debug)]
pub struct Outbound {
    pub message: Message,
    pub options: PublishOptions,
    pub reply: Reply,
}

/// Other wishes of callers.
#[derive(Debug)]
pub enum Control {
    Subscribe {
        id: SubscriberId,
        filter: ByteString,
        options: SubscribeOptions,
        queue: Arc<Queue>,
        reply: oneshot::Sender<Result<QoS, SubscribeError>>,
    },
    Disconnect {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
}

/// Told to stop.
#[derive(Debug)]
struct Stopping {
    by: Instant,
    done: Vec<oneshot::Sender<()>>,
}

/// The task.
pub struct Task {
    options: Options,
    dialer: Arc<dyn Dial>,
    journal: Box<dyn Journal>,
    publishes: mpsc::Receiver<Outbound>,
    control: mpsc::Receiver<Control>,
    status: watch::Sender<Status>,
    bell: Arc<Bell>,
    outgoing: Outgoing<Option<Reply>>,
    incoming: Incoming,
    subscriptions: Subscriptions,
    schedule: Schedule,
    /// Queued by publishers while there was no connection.
    waiting: VecDeque<Outbound>,
    /// A message that a full queue holds up.
    pushing: Option<Pushing>,
    /// Of a kept session, on topics that nobody has subscribed to yet.
    unclaimed: Vec<(Message, Token)>,
    stopping: Option<Stopping>,
    /// All publishers' messages have been taken, and no more come.
    publishers_gone: bool,
    connected_before: bool,
}

impl Task {
    pub fn new(
        options: Options,
        dialer: Arc<dyn Dial>,
        mut journal: Box<dyn Journal>,
        publishes: mpsc::Receiver<Outbound>,
        control: mpsc::Receiver<Control>,
        status: watch::Sender<Status>,
        bell: Arc<Bell>,
    ) -> Self {
        let mut outgoing = Outgoing::new();
        for pending in journal.pending() {
            outgoing.restore(pending.id, pending.message, pending.tag, None);
        }
        Self {
            dialer,
            journal,
            publishes,
            control,
            status,
            bell,
            outgoing,
            incoming: Incoming::new(options.topic_aliases),
            subscriptions: Subscriptions::new(options.maximum_subscriptions),
            schedule: Schedule::new(options.back_off),
            waiting: VecDeque::new(),
            pushing: None,
            unclaimed: Vec::new(),
            stopping: None,
            publishers_gone: false,
            connected_before: false,
            options,
        }
    }

    /// Until it is told to stop.
    pub async fn run(mut self) {
        let mut after = None;
        loop {
            let attempt = self.schedule.failures().saturating_add(1);
            self.status.send_replace(Status::Connecting {
                attempt,
                after: after.take(),
            });
            let dialed = dial(Arc::clone(&self.dialer), self.options.clone(), self.clean());
            let Some(dialed) = self.offline_until(dialed).await else {
                break;
            };
            let (cause, ending) = match dialed {
                Err(cause) => (cause, Ending::NotConnected),
                Ok(link) => {
                    let since = link.since;
                    let cause = self.serve(link).await;
                    if matches!(cause, Cause::Requested) {
                        break;
                    }
                    let ending = ending(&cause, since.elapsed());
                    (cause, ending)
                }
            };
            let wait = self.schedule.next(ending, back_off::random());
            log::warn!(
                cause:% = cause,
                retry_in_ms = wait.delay.as_millis() as u64,
                duplicate_client_id = wait.duplicate_client_id;
                "Not connected to the MQTT server"
            );
            let cause = Arc::new(cause);
            after = Some(Arc::clone(&cause));
            self.status.send_replace(Status::Disconnected {
                cause,
                retry_in: wait.delay,
                duplicate_client_id: wait.duplicate_client_id,
            });
            let until = Instant::now() + wait.delay;
            if self.offline_until(sleep_until(until)).await.is_none() {
                break;
            }
        }
        self.stop();
    }

    /// Whether the server is to forget what it kept.
    fn clean(&self) -> bool {
        match self.options.version {
            Version::V5 => self.options.clean_start && !self.connected_before,
            Version::V311 => self.options.session_expiry == 0 || self.options.client_id.is_empty(),
        }
    }

    /// Waits for `future` and hears callers meanwhile. `None`: told to stop.
    async fn offline_until<F: Future>(&mut self, future: F) -> Option<F::Output> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return Some(output),
                request = self.control.recv() => self.control(request),
                outbound = self.publishes.recv(), if !self.publishers_gone => match outbound {
                    Some(outbound) => self.park(outbound),
                    None => self.publishers_gone = true,
                },
                () = self.bell.rung() => self.answer_bell(None),
            }
            if self.stopping.is_some() {
                return None;
            }
        }
    }

    /// A wish of a caller; `None`: all handles are gone.
    fn control(&mut self, request: Option<Control>) {
        match request {
            Some(Control::Subscribe {
                id,
                filter,
                options,
                queue,
                reply,
            }) => {
                self.claim(&filter, &queue);
                let subscriptions = &mut self.subscriptions;
                subscriptions.add(id, filter, options, queue, reply);
            }
            Some(Control::Disconnect { grace, done }) => {
                self.publishes.close();
                let by = Instant::now() + grace;
                let stopping = self.stopping.get_or_insert(Stopping {
                    by,
                    done: Vec::new(),
                });
                stopping.by = stopping.by.min(by);
                stopping.done.push(done);
            }
            None => {
                self.publishes.close();
                self.stopping.get_or_insert(Stopping {
                    by: Instant::now(),
                    done: Vec::new(),
                });
            }
        }
    }

    /// A message that comes while there is no connection. The queue is as long as there are callers that wait.
    fn park(&mut self, outbound: Outbound) {
        match outbound.options.when_offline {
            // A reply that nobody waits for needs nobody: here and below.
            WhenOffline::Fail => {
                let _ = outbound.reply.send(Err(PublishError::NotConnected));
            }
            WhenOffline::Wait => {
                if self.waiting.len() == self.waiting.capacity() {
                    self.waiting.retain(|outbound| !outbound.reply.is_closed());
                }
                self.waiting.push_back(outbound);
            }
        }
    }

    /// An exchange is over.
    fn finish(
        &mut self,
        id: PacketId,
        flight: Flight<Option<Reply>>,
        outcome: Result<PubAck, PublishError>,
    ) {
        self.journal.finished(id, flight.tag, outcome.as_ref());
        if let Some(reply) = flight.waiter {
            let _ = reply.send(outcome);
        }
    }

    /// The end. What is under way is not over: a journal keeps it.
    fn stop(mut self) {
        self.publishes.close();
        for (_, flight) in self.outgoing.drain() {
            if let Some(reply) = flight.waiter {
                let _ = reply.send(Err(PublishError::Stopped));
            }
        }
        let mut rest: Vec<Outbound> = self.waiting.drain(..).collect();
        while let Ok(outbound) = self.publishes.try_recv() {
            rest.push(outbound);
        }
        for outbound in rest {
            let _ = outbound.reply.send(Err(PublishError::Stopped));
        }
        self.subscriptions.stop();
        self.control.close();
        while let Ok(request) = self.control.try_recv() {
            match request {
                Control::Subscribe { reply, .. } => {
                    let _ = reply.send(Err(SubscribeError::Stopped));
                }
                Control::Disconnect { done, .. } => {
                    let _ = done.send(());
                }
            }
        }
        self.status.send_replace(Status::Stopped);
        for done in self.stopping.into_iter().flat_map(|stopping| stopping.done) {
            let _ = done.send(());
        }
    }
}

async fn dial(dialer: Arc<dyn Dial>, options: Options, clean: bool) -> Result<Link, Cause> {
    let stream = dialer.dial(&options.timeouts).await?;
    Link::open(stream, &options, clean).await
}

fn ending(cause: &Cause, lasted: Duration) -> Ending {
    match cause {
        Cause::Ended { reason, .. } if *reason == Reason::SESSION_TAKEN_OVER => Ending::TakenOver,
        Cause::Closed | Cause::Io(_) => Ending::Cut(lasted),
        _ => Ending::Stated(lasted),
    }
}
