//! The engine's view of the store. In memory mode nothing is noted and every ticket is ready at once.
//!
//! A session is stored if it was begun with an expiry: then its QoS 1 and 2 messages go to the store before anything else, and only the
//! head of a long queue is in memory too (`State::spill`).

use super::{
    Store,
    seat::{Identifiers, Item, Options, Routed},
};
use crate::{
    Message, QoS,
    bus::Receipt,
    packet::{PacketId, RetainHandling, Will},
    store::{
        self, Delivery, Enqueued, Entry, Refused, SessionId, SessionRecord, StoredWill,
        SubscriptionRecord,
    },
};
use bytestring::ByteString;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

/// Messages and bytes read from the store at a time.
const PAGE: usize = 128;
const PAGE_BYTES: usize = 64 << 10;

/// A page of a queue on its way from the store.
pub(crate) type Loading = Pin<Box<dyn Future<Output = Result<Vec<Entry>, String>> + Send>>;

/// What an acknowledgement waits for.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    store: Stored,
    bus: Option<Arc<Receipt>>,
}

#[derive(Debug, Default)]
enum Stored {
    #[default]
    Done,
    Noted(store::Ticket),
    Waiting(store::Durable),
}

/// The message could not be made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Ticket {
    pub fn join_bus(&mut self, receipt: Option<Arc<Receipt>>) {
        self.bus = receipt;
    }

    /// Waits for this change too.
    pub fn join_store(&mut self, other: store::Ticket) {
        self.store = match std::mem::take(&mut self.store) {
            Stored::Noted(ticket) => Stored::Noted(ticket.and(other)),
            _ => Stored::Noted(other),
        };
    }

    pub fn poll(&mut self, durable: &Durable, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if let Stored::Noted(ticket) = self.store {
            self.store = match &durable.store {
                Some(store) if !store.is_durable(ticket) => Stored::Waiting(store.durable(ticket)),
                _ => Stored::Done,
            };
        }
        if let Stored::Waiting(waiting) = &mut self.store {
            let outcome = ready!(Pin::new(waiting).poll(cx));
            self.store = Stored::Done;
            if let Err(error) = outcome {
                log::warn!(error = error.to_string(); "a message could not be made durable");
                return Poll::Ready(Err(Failed));
            }
        }
        if let Some(receipt) = &self.bus {
            let taken = ready!(receipt.poll(cx));
            self.bus = None;
            return Poll::Ready(if taken { Ok(()) } else { Err(Failed) });
        }
        Poll::Ready(Ok(()))
    }
}

impl From<store::Ticket> for Ticket {
    fn from(ticket: store::Ticket) -> Self {
        Self {
            store: Stored::Noted(ticket),
            bus: None,
        }
    }
}

/// Notes what must outlive the process.
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

    pub fn metrics(&self) -> Option<store::Metrics> {
        self.store.as_ref().map(Store::metrics)
    }

    fn note(&self, note: impl FnOnce(&Store) -> store::Ticket) -> store::Ticket {
        self.store
            .as_ref()
            .map_or_else(store::Ticket::default, note)
    }

    /// A client has come for a session: a new one gets its number.
    pub fn open_session(
        &self,
        known: Option<SessionId>,
        client_id: &ByteString,
        expiry: u32,
        will: Option<&Will>,
    ) -> Option<SessionId> {
        let store = self.store.as_ref()?;
        let will = will.map(|will| StoredWill {
            will: will.clone(),
            due: None,
        });
        let record = SessionRecord {
            client_id: client_id.clone(),
            expiry,
            away_since: None,
            will,
        };
        match known {
            Some(id) => {
                store.update(id, record);
                Some(id)
            }
            None if expiry > 0 => Some(store.create(record).0),
            None => None,
        }
    }

    /// The client has gone. `will` waits for its time.
    pub fn close_session(
        &self,
        id: SessionId,
        client_id: &ByteString,
        expiry: u32,
        will: Option<(&Will, SystemTime)>,
    ) {
        let will = will.map(|(will, due)| StoredWill {
            will: will.clone(),
            due: Some(due),
        });
        let away_since = Some(SystemTime::now());
        let record = SessionRecord {
            client_id: client_id.clone(),
            expiry,
            away_since,
            will,
        };
        self.note(|store| store.update(id, record));
    }

    pub fn end_session(&self, id: Option<SessionId>) {
        if let Some(id) = id {
            self.note(|store| store.end(id));
        }
    }

    pub fn subscribe(
        &self,
        id: SessionId,
        filter: &str,
        options: &Options,
        handling: RetainHandling,
    ) -> store::Ticket {
        let record = SubscriptionRecord {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: handling,
            identifier: options.identifier,
        };
        self.note(|store| store.subscribe(id, ByteString::from(filter), record))
    }

    pub fn unsubscribe(&self, id: SessionId, filter: &str) -> store::Ticket {
        self.note(|store| store.unsubscribe(id, ByteString::from(filter)))
    }

    /// Call it under the seat's lock.
    pub fn enqueue(&self, id: SessionId, qos: QoS, item: &Item) -> Result<Enqueued, Refused> {
        let Some(store) = &self.store else {
            return Err(Refused::NoSession);
        };
        let body = item
            .routed
            .body(|message: &Message| store.body(message.clone()));
        let identifiers = item.identifiers.as_slice().to_vec();
        store.enqueue(
            id,
            body,
            Delivery {
                qos,
                retain: item.retain,
                identifiers,
            },
        )
    }

    pub fn done(&self, id: SessionId, key: u64) {
        self.note(|store| store.remove(id, key));
    }

    pub fn sent(&self, id: SessionId, key: u64, packet: PacketId) -> store::Ticket {
        self.note(|store| store.sent(id, key, packet))
    }

    pub fn released(&self, id: SessionId, key: u64, packet: PacketId) -> store::Ticket {
        self.note(|store| store.released(id, key, packet))
    }

    pub fn remember(&self, id: SessionId, packet: PacketId) -> store::Ticket {
        self.note(|store| store.remember(id, packet))
    }

    pub fn forget(&self, id: SessionId, packet: PacketId) -> store::Ticket {
        self.note(|store| store.forget(id, packet))
    }

    pub fn retain(&self, message: &Message) -> store::Ticket {
        self.note(|store| store.retain(message.clone()))
    }

    pub fn unretain(&self, topic: &ByteString) -> store::Ticket {
        self.note(|store| store.unretain(topic.clone()))
    }

    pub fn queued(&self, id: SessionId) -> usize {
        self.store
            .as_ref()
            .map_or(0, |store| store.queue_size(id).0)
    }

    /// `None`: publishers need not wait for the disk.
    pub fn wait(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let store = self
            .store
            .as_ref()
            .filter(|store| !store.has_room())?
            .clone();
        Some(Box::pin(async move { store.ready().await }))
    }

    /// Reads the part of a queue that follows `after`.
    pub fn page(&self, id: SessionId, after: u64) -> Option<Loading> {
        let store = self.store.clone()?;
        Some(Box::pin(async move {
            let page = store.page(id, after, PAGE, PAGE_BYTES).await;
            page.map_err(|error| error.to_string())
        }))
    }

    /// Writes what is pending and lets go of the file, so that another engine may open it.
    pub async fn close(&self) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::error!(error = error.to_string(); "the message store could not be written at the end");
            }
            Err(error) => {
                log::error!(error = error.to_string(); "the message store could not be closed");
            }
        }
    }
}

/// A message as the store gives it back. `None`: only its release is left.
pub(crate) fn item(entry: &mut Entry) -> Option<Item> {
    let message = entry.message.take()?;
    Some(Item {
        routed: Arc::new(Routed::new(message, false)),
        retain: entry.delivery.retain,
        identifiers: Identifiers::from_slice(&entry.delivery.identifiers),
        group: None,
    })
}
