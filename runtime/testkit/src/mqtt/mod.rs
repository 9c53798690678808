//! Load on an MQTT broker: the parts of the program `mqtt-load`.
//!
//! One thread and raw frames, so that the broker and not its load is measured; the load's own processor time is part of every
//! report, since a run whose load was busy all the time says what the load can do, not what the broker can.

pub mod connect;
pub mod frame;
pub mod idle;
pub mod latency;
pub mod link;
pub mod opening;
pub mod soak;
pub mod stamp;
pub mod throughput;
pub mod turns;
pub mod usage;
