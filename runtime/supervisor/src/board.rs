//! What the handle can read without asking the task: the last status of each component, and the tokens.

use crate::token::Token;
use model::{ComponentName, ComponentStatus};
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};
use tokio::sync::broadcast;

/// Events a listener may fall behind.
const BACKLOG: usize = 1024;

/// Written by the task alone.
pub(crate) struct Board {
    shown: RwLock<Shown>,
    changes: broadcast::Sender<ComponentStatus>,
}

#[derive(Default)]
struct Shown {
    statuses: BTreeMap<ComponentName, ComponentStatus>,
    tokens: BTreeMap<ComponentName, Token>,
}

impl Board {
    pub fn new() -> Self {
        Self {
            shown: RwLock::default(),
            changes: broadcast::channel(BACKLOG).0,
        }
    }

    pub fn statuses(&self) -> Vec<ComponentStatus> {
        self.read().statuses.values().cloned().collect()
    }

    pub fn status(&self, name: &ComponentName) -> Option<ComponentStatus> {
        self.read().statuses.get(name).cloned()
    }

    pub fn watch(&self) -> broadcast::Receiver<ComponentStatus> {
        self.changes.subscribe()
    }

    /// Looks at every token in full, so that time tells nothing of how close a guess was.
    pub fn authenticate(&self, token: &str) -> Option<ComponentName> {
        let mut found = None;
        for (name, known) in &self.read().tokens {
            if known.is(token) {
                found = Some(name.clone());
            }
        }
        found
    }

    /// Puts a status up, with the next sequence number, and tells listeners; a status that says nothing new is dropped.
    pub fn put(&self, mut status: ComponentStatus) {
        {
            let mut shown = self.write();
            if let Some(last) = shown.statuses.get(&status.name) {
                status.sequence = last.sequence;
                if status == *last {
                    return;
                }
                status.sequence += 1;
            }
            shown.statuses.insert(status.name.clone(), status.clone());
        }
        // Nobody listening is fine.
        let _ = self.changes.send(status);
    }

    /// A component may speak with this token.
    pub fn admit(&self, name: &ComponentName, token: &Token) {
        self.write().tokens.insert(name.clone(), token.clone());
    }

    /// Takes a component down from the board; its token is void from now on.
    pub fn remove(&self, name: &ComponentName) {
        let mut shown = self.write();
        shown.statuses.remove(name);
        shown.tokens.remove(name);
    }

    // A panic elsewhere cannot leave the map half changed: every change is one call.
    fn read(&self) -> RwLockReadGuard<'_, Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shown> {
        self.shown.write().unwrap_or_else(PoisonError::into_inner)
    }
}
