//! The life of one component as a pure function: [`Machine::advance`] takes a state, an event and the time, and gives
//! the next state and the effects to carry out. No clock, no process, no database here.
//!
//! ```text
//! New ─install─► Installed ─Go─► Starting ─► Running ─exit 0─► Leaving ─► Finished
//!                    ▲                │          │
//!                    │              failure ─────┴─► Leaving (kill, recover, shutdown, sweep)
//!                    └── Waiting (growing pause) ◄──────┴──► Broken (too many errors)
//! any ─stop─► Leaving ─► Finished        any ─remove─► Leaving ─► Uninstalling ─► Gone
//! ```

mod adopt;
mod advance;
mod errors;
mod event;
mod leave;
mod moment;
mod state;
mod wish;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod table;

pub use adopt::{Found, Main, Past};
pub(crate) use advance::tail_text;
pub use errors::{Errors, Origin};
pub use event::{Effect, Event, Fault, Refused};
pub use moment::Moment;
pub use state::{
    Failure, Goal, Kill, Launched, Machine, Pause, Phase, Process, Removal, Stage, Why,
};
