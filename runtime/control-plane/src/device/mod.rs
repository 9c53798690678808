//! The way to and from devices.

pub mod port;
