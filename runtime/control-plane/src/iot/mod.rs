//! AWS IoT: things, certificates, policies, groups, jobs, shadows.

pub mod data;
pub mod jobs;
pub mod policy;
pub mod registry;
pub mod shadow;

pub use jobs::Jobs;
pub use registry::Registry;
pub use shadow::Shadows;

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
        operations: registry::operations()
            .into_iter()
            .chain(jobs::operations())
            .collect(),
    }
}
