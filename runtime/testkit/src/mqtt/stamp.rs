//! What a payload begins with: enough to see losses, repetitions and latency.
//!
//! ```text
//! 0           4          8                 16        size
//! | publisher | sequence | sent, ns, BE u64 | zeros ... |
//! ```

use anyhow::Context;
use std::time::Duration;

/// What a payload is at least.
pub const LEAST: usize = 16;

/// The head of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Which publisher of the process.
    pub publisher: u32,
    /// Counts up from 0 for each publisher.
    pub sequence: u32,
    /// On the clock of [`crate::now`].
    pub sent: Duration,
}

impl Stamp {
    /// Writes it over the beginning of a payload of at least [`LEAST`] bytes.
    pub fn write(self, payload: &mut [u8]) {
        let sent = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        payload[..4].copy_from_slice(&self.publisher.to_be_bytes());
        payload[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        payload[8..16].copy_from_slice(&sent.to_be_bytes());
    }

    /// Reads it back.
    pub fn read(payload: &[u8]) -> anyhow::Result<Self> {
        const FOREIGN: &str = "a message that this program did not send";
        let (publisher, rest) = payload.split_first_chunk().context(FOREIGN)?;
        let (sequence, rest) = rest.split_first_chunk().context(FOREIGN)?;
        let sent = rest.first_chunk().context(FOREIGN)?;
        Ok(Self {
            publisher: u32::from_be_bytes(*publisher),
            sequence: u32::from_be_bytes(*sequence),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_what_is_read(publisher: u32, sequence: u32, sent: u64, size in LEAST..200) {
            let stamp = Stamp { publisher, sequence, sent: Duration::from_nanos(sent) };
            let mut payload = vec![0; size];
            stamp.write(&mut payload);
            prop_assert_eq!(Stamp::read(&payload).unwrap(), stamp);
            prop_assert!(Stamp::read(&payload[..LEAST - 1]).is_err());
        }
    }
}
