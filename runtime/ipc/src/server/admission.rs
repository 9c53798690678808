//! How many connections there may be: in all, for one component, and waiting to say who they are.

use super::Limits;
use crate::Principal;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts connections.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By user, those that have not shown a token.
    strangers: HashMap<u32, usize>,
    known: HashMap<Principal, usize>,
}

/// One connection's place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    who: Who,
}

#[derive(Debug)]
enum Who {
    Stranger(u32),
    Known(Principal),
}

impl Admission {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            counts: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody who has yet to show a token. One user cannot take all of them.
    pub fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut counts = self.counts();
        let strangers = counts.strangers.get(&uid).copied().unwrap_or(0);
        if counts.all >= self.limits.connections || strangers >= self.limits.handshakes_per_user {
            return None;
        }
        counts.all += 1;
        *counts.strangers.entry(uid).or_default() += 1;
        Some(Place {
            admission: self.clone(),
            who: Who::Stranger(uid),
        })
    }
}

impl Place {
    /// The token was good: from now on it counts for its principal. `false` when that has enough connections.
    pub fn known(&mut self, principal: &Principal) -> bool {
        let mut counts = self.admission.counts();
        let own = counts.known.get(principal).copied().unwrap_or(0);
        if own >= self.admission.limits.connections_per_component {
            return false;
        }
        leave(&mut counts, &self.who);
        *counts.known.entry(principal.clone()).or_default() += 1;
        self.who = Who::Known(principal.clone());
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.all -= 1;
        leave(&mut counts, &self.who);
    }
}

fn leave(counts: &mut Counts, who: &Who) {
    match who {
        Who::Stranger(uid) => decrease(&mut counts.strangers, uid),
        Who::Known(principal) => decrease(&mut counts.known, principal),
    }
}

fn decrease<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
