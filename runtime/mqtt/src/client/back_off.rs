//! When to try again: exponential with full jitter, told apart from a fight over one client id.

use super::options::BackOff;
use std::time::Duration;

/// This many connections in a row that were accepted and cut at once look like another client with our id.
const CUTS_OF_A_DUPLICATE: u32 = 3;
/// A connection that the server cut sooner than this after CONNACK was cut at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// How the last try or connection ended, as far as the next wait depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No connection came about.
    NotConnected,
    /// Connected, and cut without a reason after that long.
    Cut(Duration),
    /// Connected, and ended with a stated reason, or by ourselves, after that long.
    Stated(Duration),
    /// The server says that our client id connected elsewhere.
    TakenOver,
}

/// Counts tries and computes waits. Time is given, never read.
#[derive(Debug)]
pub struct Schedule {
    settings: BackOff,
    failures: u32,
    cuts: u32,
}

/// The next wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub delay: Duration,
    pub duplicate_client_id: bool,
}

impl Schedule {
    pub fn new(settings: BackOff) -> Self {
        Self {
            settings,
            failures: 0,
            cuts: 0,
        }
    }

    /// Tries since the last stable connection.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The wait after `ending`; `random` is evenly spread over all of u32.
    pub fn next(&mut self, ending: Ending, random: u32) -> Wait {
        let lasted = match ending {
            Ending::Cut(lasted) | Ending::Stated(lasted) => Some(lasted),
            Ending::NotConnected | Ending::TakenOver => None,
        };
        if lasted.is_some_and(|lasted| lasted >= self.settings.reset_after) {
            self.failures = 0;
        }
        self.cuts = match ending {
            Ending::TakenOver => self.cuts.max(CUTS_OF_A_DUPLICATE),
            Ending::Cut(lasted) if lasted < AT_ONCE => self.cuts.saturating_add(1),
            // A server that is away explains the cut before.
            Ending::NotConnected | Ending::Cut(_) | Ending::Stated(_) => 0,
        };
        let duplicate = self.cuts >= CUTS_OF_A_DUPLICATE;
        let doubled = 2_u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        let bound = self.settings.initial.saturating_mul(doubled);
        let bound = bound.min(self.settings.max);
        self.failures = self.failures.saturating_add(1);
        let spread = |bound: Duration| bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
        let delay = if duplicate {
            let least = self.settings.duplicate_client_id;
            least + spread(bound.max(least))
        } else {
            spread(bound)
        };
        Wait {
            delay,
            duplicate_client_id: duplicate,
        }
    }
}

/// An even random number, from OpenSSL, which is here anyway.
pub fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness the wait is the longest.
    openssl::rand::rand_bytes(&mut bytes).map_or(u32::MAX, |()| u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule() -> Schedule {
        Schedule::new(BackOff::default())
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_starts_anew_after_a_stable_connection() {
        let mut schedule = schedule();
        let mut bounds = Vec::new();
        for _ in 0..9 {
            bounds.push(
                schedule
                    .next(Ending::NotConnected, u32::MAX)
                    .delay
                    .as_secs(),
            );
        }
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        let short = Ending::Stated(Duration::from_secs(29));
        assert_eq!(schedule.next(short, u32::MAX).delay.as_secs(), 120);
        let stable = Ending::Stated(Duration::from_secs(30));
        assert_eq!(schedule.next(stable, u32::MAX).delay.as_secs(), 1);
        assert_eq!(
            schedule
                .next(Ending::NotConnected, u32::MAX)
                .delay
                .as_secs(),
            2
        );
    }

    #[test]
    fn a_taken_over_session_waits_longer_and_says_why() {
        let wait = schedule().next(Ending::TakenOver, 0);
        assert!(wait.duplicate_client_id);
        assert_eq!(wait.delay, BackOff::default().duplicate_client_id);
    }

    #[test]
    fn three_cuts_right_after_connecting_look_like_a_duplicate_client_id() {
        let mut schedule = schedule();
        let cut = Ending::Cut(Duration::from_millis(300));
        assert!(!schedule.next(cut, 0).duplicate_client_id);
        assert!(!schedule.next(cut, 0).duplicate_client_id);
        assert!(schedule.next(cut, 0).duplicate_client_id);
        let lasting = Ending::Cut(Duration::from_secs(60));
        assert!(!schedule.next(lasting, 0).duplicate_client_id);
        assert!(!schedule.next(cut, 0).duplicate_client_id);
    }

    #[test]
    fn cuts_by_a_server_that_is_away_afterwards_do_not() {
        let mut schedule = schedule();
        for _ in 0..9 {
            let cut = Ending::Cut(Duration::from_millis(300));
            assert!(!schedule.next(cut, 0).duplicate_client_id);
            assert!(!schedule.next(Ending::NotConnected, 0).duplicate_client_id);
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_its_bound(endings in proptest::collection::vec((0..4_u8, 0..100_u64, any::<u32>()), 0..60)) {
            let mut schedule = schedule();
            for (kind, seconds, random) in endings {
                let lasted = Duration::from_secs(seconds);
                let ending = [Ending::NotConnected, Ending::Cut(lasted), Ending::Stated(lasted), Ending::TakenOver][usize::from(kind)];
                let wait = schedule.next(ending, random);
                let settings = BackOff::default();
                if wait.duplicate_client_id {
                    prop_assert!(wait.delay >= settings.duplicate_client_id);
                    prop_assert!(wait.delay <= settings.duplicate_client_id + settings.max);
                } else {
                    prop_assert!(wait.delay <= settings.max);
                }
            }
        }
    }
}
