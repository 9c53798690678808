//! Greengrass IPC: event-stream RPC over a Unix socket, as the official SDKs speak it.
//!
//! [`Server`] serves it, [`client::Client`] uses it. What the operations work on comes in through [`Ports`]: who a token
//! belongs to, the components, deployments, and metrics are traits that the nucleus implements; configuration is used
//! directly. [`PubSub`], [`UpdateListeners`] and [`ConfigurationValidators`] are handles that the rest of the runtime
//! holds as well.

mod authorisation;
pub mod client;
pub mod fault;
pub mod frame;
pub mod identity;
mod operation;
mod outbox;
pub mod ports;
pub mod pubsub;
mod registry;
mod server;
pub mod socket;
mod updates;
mod validators;
mod wire;

pub use identity::{Identity, Peer, Principal};
pub use outbox::Budget;
pub use pubsub::PubSub;
pub use server::{Limits, Options, Ports, Rights, Server, Statistics};
pub use socket::SocketError;
pub use updates::{Deferral, UpdateListeners};
pub use validators::{ConfigurationValidators, NotValid};
