//! Slows down who guesses passwords: after some failures a name from an address, and an address as a whole, must wait, longer
//! with each further failure. A right password does not get past a wait that is on.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Failures of one user name from one address that are free.
const FREE_FOR_NAME: u32 = 5;

/// Failures of one address, whatever the names, that are free: people behind one gateway share it.
const FREE_FOR_ADDRESS: u32 = 30;

/// The first wait; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The longest wait. Failures are forgotten when nothing happened for twice as long.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Keys that are remembered; beyond, those that happened longest ago are forgotten.
const REMEMBERED: usize = 10_000;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    until: Instant,
}

/// Failures by address, and by address and name.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<(String, Option<String>), Failures>>);

impl Throttle {
    /// How long this name from this address must wait; zero when it may try.
    pub fn wait(&self, address: &str, name: &str, now: Instant) -> Duration {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |name: Option<String>| {
            let found = all.get(&(address.to_owned(), name));
            found.map_or(Duration::ZERO, |f| f.until.saturating_duration_since(now))
        };
        of(None).max(of(Some(name.to_owned())))
    }

    /// A try has failed.
    pub fn failed(&self, address: &str, name: &str, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, failures| now - failures.last < LONGEST_WAIT * 2);
        if all.len() >= REMEMBERED {
            let oldest = all.iter().min_by_key(|(_, f)| f.last);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                all.remove(&key);
            }
        }
        for (name, free) in [
            (None, FREE_FOR_ADDRESS),
            (Some(name.to_owned()), FREE_FOR_NAME),
        ] {
            let new = Failures {
                count: 0,
                last: now,
                until: now,
            };
            let failures = all.entry((address.to_owned(), name)).or_insert(new);
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
            if failures.count >= free {
                let doubled = 2_u32.saturating_pow((failures.count - free).min(16));
                failures.until = now + FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
            }
        }
    }

    /// A try has succeeded: the name starts anew.
    pub fn succeeded(&self, address: &str, name: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(address.to_owned(), Some(name.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guesser_waits_longer_and_longer_and_others_do_not() {
        let (throttle, mut now) = (Throttle::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..20 {
            now += throttle.wait("a", "anna", now);
            throttle.failed("a", "anna", now);
            waits.push(throttle.wait("a", "anna", now));
        }
        assert!(waits[..4].iter().all(Duration::is_zero));
        assert_eq!(waits[4], FIRST_WAIT);
        assert!(waits[4..].windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(waits[19], LONGEST_WAIT);
        assert!(throttle.wait("b", "anna", now).is_zero());
        assert!(throttle.wait("a", "ben", now).is_zero());
    }

    #[test]
    fn many_names_from_one_address_are_one_guesser() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..FREE_FOR_ADDRESS {
            throttle.failed("a", &format!("name{n}"), now);
        }
        assert!(!throttle.wait("a", "anna", now).is_zero());
    }

    #[test]
    fn success_and_time_are_forgiving() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..4 {
            throttle.failed("a", "anna", now);
        }
        throttle.succeeded("a", "anna");
        throttle.failed("a", "anna", now);
        assert!(throttle.wait("a", "anna", now).is_zero());
        for _ in 0..9 {
            throttle.failed("a", "anna", now);
        }
        let later = now + LONGEST_WAIT * 2;
        throttle.failed("a", "anna", later);
        assert!(throttle.wait("a", "anna", later).is_zero());
    }

    #[test]
    fn only_so_much_is_remembered() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..200 {
            throttle.failed(&format!("address{n}"), "anna", now);
        }
        assert!(throttle.0.lock().unwrap().len() <= REMEMBERED + 2);
    }
}
