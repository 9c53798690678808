//! Back-pressure: a publisher waits for a subscriber with a long queue, but only for one that goes on, and not for long.

use super::{
    Shared,
    connection::Connected,
    metrics::add,
    seat::{Seat, State},
};
use crate::bus::Subscriber;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// A publisher that has acknowledgements to read behind its own messages waits only so long at a time: two clients that
/// publish to each other would otherwise wait for each other.
const CROSSED: Duration = Duration::from_millis(10);

/// Whom the publisher waits for.
enum By {
    Seat(Arc<Seat>),
    Bus(Arc<Subscriber>),
}

/// One wait.
pub(crate) struct Hold {
    by: By,
    /// When the rules are to be looked at again if nobody wakes the publisher.
    pub look_again: Instant,
    /// When it ends in any case.
    until: Instant,
}

/// What a congested seat says to a publisher that waits.
enum Verdict {
    Over,
    Until(Instant),
}

impl State {
    /// Whether a publisher should go on waiting; marks the seat slow when it has waited long enough.
    fn wait(&mut self, now: Instant, slow_after: Duration, longest: Duration) -> Verdict {
        let Some(link) = self.link.as_deref_mut() else {
            return Verdict::Over;
        };
        let Some(since) = link.congested.filter(|_| !link.slow) else {
            return Verdict::Over;
        };
        let until = (link.progress + slow_after).min(since + longest);
        if until <= now {
            link.slow = true;
            return Verdict::Over;
        }
        Verdict::Until(until)
    }
}

impl Hold {
    /// For what routing said. `own` is the publisher's seat.
    pub fn new(
        shared: &Shared,
        seat: Option<Arc<Seat>>,
        bus: Option<Arc<Subscriber>>,
        own: Option<&Seat>,
    ) -> Option<Self> {
        let by = seat.map(By::Seat).or_else(|| bus.map(By::Bus))?;
        add(&shared.metrics.held_back, 1);
        let crossed = own.is_some_and(|own| !own.lock().session.window.is_empty());
        let now = Instant::now();
        let longest = if crossed {
            CROSSED
        } else {
            shared.options.hold_publishers
        };
        Some(Self {
            by,
            look_again: now,
            until: now + longest,
        })
    }

    /// Ready when the publisher may go on. The task is woken when there is room; time is the caller's, at `look_again`.
    pub fn poll(&mut self, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let options = &shared.options;
        self.look_again = self.until;
        if self.until <= now {
            return Poll::Ready(());
        }
        match &self.by {
            By::Bus(subscriber) => subscriber.poll_room(cx),
            By::Seat(seat) => {
                let mut state = seat.lock();
                match state.wait(now, options.slow_after, options.hold_publishers) {
                    Verdict::Over => Poll::Ready(()),
                    Verdict::Until(until) => {
                        if let Some(link) = state.link.as_deref_mut() {
                            link.waiting.retain(|waker| !waker.will_wake(cx.waker()));
                            link.waiting.push(cx.waker().clone());
                        }
                        self.look_again = until.min(self.until);
                        Poll::Pending
                    }
                }
            }
        }
    }
}

impl<S> Connected<S> {
    /// True: the connection may read and publish.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(hold) = &mut self.hold else {
            return true;
        };
        if hold.poll(&self.shared, cx).is_pending() {
            return false;
        }
        self.hold = None;
        true
    }
}

/// A wait with its own timer, for publishers that are no connections.
pub(crate) struct Wait<'a> {
    shared: &'a Shared,
    hold: Option<Hold>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> Wait<'a> {
    pub fn new(shared: &'a Shared, seat: Option<Arc<Seat>>, bus: Option<Arc<Subscriber>>) -> Self {
        Self {
            shared,
            hold: Hold::new(shared, seat, bus, None),
            timer: None,
        }
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(hold) = &mut self.hold else {
            return Poll::Ready(());
        };
        while hold.poll(self.shared, cx).is_pending() {
            let mut timer = self
                .timer
                .take()
                .unwrap_or_else(|| Box::pin(tokio::time::sleep_until(hold.look_again)));
            timer.as_mut().reset(hold.look_again);
            let fired = timer.as_mut().poll(cx).is_ready();
            self.timer = Some(timer);
            if !fired {
                return Poll::Pending;
            }
        }
        self.hold = None;
        Poll::Ready(())
    }
}
