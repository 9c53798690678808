//! Load for measurements: on the IPC socket by the program `load`, on an MQTT broker by `mqtt-load`. Never shipped on a device.
//!
//! `load` is meant to run as a component: it finds the socket and its token where every Greengrass component does.

pub mod connection;
pub mod latencies;
pub mod message;
pub mod mqtt;
pub mod round_trip;
pub mod stream;

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How long anything is waited for before the run counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's monotonic clock: the same in all its processes.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}
