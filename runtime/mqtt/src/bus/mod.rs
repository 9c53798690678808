//! The way to subscribers inside this process: rumqttd's router as a bus.

use crate::{Identity, Message};
use std::sync::Arc;

/// A subscription of this process; made by [`crate::engine::Engine::subscribe`]. Dropping it unsubscribes and acknowledges what waits.
#[derive(Debug)]
pub struct Subscription {
    receiver: tokio::sync::mpsc::UnboundedReceiver<Delivery>,
}

impl Subscription {
    /// The next message; `None` after the engine has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }
}

/// A message for this process. Dropping it without [`Delivery::ack`] acknowledges it too, so nothing waits for ever; but say so when it
/// is safe, since a QoS 1 or 2 publisher gets its PUBACK only then.
#[derive(Debug)]
pub struct Delivery {
    /// The message, with the lower of its own QoS and the subscription's.
    pub message: Message,
    /// The client that sent it; `None` for this process and for wills of clients that are gone.
    pub publisher: Option<Arc<Identity>>,
}

impl Delivery {
    /// The message is where it cannot be lost, or done with.
    pub fn ack(self) {}
}
