//! Ways to a connection: as a component, or as the first client of a runtime that is just starting.

use crate::{PATIENCE, now};
use anyhow::{Context, bail};
use ipc::client::Client;
use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const SOCKET: &str = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT";
const TOKEN: &str = "SVCUID";
/// Between two looks at a socket that is not there yet: far below what is measured with it.
const LOOK: Duration = Duration::from_micros(500);

/// Connects as the component that this process belongs to.
pub async fn as_component() -> anyhow::Result<Client> {
    let read = |name| {
        std::env::var(name).with_context(|| format!("{name} is not set: this is no component"))
    };
    let (socket, token) = (PathBuf::from(read(SOCKET)?), read(TOKEN)?);
    Ok(Client::connect_within(&socket, &token, PATIENCE).await?)
}

#[derive(Deserialize)]
struct CommandLine {
    cli_auth_token: String,
    domain_socket_path: PathBuf,
}

/// When the runtime with this root folder has accepted a connection, on the clock of [`now`].
pub async fn first(root: &Path) -> anyhow::Result<Duration> {
    let began = now();
    loop {
        if let Some(access) = access(&root.join("cli_ipc_info")) {
            // Refused until the socket is there and the token is this start's.
            let connecting = Client::connect_within(
                &access.domain_socket_path,
                &access.cli_auth_token,
                PATIENCE,
            );
            if connecting.await.is_ok() {
                return Ok(now());
            }
        }
        if now() - began > PATIENCE {
            bail!(
                "no runtime at {} within {} s",
                root.display(),
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn access(folder: &Path) -> Option<CommandLine> {
    let file = fs::read_dir(folder).ok()?.next()?.ok()?;
    serde_json::from_slice(&fs::read(file.path()).ok()?).ok()
}
