//! A connection after CONNACK, written as one poll function: its future is small, and nothing it does awaits in the middle.
//!
//! ```text
//! turn: fill (answers whose tickets are ready, retained pages, the seat's queue) -> write -> read -> packets, until nothing goes on
//! ```

use super::{
    DisconnectCause, Shared,
    connect::Agreed,
    deliver::{Aliases, Job, Prepared},
    durable::{Loading, Ticket},
    hold::Hold,
    metrics::add,
    packets::Answer,
    policy_cache::Cache,
    registry::End,
    scratch,
    seat::Seat,
};
use crate::{
    Identity,
    packet::{Codec, Encoder, reason},
};
use bytes::BytesMut;
use bytestring::ByteString;
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep},
};

/// No more is read while so many bytes of answers wait to be written.
const MOST_UNWRITTEN: usize = 64 << 10;
/// Rounds before other tasks get their turn.
const ROUNDS: usize = 8;
/// Deliveries and packets of one round of reading.
pub(super) const WORK: usize = 1000;
/// How long the last words may take to be written and read.
const FAREWELL: Duration = Duration::from_secs(5);

/// An answer that waits for its message to be safe.
pub(super) struct Pending {
    pub ticket: Ticket,
    pub answer: Answer,
}

/// One client's connection.
pub(crate) struct Connected<S> {
    stream: S,
    pub(super) shared: Arc<Shared>,
    pub(super) seat: Arc<Seat>,
    pub(super) generation: u32,
    pub(super) identity: Arc<Identity>,
    pub(super) codec: Codec,
    pub(super) encoder: Encoder,
    pub(super) input: BytesMut,
    /// Bytes in the buffer that the packets of this round are slices of.
    pub(super) chunk: usize,
    /// Whole packets may be left in `input`.
    pub(super) more: bool,
    pub(super) out: BytesMut,
    written: usize,
    flush: bool,
    pub(super) pending: VecDeque<Pending>,
    /// QoS 1 messages of the client whose PUBACK waits.
    pub(super) unacked: usize,
    pub(super) expiry: u32,
    pub(super) changed_expiry: Option<u32>,
    pub(super) aliases_in: Vec<Option<ByteString>>,
    pub(super) aliases_out: Option<Box<Aliases>>,
    pub(super) cache: Option<Box<Cache>>,
    pub(super) revision: usize,
    pub(super) ask_receive: bool,
    pub(super) reason_strings: bool,
    pub(super) denied: bool,
    pub(super) jobs: VecDeque<Job>,
    pub(super) prepared: Option<Box<Prepared>>,
    /// A page of the queue's tail, and the newest message when it was asked for.
    pub(super) loading: Option<Box<(Loading, u64)>>,
    /// Something went to the store: look whether it keeps up.
    pub(super) ask_store: bool,
    store_wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) hold: Option<Box<Hold>>,
    /// Before the answers are written, the subscribers' tasks get their turn.
    pub(super) step_aside: bool,
    /// Something is left to do although nothing wakes this task for it.
    pub(super) again: bool,
    keep_alive: Duration,
    last_input: Instant,
    stalled: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Instant>,
    /// When the farewell is given up.
    closing: Option<Instant>,
    /// The last words are written: what the client still sends is read and thrown away.
    lingering: bool,
    /// Whether the client may have bytes on their way.
    linger: bool,
}

impl<S> Connected<S> {
    pub fn new(shared: Arc<Shared>, stream: S, agreed: Agreed) -> Self {
        let Agreed {
            arrival,
            identity,
            connect,
            codec,
            encoder,
            input,
            out,
            keep_alive,
            expiry,
        } = agreed;
        let aliases = connect
            .topic_alias_maximum
            .min(shared.options.outgoing_topic_alias_maximum);
        Self {
            stream,
            seat: arrival.seat,
            generation: arrival.generation,
            identity,
            codec,
            encoder,
            chunk: input.len(),
            input,
            more: true,
            out,
            written: 0,
            flush: false,
            pending: VecDeque::new(),
            unacked: 0,
            expiry,
            changed_expiry: None,
            aliases_in: Vec::new(),
            aliases_out: (aliases > 0).then(|| Box::new(Aliases::new(aliases))),
            cache: None,
            // A resumed session's subscriptions are older than this connection: they are looked at first.
            revision: shared
                .revision
                .load(Ordering::Relaxed)
                .wrapping_sub(usize::from(arrival.session_present)),
            ask_receive: shared.policy.asks_receive(),
            reason_strings: connect.request_problem_information,
            denied: false,
            jobs: VecDeque::new(),
            prepared: None,
            loading: None,
            ask_store: false,
            store_wait: None,
            hold: None,
            step_aside: false,
            again: false,
            keep_alive: Duration::from_secs(keep_alive.into()) * 3 / 2,
            last_input: Instant::now(),
            stalled: None,
            timer: None,
            armed: None,
            closing: None,
            lingering: false,
            linger: false,
            shared,
        }
    }

    pub(super) fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether there is room for more answers; answers that wait have the task's waker already.
    pub(super) fn may_answer(&self) -> bool {
        self.pending.len() < usize::from(self.shared.options.receive_maximum)
            && self.unwritten() < MOST_UNWRITTEN
    }
}

impl<S> Drop for Connected<S> {
    fn drop(&mut self) {
        if self.closing.is_none() {
            // The future was dropped: the client did not say good-bye.
            self.shared
                .depart(&self.seat, self.generation, &End::lost(), None);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connected<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.closing.is_none() {
            let end = ready!(this.turn(cx));
            this.end(&end);
        }
        this.poll_close(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connected<S> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..ROUNDS {
            let mut on = match self.round(cx) {
                Ok(on) => on,
                Err(end) => return Poll::Ready(end),
            };
            on |= std::mem::take(&mut self.again);
            if std::mem::take(&mut self.step_aside) {
                // A message that is on its way to few should not wait for its sender's acknowledgement to be written.
                break;
            }
            if !on {
                match self.poll_timer(cx) {
                    Ok(false) => {
                        self.rest();
                        return Poll::Pending;
                    }
                    Ok(true) => {}
                    Err(end) => return Poll::Ready(end),
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A connection that waits with nothing half done holds no buffer: thousands of them wait at a time.
    fn rest(&mut self) {
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        if self.jobs.is_empty() {
            self.jobs = VecDeque::new();
        }
        debug_assert!(!self.input.is_empty() || self.input.capacity() == 0);
        debug_assert!(self.unwritten() > 0 || self.out.capacity() == 0);
    }

    /// True: something went on, so there may be more to do.
    fn round(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.review()?;
        self.fill(cx)?;
        let wrote = self.write(cx)?;
        let read = self.read(cx)?;
        Ok(wrote || read)
    }

    /// True: all there was has been written.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut wrote = false;
        while self.written < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::lost()),
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.stalled = None;
                    self.flush = true;
                    wrote = true;
                    add(&self.shared.metrics.bytes_out, count);
                    self.seat.progress();
                }
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(false);
                }
            }
        }
        if self.out.capacity() > 0 {
            self.written = 0;
            scratch::give(std::mem::take(&mut self.out));
        }
        if self.flush {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = false,
                Poll::Ready(Err(_)) => return Err(End::lost()),
                Poll::Pending => {}
            }
        }
        Ok(wrote)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.may_read(cx) {
            return Ok(false);
        }
        if !self.more {
            match scratch::poll_read(&mut self.stream, cx, &mut self.input) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::lost()),
                Poll::Ready(Ok(count)) => {
                    add(&self.shared.metrics.bytes_in, count);
                    self.chunk = self.input.len();
                    self.last_input = Instant::now();
                    self.more = true;
                }
            }
        }
        self.take_packets()?;
        if !self.more && self.input.is_empty() {
            // The packets' slices keep what they need.
            self.input = BytesMut::new();
        }
        Ok(true)
    }

    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_hold(cx) && self.poll_store(cx) && self.may_answer()
    }

    /// True: the disk keeps up with what publishers want to have stored.
    fn poll_store(&mut self, cx: &mut Context<'_>) -> bool {
        if std::mem::take(&mut self.ask_store) && self.store_wait.is_none() {
            self.store_wait = self.shared.durable.wait();
        }
        if let Some(wait) = &mut self.store_wait {
            if wait.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.store_wait = None;
        }
        true
    }

    /// True: a timer has gone off and was of consequence.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        loop {
            let now = Instant::now();
            let mut next = None;
            let mut consider =
                |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
            if !self.keep_alive.is_zero() {
                if self.hold.is_some() || self.store_wait.is_some() || !self.may_answer() {
                    // We are the ones who do not read.
                    self.last_input = now;
                }
                let at = self.last_input + self.keep_alive;
                if at <= now {
                    return Err(End {
                        cause: DisconnectCause::KeepAlive,
                        tell: Some(reason::KEEP_ALIVE_TIMEOUT),
                        text: None,
                        will: true,
                    });
                }
                consider(at);
            }
            if let Some(since) = self.stalled {
                let at = since + self.shared.options.write_timeout;
                if at <= now {
                    return Err(End::lost());
                }
                consider(at);
            }
            if let Some(hold) = &self.hold {
                if hold.look_again <= now {
                    return Ok(true);
                }
                consider(hold.look_again);
            }
            let Some(next) = next else { return Ok(false) };
            if self.armed.is_none_or(|armed| next < armed) {
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(next),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(next))),
                }
                self.armed = Some(next);
            }
            let Some(timer) = &mut self.timer else {
                return Ok(false);
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(false);
            }
            self.armed = None;
        }
    }

    /// Leaves the seat and puts the last words into the write buffer.
    fn end(&mut self, end: &End) {
        log::debug!(client = &*self.identity.client_id, cause = format!("{:?}", end.cause); "connection ended");
        self.closing = Some(Instant::now() + FAREWELL);
        self.linger = !matches!(
            end.cause,
            DisconnectCause::ConnectionLost | DisconnectCause::Client(_)
        );
        let expiry = self.changed_expiry.take();
        self.shared.depart(&self.seat, self.generation, end, expiry);
        self.input = BytesMut::new();
        self.pending.clear();
        self.prepared = None;
        self.loading = None;
        if let Some(tell) = end.tell {
            let text = end.text.filter(|_| self.reason_strings);
            self.encoder.disconnect(tell, text, &mut self.out);
        }
        self.timer = None;
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.closing else {
            return Poll::Ready(());
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..])) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(count) => self.written += count,
            }
        }
        if !self.lingering {
            // An error here changes nothing: the connection is over.
            let _ = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.lingering = true;
        }
        // To close with bytes unread would reset the connection, and the client might never see what it was told.
        while self.linger {
            self.input = BytesMut::new();
            match ready!(scratch::poll_read(&mut self.stream, cx, &mut self.input)) {
                Ok(0) | Err(_) => self.linger = false,
                Ok(_) => {}
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::seat::{Item, Link},
        session::Waiting,
    };

    /// What an idle client costs besides its stream, bytes: its connection, its seat, the link between them and a timer.
    const IDLE: usize = 1100;
    /// What a waiting message costs in each queue, besides the message itself, which they share.
    const WAITING: usize = 96;

    #[test]
    fn an_idle_client_and_a_waiting_message_stay_small() {
        let connection = size_of::<Connected<()>>() + size_of::<Sleep>();
        let idle = connection + size_of::<Seat>() + size_of::<Link>();
        assert!(idle <= IDLE, "{idle}");
        let waiting = size_of::<Waiting<Item>>();
        assert!(waiting <= WAITING, "{waiting}");
    }
}
