//! The client's side of a connection: the task that owns the socket, and the streams that wait for answers.

use super::{ClientError, Event, RemoteError};
use crate::{
    frame::{Decoder, Flags, Frame, Headers, Kind, MAX_FRAME, Message},
    outbox::{self, Outbox},
    wire,
};
use bytes::BytesMut;
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::{UnixStream, unix},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

/// What comes on a stream.
#[derive(Debug)]
pub enum Answer {
    /// An answer or an event.
    Event(Event),
    /// An error; nothing follows.
    Error(RemoteError),
    /// The server ended the stream.
    End,
}

/// The streams that are open.
#[derive(Debug, Default)]
pub struct Streams {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: i32,
    open: HashMap<i32, mpsc::Sender<Answer>>,
    pongs: Vec<oneshot::Sender<()>>,
    closed: bool,
}

impl Streams {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the next stream.
    pub fn open(&self, answers: mpsc::Sender<Answer>) -> Result<i32, ClientError> {
        let mut state = self.state();
        let id = state.last.checked_add(1).filter(|_| !state.closed);
        let id = id.ok_or(ClientError::Closed)?;
        state.last = id;
        state.open.insert(id, answers);
        Ok(id)
    }

    /// Forgets a stream; `false` when it had ended before.
    pub fn close(&self, stream: i32) -> bool {
        self.state().open.remove(&stream).is_some()
    }

    /// Resolves with the next PING_RESPONSE.
    pub fn expect_pong(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.state().pongs.push(sender);
        receiver
    }

    fn close_all(&self) {
        let mut state = self.state();
        state.closed = true;
        state.open.clear();
        state.pongs.clear();
    }

    /// Hands a frame to its stream; waits for a reader that is behind.
    async fn deliver(&self, frame: Frame) {
        let ends = frame.flags.has(Flags::TERMINATE);
        let sender = {
            let mut state = self.state();
            if ends {
                state.open.remove(&frame.stream)
            } else {
                state.open.get(&frame.stream).cloned()
            }
        };
        let Some(sender) = sender else { return };
        let model = frame.model.as_deref().unwrap_or_default();
        let model = String::from_utf8_lossy(model).into_owned();
        // A stream whose reader is gone needs no answer.
        if frame.kind == Kind::ApplicationError {
            let _ = sender
                .send(Answer::Error(remote(&model, &frame.payload)))
                .await;
            return;
        }
        if !model.is_empty() || !frame.payload.is_empty() {
            let payload = frame.payload;
            let _ = sender.send(Answer::Event(Event { model, payload })).await;
        }
        if ends {
            let _ = sender.send(Answer::End).await;
        }
    }
}

fn remote(model: &str, payload: &[u8]) -> RemoteError {
    let mut error: RemoteError = serde_json::from_slice(payload).unwrap_or_default();
    if error.code.is_empty() {
        model
            .rsplit('#')
            .next()
            .unwrap_or_default()
            .clone_into(&mut error.code);
    }
    if error.message.is_empty() {
        error.message = String::from_utf8_lossy(payload).into_owned();
    }
    error
}

type Open = (Arc<Outbox>, Arc<Streams>, CancellationToken);

/// Connects, shows the token, and starts the task.
pub async fn open(path: &Path, token: &str) -> Result<Open, ClientError> {
    let mut socket = crate::socket::connect(path)
        .await
        .map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
    let mut buffer = BytesMut::new();
    let payload = serde_json::json!({ "authToken": token }).to_string().into();
    let hello = Message {
        kind: Kind::Connect,
        flags: Flags::NONE,
        stream: 0,
        headers: Headers::Connect,
        payload,
    };
    wire::write(&mut socket, &hello)
        .await
        .map_err(|_| ClientError::Closed)?;
    let decoder = Decoder { limit: MAX_FRAME };
    match wire::read(&mut socket, &mut buffer, decoder).await {
        Ok(Some(frame)) if frame.kind == Kind::ConnectAck => {
            if !frame.flags.has(Flags::ACCEPTED) {
                return Err(ClientError::Refused);
            }
        }
        Ok(Some(frame)) => {
            return Err(ClientError::Protocol(format!(
                "{:?} instead of an answer to CONNECT",
                frame.kind
            )));
        }
        Ok(None) => return Err(ClientError::Closed),
        Err(wire::ReadError::Frame(e)) => return Err(e.into()),
        Err(wire::ReadError::Io(_)) => return Err(ClientError::Closed),
    }
    let outbox = Arc::new(Outbox::unlimited());
    let streams = Arc::new(Streams::default());
    let closed = CancellationToken::new();
    tokio::spawn(run(
        socket,
        buffer,
        outbox.clone(),
        streams.clone(),
        closed.clone(),
    ));
    Ok((outbox, streams, closed))
}

async fn run(
    mut socket: UnixStream,
    buffer: BytesMut,
    outbox: Arc<Outbox>,
    streams: Arc<Streams>,
    closed: CancellationToken,
) {
    let (mut read_half, mut write_half) = socket.split();
    tokio::select! {
        () = read(&mut read_half, buffer, &outbox, &streams) => {}
        _ = outbox::drain(&outbox, &mut write_half) => {}
    }
    outbox.close();
    streams.close_all();
    closed.cancel();
}

async fn read(
    half: &mut unix::ReadHalf<'_>,
    mut buffer: BytesMut,
    outbox: &Outbox,
    streams: &Streams,
) {
    let decoder = Decoder { limit: MAX_FRAME };
    while let Ok(Some(frame)) = wire::read(half, &mut buffer, decoder).await {
        match frame.kind {
            Kind::ApplicationMessage | Kind::ApplicationError => streams.deliver(frame).await,
            Kind::Ping => {
                let answer = Message {
                    kind: Kind::PingResponse,
                    flags: Flags::NONE,
                    stream: 0,
                    headers: Headers::Echo(Message::echoed(&frame.headers)),
                    payload: frame.payload,
                };
                if outbox.push(answer).is_err() {
                    return;
                }
            }
            Kind::PingResponse => {
                for pong in streams.state().pongs.drain(..) {
                    // Whoever asked may have given up.
                    let _ = pong.send(());
                }
            }
            kind => {
                log::debug!(
                    "the server sent {kind:?}: {}",
                    String::from_utf8_lossy(&frame.payload)
                );
                return;
            }
        }
    }
}
