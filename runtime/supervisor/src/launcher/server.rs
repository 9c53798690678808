//! The launcher role: serves a [`Local`] launcher on a Unix socket to the nucleus and nobody else.

use super::{
    Event, LaunchError, Launcher, Local, Options,
    wire::{self, Call, Message, Request, Response},
};
use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Connections served at once: a nucleus, and the next one while the old one ends.
const MAX_CONNECTIONS: usize = 8;
/// Requests of one connection worked on at once; more wait in the socket.
const MAX_CALLS: usize = 64;
/// A peer that does not read its replies is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// What components have to end by themselves when the launcher ends.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// Where the role listens, and to whom.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Path of the socket; what lies there is replaced.
    pub path: PathBuf,
    /// The user the nucleus runs as. The socket belongs to it, mode 0600, and only it and root are served.
    pub peer: u32,
}

/// Runs the launcher role until `shutdown`.
///
/// Under systemd the components go on; own processes are ended with it, since nobody would read their output.
pub async fn run(
    options: Options,
    socket: Socket,
    shutdown: CancellationToken,
) -> Result<(), LaunchError> {
    let launcher = Arc::new(Local::open(options).await?);
    let listener = listen(&socket)
        .map_err(|e| LaunchError::system(format!("listening on {}", socket.path.display()), e))?;
    serve(listener, socket.peer, launcher.clone(), shutdown).await;
    launcher.close(CLOSE_GRACE).await;
    let _ = fs::remove_file(&socket.path);
    Ok(())
}

fn listen(socket: &Socket) -> io::Result<UnixListener> {
    match fs::remove_file(&socket.path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if let Some(folder) = socket
        .path
        .parent()
        .filter(|folder| *folder != Path::new(""))
    {
        fs::create_dir_all(folder)?;
    }
    let listener = UnixListener::bind(&socket.path)?;
    // The peer's credentials are what protects; the mode keeps others from even knocking.
    fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o600))?;
    if rustix::process::geteuid().is_root() {
        chown(&socket.path, Some(socket.peer), None)?;
    }
    Ok(listener)
}

async fn serve(
    listener: UnixListener,
    peer: u32,
    launcher: Arc<dyn Launcher>,
    shutdown: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                log::error!("cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(credentials) if [0, peer].contains(&credentials.uid()) => {}
            Ok(credentials) => {
                log::warn!(
                    "user {} (process {:?}) may not use the launcher",
                    credentials.uid(),
                    credentials.pid()
                );
                continue;
            }
            Err(e) => {
                log::warn!("a connection without credentials is refused: {e}");
                continue;
            }
        }
        let Ok(place) = room.clone().try_acquire_owned() else {
            log::warn!("more than {MAX_CONNECTIONS} connections: one is refused");
            continue;
        };
        let launcher = launcher.clone();
        connections.spawn(async move {
            let _place = place;
            if let Err(e) = converse(stream, launcher).await {
                log::warn!("a connection to the launcher ends: {e}");
            }
        });
    }
}

/// Serves one connection to its end. A frame that makes no sense ends it.
async fn converse(stream: UnixStream, launcher: Arc<dyn Launcher>) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    let (queue, outgoing) = mpsc::channel::<Message>(MAX_CALLS);
    let mut events = launcher.events();
    let event_queue = queue.clone();
    // Dropped with this function, and the tasks with it.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(event) = events.next().await {
            if event_queue.send(Message::Event(event)).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    tasks.spawn(send_all(writer, outgoing));
    let room = Arc::new(Semaphore::new(MAX_CALLS));
    loop {
        let call = tokio::select! {
            call = wire::read::<Call>(&mut reader) => call?,
            // The writer has failed; the other task ends only with it.
            Some(ended) = tasks.join_next() => return ended.unwrap_or_else(|e| Err(io::Error::other(e))),
        };
        let Some(Call { id, request }) = call else {
            return Ok(());
        };
        // Never closed.
        let Ok(place) = room.clone().acquire_owned().await else {
            return Ok(());
        };
        let (launcher, queue) = (launcher.clone(), queue.clone());
        // Not in `tasks`: what was asked for is finished even when the nucleus is gone.
        tokio::spawn(async move {
            let result = answer(&*launcher, request).await;
            let _ = queue.send(Message::Reply { id, result }).await;
            drop(place);
        });
    }
}

async fn send_all(
    mut writer: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Message>,
) -> io::Result<()> {
    while let Some(message) = outgoing.recv().await {
        let frame = match (wire::encode(&message), message) {
            (Ok(frame), _) => frame,
            (Err(e), Message::Reply { id, .. }) => wire::encode(&Message::Reply {
                id,
                result: Err(LaunchError::system("answering", e)),
            })?,
            (Err(_), Message::Event(_)) => wire::encode(&Message::Event(Event::Missed))?,
        };
        timeout(WRITE_PATIENCE, writer.write_all(&frame))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
    Ok(())
}

async fn answer(launcher: &dyn Launcher, request: Request) -> Result<Response, LaunchError> {
    let done = |()| Response::Done;
    match request {
        Request::Start(unit) => launcher.start(*unit).await.map(Response::Started),
        Request::Stop { id, grace } => launcher.stop(&id, grace).await.map(done),
        Request::Freeze(component) => launcher.freeze(&component).await.map(done),
        Request::Thaw(component) => launcher.thaw(&component).await.map(done),
        Request::Inspect => launcher.inspect().await.map(Response::Units),
        Request::Owner { pid } => launcher.owner(pid).await.map(Response::Owner),
        Request::OwnArtifacts {
            component,
            paths,
            user,
        } => launcher
            .own_artifacts(&component, &paths, &user)
            .await
            .map(done),
        Request::PrepareWorkFolder { component, user } => launcher
            .prepare_work_folder(&component, user.as_deref())
            .await
            .map(Response::Folder),
        Request::Limits { component, limits } => {
            launcher.limits(&component, &limits).await.map(done)
        }
        Request::Reboot => launcher.reboot().await.map(done),
    }
}
