//! The runtime over its IPC socket.

use crate::{
    connection::{self, Endpoint},
    runtime::{CallError, Connect, ConnectError, Events, Runtime},
};
use async_trait::async_trait;
use ipc::client::{self, Client, ClientError};
use serde_json::Value;
use std::path::PathBuf;

/// Connects to the runtime in a root folder, or the one that is found.
pub struct Socket {
    /// What the user named.
    pub root: Option<PathBuf>,
}

#[async_trait]
impl Connect for Socket {
    async fn connect(&self) -> Result<Box<dyn Runtime>, ConnectError> {
        // Looked up each time: a runtime that restarts gives out new tokens.
        let endpoint = connection::find(self.root.as_deref())?;
        match Client::connect(&endpoint.socket, &endpoint.token).await {
            Ok(client) => Ok(Box::new(client)),
            Err(error) => Err(explain(&endpoint, &error)),
        }
    }
}

fn explain(endpoint: &Endpoint, error: &ClientError) -> ConnectError {
    match error {
        ClientError::Connect { source, .. } => endpoint.explain(source),
        ClientError::Refused => ConnectError::Refused(
            "the runtime does not know this token; its files in cli_ipc_info may be of an earlier start. Restarting the runtime writes them anew."
                .to_owned(),
        ),
        ClientError::Closed | ClientError::Timeout { .. } => ConnectError::Down(format!("{error}; is the runtime just starting or stopping?")),
        other => ConnectError::Refused(other.to_string()),
    }
}

#[async_trait]
impl Runtime for Client {
    async fn call(&self, operation: &str, request: Value) -> Result<Value, CallError> {
        Client::call(self, operation, &request)
            .await
            .map_err(CallError::from)
    }

    async fn subscribe(
        &self,
        operation: &str,
        request: Value,
    ) -> Result<Box<dyn Events>, CallError> {
        let (_, events): (Value, _) = Client::subscribe(self, operation, &request).await?;
        Ok(Box::new(events))
    }
}

#[async_trait]
impl Events for client::Events {
    async fn next(&mut self) -> Option<Result<Value, CallError>> {
        let event = client::Events::next(self).await?;
        Some(
            event
                .and_then(|event| event.parse())
                .map_err(CallError::from),
        )
    }
}

impl From<ClientError> for CallError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Remote(error) => Self::Refused {
                code: error.code,
                message: error.message,
            },
            ClientError::Timeout { .. } | ClientError::Json { .. } | ClientError::Protocol(_) => {
                Self::Refused {
                    code: String::new(),
                    message: error.to_string(),
                }
            }
            ClientError::Closed | ClientError::Refused | ClientError::Connect { .. } => {
                Self::Lost(error.to_string())
            }
        }
    }
}
