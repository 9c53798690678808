//! Deployments: what a thing or a thing group is to run.
//!
//! ```text
//! table     rows, and how a deployment stands
//! document  what devices get
//! check     whether a request can be carried out
//! create    a new revision: a job for a group, the named shadow for a thing
//! read      get, list, cancel, delete
//! large     documents that are too large to be sent, and how devices fetch them
//! ```

mod check;
mod create;
pub mod document;
pub mod large;
mod read;
pub mod table;

use crate::http::Operation;

/// The named shadow that a deployment to a thing is told with.
pub const SHADOW: &str = "AWSManagedGreengrassV2Deployment";

/// The namespace of the jobs that deployments to groups are.
pub const NAMESPACE: &str = "aws-gg-deployment";

/// The operations.
pub fn operations() -> Vec<Operation> {
    let mut operations = read::operations();
    operations.push(
        Operation::new(
            "CreateDeployment",
            "POST /greengrass/v2/deployments",
            create::create,
        )
        .status(201)
        .checks_access(),
    );
    operations
}
