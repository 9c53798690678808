//! Why a signature is not accepted, and what each kind of service calls that.

use crate::http::{ApiError, Protocol};
use http::StatusCode;

/// Why a request is not who it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// Something of the signature is missing or unreadable.
    #[error("{0}")]
    Incomplete(String),
    /// The scope or the signed headers are not as they must be.
    #[error("{0}")]
    Scope(String),
    /// No such access key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The session token is not the one that was issued with the key.
    #[error("The security token included in the request is invalid.")]
    WrongToken,
    /// The temporary credentials are over.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// The caller's clock is behind, or the request is old.
    #[error("{0}")]
    Expired(String),
    /// The caller's clock is ahead.
    #[error("{0}")]
    FromTheFuture(String),
    /// A presigned URL after its time.
    #[error("Request has expired")]
    PresignedExpired,
    /// Not signed with this key's secret, or changed on the way.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

impl SignatureError {
    /// As the services of this kind word it.
    pub fn answer(&self, protocol: Protocol) -> ApiError {
        let query = matches!(protocol, Protocol::Query { .. });
        let (code, status) = match self {
            Self::Missing if query => ("MissingAuthenticationToken", 403),
            Self::Missing => ("MissingAuthenticationTokenException", 403),
            Self::Incomplete(_) if query => ("IncompleteSignature", 400),
            Self::Incomplete(_) => ("IncompleteSignatureException", 400),
            Self::UnknownKey | Self::WrongToken if query => ("InvalidClientTokenId", 403),
            Self::UnknownKey | Self::WrongToken => ("UnrecognizedClientException", 403),
            Self::ExpiredToken if query => ("ExpiredToken", 403),
            Self::ExpiredToken => ("ExpiredTokenException", 403),
            _ if query => ("SignatureDoesNotMatch", 403),
            _ => ("InvalidSignatureException", 403),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        ApiError::new(status, code, self.to_string())
    }
}
