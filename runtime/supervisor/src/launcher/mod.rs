//! The launcher: the only part of the runtime that needs root. It starts, stops and inspects component processes,
//! hands folders to their users and reboots, by a closed set of typed requests.
//!
//! Both sides see one trait, [`Launcher`]: `greengrass run` calls it in its own process ([`Local`]), the split roles call it over
//! a Unix socket ([`Client`] and [`run`]).
//!
//! ```no_run
//! # use std::{collections::BTreeMap, sync::Arc, time::Duration};
//! use supervisor::launcher::{Launcher, Line, Local, Options, StepKind, Unit, UnitId, trampoline_main};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! trampoline_main(); // first thing: this program is also the step between fork and shell
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let print = |line: &Line<'_>| println!("{}: {}", line.component, String::from_utf8_lossy(line.bytes));
//! let launcher = Local::open(Options::new("/var/lib/greengrass", "/run/greengrass", Arc::new(print))).await?;
//!
//! let component = "com.example.Hello".parse()?;
//! let work_folder = launcher.prepare_work_folder(&component, Some("ggc_user")).await?;
//! let id = UnitId::new(component, StepKind::Run);
//! let mut events = launcher.events();
//! launcher
//!     .start(Unit {
//!         id: id.clone(),
//!         tag: "1.0.0".into(),
//!         script: "echo hello; exec sleep 60".into(),
//!         shell: "sh".into(),
//!         user: Some("ggc_user".into()),
//!         privileged: false,
//!         environment: BTreeMap::new(),
//!         work_folder,
//!         limits: Default::default(),
//!     })
//!     .await?;
//! launcher.stop(&id, Duration::from_secs(5)).await?; // none of its processes is left
//! println!("{:?}", events.next().await);
//! # Ok(()) })
//! # }
//! ```

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
