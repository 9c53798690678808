//! The library's face: what the front, the bridge, shadows, pub/sub and the console call.

use super::{
    Engine, Events, Metrics, Options, Peer, Shared, Store, Subscription, events::EventSink,
    metrics::Counters,
};
use crate::{Identity, Message, Policy, QoS, packet::Version};
use bytestring::ByteString;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// The engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the store holds could not be read.
    #[error("cannot load sessions and retained messages: {0}")]
    Load(String),
}

/// A message of ours was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not a topic name.
    #[error("invalid topic name")]
    InvalidTopic,
    /// The store or an in-process subscriber gave it up.
    #[error("the message could not be made durable")]
    NotDurable,
    /// No room for it.
    #[error("queues are full")]
    QuotaExceeded,
    /// The engine has been stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A subscription of ours was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Not a topic filter, or a shared one.
    #[error("invalid topic filter {0:?}")]
    InvalidFilter(String),
    /// The router could not be started.
    #[error("the router could not be started: {0}")]
    Router(String),
    /// The engine has been stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// A client, for lists.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who, if connected.
    pub identity: Option<Arc<Identity>>,
    /// Its client id.
    pub client_id: ByteString,
    /// In which version, if connected.
    pub version: Option<Version>,
    /// Number of its subscriptions.
    pub subscriptions: usize,
    /// Messages waiting for it.
    pub queued: usize,
}

impl Engine {
    /// Starts the engine on the current tokio runtime: loads what the store holds and begins to time wills and sessions.
    /// Without a store everything is in memory and acknowledged at once.
    pub async fn start(
        options: Options,
        policy: Arc<dyn Policy>,
        _store: Option<Store>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                policy,
                metrics: Counters::default(),
                events: EventSink::default(),
            }),
        })
    }

    /// Serves one client until its connection ends. The front spawns the future; dropping it closes the connection.
    pub fn connection<S>(
        &self,
        stream: S,
        peer: Peer,
    ) -> impl Future<Output = ()> + Send + use<S> + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _ = (stream, peer);
        async {}
    }

    /// Publishes a message of this process; policy is not asked. QoS 1 and 2 return when the message is durable and every in-process
    /// subscriber has acknowledged it.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let _ = message;
        Err(PublishError::Stopped)
    }

    /// Subscribes this process; policy is not asked. `capacity` bytes may wait unacknowledged: beyond them QoS 0 is dropped and publishers
    /// of QoS 1 and 2 wait. Retained messages are not delivered: read them with [`Engine::retained`].
    pub async fn subscribe(
        &self,
        filters: &[&str],
        qos: QoS,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        let _ = (filters, qos, capacity);
        Err(SubscribeError::Stopped)
    }

    /// A new reader of events from now on.
    pub fn events(&self) -> Events {
        self.shared
            .events
            .reader(self.shared.options.event_capacity)
    }

    /// Ends a client's connection with a reason code (told to MQTT 5). Its will is published unless the code is 0. False: not connected.
    pub fn disconnect(&self, client_id: &str, reason: u8) -> bool {
        let _ = (client_id, reason);
        false
    }

    /// Ends every connection whose identity matches; returns how many.
    pub fn disconnect_where(&self, matches: impl Fn(&Identity) -> bool, reason: u8) -> usize {
        let _ = (matches, reason);
        0
    }

    /// All sessions, connected or not.
    pub fn clients(&self) -> Vec<Client> {
        Vec::new()
    }

    /// Up to `limit` retained messages that match, in order of topics, those after `after` (a topic of the page before).
    pub fn retained(&self, filter: &str, after: Option<&str>, limit: usize) -> Vec<Message> {
        let _ = (filter, after, limit);
        Vec::new()
    }

    /// A reading of the counters.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.read()
    }

    /// Ends gracefully: no new connections, DISCONNECT 0x8B to MQTT 5 clients after what waits for them has been written (at most
    /// `grace`), then everything saved.
    pub async fn stop(&self, grace: Duration) {
        let _ = grace;
    }
}
