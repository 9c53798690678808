//! The library's face: what the front, the bridge, shadows, pub/sub and the console call.

use super::{
    DisconnectCause, Engine, Events, Loaded, Metrics, Options, Peer, Shared, Store,
    clock::{self, Clock},
    connect,
    connection::Connected,
    durable::Durable,
    events::EventSink,
    hold::Wait,
    metrics::Counters,
    route::{Origin, Tree},
    seat::{Kick, Seat},
};
use crate::{
    Identity, Message, Policy, QoS,
    bus::{Bus, Subscription},
    packet::{Version, reason},
    topic::{Cursor, Page, Retained, check_filter, check_name},
};
use bytestring::ByteString;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

/// How long connections that were cut off at the end of the grace may take to leave.
const LAST_ORDERS: Duration = Duration::from_secs(1);
/// Levels that a filter may have; AWS IoT takes 8, and 32 bounds the work that one filter can cause.
const MAX_LEVELS: usize = 32;

/// The engine could not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It was not started from within a tokio runtime.
    #[error("the engine needs a tokio runtime to run on")]
    NoRuntime,
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
        store: Option<(Store, Loaded)>,
    ) -> Result<Self, StartError> {
        Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let retained = Retained::new(options.max_retained_messages, options.max_retained_bytes);
        let revision = policy.revision();
        let (store, loaded) = store.unzip();
        let shared = Arc::new(Shared {
            bus: Bus::new(options.bus_bytes),
            retained: RwLock::new(retained),
            subscriptions: RwLock::new(Tree::new(MAX_LEVELS)),
            registry: Mutex::default(),
            clock: Clock::default(),
            durable: Durable::new(store),
            metrics: Counters::default(),
            events: EventSink::default(),
            revision: AtomicUsize::new(1),
            stop: CancellationToken::new(),
            departed: Notify::new(),
            options,
            policy,
        });
        if let Some(loaded) = loaded {
            shared.load(loaded);
        }
        tokio::spawn(clock::run(Arc::downgrade(&shared)));
        if let Some(revision) = revision {
            tokio::spawn(follow(Arc::downgrade(&shared), revision));
        }
        Ok(Self { shared })
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
        // Boxed: the larger future of the handshake is gone once the client is connected.
        let hands = Box::pin(connect::shake_hands(Arc::clone(&self.shared), stream, peer));
        Connection::Shaking(hands)
    }

    /// Publishes a message of this process; policy is not asked. QoS 1 and 2 return when the message is durable and every in-process
    /// subscriber has acknowledged it.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        if self.shared.stop.is_cancelled() {
            return Err(PublishError::Stopped);
        }
        check_name(&message.topic).map_err(|_| PublishError::InvalidTopic)?;
        let waits = message.qos != QoS::AtMostOnce;
        let mut routing = self.shared.publish(message, &Origin::default());
        let mut hold = Wait::new(&self.shared, routing.congested.take(), routing.full.take());
        poll_fn(|cx| hold.poll(cx)).await;
        if let Some(room) = self.shared.durable.wait().filter(|_| routing.written) {
            room.await;
        }
        if routing.quota || routing.unretained {
            return Err(PublishError::QuotaExceeded);
        }
        if waits {
            let mut ticket = routing.ticket;
            poll_fn(|cx| ticket.poll(&self.shared.durable, cx))
                .await
                .map_err(|_| PublishError::NotDurable)?;
        }
        Ok(())
    }

    /// Subscribes this process; policy is not asked. `capacity` bytes may wait unacknowledged: from three quarters of
    /// them on publishers are held back for up to [`Options::hold_publishers`]; beyond them QoS 0 is dropped, and beyond twice as many QoS 1
    /// and 2 are refused (0x97). One subscription with many filters is better than many: each has a link to the router, about 100 KB; there
    /// can be 62. Retained messages are not delivered: read them with [`Engine::retained`].
    pub async fn subscribe(
        &self,
        filters: &[&str],
        qos: QoS,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        if self.shared.stop.is_cancelled() {
            return Err(SubscribeError::Stopped);
        }
        for filter in filters {
            if check_filter(filter).is_err() || filter.starts_with("$share/") {
                return Err(SubscribeError::InvalidFilter((*filter).to_owned()));
            }
        }
        let subscription = self
            .shared
            .bus
            .subscribe(&self.shared, filters, qos, capacity)
            .await?;
        Ok(subscription)
    }

    /// A new reader of events from now on.
    pub fn events(&self) -> Events {
        self.shared
            .events
            .reader(self.shared.options.event_capacity)
    }

    /// Ends a client's connection with a reason code (told to MQTT 5). Its will is published unless the code is 0. False: not connected.
    pub fn disconnect(&self, client_id: &str, reason: u8) -> bool {
        let seat = self.shared.registry().seats.get(client_id).cloned();
        seat.is_some_and(|seat| {
            seat.kick(Kick {
                reason,
                cause: DisconnectCause::Server(reason),
            })
        })
    }

    /// Ends every connection whose identity matches; returns how many.
    pub fn disconnect_where(&self, matches: impl Fn(&Identity) -> bool, reason: u8) -> usize {
        let seats = self.seats();
        let matching = seats.iter().filter(|seat| {
            let identity = seat
                .lock()
                .link
                .as_deref()
                .map(|link| Arc::clone(&link.identity));
            identity.is_some_and(|identity| matches(&identity))
        });
        matching
            .filter(|seat| {
                seat.kick(Kick {
                    reason,
                    cause: DisconnectCause::Server(reason),
                })
            })
            .count()
    }

    /// Ends a session, connected or not, with its subscriptions and queue. False: there is none.
    pub fn end_session(&self, client_id: &str) -> bool {
        self.shared.end_session(
            client_id,
            DisconnectCause::Server(reason::ADMINISTRATIVE_ACTION),
        )
    }

    /// All sessions, connected or not, in no particular order.
    pub fn clients(&self) -> Vec<Client> {
        let seats = self.seats();
        let list = |seat: Arc<Seat>| {
            let state = seat.lock();
            let link = state.link.as_deref();
            Client {
                identity: link.map(|link| Arc::clone(&link.identity)),
                client_id: seat.client_id.clone(),
                version: link.map(|link| link.version),
                subscriptions: state.subscriptions,
                queued: state.stored.map_or(state.session.len(), |stored| {
                    self.shared.durable.queued(stored)
                }),
            }
        };
        seats.into_iter().map(list).collect()
    }

    /// One page of the retained messages that match a filter; go on with the page's cursor.
    pub fn retained(&self, filter: &str, from: Option<Cursor>, limit: usize) -> Page {
        let retained = self
            .shared
            .retained
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        retained.page(filter, from, SystemTime::now(), limit)
    }

    /// A reading of the counters.
    pub fn metrics(&self) -> Metrics {
        let (bus_bytes, bus_restarts) = self.shared.bus.gauges();
        Metrics {
            bus_bytes,
            bus_restarts,
            ..self.shared.metrics.read()
        }
    }

    /// What the store says of itself; `None` in memory mode.
    pub fn store_metrics(&self) -> Option<crate::store::Metrics> {
        self.shared.durable.metrics()
    }

    /// Ends gracefully: no new connections, DISCONNECT 0x8B to MQTT 5 clients after what waits for them has been written (at most
    /// `grace`), then everything saved.
    pub async fn stop(&self, grace: Duration) {
        let shared = &self.shared;
        shared.stop.cancel();
        let seats = self.seats();
        for seat in &seats {
            seat.leave();
        }
        let all_gone = || async {
            while seats.iter().any(|seat| seat.lock().link.is_some()) {
                shared.departed.notified().await;
            }
        };
        if tokio::time::timeout(grace, all_gone()).await.is_err() {
            let reason = reason::SERVER_SHUTTING_DOWN;
            for seat in &seats {
                seat.kick(Kick {
                    reason,
                    cause: DisconnectCause::Server(reason),
                });
            }
            // Their tasks only have to be polled once.
            let _ = tokio::time::timeout(LAST_ORDERS, all_gone()).await;
        }
        shared.bus.stop();
        shared.durable.close().await;
        shared.clock.clear();
        shared.events.close();
    }

    /// For tests of what follows: the router's thread ends as if by a fault of its own.
    #[doc(hidden)]
    pub fn break_router(&self) {
        self.shared.bus.break_router();
    }

    fn seats(&self) -> Vec<Arc<Seat>> {
        self.shared.registry().seats.values().cloned().collect()
    }
}

/// Tells connections that policy has changed.
async fn follow(shared: Weak<Shared>, mut revision: watch::Receiver<u32>) {
    let Some(stop) = shared.upgrade().map(|shared| shared.stop.clone()) else {
        return;
    };
    loop {
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        revision.mark_unchanged();
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.revision.fetch_add(1, Ordering::Relaxed);
        let seats: Vec<_> = shared.registry().seats.values().cloned().collect();
        seats.iter().for_each(|seat| seat.nudge());
    }
}

type Shaking<S> = Pin<Box<dyn Future<Output = Option<Box<Connected<S>>>> + Send>>;

enum Connection<S> {
    Shaking(Shaking<S>),
    Connected(Box<Connected<S>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut *self {
                Self::Shaking(hands) => match ready!(hands.as_mut().poll(cx)) {
                    Some(connected) => *self = Self::Connected(connected),
                    None => return Poll::Ready(()),
                },
                Self::Connected(connected) => return Pin::new(&mut **connected).poll(cx),
            }
        }
    }
}
