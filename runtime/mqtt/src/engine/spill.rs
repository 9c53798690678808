//! The tail of a stored session's queue that is only in the store, and its way back into memory.

use super::{
    DisconnectCause, connection::Connected, durable, metrics::add, registry::End, seat::State,
};
use crate::{
    packet::reason,
    session::Stage,
    store::{self, Entry},
};
use std::task::{Context, Poll};

/// Messages in memory below which the next page is read.
const LOW: usize = 32;

impl State {
    /// Whether a page should be read now.
    pub fn wants_page(&self) -> bool {
        self.spill.is_some() && self.session.outbox.assured() < LOW
    }

    /// Takes in a page that was asked for when `last` was the newest message in the store. Returns the bytes that it holds now.
    pub fn take_page(&mut self, entries: Vec<Entry>, last: u64) -> usize {
        let before = self.session.bytes();
        let none = entries.is_empty();
        for mut entry in entries {
            if entry.seq <= self.last_key {
                continue;
            }
            self.last_key = entry.seq;
            let item = durable::item(&mut entry);
            let cost = item.as_ref().map_or(0, |item| item.routed.cost());
            let qos = entry.delivery.qos;
            match (entry.state, item) {
                (store::State::Queued, Some(item)) => {
                    self.session.outbox.push(qos, cost, entry.seq, item);
                }
                (store::State::Sent(id), Some(body)) => {
                    self.session.window.restore(
                        id,
                        entry.seq,
                        cost,
                        Stage::Published { qos, body },
                    );
                }
                (store::State::Released(id), _) => {
                    self.session
                        .window
                        .restore(id, entry.seq, 0, Stage::Released);
                }
                (_, None) => {
                    log::warn!(seq = entry.seq; "a queued message has no content in the store");
                }
            }
        }
        if let Some(newest) = self.spill
            && (self.last_key >= newest || (none && newest == last))
        {
            self.spill = None;
        }
        self.session.bytes() - before
    }
}

impl<S> Connected<S> {
    /// Goes on reading the tail of the queue. The task is woken when a page has come.
    pub(super) fn poll_spill(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            if let Some((loading, last)) = self.loading.as_deref_mut() {
                let Poll::Ready(page) = loading.as_mut().poll(cx) else {
                    return Ok(());
                };
                let last = *last;
                self.loading = None;
                let entries = page.map_err(|error| {
                    log::error!(client = &*self.identity.client_id, error; "a queue could not be read from the store");
                    End {
                        cause: DisconnectCause::Server(reason::SERVER_UNAVAILABLE),
                        tell: Some(reason::UNSPECIFIED_ERROR),
                        text: Some("the session's queue cannot be read"),
                        will: true,
                    }
                })?;
                let mut state = self.seat.lock();
                if state.generation != self.generation {
                    return Ok(());
                }
                let bytes = state.take_page(entries, last);
                drop(state);
                add(&self.shared.metrics.queued_bytes, bytes);
            }
            let state = self.seat.lock();
            let (Some(id), Some(last), true) = (state.stored, state.spill, state.wants_page())
            else {
                return Ok(());
            };
            let after = state.last_key;
            drop(state);
            self.loading = self
                .shared
                .durable
                .page(id, after)
                .map(|loading| Box::new((loading, last)));
            if self.loading.is_none() {
                return Ok(());
            }
        }
    }
}
