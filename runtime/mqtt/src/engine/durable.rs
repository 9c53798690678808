//! The engine's view of the store. In memory mode nothing is written and everything is durable at once.

use super::{Store, seat::Item};
use crate::{Message, QoS, packet::PacketId};
use bytestring::ByteString;
use std::{
    sync::Arc,
    task::{Context, Poll},
};

/// What an acknowledgement waits for.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    bus: Option<Arc<crate::bus::Receipt>>,
}

/// The message could not be made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Ticket {
    pub fn join_bus(&mut self, receipt: Option<Arc<crate::bus::Receipt>>) {
        self.bus = receipt;
    }

    /// Waits for the store too.
    pub fn join_store(&mut self, store: Self) {
        let _ = store;
    }

    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let Some(receipt) = &self.bus {
            std::task::ready!(receipt.poll(cx));
            self.bus = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes what must outlive the process.
#[derive(Default)]
pub(crate) struct Durable {
    store: Option<Store>,
}

impl Durable {
    pub fn new(store: Option<Store>) -> Self {
        Self { store }
    }

    pub fn is_on(&self) -> bool {
        self.store.is_some()
    }

    /// A ticket for all that was written before.
    pub fn mark(&self) -> Ticket {
        Ticket::default()
    }
}

impl Durable {
    pub fn open_session(&self, client_id: &ByteString, expiry: u32) {}
    pub fn close_session(&self, client_id: &ByteString, expiry: u32, at: std::time::SystemTime) {}
    pub fn end_session(&self, client_id: &ByteString) {}
    pub fn subscribe(
        &self,
        client_id: &ByteString,
        filter: &ByteString,
        options: &super::seat::Options,
    ) {
    }
    pub fn unsubscribe(&self, client_id: &ByteString, filter: &str) {}
    pub fn enqueue(&self, client_id: &ByteString, order: u64, qos: QoS, item: &Item) {}
    pub fn done(&self, client_id: &ByteString, order: u64) {}
    pub fn sent(&self, client_id: &ByteString, order: u64, id: PacketId) {}
    pub fn released(&self, client_id: &ByteString, order: u64) {}
    pub fn receive(&self, client_id: &ByteString, id: PacketId) {}
    pub fn release(&self, client_id: &ByteString, id: PacketId) {}
    pub fn retain(&self, message: &Message) {}
    pub fn forget(&self, topic: &str) {}
}

impl Durable {
    pub async fn close(&self) {}
}
