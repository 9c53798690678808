//! Pure types and rules of Greengrass, without I/O: what a recipe says, which manifest a platform takes,
//! which versions satisfy a range, what a component may do. Every other crate stands on this one.

pub mod access;
pub mod check;
pub mod component;
pub mod deployment;
pub mod error_code;
pub mod interpolate;
pub mod lifecycle;
pub mod name;
pub mod platform;
pub mod recipe;
pub mod topic;
pub mod version;

pub use component::{ComponentSpec, RunWith, Step, SystemLimits};
pub use error_code::{ErrorCode, ErrorType};
pub use lifecycle::{ComponentStatus, State, StatusCode};
pub use name::ComponentName;
pub use platform::Platform;
pub use recipe::Recipe;
pub use topic::{TopicFilter, TopicName};
pub use version::{Version, VersionRequirement};
