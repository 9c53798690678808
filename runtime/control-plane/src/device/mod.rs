//! The way to and from devices: MQTT and HTTPS with mutual TLS, on the well-known ports or by ALPN on one.
//!
//! ```text
//! host          the front, the engine, and what runs beside them
//! access        policies of certificates, for the engine
//! dispatch      from $aws topics to services and back
//! presence      events about connections
//! provisioning  claims: certificates and things for new devices; hook: who may
//! https         the data plane: credentials, discovery, Greengrass, messages
//! messages      the operations of iot-data about messages and connections
//! ```

pub mod access;
mod credentials;
mod dispatch;
mod hook;
mod host;
pub mod https;
pub mod messages;
pub mod port;
mod presence;
pub mod provisioning;

pub use host::{Host, Listen};
