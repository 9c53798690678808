//! The running program's end of the socket.

use super::{Command, SOCKET, backup, run};
use crate::{
    http::{Body, reply, server},
    state::State,
};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use std::{
    fs::Permissions,
    io::ErrorKind,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::UnixListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A file below a folder by a short name: paths of sockets are short, those of folders need not be.
pub(super) struct Short {
    _folder: std::fs::File,
    pub(super) path: PathBuf,
}

impl Short {
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let open =
            std::fs::File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", open.as_raw_fd()));
        Ok(Self {
            _folder: open,
            path,
        })
    }
}

/// Binds the socket: call while the database is held, so that a leftover socket is nobody's.
pub fn bind(folder: &Path) -> Result<UnixListener> {
    let socket = folder.join(SOCKET);
    match std::fs::remove_file(&socket) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(e).with_context(|| format!("removing {}", socket.display()));
        }
        _ => {}
    }
    let short = Short::of(folder)?;
    let bind = || {
        let listener = UnixListener::bind(&short.path)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        Ok::<_, std::io::Error>(listener)
    };
    bind().with_context(|| format!("listening on {}", socket.display()))
}

/// Serves the socket until the token is cancelled.
pub async fn serve(listener: UnixListener, state: Arc<State>, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (state, shutdown) = (Arc::clone(&state), shutdown.clone());
        tracker.spawn(async move {
            let handle = |request| answer(Arc::clone(&state), request);
            server::connection(stream, handle, shutdown).await;
        });
    }
    tracker.close();
    tracker.wait().await;
    // The next start removes it otherwise.
    let _ = std::fs::remove_file(state.folder.join(SOCKET));
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let refuse = |status, text: String| {
        reply::plain(
            status,
            "application/json",
            json!({ "error": text }).to_string(),
        )
    };
    let body = match Limited::new(request.into_body(), 64 * 1024).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match serde_json::from_slice(&body) {
        Ok(Command::Backup) => match backup::stream(&state).await {
            Ok(pieces) => {
                let frames = pieces.map(|piece: Result<Bytes, std::io::Error>| {
                    piece.map(Frame::data).map_err(Into::into)
                });
                Response::new(StreamBody::new(frames).boxed_unsync())
            }
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        },
        Ok(command) => match run(&state, command).await {
            Ok(value) => reply::plain(StatusCode::OK, "application/json", value.to_string()),
            Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
        },
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}
