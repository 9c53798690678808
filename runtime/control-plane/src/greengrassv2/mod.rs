//! Greengrass: components, deployments, core devices.
//!
//! ```text
//! components   recipes, artifacts, which version fits
//! deployments  what a thing or a group is to run; the documents that devices get
//! devices      what devices report: health, installed components, effective deployments
//! clients      client devices of a core; connectivity: where they reach it; discovery: what they are told
//! role         the service role, which is kept and not used
//! plane        what devices ask over HTTPS
//! names, tags, token, schema: shared
//! ```

mod clients;
mod components;
mod connectivity;
mod deployments;
mod devices;
mod discovery;
mod names;
pub mod plane;
mod role;
mod schema;
mod tags;
mod token;

pub use devices::{FILTERS, handle};
pub use schema::SCHEMA;

use crate::{
    http::{ErrorNames, Protocol, Service},
    iot::registry::Event,
    state::State,
};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// The service's table.
pub fn service() -> Service {
    let operations = [
        components::operations(),
        deployments::operations(),
        devices::operations(),
        clients::operations(),
        connectivity::operations(),
        role::operations(),
        tags::operations(),
    ];
    Service {
        name: "greengrassv2",
        scopes: &["greengrass"],
        prefix: "greengrass",
        protocol: Protocol::RestJson,
        errors: ErrorNames {
            invalid: "ValidationException",
            bad_token: "ValidationException",
            internal: "InternalServerException",
            denied: "AccessDeniedException",
        },
        operations: operations.into_iter().flatten().collect(),
    }
}

/// What goes on besides requests, until told to stop: components that an earlier run left unfinished, and things that
/// are deleted.
pub async fn run(state: Arc<State>, stop: CancellationToken) {
    let mut events = state.registry.events();
    if let Err(error) = components::create::resume(&state).await {
        log::error!("finishing components: {error}");
    }
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        let done = match event {
            Ok(Event::ThingDeleted { thing }) => {
                state
                    .database
                    .write(move |t| devices::table::forget(t, &thing))
                    .await
            }
            Ok(_) => Ok(()),
            Err(RecvError::Lagged(_)) => state.database.write(devices::table::sweep).await,
            Err(RecvError::Closed) => return,
        };
        if let Err(error) = done {
            log::error!("following the registry: {error}");
        }
    }
}
