//! Core devices: what they report, and looking at it.
//!
//! ```text
//! table      rows
//! report     a message of a device: health, components, how a deployment went
//! read       get, list and delete core devices, installed components
//! effective  the deployments that a device has, and how each stands
//! ```

mod effective;
mod read;
mod report;
pub mod table;

use crate::{
    device::port::{Outgoing, Sender},
    http::{ApiError, Operation, Timestamp},
    iot::registry::things::Thing,
    state::State,
};
use std::sync::Arc;

/// What the device side subscribes to for this.
pub const FILTERS: &[&str] = &[
    "$aws/things/+/greengrassv2/health/json",
    "$aws/things/+/greengrass/health/json",
];

/// The largest telemetry that is kept.
const MAX_TELEMETRY: usize = 64 * 1024;

/// The operations.
pub fn operations() -> Vec<Operation> {
    let mut operations = read::operations();
    operations.extend(effective::operations());
    operations
}

/// Takes what devices report. Nothing is answered: devices expect no answer, and one that reports nonsense shows in the log.
pub async fn handle(
    state: &Arc<State>,
    _sender: &Sender,
    topic: &str,
    payload: &[u8],
) -> Vec<Outgoing> {
    let parts: Vec<&str> = topic.split('/').collect();
    let done = match parts.as_slice() {
        ["$aws", "things", thing, "greengrassv2", "health", "json"] => {
            health(state, (*thing).to_owned(), payload).await
        }
        ["$aws", "things", thing, "greengrass", "health", "json"] => {
            telemetry(state, (*thing).to_owned(), payload).await
        }
        _ => Ok(()),
    };
    if let Err(error) = done {
        log::warn!(topic = topic; "a device's report: {error}");
    }
    Vec::new()
}

async fn health(state: &Arc<State>, thing: String, payload: &[u8]) -> Result<(), ApiError> {
    let report = report::Report::parse(payload)?;
    state
        .database
        .write(move |t| {
            Thing::get(t, &thing)?;
            report.apply(t, &thing, Timestamp::now())
        })
        .await
}

async fn telemetry(state: &Arc<State>, thing: String, payload: &[u8]) -> Result<(), ApiError> {
    if payload.len() > MAX_TELEMETRY {
        return Err(ApiError::invalid(format!(
            "telemetry may have at most {MAX_TELEMETRY} bytes"
        )));
    }
    let document: serde_json::Value = serde_json::from_slice(payload)
        .map_err(|error| ApiError::invalid(format!("telemetry is not JSON: {error}")))?;
    state
        .database
        .write(move |t| {
            Thing::get(t, &thing)?;
            let sql = "INSERT OR REPLACE INTO gg_telemetry (thing, document, received) VALUES (?1, ?2, ?3)";
            t.prepare_cached(sql)?
                .execute((thing, document.to_string(), Timestamp::now()))?;
            Ok(())
        })
        .await
}
