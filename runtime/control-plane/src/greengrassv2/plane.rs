//! The data plane of Greengrass.

use crate::{
    device::https::{Call, Device, refused},
    http::{ApiError, Body},
    state::State,
};
use http::{Response, StatusCode};
use std::sync::Arc;

/// Answers a device's request.
pub async fn answer(
    _state: &Arc<State>,
    _device: &Device,
    _call: &Call,
) -> Result<Response<Body>, ApiError> {
    Ok(refused(
        StatusCode::NOT_FOUND,
        "ResourceNotFoundException",
        "There is nothing here",
    ))
}
