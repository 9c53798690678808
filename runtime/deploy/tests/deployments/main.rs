//! Deployments end to end, with fakes for the supervisor and IPC, on a real folder and a real database.

mod asking;
mod bootstrap;
mod cancel;
mod crash;
mod fakes;
mod groups;
mod local;
mod rollback;
mod setting;
