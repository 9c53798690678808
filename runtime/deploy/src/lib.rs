//! Deployments: queue, resolve, take in, plan, ask, apply, watch, roll back, and go on after a crash or a restart.
//!
//! [`Deployments`] is the handle, [`Task`] the work, [`Ports`] what they need from the rest of the runtime. The path of a
//! deployment is the list of stages in the `journal` module; `run` has one function for each.
//!
//! A local deployment that fails after it has changed something stays as it is unless the request asks for ROLLBACK, as in
//! Greengrass; one that fails at a bootstrap step always goes back, since nothing of the new set was started by then.

mod deployments;
mod error;
mod failure;
mod folders;
mod groups;
mod journal;
mod options;
mod packages;
mod plan;
mod ports;
mod prepare;
mod request;
mod resolve;
mod run;
mod saved;
mod settle;
mod table;
mod task;

pub use deployments::Deployments;
pub use error::{CancelError, CreateError, OpenError, PlanError};
pub use failure::Failure;
pub use options::{Options, Retention, UnpackLimits};
pub use plan::{ChangeKind, Plan, PlannedChange};
pub use ports::{
    BootstrapError, BootstrapExit, Change, Components, ConfigurationValidators, Deferral, Ports,
    Refusal, Runtime, UpdateListeners, UpdateNotice,
};
pub use task::Task;
