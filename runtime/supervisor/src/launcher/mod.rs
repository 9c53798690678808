//! The launcher: the only part of the runtime that needs root. It starts, stops and inspects component processes,
//! hands folders to their users and reboots, by a closed set of typed requests.
//!
//! Both sides see one trait, [`Launcher`]: `greengrass run` calls it in its own process, the split roles call it over a
//! Unix socket.

mod error;
mod port;
mod unit;

pub use error::LaunchError;
pub use port::{Event, Events, Exited, Launcher, Outcome};
pub use unit::{Started, StepKind, Unit, UnitId, UnitStatus};
