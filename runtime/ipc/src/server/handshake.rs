//! The first exchange of a connection: a CONNECT with the protocol's version and a token, answered by a CONNECT_ACK.

use super::{Shared, admission::Place};
use crate::{
    Peer, Principal,
    frame::{Decoder, Flags, Frame, Headers, Kind, MAX_CONNECT, Message, VERSION},
    wire::{self, ReadError},
};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::{io::AsyncReadExt, net::UnixStream, time};

/// A refused client may read the answer for this long. Closing at once can overtake it: the SDKs then report a lost
/// connection instead of a refusal.
const LINGER: time::Duration = time::Duration::from_millis(500);

#[derive(Deserialize)]
struct Connect {
    #[serde(rename = "authToken")]
    token: String,
}

/// Whom to serve; `None` when the connection is to be closed.
pub(super) async fn accept(
    shared: &Shared,
    stream: &mut UnixStream,
    buffer: &mut BytesMut,
    peer: Peer,
    place: &mut Place,
) -> Option<Principal> {
    let greeting = greet(shared, stream, buffer, peer, place);
    let greeted = time::timeout(shared.limits.handshake, greeting).await;
    let why = match greeted {
        Ok(Ok(principal)) => return Some(principal),
        Ok(Err(Refusal::Gone)) => return None,
        Ok(Err(Refusal::Malformed(e))) => e.to_string(),
        Ok(Err(Refusal::Because(why))) => why,
        Err(_) => "no token was shown in time".to_owned(),
    };
    if let Some(held_back) = shared.refused.pass() {
        log::warn!(pid = peer.pid, uid = peer.uid, held_back = held_back; "an IPC connection is refused: {why}");
    }
    let refuse = async {
        if wire::write(stream, &acknowledge(Flags::NONE)).await.is_ok() {
            let mut rest = [0; 512];
            // Until the client closes, as it does on a refusal.
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        }
    };
    // Either way the connection ends now.
    let _ = time::timeout(LINGER, refuse).await;
    None
}

enum Refusal {
    Gone,
    Malformed(ReadError),
    Because(String),
}

async fn greet(
    shared: &Shared,
    stream: &mut UnixStream,
    buffer: &mut BytesMut,
    peer: Peer,
    place: &mut Place,
) -> Result<Principal, Refusal> {
    let decoder = Decoder { limit: MAX_CONNECT };
    let frame = match wire::read(stream, buffer, decoder).await {
        Ok(Some(frame)) => frame,
        Ok(None) | Err(ReadError::Io(_)) => return Err(Refusal::Gone),
        Err(malformed) => return Err(Refusal::Malformed(malformed)),
    };
    let token = token(&frame).map_err(|why| Refusal::Because(why.to_owned()))?;
    let identity = &shared.ports.identity;
    let principal = identity.authenticate(&token, peer).await;
    let principal = principal.ok_or_else(|| Refusal::Because("the token is not valid".into()))?;
    if !place.known(&principal) {
        return Err(Refusal::Because(format!(
            "{principal} has too many connections"
        )));
    }
    let welcome = wire::write(stream, &acknowledge(Flags::ACCEPTED)).await;
    welcome.map_err(|_| Refusal::Gone)?;
    Ok(principal)
}

fn token(frame: &Frame) -> Result<String, &'static str> {
    if frame.kind != Kind::Connect {
        return Err("the first message is no CONNECT");
    }
    if frame.version.as_deref() != Some(VERSION.as_bytes()) {
        return Err("CONNECT names another version of the protocol than 0.1.0");
    }
    let connect: Result<Connect, _> = serde_json::from_slice(&frame.payload);
    connect
        .map(|connect| connect.token)
        .map_err(|_| "CONNECT holds no authToken")
}

fn acknowledge(flags: Flags) -> Message {
    Message {
        kind: Kind::ConnectAck,
        flags,
        stream: 0,
        headers: Headers::Bare,
        payload: Bytes::new(),
    }
}
