//! The program: parses, builds the runtime, runs, maps errors to exit codes.

use anyhow::Result;
use clap::Parser;
use control_plane::{
    commands, export,
    options::{Command, Options},
    serve,
};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    logging();
    let options = Options::parse();
    match run(options.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("greengrass-cloud: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(options) => serve::run(options, shutdown()?).await,
            Command::Credentials(options) => commands::credentials(options).await,
            Command::User { command } => commands::user(command).await,
            Command::Export(options) => export::run(options).await,
            Command::Backup { data, file } => commands::backup(&data.data, &file).await,
            Command::Restore { data, file } => commands::restore(&data.data, &file).await,
        }
    })
}

/// To stderr, with key-values. `RUST_LOG` changes what is logged, but never lets through what `s3s` traces: it has headers
/// and signatures in it.
fn logging() {
    let environment = env_logger::Env::default().default_filter_or("info");
    let mut builder = env_logger::Builder::from_env(environment);
    for noisy in ["s3s", "hyper", "tracing"] {
        builder.filter_module(noisy, log::LevelFilter::Off);
    }
    builder.init();
}

/// Cancelled by SIGTERM or SIGINT.
fn shutdown() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let cancel = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info!("{name}: shutting down");
        cancel.cancel();
    });
    Ok(token)
}
