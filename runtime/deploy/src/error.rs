//! Why a call on [`crate::Deployments`] was refused. How a deployment failed is a [`crate::Failure`] in its report.

use crate::Failure;
use model::deployment::DeploymentId;
use std::path::PathBuf;
use store::StoreError;

/// A deployment that was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The recipe folder cannot be used (`InvalidRecipeDirectoryPathError`).
    #[error("the recipe folder {} cannot be used: {reason}", path.display())]
    InvalidRecipeFolder {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The artifact folder cannot be used (`InvalidArtifactsDirectoryPathError`).
    #[error("the artifact folder {} cannot be used: {reason}", path.display())]
    InvalidArtifactFolder {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else is wrong with the request (`InvalidArgumentsError`).
    #[error("{0}")]
    InvalidArguments(String),
    /// Enough deployments are waiting already.
    #[error(
        "{waiting} deployments are waiting already; cancel one or try again when they are through"
    )]
    QueueFull {
        /// How many.
        waiting: usize,
    },
    /// It could not be stored.
    #[error("the deployment could not be stored: {0}")]
    Store(#[from] StoreError),
}

/// A deployment that was not canceled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is none of this id.
    #[error("there is no deployment {0}")]
    NotFound(DeploymentId),
    /// Too late: it is over, or on its way back already.
    #[error("deployment {id} cannot be canceled: {reason}")]
    TooLate {
        /// Which.
        id: DeploymentId,
        /// Why.
        reason: &'static str,
    },
    /// It could not be stored.
    #[error("the cancellation could not be stored: {0}")]
    Store(#[from] StoreError),
}

/// A plan that could not be made: the deployment would not be accepted, or would fail before it changed anything.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It would not be accepted.
    #[error(transparent)]
    Refused(#[from] CreateError),
    /// It would fail.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Deployments could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database did not answer.
    #[error("deployments cannot be read: {0}")]
    Store(#[from] StoreError),
    /// What is stored cannot be understood.
    #[error("the stored {what} is damaged: {reason}")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Folders of an interrupted deployment could not be put in order.
    #[error("{0}")]
    Folders(Failure),
}
