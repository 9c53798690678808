//! What a handler knows besides its input.

use super::{ApiError, Caller};
use crate::state::State;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use store::Database;

/// One request, and the state of the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// Everything that outlives the request.
    pub state: Arc<State>,
    request: Arc<Info>,
}

/// What is known of a request before its handler runs.
#[derive(Debug)]
pub struct Info {
    /// Told to the caller and to the log.
    pub id: String,
    /// The operation's name.
    pub operation: &'static str,
    /// The service's prefix in policies.
    pub prefix: &'static str,
    /// Who asks.
    pub caller: Caller,
    /// The body as received.
    pub body: Bytes,
    /// The headers as received.
    pub headers: HeaderMap,
}

impl Context {
    /// For one request.
    pub fn new(state: Arc<State>, info: Info) -> Self {
        Self {
            state,
            request: Arc::new(info),
        }
    }

    /// The database: see [`Database::read`] and [`Database::write`].
    pub fn database(&self) -> &Database {
        &self.state.database
    }

    /// The 12 digits of the account.
    pub fn account(&self) -> &str {
        &self.state.account.id
    }

    /// The region that this control plane is.
    pub fn region(&self) -> &str {
        &self.state.account.region
    }

    /// `arn:aws:<service>:<region>:<account>:<resource>`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        self.state.account.arn(service, resource)
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.request.caller
    }

    /// The operation's name.
    pub fn operation(&self) -> &'static str {
        self.request.operation
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.request.id
    }

    /// The body as received; for operations with raw input.
    pub fn body(&self) -> Bytes {
        self.request.body.clone()
    }

    /// The headers as received.
    pub fn headers(&self) -> &HeaderMap {
        &self.request.headers
    }

    /// Refuses the caller that may not do this operation on that resource (an ARN).
    pub fn allow(&self, resource: &str) -> Result<(), ApiError> {
        let action = format!("{}:{}", self.request.prefix, self.request.operation);
        self.allow_action(&action, resource)
    }

    /// The same for an action that is not named like the operation, `iot:Publish` for example.
    pub fn allow_action(&self, action: &str, resource: &str) -> Result<(), ApiError> {
        let caller = self.caller();
        if caller.may(action, resource) {
            return Ok(());
        }
        Err(ApiError::Denied(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action",
            caller.arn(&self.state.account)
        )))
    }
}
