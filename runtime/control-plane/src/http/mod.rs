//! The HTTP side: a server, signatures, and the way from a request to an operation and back.
//!
//! ```text
//! server -> dispatch -> sigv4 (who) -> service (which operation) -> input (typed) -> handler -> reply
//!                    -> s3 (by the scope of the signature), health
//! ```
//! How to add an operation is in [`service`].

mod caller;
mod context;
pub mod dispatch;
mod error;
mod input;
pub mod page;
pub mod reply;
mod route;
pub mod server;
pub mod service;
pub mod sigv4;
mod types;
pub mod validate;
mod xml;

pub use caller::Caller;
pub use context::{Context, Info};
pub use dispatch::Api;
pub use error::{ApiError, Refusal};
pub use input::Members;
pub use page::Page;
pub use reply::Body;
pub use service::{ErrorNames, Operation, Payload, Protocol, Service};
pub use types::{Blob, Empty, IsoTime, Secret, Timestamp};
