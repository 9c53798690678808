//! Component lifecycle: which component runs, when, and what happens when it does not.
//!
//! [`Supervisor`] is the face: it takes the set of components that should run and keeps them so, in dependency order.
//! Decisions are made by [`machine`], a pure function; its effects go to the [`launcher`], the only part that touches
//! processes; what must outlive a restart of the runtime is kept in the tables of [`SCHEMA`].

mod board;
mod environment;
mod error;
mod graph;
pub mod launcher;
pub mod machine;
mod options;
mod record;
mod skip;
mod supervisor;
mod task;
mod token;

pub use error::{ApplyError, BootstrapError, RequestError};
pub use model::component::{Action, change_between};
pub use options::{DefaultUser, Options};
pub use record::SCHEMA;
pub use supervisor::{BootstrapExit, Change, Reported, Supervisor};
pub use task::Task;
