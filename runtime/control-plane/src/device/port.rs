//! What services need of the connections to devices, so that they do not depend on how these are made.

use async_trait::async_trait;
use bytes::Bytes;
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// A message to devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
}

impl Outgoing {
    /// A message with a JSON payload.
    pub fn json(topic: impl Into<String>, payload: &serde_json::Value) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.to_string().into(),
        }
    }
}

/// Who sent a message to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The client id of the connection.
    pub client_id: String,
    /// The fingerprint of its certificate.
    pub certificate: Option<String>,
}

/// The connections to devices.
#[async_trait]
pub trait Devices: Send + Sync {
    /// Sends to whoever is subscribed, at QoS 1. Not an error when nobody is; devices ask again when they connect.
    async fn send(&self, message: Outgoing);
}

/// The connections, once they are there: until then nothing is sent.
#[derive(Clone, Default)]
pub struct Link(Arc<RwLock<Option<Arc<dyn Devices>>>>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// Begins to send.
    pub fn set(&self, devices: Arc<dyn Devices>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(devices);
    }

    /// Sends messages, in their order.
    pub async fn send_all(&self, messages: impl IntoIterator<Item = Outgoing>) {
        let devices = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(devices) = devices else {
            return;
        };
        for message in messages {
            devices.send(message).await;
        }
    }
}
