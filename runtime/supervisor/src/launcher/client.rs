//! The nucleus' side of a launcher in another process: the same trait, over the socket. Connects again by itself.

use super::{
    Event, Events, LaunchError, Launcher, Started, Unit, UnitId, UnitStatus,
    port::EVENT_CAPACITY,
    wire::{self, Call, Message, Request, Response},
};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
    time::sleep,
};

/// Pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A request waits this long for a launcher that is just being restarted.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait to be sent.
const QUEUE: usize = 64;

type Answer = oneshot::Sender<Result<Response, LaunchError>>;

/// A launcher behind a socket.
pub struct Client {
    calls: mpsc::Sender<(Request, Answer)>,
    events: broadcast::Sender<Event>,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects now and, whenever the connection is lost, again. Listeners then get [`Event::Missed`].
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, LaunchError> {
        let path = socket.into();
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|e| unreachable(&path, &e))?;
        let (calls, queue) = mpsc::channel(QUEUE);
        let (events, _) = broadcast::channel(EVENT_CAPACITY);
        let link = Link {
            path,
            queue,
            events: events.clone(),
            waiting: BTreeMap::new(),
            next: 0,
        };
        let task = tokio::spawn(link.run(stream));
        Ok(Self {
            calls,
            events,
            task,
        })
    }

    async fn call(&self, request: Request) -> Result<Response, LaunchError> {
        let (answer, result) = oneshot::channel();
        let gone = || LaunchError::Disconnected("the link to it has ended".into());
        self.calls
            .send((request, answer))
            .await
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    async fn done(&self, request: Request) -> Result<(), LaunchError> {
        match self.call(request).await? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Launcher for Client {
    async fn start(&self, unit: Unit) -> Result<Started, LaunchError> {
        match self.call(Request::Start(Box::new(unit))).await? {
            Response::Started(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        self.done(Request::Stop {
            id: id.clone(),
            grace,
        })
        .await
    }

    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.done(Request::Freeze(component.clone())).await
    }

    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.done(Request::Thaw(component.clone())).await
    }

    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError> {
        match self.call(Request::Inspect).await? {
            Response::Units(units) => Ok(units),
            other => Err(unexpected(&other)),
        }
    }

    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError> {
        match self.call(Request::Owner { pid }).await? {
            Response::Owner(owner) => Ok(owner),
            other => Err(unexpected(&other)),
        }
    }

    async fn own_artifacts(
        &self,
        component: &ComponentName,
        paths: &[PathBuf],
        user: &str,
    ) -> Result<(), LaunchError> {
        let (component, paths, user) = (component.clone(), paths.to_vec(), user.to_owned());
        self.done(Request::OwnArtifacts {
            component,
            paths,
            user,
        })
        .await
    }

    async fn prepare_work_folder(
        &self,
        component: &ComponentName,
        user: Option<&str>,
    ) -> Result<PathBuf, LaunchError> {
        let request = Request::PrepareWorkFolder {
            component: component.clone(),
            user: user.map(str::to_owned),
        };
        match self.call(request).await? {
            Response::Folder(folder) => Ok(folder),
            other => Err(unexpected(&other)),
        }
    }

    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError> {
        self.done(Request::Limits {
            component: component.clone(),
            limits: limits.clone(),
        })
        .await
    }

    async fn reboot(&self) -> Result<(), LaunchError> {
        self.done(Request::Reboot).await
    }

    fn events(&self) -> Events {
        Events::new(self.events.subscribe())
    }
}

/// Owns the connection.
struct Link {
    path: PathBuf,
    queue: mpsc::Receiver<(Request, Answer)>,
    events: broadcast::Sender<Event>,
    waiting: BTreeMap<u32, Answer>,
    next: u32,
}

impl Link {
    async fn run(mut self, mut stream: UnixStream) {
        loop {
            let Err(e) = self.converse(stream).await else {
                return;
            };
            log::warn!("the connection to the launcher is lost: {e}");
            for (_, answer) in std::mem::take(&mut self.waiting) {
                let _ = answer.send(Err(LaunchError::Disconnected(format!(
                    "it went away before it answered ({e})"
                ))));
            }
            let Some(again) = self.reconnect().await else {
                return;
            };
            stream = again;
            let _ = self.events.send(Event::Missed);
        }
    }

    /// Ends well when the client is dropped, and with an error when the launcher is gone.
    async fn converse(&mut self, stream: UnixStream) -> io::Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        // Frames are read on a task of their own: reading one cannot be broken off and begun again.
        let (received, mut messages) = mpsc::channel(QUEUE);
        let reading = tokio::spawn(async move {
            loop {
                let message = wire::read::<Message>(&mut reader).await;
                let last = !matches!(message, Ok(Some(_)));
                if received.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        let result = loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Ok(Some(message))) => self.received(message),
                    Some(Err(e)) => break Err(e),
                    _ => break Err(io::ErrorKind::UnexpectedEof.into()),
                },
                call = self.queue.recv() => {
                    let Some((request, answer)) = call else { break Ok(()) };
                    if let Err(e) = self.send(&mut writer, request, answer).await {
                        break Err(e);
                    }
                }
            }
        };
        reading.abort();
        result
    }

    fn received(&mut self, message: Message) {
        match message {
            Message::Reply { id, result } => {
                if let Some(answer) = self.waiting.remove(&id) {
                    let _ = answer.send(result); // the caller may have given up
                }
            }
            Message::Event(event) => {
                let _ = self.events.send(event); // nobody may be listening
            }
        }
    }

    async fn send(
        &mut self,
        writer: &mut tokio::net::unix::OwnedWriteHalf,
        request: Request,
        answer: Answer,
    ) -> io::Result<()> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let call = Call { id, request };
        if let Err(e) = wire::encode(&call) {
            let _ = answer.send(Err(LaunchError::Refused(e.to_string())));
            return Ok(());
        }
        self.waiting.insert(id, answer);
        wire::write(writer, &call).await
    }

    /// `None` when the client is dropped meanwhile.
    async fn reconnect(&mut self) -> Option<UnixStream> {
        let mut pause = FIRST_PAUSE;
        let mut without = Duration::ZERO;
        loop {
            let error = match UnixStream::connect(&self.path).await {
                Ok(stream) => return Some(stream),
                Err(e) => e,
            };
            if self.queue.is_closed() {
                return None;
            }
            sleep(pause).await;
            without += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // The queue is answered rather than left to wait for ever.
            while without >= PATIENCE
                && let Ok((_, answer)) = self.queue.try_recv()
            {
                let _ = answer.send(Err(unreachable(&self.path, &error)));
            }
        }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> LaunchError {
    LaunchError::Disconnected(format!("{}: {error}", path.display()))
}

fn unexpected(response: &Response) -> LaunchError {
    LaunchError::Disconnected(format!("it answers another question: {response:?}"))
}
