//! What happens to clients, for those who must know: AWS presence events, the console, telemetry.

use crate::{Identity, QoS, packet::Version};
use bytestring::ByteString;
use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// Something that happened to a client.
#[derive(Clone, Debug)]
pub enum Event {
    /// CONNACK 0 was sent.
    Connected {
        /// Who.
        identity: Arc<Identity>,
        /// In which version.
        version: Version,
        /// Whether state of an earlier connection was found.
        session_present: bool,
        /// Seconds; 0: none.
        keep_alive: u16,
    },
    /// The connection is gone. One for every `Connected`.
    Disconnected {
        /// Who.
        identity: Arc<Identity>,
        /// Why.
        cause: DisconnectCause,
    },
    /// Filters were granted.
    Subscribed {
        /// Who.
        identity: Arc<Identity>,
        /// As sent, `$share/` included, with the QoS granted.
        filters: Vec<(ByteString, QoS)>,
    },
    /// Subscriptions were removed, by the client or by a change of policy.
    Unsubscribed {
        /// Who.
        identity: Arc<Identity>,
        /// As sent when subscribing.
        filters: Vec<ByteString>,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// DISCONNECT with its reason code (0 in 3.1.1).
    Client(u8),
    /// The stream ended or failed.
    ConnectionLost,
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// Another connection took over the client id.
    TakenOver,
    /// The client broke the protocol or a limit; the MQTT 5 reason code.
    ProtocolError(u8),
    /// Policy: a denied PUBLISH, or the client is no longer allowed.
    NotAuthorized,
    /// [`super::Engine::disconnect`] or stop, with the reason code.
    Server(u8),
}

/// A reader of events; made by [`super::Engine::events`].
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    lost: Arc<Mutex<usize>>,
}

impl Events {
    /// The next event, in the order in which they happened to each client; `None` after the engine has stopped.
    pub async fn recv(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// How many events did not fit since the last call.
    pub fn take_lost(&self) -> usize {
        mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Reader = (mpsc::Sender<Event>, Arc<Mutex<usize>>);

/// The engine's side: every reader gets every event.
#[derive(Debug, Default)]
pub(crate) struct EventSink(Mutex<Vec<Reader>>);

impl EventSink {
    pub(crate) fn reader(&self, capacity: usize) -> Events {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let lost = Arc::new(Mutex::new(0));
        self.lock().push((sender, Arc::clone(&lost)));
        Events { receiver, lost }
    }

    /// Builds the event only if someone listens.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        let mut readers = self.lock();
        if readers.is_empty() {
            return;
        }
        let event = event();
        readers.retain(|(sender, lost)| match sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                *lost.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
