//! The launcher: the only part of the runtime that needs root. It starts, stops and inspects component processes,
//! hands folders to their users and reboots, by a closed set of typed requests.
//!
//! Both sides see one trait, [`Launcher`]: `greengrass run` calls it in its own process ([`Local`]), the split roles call it over
//! a Unix socket ([`Client`] and [`run`]).

mod backend;
mod check;
mod client;
mod error;
mod folders;
mod local;
mod options;
mod output;
mod port;
mod process;
mod server;
mod shell;
mod systemd;
mod trampoline;
mod unit;
mod users;
mod wire;

pub use client::Client;
pub use error::LaunchError;
pub use local::Local;
pub use options::{Backend, Options};
pub use output::{Line, LineSink, Stream, discard};
pub use port::{Event, Events, Exited, Launcher, Outcome};
pub use server::{Socket, run};
pub use trampoline::trampoline_main;
pub use unit::{Started, StepKind, Unit, UnitId, UnitStatus};
