//! Deployments end to end, with fakes for the supervisor and IPC, on a real folder and a real database.

#![allow(clippy::unwrap_used, reason = "all of this is test")]
#![allow(clippy::needless_pass_by_value, reason = "json! makes values")]

mod asking;
mod bootstrap;
mod cancel;
mod crash;
mod fakes;
mod groups;
mod local;
mod rollback;
mod setting;
