//! Lets a few lines a second through: strangers decide how often a handshake fails, and must not fill the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);
const LINES: usize = 5;

/// A window of lines.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<Option<Window>>);

#[derive(Debug)]
struct Window {
    start: Instant,
    lines: usize,
}

impl LogLimit {
    /// Whether this line may be written; if so, how many were held back before it.
    pub(super) fn pass(&self, now: Instant) -> Option<usize> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = match &mut *window {
            Some(open) if now.saturating_duration_since(open.start) < WINDOW => {
                open.lines += 1;
                return (open.lines <= LINES).then_some(0);
            }
            Some(over) => over.lines.saturating_sub(LINES),
            None => 0,
        };
        *window = Some(Window {
            start: now,
            lines: 1,
        });
        Some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told_afterwards() {
        let limit = LogLimit::default();
        let start = Instant::now();
        let passed = (0..100).filter_map(|_| limit.pass(start)).count();
        assert_eq!(passed, LINES);
        assert_eq!(limit.pass(start + WINDOW), Some(95));
        assert_eq!(limit.pass(start + WINDOW), Some(0));
    }
}
