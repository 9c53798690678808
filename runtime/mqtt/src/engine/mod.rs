//! The engine: connections, sessions, routing, wills, policy; and the library API over them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mqtt::{QoS, engine::{Engine, Options, Peer}, policy::AllowAll};
//! use std::sync::Arc;
//!
//! let engine = Engine::start(Options::default(), Arc::new(AllowAll), None).await?;
//! let mut shadows = engine.subscribe(&["$aws/things/+/shadow/#"], QoS::AtLeastOnce, 256 << 10).await?;
//! let stream = tokio::net::TcpStream::connect("127.0.0.1:1883").await?;
//! tokio::spawn(engine.connection(stream, Peer::default()));
//! while let Some(delivery) = shadows.recv().await {
//!     println!("{}", delivery.message.topic);
//!     delivery.ack();
//! }
//! # Ok(()) }
//! ```

mod api;
mod clock;
mod connect;
mod connection;
mod deliver;
mod durable;
mod events;
mod hold;
mod load;
mod metrics;
mod options;
mod packets;
mod policy_cache;
mod registry;
mod route;
mod scratch;
mod seat;
mod spill;
mod subscribe;

use crate::{Certificate, Policy, topic::Retained};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, RwLock, atomic::AtomicUsize},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use crate::bus::{Acknowledgement, Delivery, Subscription};
pub use api::{Client, PublishError, StartError, SubscribeError};
pub use events::{DisconnectCause, Event, Events};
pub use metrics::Metrics;
pub use options::Options;

pub use crate::store::{Loaded, Store};

/// The other end of a stream, as the front knows it.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Where it comes from; `None` for Unix sockets and tests.
    pub address: Option<SocketAddr>,
    /// The verified client certificate.
    pub certificate: Option<Arc<Certificate>>,
}

/// A running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub options: Options,
    pub policy: Arc<dyn Policy>,
    pub metrics: metrics::Counters,
    pub events: events::EventSink,
    pub registry: Mutex<registry::Registry>,
    pub subscriptions: RwLock<route::Tree>,
    pub retained: RwLock<Retained>,
    pub clock: clock::Clock,
    pub durable: durable::Durable,
    pub bus: Arc<crate::bus::Bus>,
    /// Follows the policy's revision.
    pub revision: AtomicUsize,
    pub stop: CancellationToken,
    /// Told of every departure; stop waits for it.
    pub departed: Notify,
}
