//! The spool in memory.

use super::Entry;
use mqtt::Message;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Messages handed out at once: they are cheap to clone.
const PAGE: usize = 64;

/// Ends with the process.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    last: u64,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, size: u64, message: Message) {
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        state.entries.push_back(Entry { id, size, message });
        drop(state);
        self.added.notify_one();
    }

    pub async fn after(&self, id: u64) -> Vec<Entry> {
        loop {
            // One reader: a note that comes between the look and the wait is kept for it.
            let added = self.added.notified();
            let page = self.page(id);
            if !page.is_empty() {
                return page;
            }
            added.await;
        }
    }

    fn page(&self, id: u64) -> Vec<Entry> {
        let state = self.state();
        let from = state.entries.partition_point(|entry| entry.id <= id);
        state
            .entries
            .iter()
            .skip(from)
            .take(PAGE)
            .cloned()
            .collect()
    }

    pub fn remove_up_to(&self, id: u64) {
        let mut state = self.state();
        let gone = state.entries.partition_point(|entry| entry.id <= id);
        state.entries.drain(..gone);
        if state.entries.is_empty() {
            // A burst while offline need not be paid for ever.
            state.entries.shrink_to(PAGE);
        }
    }
}
