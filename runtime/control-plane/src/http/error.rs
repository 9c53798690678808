//! What an operation answers when it does not succeed, independent of how the service writes errors on the wire
//! (that is in `reply.rs`).

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, error::Error, fmt};
use store::StoreError;

/// An operation's failure. Handlers use `?` on database results; everything unforeseen becomes the service's own
/// "internal" error, whose cause is logged and not told to the caller.
#[derive(Debug)]
pub enum ApiError {
    /// An error of the service's model, for example `ResourceNotFoundException`.
    Refused(Box<Refusal>),
    /// The input does not fit; answered as the service's validation error (`ValidationException`,
    /// `InvalidRequestException`, ...). The text names the member.
    Invalid(String),
    /// A `nextToken` that this operation has not given out.
    BadToken,
    /// The caller may not do this.
    Denied(String),
    /// Ours. The cause goes to the log.
    Internal(Box<dyn Error + Send + Sync>),
}

/// A modelled error.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The error's shape name, which the SDKs turn into an exception class.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// Further members of the shape, for example `resourceId`.
    pub members: Map<String, Value>,
}

impl ApiError {
    /// A modelled error.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::Refused(Box::new(Refusal {
            status,
            code: code.into(),
            message: message.into(),
            members: Map::new(),
        }))
    }

    /// `ResourceNotFoundException`, 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// `ConflictException`, 409.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ConflictException", message)
    }

    /// The service's validation error.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// Something that should not have happened.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Adds a member to the error's shape; of use with modelled errors only.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Self::Refused(refusal) = &mut self
            && let Ok(value) = serde_json::to_value(value)
        {
            refusal.members.insert(name.to_owned(), value);
        }
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "{}: {}", refusal.code, refusal.message),
            Self::Invalid(text) | Self::Denied(text) => f.write_str(text),
            Self::BadToken => f.write_str("the pagination token is not valid"),
            Self::Internal(cause) => write!(f, "internal: {cause}"),
        }
    }
}

impl Error for ApiError {}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<openssl::error::ErrorStack> for ApiError {
    fn from(error: openssl::error::ErrorStack) -> Self {
        Self::internal(error)
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}
