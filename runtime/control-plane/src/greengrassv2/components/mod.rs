//! Components: recipes with versions.
//!
//! ```text
//! table      rows
//! create     from a recipe to a version that can be deployed; artifacts: what it refers to
//! read       describe, list, get (yaml: a recipe as YAML), delete
//! download   links to artifacts
//! resolve    which version fits a platform and requirements
//! ```

pub mod artifacts;
pub mod create;
pub mod download;
mod read;
pub mod resolve;
pub mod table;
mod yaml;

use crate::http::Operation;

/// The operations of components.
pub fn operations() -> Vec<Operation> {
    let mut operations = read::operations();
    operations.extend([
        Operation::new(
            "CreateComponentVersion",
            "POST /greengrass/v2/createComponentVersion",
            create::create,
        )
        .status(201)
        .checks_access(),
        Operation::new(
            "GetComponentVersionArtifact",
            "GET /greengrass/v2/components/{arn}/artifacts/{artifactName+}",
            download::get,
        )
        .checks_access(),
        Operation::new(
            "ResolveComponentCandidates",
            "POST /greengrass/v2/resolveComponentCandidates",
            resolve::operation,
        ),
    ]);
    operations
}
