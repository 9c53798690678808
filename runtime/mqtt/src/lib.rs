//! An MQTT engine fit to face strangers: our front, policy, sessions and store on rumqttd's codec and router.
//!
//! ```text
//! device -> front (TCP, TLS, WebSocket) -> packet (rumqttd's codec behind a guard) -> engine (policy, sessions, trees, store)
//!                                                                                     engine <-> bus (rumqttd's router): in-process subscribers
//! client: the other half, for a connection of our own to a broker or to AWS IoT
//! ```

pub mod bus;
pub mod client;
pub mod engine;
pub mod front;
pub mod identity;
pub mod message;
pub mod packet;
pub mod policy;
pub mod session;
pub mod store;
pub mod topic;

pub use identity::{Certificate, Identity};
pub use message::{Message, Properties, QoS};
pub use policy::Policy;
