//! How many connections there may be: in all, for one component, and waiting to say who they are; and how much memory one
//! component's subscriptions may take.

use super::Limits;
use crate::Principal;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests up to this many bytes need no room of their own.
const SMALL: usize = 64 * 1024;
/// What room for large requests is counted in: a semaphore's permits are 32 bits.
const UNIT: usize = 1024;

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
    /// Bytes of open streams, about.
    held: HashMap<Principal, usize>,
    /// Room for large requests, in [`UNIT`]s.
    large: HashMap<Principal, Weak<Semaphore>>,
}

/// Room for large requests: when too many come at once, further ones of the same principal wait in their sockets.
#[derive(Debug)]
pub(crate) struct Large {
    room: Arc<Semaphore>,
    units: usize,
}

impl Large {
    /// Waits for room for a request of so many bytes. Cancel-safe.
    pub async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes <= SMALL {
            return None;
        }
        let units = bytes.div_ceil(UNIT).min(self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(units).await.ok()
    }
}

/// What one open stream takes; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    admission: Arc<Admission>,
    principal: Arc<Principal>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        if let Some(held) = counts.held.get_mut(&*self.principal) {
            *held = held.saturating_sub(self.bytes);
            if *held == 0 {
                counts.held.remove(&*self.principal);
            }
        }
    }
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

    /// What all connections of a principal share.
    pub fn large(&self, principal: &Principal) -> Large {
        let mut counts = self.counts();
        let known = counts.large.get(principal).and_then(Weak::upgrade);
        let units = self.limits.large_per_component.div_ceil(UNIT);
        let room = known.unwrap_or_else(|| {
            let room = Arc::new(Semaphore::new(units));
            counts.large.retain(|_, room| room.strong_count() > 0);
            counts
                .large
                .insert(principal.clone(), Arc::downgrade(&room));
            room
        });
        Large { room, units }
    }

    /// Room for a stream that takes so many bytes; `None` when all streams of the principal together would take too many.
    pub fn hold(self: &Arc<Self>, principal: &Arc<Principal>, bytes: usize) -> Option<Held> {
        let mut counts = self.counts();
        let held = counts.held.get(&**principal).copied().unwrap_or(0);
        let held = held.checked_add(bytes)?;
        if held > self.limits.held_per_component {
            return None;
        }
        counts.held.insert(Principal::clone(principal), held);
        Some(Held {
            admission: self.clone(),
            principal: principal.clone(),
            bytes,
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
