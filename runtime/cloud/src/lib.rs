//! The device's link to AWS IoT, or to `greengrass-cloud`, which answers the same.
//!
//! ```text
//! publish ──> spool (memory or disk) ──> link ──> mqtt::client ──> the broker
//! subscribe ─────────────────────────> subscription <── mqtt::client
//! components ── HTTP on 127.0.0.1 ──> credentials ── HTTPS ──> the credentials provider
//! ```
//!
//! Everything is set up from the configuration tree, by the keys that Greengrass has for it ([`Settings`]), and follows
//! its changes. Without endpoints the device is on its own, and nothing of this runs.

mod credentials;
mod error;
mod identity;
mod link;
mod settings;
mod spool;
mod subscription;

pub use credentials::{Access, Credentials};
pub use error::{LinkError, SpoolError};
pub use link::{Link, Options};
pub use settings::{Settings, Standing};
pub use subscription::Subscription;
