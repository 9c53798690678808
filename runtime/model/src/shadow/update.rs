//! Reading an update request, with the refusals that AWS IoT words.

use super::{MAX_DEPTH, Tree};
use serde_json::{Map, Value};

/// The longest client token, in bytes.
const MAX_TOKEN_BYTES: usize = 64;

/// A request to change a shadow.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// As sent, for the answer.
    pub(super) state: Value,
    pub(super) desired: Side,
    pub(super) reported: Side,
    pub(super) version: Option<u64>,
    /// Echoed in every answer.
    pub client_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Side {
    Untouched,
    /// `null`: nothing is left.
    Cleared,
    Merge(Tree),
}

/// Why an update, or a look at a shadow, is refused; [`ShadowError::code`] is what the answer carries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShadowError {
    /// Not JSON.
    #[error("Invalid JSON: {0}")]
    InvalidJson(String),
    /// No `state`.
    #[error("Missing required node: state")]
    MissingState,
    /// A node that must be an object.
    #[error("{0} node must be an object")]
    NotAnObject(&'static str),
    /// A member of `state` that is neither side.
    #[error("State contains an invalid node: '{0}'")]
    InvalidNode(String),
    /// Not a whole number.
    #[error("Invalid version")]
    InvalidVersion,
    /// Not a string, or too long.
    #[error("Invalid clientToken")]
    InvalidClientToken,
    /// Nested too deeply.
    #[error("JSON contains too many levels of nesting; maximum is {MAX_DEPTH}")]
    TooDeep,
    /// Someone was faster.
    #[error("Version conflict")]
    VersionConflict,
    /// The state would grow too large.
    #[error("The payload exceeds the maximum size allowed")]
    TooLarge,
    /// There is none.
    #[error("No shadow exists with name: '{0}'")]
    NotFound(String),
}

impl ShadowError {
    /// The number of a rejected message, and the status of a HTTP answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::VersionConflict => 409,
            Self::TooLarge => 413,
            Self::NotFound(_) => 404,
            _ => 400,
        }
    }
}

impl Update {
    /// Reads `{"state": {"desired": …, "reported": …}, "version"?: …, "clientToken"?: …}`.
    pub fn parse(payload: &[u8]) -> Result<Self, ShadowError> {
        let document: Value = serde_json::from_slice(payload)
            .map_err(|error| ShadowError::InvalidJson(error.to_string()))?;
        let Value::Object(mut document) = document else {
            return Err(ShadowError::NotAnObject("Document"));
        };
        let client_token = token(&document)?;
        let version = match document.get("version") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().ok_or(ShadowError::InvalidVersion)?),
        };
        let state = match document.remove("state") {
            None => return Err(ShadowError::MissingState),
            Some(Value::Object(state)) => state,
            Some(_) => return Err(ShadowError::NotAnObject("State")),
        };
        if let Some(unknown) = state
            .keys()
            .find(|key| !matches!(key.as_str(), "desired" | "reported"))
        {
            return Err(ShadowError::InvalidNode(unknown.clone()));
        }
        let update = Self {
            desired: side(&state, "desired", "Desired")?,
            reported: side(&state, "reported", "Reported")?,
            state: Value::Object(state),
            version,
            client_token,
        };
        Ok(update)
    }

    /// The client token of any request, also of one that cannot be read otherwise, so that its refusal finds who asked.
    pub fn client_token_of(payload: &[u8]) -> Option<String> {
        match serde_json::from_slice(payload) {
            Ok(Value::Object(document)) => token(&document).ok().flatten(),
            _ => None,
        }
    }
}

fn token(document: &Map<String, Value>) -> Result<Option<String>, ShadowError> {
    match document.get("clientToken") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.len() <= MAX_TOKEN_BYTES => Ok(Some(token.clone())),
        Some(_) => Err(ShadowError::InvalidClientToken),
    }
}

fn side(state: &Map<String, Value>, key: &str, title: &'static str) -> Result<Side, ShadowError> {
    match state.get(key) {
        None => Ok(Side::Untouched),
        Some(Value::Null) => Ok(Side::Cleared),
        Some(Value::Object(tree)) => {
            if tree.values().any(|value| deeper_than(value, MAX_DEPTH - 1)) {
                return Err(ShadowError::TooDeep);
            }
            Ok(Side::Merge(tree.clone()))
        }
        Some(_) => Err(ShadowError::NotAnObject(title)),
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let mut below: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Object(members) => Box::new(members.values()),
        Value::Array(elements) => Box::new(elements.iter()),
        _ => return false,
    };
    levels == 0 || below.any(|value| deeper_than(value, levels - 1))
}
