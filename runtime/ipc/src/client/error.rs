//! Why a call failed, from the caller's side.

use crate::frame::FrameError;
use serde::Deserialize;
use std::{io, path::PathBuf, time::Duration};

/// Why a connection or a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket cannot be reached.
    #[error("cannot connect to {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server does not accept the token.
    #[error("the Greengrass runtime refused the authentication token")]
    Refused,
    /// Nothing came in time.
    #[error("no answer to {what} within {} s", .after.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The connection is gone.
    #[error("the connection to the Greengrass runtime was closed")]
    Closed,
    /// The server answered with an error of the model.
    #[error("{0}")]
    Remote(RemoteError),
    /// The server does not keep to the protocol.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// A request or an answer is not the JSON that is wanted.
    #[error("{what}: {source}")]
    Json {
        /// Which shape.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl From<FrameError> for ClientError {
    fn from(e: FrameError) -> Self {
        Self::Protocol(e.to_string())
    }
}

/// An error that the server sent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    /// Which, for example `UnauthorizedError`.
    #[serde(rename = "_errorCode", default)]
    pub code: String,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// What was not found, for a `ResourceNotFoundError`.
    #[serde(rename = "resourceName", default)]
    pub resource: Option<String>,
}
