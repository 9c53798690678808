//! What survives a crash: sessions, subscriptions, queues, QoS 2 identifiers and retained messages, in one SQLite file.
//!
//! Every change is noted at once and without blocking; it becomes durable with a group commit soon after, which its
//! [`Ticket`] tells. A writer thread takes what has collected, writes it in one transaction and syncs, while the next group
//! collects. A message that is acknowledged before its group is taken never touches the disk, and its ticket is done then.
//!
//! What must be durable before what is sent, so that a crash at any instant keeps the promises of the protocol:
//!
//! | before this is sent | this must be durable |
//! |---|---|
//! | PUBACK or PUBREC to a publisher | [`Store::enqueue`] for every persistent session, [`Store::retain`], and for PUBREC [`Store::remember`], in one group with the messages: [`Store::together`] |
//! | PUBCOMP to a publisher | [`Store::forget`]: a forgotten forgetting would swallow a later message with the same identifier |
//! | a QoS 2 PUBLISH to a persistent session | its enqueueing, and [`Store::sent`]: redelivery under another identifier would be a second message. On its way in: [`Store::remember`] |
//! | PUBREL to a persistent session | [`Store::released`]: else the message could be sent again after it is complete |
//! | SUBACK, UNSUBACK | [`Store::subscribe`], [`Store::unsubscribe`] |
//! | a QoS 1 PUBLISH | nothing: it may arrive twice |
//!
//! **Limits.** A session's queue is bounded in messages and bytes, and so are all queues together. What does not fit is
//! dropped as [`Options::drop`] says: the new message, or the session's oldest ones that have not been sent yet; in-flight
//! messages are never dropped. Drops are counted in [`Metrics`].
//!
//! **When the disk refuses** (full, broken), everyone who waits on a ticket is told, the group is kept and tried again
//! with growing pauses, and once [`Options::pending_bytes`] are waiting further messages are refused with
//! [`Refused::Unavailable`]. Nothing is dropped in silence. A damaged file is set aside at start, never deleted.
//!
//! **Memory.** Bodies are in memory only while their group is written. Of each queued message the store keeps about 25
//! bytes: its number and size, for the limits.

mod batch;
mod format;
mod handle;
mod queue;
mod read;
mod record;
mod schema;
mod ticket;
mod together;
mod write;
mod writer;

pub use handle::{Loaded, LoadedSession, Store};
pub use record::{
    Body, Delivery, DropPolicy, Enqueued, Entry, Metrics, Options, Refused, Seq, SessionId,
    SessionRecord, State, StoredWill, SubscriptionRecord,
};
pub use schema::SCHEMA;
pub use ticket::{Durable, Ticket, Unavailable};
pub use together::Together;
