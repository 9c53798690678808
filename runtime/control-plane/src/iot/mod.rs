//! AWS IoT: things, certificates, policies, groups, jobs, shadows.

pub mod policy;
pub mod registry;

use crate::http::{ErrorNames, Protocol, Service};

/// The service's table.
pub fn service() -> Service {
    Service {
        name: "iot",
        scopes: &["iot"],
        prefix: "iot",
        protocol: Protocol::RestJson,
        errors: ErrorNames {
            invalid: "InvalidRequestException",
            bad_token: "InvalidRequestException",
            internal: "InternalFailureException",
            denied: "UnauthorizedException",
        },
        operations: registry::operations(),
    }
}
