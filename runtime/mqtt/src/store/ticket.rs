//! Tickets: how whoever must not answer too early learns that something is durable.
//!
//! A group of changes numbers them. A ticket names its group and its number; it is done when the group is committed, or,
//! while it is not, when it and all before it in the group have been cancelled (acknowledged before they touched the disk).

use super::handle::{Shared, lock};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Names a change that becomes durable. Done from the beginning when `default`: there was nothing to store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    group: u64,
    number: u32,
    /// The earliest group that it needs.
    since: u64,
}

impl Ticket {
    pub(super) fn new(group: u64, number: u32) -> Self {
        Self {
            group,
            number,
            since: group,
        }
    }

    /// A ticket for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (early, late) = if self.group <= other.group {
            (self, other)
        } else {
            (other, self)
        };
        if early.group == 0 {
            return late;
        }
        Self {
            group: late.group,
            number: if early.group == late.group {
                early.number.max(late.number)
            } else {
                late.number
            },
            since: early.since.min(late.since),
        }
    }

    /// Where it stands among the waiters. Only a ticket of one group can be done before its group is committed.
    fn key(self) -> (u64, u32) {
        let number = if self.since == self.group {
            self.number
        } else {
            u32::MAX
        };
        (self.group, number)
    }
}

/// The numbers of one group, and which of the first ones are done.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// All below are done.
    base: u32,
    done: VecDeque<bool>,
    /// Two groups were merged: none is done before the commit.
    frozen: bool,
}

impl Numbers {
    pub fn issue(&mut self) -> u32 {
        self.done.push_back(false);
        self.base + u32::try_from(self.done.len() - 1).expect("a group is bounded")
    }

    /// Returns whether more of the first ones are done now.
    pub fn finish(&mut self, number: u32) -> bool {
        if self.frozen {
            return false;
        }
        if let Some(done) = number
            .checked_sub(self.base)
            .and_then(|at| self.done.get_mut(at as usize))
        {
            *done = true;
        }
        let before = self.base;
        while self.done.front() == Some(&true) {
            self.done.pop_front();
            self.base += 1;
        }
        self.base > before
    }

    pub fn issued(&self) -> bool {
        self.base > 0 || !self.done.is_empty()
    }

    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    fn is_done(&self, number: u32) -> bool {
        number < self.base
    }
}

/// How far the writer has come, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// All groups up to this one are durable.
    pub committed: u64,
    waiters: BTreeMap<Key, Waiter>,
    next_waiter: usize,
    /// To be woken once the lock is given back.
    woken: Vec<Waker>,
}

/// Group, number, and the waiter's own number.
type Key = (u64, u32, usize);

#[derive(Debug)]
enum Waiter {
    Waiting(Waker),
    Failed(Unavailable),
}

impl Progress {
    pub fn is_done(&self, ticket: Ticket, groups: &[(u64, &Numbers)]) -> bool {
        ticket.group <= self.committed
            || ticket.since == ticket.group
                && groups
                    .iter()
                    .any(|(id, numbers)| *id == ticket.group && numbers.is_done(ticket.number))
    }

    /// Wakes whoever waits for a group that is committed now.
    pub fn wake_committed(&mut self) {
        self.wake((0, 0, 0)..(self.committed + 1, 0, 0));
    }

    /// Wakes whoever waits for the first numbers of a group.
    pub fn wake_done(&mut self, group: u64, numbers: &Numbers) {
        self.wake((group, 0, 0)..(group, numbers.base, 0));
    }

    fn wake(&mut self, keys: Range<Key>) {
        while let Some((&key, _)) = self.waiters.range(keys.clone()).next() {
            if let Some(Waiter::Waiting(waker)) = self.waiters.remove(&key) {
                self.woken.push(waker);
            }
        }
    }

    /// Whoever is to be woken: by the caller, without the lock.
    pub fn take_woken(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.woken)
    }

    /// Tells everyone who waits for a group up to this one that it could not be written.
    pub fn fail(&mut self, group: u64, error: &Unavailable) {
        for (_, waiter) in self.waiters.range_mut(..(group + 1, 0, 0)) {
            if let Waiter::Waiting(waker) = std::mem::replace(waiter, Waiter::Failed(error.clone()))
            {
                self.woken.push(waker);
            }
        }
    }
}

/// The disk refused. What was noted is kept and tried again: it may become durable later, but nobody should rely on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot write: {reason}")]
pub struct Unavailable {
    /// What the database said.
    pub reason: Arc<str>,
}

/// Waits for a ticket. Fails as soon as an attempt to write its group fails.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Durable {
    shared: Arc<Shared>,
    ticket: Ticket,
    waiting: Option<Key>,
}

impl Durable {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self {
            shared,
            ticket,
            waiting: None,
        }
    }
}

impl Future for Durable {
    type Output = Result<(), Unavailable>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Before the lock: what it replaces is dropped after it.
        let waker = context.waker().clone();
        let mut state = lock(&this.shared);
        if state.is_done(this.ticket) {
            if let Some(key) = this.waiting.take() {
                state.progress.waiters.remove(&key);
            }
            return Poll::Ready(Ok(()));
        }
        let progress = &mut state.progress;
        if let Some(key) = this.waiting
            && let Some(Waiter::Failed(_)) = progress.waiters.get(&key)
            && let Some(Waiter::Failed(error)) = progress.waiters.remove(&key)
        {
            this.waiting = None;
            return Poll::Ready(Err(error));
        }
        if let Some(error) = &state.closed {
            return Poll::Ready(Err(error.clone()));
        }
        let progress = &mut state.progress;
        let key = *this.waiting.get_or_insert_with(|| {
            progress.next_waiter = progress.next_waiter.wrapping_add(1);
            let (group, number) = this.ticket.key();
            (group, number, progress.next_waiter)
        });
        let before = progress.waiters.insert(key, Waiter::Waiting(waker));
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        if let Some(key) = self.waiting {
            let mut state = lock(&self.shared);
            let waiter = state.progress.waiters.remove(&key);
            drop(state);
            drop(waiter);
        }
    }
}
