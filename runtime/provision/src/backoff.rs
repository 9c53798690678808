//! How long to wait before trying again: for days if need be, and not all devices of a batch at once.

use std::time::Duration;

/// Doubling, capped, with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// From 2 s to an hour.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            most: Duration::from_secs(3600),
            failures: 0,
        }
    }
}

impl Backoff {
    /// The next wait. `random` is between 0 and 1; at least half of the doubled time is waited.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = (self.failures + 1).min(31);
        let most = doubled.min(self.most);
        most.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// A step forward was made.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_an_hour_and_stays_there() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..60).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits[..4], [2, 4, 8, 16]);
        assert!(waits[20..].iter().all(|w| *w == 3600));
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_secs(1));
    }
}
