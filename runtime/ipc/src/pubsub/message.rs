//! One published message, encoded once: the JSON that goes to every subscriber, and where in it the message itself is.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use std::{ops::Range, sync::Arc};

/// A message on its way to subscribers. Clones share it.
#[derive(Clone, Debug)]
pub struct Published {
    topic: Arc<str>,
    binary: bool,
    /// The payload of a `SubscriptionResponseMessage`.
    pub(crate) event: Bytes,
    body: Range<usize>,
}

impl Published {
    /// With a message that is JSON already; it is passed on as it was written.
    pub fn json(topic: &str, json: &str) -> Self {
        Self::build(topic, false, "jsonMessage", "", json, "")
    }

    /// With bytes.
    pub fn binary(topic: &str, bytes: &[u8]) -> Self {
        Self::base64(topic, &STANDARD.encode(bytes))
    }

    /// With bytes that are base64 already, checked by the caller.
    pub(crate) fn base64(topic: &str, text: &str) -> Self {
        Self::build(topic, true, "binaryMessage", "\"", text, "\"")
    }

    fn build(topic: &str, binary: bool, member: &str, open: &str, body: &str, close: &str) -> Self {
        let mut event = BytesMut::with_capacity(body.len() + topic.len() + 80);
        event.put_slice(b"{\"");
        event.put_slice(member.as_bytes());
        event.put_slice(b"\":{\"message\":");
        event.put_slice(open.as_bytes());
        let start = event.len();
        event.put_slice(body.as_bytes());
        let end = event.len();
        event.put_slice(close.as_bytes());
        event.put_slice(b",\"context\":{\"topic\":");
        serde_json::to_writer((&mut event).writer(), topic).expect("texts always serialise");
        event.put_slice(b"}}}");
        Self {
            topic: topic.into(),
            binary,
            event: event.freeze(),
            body: start..end,
        }
    }

    /// Where it was published.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The message: the decoded bytes of a binary one, the text of a JSON one.
    pub fn payload(&self) -> Bytes {
        let body = self.event.slice(self.body.clone());
        if self.binary {
            let bytes = STANDARD.decode(&body);
            bytes.expect("base64 is checked on the way in").into()
        } else {
            body
        }
    }

    /// Whether it was published as JSON.
    pub fn is_json(&self) -> bool {
        !self.binary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_get_the_json_that_was_published() {
        let message = Published::json("a/\"b", "{ \"x\":1.50, \"big\":12345678901234567890123 }");
        assert_eq!(
            std::str::from_utf8(&message.event).unwrap(),
            r#"{"jsonMessage":{"message":{ "x":1.50, "big":12345678901234567890123 },"context":{"topic":"a/\"b"}}}"#
        );
        assert!(message.is_json());
        assert_eq!(
            &message.payload()[..],
            b"{ \"x\":1.50, \"big\":12345678901234567890123 }"
        );
    }

    #[test]
    fn bytes_travel_as_base64() {
        let message = Published::binary("t", b"\x00\x01hi");
        assert_eq!(
            std::str::from_utf8(&message.event).unwrap(),
            r#"{"binaryMessage":{"message":"AAFoaQ==","context":{"topic":"t"}}}"#
        );
        assert_eq!(&message.payload()[..], b"\x00\x01hi");
    }
}
