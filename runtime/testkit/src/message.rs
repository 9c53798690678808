//! The message that is sent: who sent it and when, filled up to the wanted size.
//!
//! ```text
//! 0        4                12             size
//! | sender | sent, ns, BE u64 | zeros ...  |
//! ```

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use ipc::client::Event;
use serde::Deserialize;
use std::time::Duration;

/// What a message is at least.
pub const LEAST: usize = 12;

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Which sender of the process.
    pub sender: u32,
    /// When, on the clock of [`crate::now`].
    pub sent: Duration,
}

#[derive(Deserialize)]
struct Received<'a> {
    #[serde(borrow, rename = "binaryMessage")]
    binary: Binary<'a>,
}

#[derive(Deserialize)]
struct Binary<'a> {
    message: &'a str,
}

impl Message {
    /// The bytes, at least [`LEAST`].
    pub fn to_bytes(self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size.max(LEAST));
        let sent = u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&self.sender.to_be_bytes());
        bytes.extend_from_slice(&sent.to_be_bytes());
        bytes.resize(size.max(LEAST), 0);
        bytes
    }

    /// Reads it back.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sender, rest) = bytes.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        Some(Self {
            sender: u32::from_be_bytes(*sender),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
        })
    }

    /// Reads it from an event of a subscription, decoding all of it as a subscriber would.
    pub fn from_event(event: &Event) -> anyhow::Result<Self> {
        let received: Received<'_> = serde_json::from_slice(&event.payload)?;
        let bytes = STANDARD.decode(received.binary.message)?;
        Self::from_bytes(&bytes).context("a message that this program did not send")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sent_is_what_is_read(sender: u32, sent: u64, size in 0_usize..4096) {
            let message = Message { sender, sent: Duration::from_nanos(sent) };
            let bytes = message.to_bytes(size);
            prop_assert_eq!(bytes.len(), size.max(LEAST));
            prop_assert_eq!(Message::from_bytes(&bytes), Some(message));
        }
    }

    #[test]
    fn an_event_is_read_and_a_foreign_one_is_refused() {
        let message = Message {
            sender: 3,
            sent: Duration::from_nanos(5),
        };
        let event = |bytes: &[u8]| Event {
            model: "aws.greengrass#SubscriptionResponseMessage".into(),
            payload: serde_json::json!({
                "binaryMessage": { "message": STANDARD.encode(bytes), "context": { "topic": "t" } }
            })
            .to_string()
            .into(),
        };
        assert_eq!(
            Message::from_event(&event(&message.to_bytes(100))).ok(),
            Some(message)
        );
        assert!(Message::from_event(&event(b"hello")).is_err());
    }
}
