//! x
pub mod document;
pub mod table;
pub const SHADOW: &str = "AWSManagedGreengrassV2Deployment";
pub fn operations() -> Vec<crate::http::Operation> {
    vec![]
}
