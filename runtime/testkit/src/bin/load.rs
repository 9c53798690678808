//! Puts load on the IPC socket as a component, and prints what came of it: one line of JSON.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use testkit::{
    connection,
    round_trip::{self, RoundTrip},
    stream::{self, Publish, Subscribe},
};

/// Puts load on the IPC socket as a component.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Messages out and back in this process.
    RoundTrip(RoundTrip),
    /// Publishes only.
    Publish(Publish),
    /// Subscribes only.
    Subscribe(Subscribe),
    /// Waits for a runtime that is just starting to accept a connection, and prints when that was, in nanoseconds of the
    /// monotonic clock. No component.
    Ready {
        /// The runtime's root folder.
        root: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let report = match Arguments::parse().mode {
        Mode::RoundTrip(how) => round_trip::run(&how).await?,
        Mode::Publish(how) => stream::publish(&how).await?,
        Mode::Subscribe(how) => stream::subscribe(&how).await?,
        Mode::Ready { root } => {
            println!("{}", connection::first(&root).await?.as_nanos());
            return Ok(());
        }
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
