//! The component store: recipes and artifacts on this device, and how those of a request get there.

mod artifacts;
mod fingerprint;
mod library;
mod retention;
mod unpack;

pub(crate) use artifacts::{Source, Wanted, locate, stage};
pub(crate) use library::{Found, Library, write_recipe};
pub(crate) use retention::{clean, tree_size};
