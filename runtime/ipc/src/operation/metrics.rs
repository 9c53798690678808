//! PutComponentMetric.

use super::{Empty, Operation};
use crate::{
    fault::Fault,
    ports::{Metric, Unit},
    server::Session,
};
use serde::Deserialize;

const SERVICE: &str = "aws.greengrass.ipc.componentmetric";
/// The stream manager needs no policy.
const STREAM_MANAGER: &str = "aws.greengrass.StreamManager";
/// The longest name of a metric, in bytes.
const LONGEST_NAME: usize = 32;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Request {
    metrics: Option<Vec<Given>>,
}

#[derive(Deserialize)]
struct Given {
    name: String,
    unit: Unit,
    value: f64,
}

pub(super) fn put(
    session: &Session,
    operation: Operation,
    request: Request,
) -> Result<Empty, Fault> {
    let metrics = request.metrics.unwrap_or_default();
    let principal = &session.principal;
    let Some(component) = principal.component() else {
        let message = format!(
            "{principal} is not authorized to perform {}",
            operation.name()
        );
        return Err(Fault::unauthorized(message));
    };
    if metrics.is_empty() {
        return Err(operation.invalid("metrics is required"));
    }
    for metric in &metrics {
        if metric.name.is_empty() || metric.name.len() > LONGEST_NAME {
            let message = format!(
                "the name of a metric has 1 to {LONGEST_NAME} bytes, {:?} has not",
                metric.name
            );
            return Err(operation.invalid(message));
        }
        if metric.value < 0.0 {
            return Err(operation.invalid(format!("{} is negative", metric.name)));
        }
        if component.as_str() != STREAM_MANAGER {
            let authorisation = &session.shared.authorisation;
            authorisation.check(SERVICE, principal, operation.name(), Some(&metric.name))?;
        }
    }
    for Given { name, unit, value } in metrics {
        let metric = Metric { name, unit, value };
        session.shared.ports.metrics.record(component, metric);
    }
    Ok(Empty {})
}
