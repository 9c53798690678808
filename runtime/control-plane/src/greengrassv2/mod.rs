//! Greengrass: components, deployments, core devices.

pub mod plane;

use crate::{
    device::port::{Outgoing, Sender},
    state::State,
};
use std::sync::Arc;

/// What the device side subscribes to for this.
pub const FILTERS: &[&str] = &[
    "$aws/things/+/greengrassv2/health/json",
    "$aws/things/+/greengrass/health/json",
];

/// Takes what devices report.
pub async fn handle(
    _state: &Arc<State>,
    _sender: &Sender,
    _topic: &str,
    _payload: &[u8],
) -> Vec<Outgoing> {
    Vec::new()
}
