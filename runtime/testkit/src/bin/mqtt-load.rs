//! Puts load on an MQTT broker, and prints what came of it: one line of JSON.

use clap::{Parser, Subcommand};
use serde_json::to_string;
use testkit::mqtt::{
    connect::{self, Rate},
    idle::{self, Idle},
    latency::{self, Latency},
    soak::{self, Soak},
    throughput::{self, Throughput},
};

/// Puts load on an MQTT broker.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// As many messages as the broker takes.
    Throughput(Throughput),
    /// How long messages take at a steady rate.
    Latency(Latency),
    /// Connections that stay and do nothing until standard input ends.
    Idle(Idle),
    /// Connections a second.
    Connect(Rate),
    /// Many clients that come, go and take over, for a while: nothing may be lost.
    Soak(Soak),
}

fn main() -> anyhow::Result<()> {
    let report = match Arguments::parse().mode {
        Mode::Throughput(how) => to_string(&throughput::run(&how)?)?,
        Mode::Latency(how) => to_string(&latency::run(&how)?)?,
        Mode::Idle(how) => to_string(&idle::run(&how)?)?,
        Mode::Connect(how) => to_string(&connect::run(&how)?)?,
        Mode::Soak(how) => to_string(&soak::run(&how)?)?,
    };
    println!("{report}");
    Ok(())
}
