//! The command line's end: asks the running program, or does it itself when none runs.

use super::{Command, backup, run, server::Short};
use crate::state::{Settings, State};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{io, path::Path, pin::Pin, time::Duration};
use tokio::net::UnixStream;

/// What came of it.
pub enum Answer {
    /// Of all commands but one.
    Value(Value),
    /// A backup's tar. Whole only when it ends without an error.
    Backup(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

/// Does a command on a data folder.
pub async fn call(folder: &Path, command: Command) -> Result<Answer> {
    if !folder.join("state.db").exists() {
        bail!(
            "{} is no data folder of greengrass-cloud: `greengrass-cloud serve` makes one",
            folder.display()
        );
    }
    let short = Short::of(folder)?;
    match UnixStream::connect(&short.path).await {
        Ok(stream) => ask(stream, command).await,
        Err(_) => alone(folder, command).await,
    }
}

async fn ask(stream: UnixStream, command: Command) -> Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let is_backup = matches!(command, Command::Backup);
    let body = Full::new(Bytes::from(serde_json::to_vec(&command)?));
    let request = Request::post("/").header("host", "localhost").body(body)?;
    let answer = tokio::time::timeout(Duration::from_secs(300), sender.send_request(request)).await;
    let response = answer.context("the running program does not answer")??;
    if !response.status().is_success() {
        let body = response.into_body().collect().await?.to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        bail!(
            "{}",
            value["error"]
                .as_str()
                .unwrap_or("refused without a reason")
        );
    }
    if is_backup {
        let pieces = response.into_body().into_data_stream();
        // The sender is kept: the connection ends with it.
        let pieces = pieces.map(move |piece| {
            let _kept = &sender;
            piece.map_err(io::Error::other)
        });
        return Ok(Answer::Backup(Box::pin(pieces)));
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(Answer::Value(serde_json::from_slice(&body)?))
}

async fn alone(folder: &Path, command: Command) -> Result<Answer> {
    let folder = folder.to_owned();
    let open = move || State::open_existing(&folder, &Settings::default());
    let state = tokio::task::spawn_blocking(open).await??;
    if matches!(command, Command::Backup) {
        return Ok(Answer::Backup(Box::pin(backup::stream(&state).await?)));
    }
    let value = run(&state, command).await?;
    let database = state.database.clone();
    tokio::task::spawn_blocking(move || database.shut_down()).await?;
    Ok(Answer::Value(value))
}
