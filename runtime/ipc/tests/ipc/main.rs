//! The server as its clients see it: over its socket, with the rest of the runtime faked.

mod authorisation;
mod captured;
mod codec;
mod components;
mod configuration;
mod deployments;
mod fakes;
mod limits;
mod listeners;
mod pubsub;
mod world;
