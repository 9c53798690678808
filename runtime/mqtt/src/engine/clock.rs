//! One task that waits for what is due: delayed wills, the end of sessions, retained messages that expire.

use super::{Shared, seat::Seat};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::Instant};

/// How often expired retained messages are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Expired retained messages taken out in one go.
const SWEPT: usize = 1000;

/// Names a timer.
pub(crate) type Key = (Instant, usize);

/// What to do for a seat if no connection came since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Will,
    SessionEnd,
}

#[derive(Default)]
struct Timers {
    due: BTreeMap<Key, (Arc<Seat>, u32, Due)>,
    next: usize,
}

#[derive(Default)]
pub(crate) struct Clock {
    timers: Mutex<Timers>,
    earlier: Arc<Notify>,
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a timer for a seat whose connection had this generation.
    pub fn set(&self, after: Duration, seat: &Arc<Seat>, generation: u32, due: Due) -> Key {
        let mut timers = self.lock();
        let key = (Instant::now() + after, timers.next);
        timers.next += 1;
        let first = timers
            .due
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        timers.due.insert(key, (Arc::clone(seat), generation, due));
        drop(timers);
        if first {
            self.earlier.notify_one();
        }
        key
    }

    pub fn cancel(&self, key: Key) {
        self.lock().due.remove(&key);
    }

    fn next(&self) -> Option<Instant> {
        self.lock().due.first_key_value().map(|((at, _), _)| *at)
    }

    fn pop_due(&self, now: Instant) -> Option<(Arc<Seat>, u32, Due)> {
        let mut timers = self.lock();
        let entry = timers.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// For the engine's end: nothing is due any more.
    pub fn clear(&self) {
        self.lock().due.clear();
    }
}

/// Runs until the engine stops or is dropped.
pub(crate) async fn run(shared: Weak<Shared>) {
    let mut sweep = Instant::now() + SWEEP;
    loop {
        let Some(engine) = shared.upgrade() else {
            return;
        };
        let now = Instant::now();
        while let Some((seat, generation, due)) = engine.clock.pop_due(now) {
            engine.due(&seat, generation, due);
        }
        if now >= sweep {
            engine.sweep_retained(SystemTime::now(), SWEPT);
            sweep = now + SWEEP;
        }
        let until = engine.clock.next().map_or(sweep, |next| next.min(sweep));
        let stop = engine.stop.clone();
        let earlier = Arc::clone(&engine.clock.earlier);
        // The engine must be free to end while this task waits.
        drop(engine);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = earlier.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}
