//! Greengrass event-stream RPC: codec, sessions, identity, authorisation, operations, client.

pub mod client;
pub mod fault;
pub mod frame;
pub mod identity;
mod outbox;
pub mod ports;
pub mod socket;
mod wire;

pub use identity::{Identity, Peer, Principal};
pub use outbox::Budget;
