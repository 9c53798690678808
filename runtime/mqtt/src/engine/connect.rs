//! From the first byte to CONNACK.

use super::{Peer, Shared, connection::Connected, metrics::add, registry::Arrival, scratch};
use crate::{
    Identity,
    packet::{Codec, ConnAck, Connect, Encoder, Incoming, Version, reason},
    policy::{ConnectRefusal, ConnectRequest},
};
use bytes::BytesMut;
use bytestring::ByteString;
use std::{future::poll_fn, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// How long a refusal may take to be written.
const FAREWELL: Duration = Duration::from_secs(5);

/// What was agreed on, and the bytes that came behind CONNECT.
pub(crate) struct Agreed {
    pub arrival: Arrival,
    pub identity: Arc<Identity>,
    pub connect: Box<Connect>,
    pub codec: Codec,
    pub encoder: Encoder,
    pub input: BytesMut,
    pub out: BytesMut,
    /// Seconds, 0: none.
    pub keep_alive: u16,
    pub expiry: u32,
}

/// Reads CONNECT, asks policy, takes the seat. `None`: refused, and the client was told.
pub(crate) async fn shake_hands<S>(
    shared: Arc<Shared>,
    mut stream: S,
    peer: Peer,
) -> Option<Box<Connected<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut codec = Codec::new(shared.options.max_packet_size);
    let mut input = BytesMut::new();
    let mut out = BytesMut::new();
    let stop = shared.stop.clone();
    let outcome = tokio::select! {
        outcome = receive(&shared, &mut stream, &mut codec, &mut input, &mut out) => outcome,
        () = tokio::time::sleep(shared.options.connect_timeout) => Err(None),
        () = stop.cancelled() => Err(None),
    };
    let outcome = match outcome {
        Ok(connect) => decide(&shared, connect, peer, codec).await,
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(mut agreed) => {
            agreed.input = input;
            Some(Box::new(Connected::new(shared, stream, agreed)))
        }
        Err(refusal) => {
            add(&shared.metrics.refused, 1);
            if let Some((encoder, connack)) = refusal {
                encoder.connack(&connack, &mut out);
            }
            let farewell = async {
                stream.write_all(&out).await?;
                stream.shutdown().await
            };
            // The client is refused either way; whether it reads why is up to it.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
            None
        }
    }
}

type Refusal = Option<(Encoder, ConnAck)>;

async fn receive<S: AsyncRead + Unpin>(
    shared: &Shared,
    stream: &mut S,
    codec: &mut Codec,
    input: &mut BytesMut,
    out: &mut BytesMut,
) -> Result<Box<Connect>, Refusal> {
    loop {
        match codec.decode(input) {
            Ok(Some(Incoming::Connect(connect))) => return Ok(connect),
            Ok(Some(_)) => return Err(None),
            Ok(None) => {}
            Err(error) => {
                codec.refuse(&error, false, out);
                log::debug!(error = error.to_string(); "refused a connection before CONNECT was understood");
                return Err(None);
            }
        }
        match poll_fn(|cx| scratch::poll_read(stream, cx, input)).await {
            Ok(0) | Err(_) => return Err(None),
            Ok(read) => add(&shared.metrics.bytes_in, read),
        }
    }
}

async fn decide(
    shared: &Arc<Shared>,
    mut connect: Box<Connect>,
    peer: Peer,
    codec: Codec,
) -> Result<Agreed, Refusal> {
    let encoder = Encoder::new(connect.version, connect.maximum_packet_size);
    let refuse = |reason: u8| {
        Some((
            encoder,
            ConnAck {
                reason,
                ..ConnAck::default()
            },
        ))
    };
    if connect.authentication_method.is_some() {
        return Err(refuse(reason::BAD_AUTHENTICATION_METHOD));
    }
    let assigned = connect.client_id.is_empty();
    if assigned {
        if connect.version == Version::V311 && !connect.clean {
            return Err(refuse(reason::CLIENT_IDENTIFIER_NOT_VALID));
        }
        connect.client_id = assigned_id().ok_or_else(|| refuse(reason::SERVER_UNAVAILABLE))?;
    }
    let identity = Arc::new(Identity {
        address: peer.address,
        certificate: peer.certificate,
        client_id: own(&connect.client_id),
        username: connect.username.as_ref().map(own),
    });
    let max_expiry = u32::try_from(shared.options.max_session_expiry.as_secs()).unwrap_or(u32::MAX);
    let expiry = connect.session_expiry.min(max_expiry);
    let asked = ask(shared, &connect, &identity, expiry);
    let asked = tokio::time::timeout(shared.options.connect_timeout, asked).await;
    asked
        .unwrap_or(Err(reason::SERVER_UNAVAILABLE))
        .map_err(refuse)?;
    connect.password = None;
    let (keep_alive, told) = keep_alive(&connect, shared.options.max_keep_alive);
    let maximum = connect.receive_maximum.min(shared.options.max_inflight);
    let arrival = shared
        .arrive(&connect, &identity, expiry, maximum, keep_alive)
        .map_err(refuse)?;
    let connack = ConnAck {
        session_present: arrival.session_present,
        reason: reason::SUCCESS,
        session_expiry: (expiry != connect.session_expiry).then_some(expiry),
        receive_maximum: Some(shared.options.receive_maximum),
        maximum_packet_size: Some(shared.options.max_packet_size),
        assigned_client_id: assigned.then(|| connect.client_id.clone()),
        topic_alias_maximum: Some(shared.options.topic_alias_maximum),
        reason_string: None,
        server_keep_alive: told,
    };
    let mut out = scratch::take();
    encoder.connack(&connack, &mut out);
    Ok(Agreed {
        arrival,
        identity,
        connect,
        codec,
        encoder,
        input: BytesMut::new(),
        out,
        keep_alive,
        expiry,
    })
}

/// Asks policy about the connection and its will.
async fn ask(
    shared: &Shared,
    connect: &Connect,
    identity: &Identity,
    expiry: u32,
) -> Result<(), u8> {
    let will = connect.will.as_deref().map(|will| &will.message);
    let request = ConnectRequest {
        identity,
        password: connect.password.as_ref(),
        will: will.map(|will| (&will.topic, will.qos, will.retain)),
        persistent: expiry > 0 || !connect.clean,
    };
    let refused = shared
        .policy
        .connect(request)
        .await
        .err()
        .map(|refusal| match refusal {
            ConnectRefusal::BadCredentials => reason::BAD_USER_NAME_OR_PASSWORD,
            ConnectRefusal::NotAuthorized => reason::NOT_AUTHORIZED,
            ConnectRefusal::ClientIdNotAllowed => reason::CLIENT_IDENTIFIER_NOT_VALID,
            ConnectRefusal::Busy => reason::SERVER_BUSY,
            ConnectRefusal::Banned => reason::BANNED,
        });
    if let Some(reason) = refused {
        add(&shared.metrics.denied_connect, 1);
        log::info!(client = &*identity.client_id, reason; "policy refused a connection");
        return Err(reason);
    }
    if let Some(will) = will
        && !shared
            .policy
            .publish(identity, &will.topic, will.qos, will.retain)
    {
        add(&shared.metrics.denied_publish, 1);
        log::info!(client = &*identity.client_id, topic = &*will.topic; "policy refused a will");
        return Err(reason::NOT_AUTHORIZED);
    }
    Ok(())
}

/// Seconds to hold the client to, and what MQTT 5 is told if it differs. 3.1.1 cannot be told, so it gets what it asked for.
fn keep_alive(connect: &Connect, maximum: Option<u16>) -> (u16, Option<u16>) {
    match maximum {
        Some(maximum)
            if connect.version == Version::V5
                && (connect.keep_alive == 0 || connect.keep_alive > maximum) =>
        {
            (maximum, Some(maximum))
        }
        _ => (connect.keep_alive, None),
    }
}

/// 128 random bits: nobody can guess the client id of another.
fn assigned_id() -> Option<ByteString> {
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random).ok()?;
    Some(format!("auto-{:032x}", u128::from_be_bytes(random)).into())
}

/// A copy that does not keep the read buffer alive.
pub(crate) fn own(text: &ByteString) -> ByteString {
    ByteString::from(&**text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(version: Version, keep_alive: u16) -> Connect {
        Connect {
            version,
            client_id: "c".into(),
            clean: true,
            keep_alive,
            will: None,
            username: None,
            password: None,
            session_expiry: 0,
            receive_maximum: 65535,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_problem_information: true,
            request_response_information: false,
            authentication_method: None,
        }
    }

    #[test]
    fn only_mqtt_5_is_told_another_keep_alive() {
        for (version, asked, maximum, used, told) in [
            (Version::V5, 30, Some(60), 30, None),
            (Version::V5, 90, Some(60), 60, Some(60)),
            (Version::V5, 0, Some(60), 60, Some(60)),
            (Version::V5, 0, None, 0, None),
            (Version::V311, 90, Some(60), 90, None),
            (Version::V311, 0, Some(60), 0, None),
        ] {
            assert_eq!(
                keep_alive(&connect(version, asked), maximum),
                (used, told),
                "{version:?} {asked} {maximum:?}"
            );
        }
    }

    #[test]
    fn assigned_client_ids_differ() {
        assert_ne!(assigned_id().unwrap(), assigned_id().unwrap());
    }
}
