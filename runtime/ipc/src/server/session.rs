//! One accepted connection: requests in, answers and events out.

use super::{
    FAREWELL, Shared,
    admission::Place,
    handshake,
    stream::{Call, Guard, terminate},
};
use crate::{
    Peer, Principal,
    fault::Fault,
    frame::{Decoder, Flags, Frame, Headers, Kind, MAX_FRAME, Message},
    operation::{self, Operation},
    outbox::{self, Outbox},
    wire::{self, ReadError},
};
use bytes::BytesMut;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::{UnixStream, unix},
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    pub principal: Arc<Principal>,
    pub outbox: Arc<Outbox>,
    pub shared: Arc<Shared>,
    /// Requests that may be worked on at once.
    pub requests: Arc<Semaphore>,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    /// `None`: the request is under way.
    open: HashMap<i32, Option<Guard>>,
    /// The highest id seen.
    highest: i32,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.open.keys()).finish()
    }
}

/// A PING's payload is sent back, and what waits to be sent takes memory.
const MAX_PING: usize = 64 * 1024;

/// Why a connection ends.
enum End {
    /// The client closed it, or the socket failed.
    Gone,
    /// The client does not keep to the protocol.
    Malformed(String),
    /// The server ends.
    Closing,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut stream: UnixStream,
    peer: Peer,
    mut place: Place,
) {
    let mut buffer = BytesMut::new();
    let closing = shared.closing.clone();
    let greeted = tokio::select! {
        greeted = handshake::accept(&shared, &mut stream, &mut buffer, peer, &mut place) => greeted,
        () = closing.cancelled() => return,
    };
    let Some(principal) = greeted else { return };
    log::debug!(component:% = principal, pid = peer.pid; "IPC connection");
    let session = Arc::new(Session {
        principal: Arc::new(principal),
        outbox: Arc::new(Outbox::new(shared.limits.budget, shared.totals.clone())),
        requests: Arc::new(Semaphore::new(shared.limits.requests)),
        streams: Mutex::default(),
        shared,
    });
    let (mut reader, mut writer) = stream.split();
    let writing = outbox::drain(&session.outbox, &mut writer);
    tokio::pin!(writing);
    let end = tokio::select! {
        end = read(&session, &mut reader, buffer) => end,
        _ = &mut writing => End::Gone,
        () = closing.cancelled() => End::Closing,
    };
    match &end {
        End::Gone => {}
        End::Malformed(why) => session.complain(why, peer),
        End::Closing => session.end_all(),
    }
    if !matches!(end, End::Gone) {
        session.outbox.finish();
        // Whoever does not read its last messages misses them.
        let _ = time::timeout(FAREWELL, writing).await;
    }
    session.close();
}

async fn read(
    session: &Arc<Session>,
    reader: &mut unix::ReadHalf<'_>,
    mut buffer: BytesMut,
) -> End {
    let decoder = Decoder { limit: MAX_FRAME };
    let large = session.shared.admission.large(&session.principal);
    loop {
        if session.outbox.is_full() && session.outbox.room().await.is_err() {
            return End::Gone;
        }
        let length = match wire::length(reader, &mut buffer, decoder).await {
            Ok(Some(length)) => length,
            Ok(None) | Err(ReadError::Io(_)) => return End::Gone,
            Err(ReadError::Frame(e)) => return End::Malformed(e.to_string()),
        };
        let room = large.admit(length).await;
        let frame = match wire::read(reader, &mut buffer, decoder).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(ReadError::Io(_)) => return End::Gone,
            Err(ReadError::Frame(e)) => return End::Malformed(e.to_string()),
        };
        if let Err(why) = handle(session, frame, room).await {
            return End::Malformed(why);
        }
    }
}

async fn handle(
    session: &Arc<Session>,
    frame: Frame,
    room: Option<OwnedSemaphorePermit>,
) -> Result<(), String> {
    match frame.kind {
        Kind::ApplicationMessage => match &frame.operation {
            Some(name) => {
                session.open(frame.stream)?;
                start(session, name, &frame, room).await;
                Ok(())
            }
            None => session.continued(&frame),
        },
        // A client that gives up a stream may say why; no operation listens to that.
        Kind::ApplicationError => session.continued(&frame),
        Kind::Ping if frame.payload.len() > MAX_PING => {
            Err(format!("a PING carries {} bytes", frame.payload.len()))
        }
        Kind::Ping => {
            let answer = Message {
                kind: Kind::PingResponse,
                flags: Flags::NONE,
                stream: 0,
                headers: Headers::Echo(Message::echoed(&frame.headers)),
                payload: frame.payload,
            };
            session.outbox.push(answer).map_err(|_| "gone".to_owned())
        }
        Kind::PingResponse => Ok(()),
        kind => Err(format!("a client may not send {kind:?} now")),
    }
}

async fn start(
    session: &Arc<Session>,
    name: &[u8],
    frame: &Frame,
    room: Option<OwnedSemaphorePermit>,
) {
    let Some(operation) = Operation::from_name(name) else {
        let name = String::from_utf8_lossy(name);
        return session.refuse(
            frame.stream,
            &Fault::service(format!("there is no operation {name}")),
        );
    };
    let call = Call::new(
        session.clone(),
        operation,
        frame.stream,
        frame.payload.len(),
        room,
    );
    if session.streams().open.len() > session.shared.limits.streams {
        let most = session.shared.limits.streams;
        let fault = Fault::service(format!(
            "a connection may have {most} open streams, this one has more"
        ));
        return call.reply(Err::<(), _>(fault));
    }
    operation::start(call, &frame.payload).await;
}

impl Session {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, stream: i32) -> Result<(), String> {
        let mut streams = self.streams();
        if stream <= 0 {
            return Err(format!("a request has the stream id {stream}"));
        }
        streams.highest = streams.highest.max(stream);
        match streams.open.entry(stream) {
            Entry::Occupied(_) => Err(format!("a second request on stream {stream}")),
            Entry::Vacant(place) => {
                place.insert(None);
                Ok(())
            }
        }
    }

    /// A message on a stream that was opened before. No operation takes any but the last.
    fn continued(&self, frame: &Frame) -> Result<(), String> {
        let guard = {
            let mut streams = self.streams();
            if frame.stream <= 0 || frame.stream > streams.highest {
                let id = frame.stream;
                return Err(format!(
                    "a message without an operation on stream {id}, which was never opened"
                ));
            }
            if !frame.flags.has(Flags::TERMINATE) {
                return Ok(());
            }
            streams.open.remove(&frame.stream)
        };
        // Dropping the guard ends the subscription, so that nothing comes after what is forgotten here.
        if let Some(Some(guard)) = guard {
            drop(guard);
            self.outbox.forget(frame.stream);
        }
        Ok(())
    }

    /// Keeps what a stream holds until it ends.
    pub(super) fn keep(&self, stream: i32, guard: Guard) {
        let mut streams = self.streams();
        if let Some(place) = streams.open.get_mut(&stream) {
            *place = Some(guard);
        } else {
            // It has ended meanwhile. What it held may ask for the streams while it is dropped.
            drop(streams);
            drop(guard);
        }
    }

    /// Takes a stream off the list; `false` when it has ended before.
    pub(super) fn ends(&self, stream: i32) -> bool {
        let removed = self.streams().open.remove(&stream);
        removed.is_some()
    }

    fn refuse(&self, stream: i32, fault: &Fault) {
        if self.ends(stream) {
            let message = Message {
                kind: Kind::ApplicationError,
                flags: Flags::TERMINATE,
                stream,
                headers: Headers::Model(fault.class.model()),
                payload: fault.payload(),
            };
            // A client that is gone needs no answer.
            let _ = self.outbox.push(message);
        }
    }

    fn complain(&self, why: &str, peer: Peer) {
        if let Some(held_back) = self.shared.malformed.pass() {
            log::warn!(
                component:% = self.principal, pid = peer.pid, held_back = held_back;
                "an IPC connection is closed, its client does not keep to the protocol: {why}"
            );
        }
        let payload = serde_json::json!({ "message": why }).to_string();
        let message = Message {
            kind: Kind::ProtocolError,
            flags: Flags::NONE,
            stream: 0,
            headers: Headers::Bare,
            payload: payload.into(),
        };
        // As above.
        let _ = self.outbox.push(message);
    }

    /// Ends the streams that are subscriptions; requests under way are answered if they still can be.
    fn end_all(&self) {
        let subscriptions: Vec<_> = {
            let mut streams = self.streams();
            streams
                .open
                .extract_if(|_, guard| guard.is_some())
                .collect()
        };
        for (stream, guard) in subscriptions {
            // First, so that no event comes after the end.
            drop(guard);
            // As above.
            let _ = self.outbox.push(terminate(stream));
        }
    }

    fn close(&self) {
        self.outbox.close();
        let open = std::mem::take(&mut self.streams().open);
        drop(open);
    }
}
