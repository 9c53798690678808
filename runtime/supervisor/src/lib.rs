//! Component lifecycle: which component runs, when, and what happens when it does not.
//!
//! [`Supervisor`] is the face: it takes the set of components that should run and keeps them so, in dependency order.
//! Decisions are made by [`machine`], a pure function; its effects go to the [`launcher`], the only part that touches
//! processes; what must outlive a restart of the runtime is kept in the tables of [`SCHEMA`].
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use supervisor::{Options, Supervisor, launcher::Launcher};
//!
//! async fn run(root: &Path, launcher: Arc<dyn Launcher>) -> Result<(), Box<dyn std::error::Error>> {
//!     let database = store::Database::open(&root.join("state.db"), &[supervisor::SCHEMA])?;
//!     let (supervisor, task) = Supervisor::open(Options::new(root.into()), database, launcher, Default::default());
//!     let task = tokio::spawn(task.run());
//!     supervisor.adopt(Vec::new()).await?;
//!     supervisor.shutdown().await;
//!     Ok(task.await?)
//! }
//! ```

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
pub use token::Token;
