//! Deployments: queue, resolve, take in, plan, ask, apply, watch, roll back, and go on after a crash or a restart.
//!
//! [`Deployments`] is the handle, [`Task`] the work, [`Ports`] what they need from the rest of the runtime. The path of a
//! deployment is the list of stages in the `journal` module; `run` has one function for each.
//!
//! A local deployment that fails after it has changed something stays as it is unless the request asks for ROLLBACK, as in
//! Greengrass; one that fails at a bootstrap step always goes back, since nothing of the new set was started by then.
//!
//! ```
//! use deploy::{Deployments, Options, Ports};
//! use model::{Platform, deployment::LocalDeploymentRequest};
//!
//! # async fn example(database: store::Database, configuration: configuration::Configuration, ports: Ports)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! // The database was opened with `Deployments::SCHEMA` among its schemas.
//! let options = Options::new("/var/lib/greengrass", Platform::from_uname("Linux", "aarch64"));
//! let (deployments, task) = Deployments::open(options, database, configuration, ports).await?;
//! // Hand `deployments.active()` to the supervisor first, then let the task work.
//! let shutdown = tokio_util::sync::CancellationToken::new();
//! tokio::spawn(task.run(shutdown.clone()));
//!
//! let mut request = LocalDeploymentRequest::default();
//! request.add.insert("com.example.Pump".parse()?, "1.0.0".into());
//! request.recipe_folder = Some("/home/me/recipes".into());
//! let plan = deployments.plan(request.clone()).await?;
//! println!("{}", serde_json::to_string_pretty(&plan)?);
//! let id = deployments.create(request).await?;
//! println!("{:?}", deployments.report(&id));
//! # Ok(())
//! # }
//! ```

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
