//! The server as its clients see it: over its socket, with the rest of the runtime faked.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed
#![allow(clippy::needless_pass_by_value)] // json!() is written where it is used

mod authorisation;
mod captured;
mod cloud;
mod codec;
mod components;
mod configuration;
mod deployments;
mod fakes;
mod limits;
mod listeners;
mod pubsub;
mod world;
