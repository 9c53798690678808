//! Placeholder.
pub mod iot;
