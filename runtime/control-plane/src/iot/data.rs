//! The service `iot-data`: shadows and messages.

use super::shadow;
use crate::{
    device::messages,
    http::{ErrorNames, Protocol, Service},
};

/// The service's table.
pub fn service() -> Service {
    Service {
        name: "iot-data",
        scopes: &["iotdata"],
        prefix: "iot",
        protocol: Protocol::RestJson,
        errors: ErrorNames {
            invalid: "InvalidRequestException",
            bad_token: "InvalidRequestException",
            internal: "InternalFailureException",
            denied: "UnauthorizedException",
        },
        operations: shadow::operations()
            .into_iter()
            .chain(messages::operations())
            .collect(),
    }
}
