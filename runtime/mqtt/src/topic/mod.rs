//! Topic names and filters: their rules, the tree of subscriptions and the tree of retained messages. Pure, no I/O.

mod members;
mod retained;
mod subscriptions;
mod validate;

pub use retained::{Cursor, Full, Page, Retained};
pub use subscriptions::{Group, Match, Subscription, Subscriptions};
pub use validate::{Filter, Invalid, MAX_LENGTH, check_filter, check_name, levels, matches};
