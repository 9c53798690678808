//! What a run came to: its rate, and its latencies at a few ranks.

use serde::Serialize;
use std::time::Duration;

/// The latencies of a run, each kept: the ranks are exact.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

/// One line of output.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Which run, in the caller's words.
    pub label: String,
    /// Messages, not deliveries.
    pub messages: usize,
    /// Messages per second.
    pub per_second: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The latency that one message in a hundred exceeds, in microseconds.
    pub p99_us: f64,
}

/// Latencies at a few ranks, in microseconds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Ranks {
    /// The median.
    pub p50_us: f64,
    /// What one in a hundred exceeds.
    pub p99_us: f64,
    /// What one in a thousand exceeds.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds all of another run.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The report of a run of `messages` messages.
    pub fn report(mut self, label: String, messages: usize, took: Duration) -> Report {
        self.0.sort_unstable();
        Report {
            label,
            messages,
            per_second: messages as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
            p50_us: self.rank(500),
            p99_us: self.rank(990),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranks alone.
    pub fn ranks(mut self) -> Ranks {
        self.0.sort_unstable();
        Ranks {
            p50_us: self.rank(500),
            p99_us: self.rank(990),
            p999_us: self.rank(999),
            max_us: self.rank(1000),
        }
    }

    /// The smallest latency that so many in a thousand do not exceed.
    fn rank(&self, per_mille: usize) -> f64 {
        let place = (self.0.len() * per_mille).div_ceil(1000).saturating_sub(1);
        let latency = self.0.get(place).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(latencies: impl Iterator<Item = u64>) -> (f64, f64) {
        let mut all = Latencies::default();
        latencies.for_each(|l| all.add(Duration::from_micros(l)));
        let report = all.report("x".into(), 1, Duration::from_secs(1));
        (report.p50_us, report.p99_us)
    }

    #[test]
    fn ranks_are_exact_whatever_the_order_of_arrival() {
        assert_eq!(ranks((1..=200).rev()), (100.0, 198.0));
    }

    #[test]
    fn the_only_latency_is_every_rank_and_none_is_zero() {
        assert_eq!(ranks([7].into_iter()), (7.0, 7.0));
        assert_eq!(ranks([].into_iter()), (0.0, 0.0));
    }

    #[test]
    fn the_last_in_a_thousand_is_told_from_the_rest() {
        let mut all = Latencies::default();
        (1..=2000).for_each(|l| all.add(Duration::from_micros(l)));
        let ranks = all.ranks();
        let four = [ranks.p50_us, ranks.p99_us, ranks.p999_us, ranks.max_us];
        assert_eq!(four.map(f64::round), [1000.0, 1980.0, 1998.0, 2000.0]);
    }

    #[test]
    fn the_rate_counts_messages_and_not_deliveries() {
        let mut all = Latencies::default();
        (0..50).for_each(|_| all.add(Duration::from_micros(1)));
        let report = all.report("x".into(), 5, Duration::from_millis(500));
        assert!((report.per_second - 10.0).abs() < 1e-9);
    }
}
