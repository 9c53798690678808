//! The accept loop: takes connections off the kernel's queue and does nothing else that could wait. Errors end no listener.

use super::{
    HTTP_PROTOCOLS,
    alpn::Offer,
    handshake::{self, Failed},
    limits::Place,
    metrics::Failure,
    server::{Handler, Shared},
    stream::Stream,
    tls::TlsHandle,
};
use crate::engine::Peer;
use socket2::{SockRef, TcpKeepalive};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// The pause after accept(2) failed for lack of something; doubled each time up to the longest.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Finds peers that vanished without a word, also those that asked for no MQTT keep-alive.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_PROBES: u32 = 4;

/// A listener at its address.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(TlsHandle, Offer)>,
    pub(super) websocket: bool,
    pub(super) mqtt: Option<Handler>,
    pub(super) http: Option<Handler>,
    pub(super) silent_means_http: bool,
}

impl Door {
    /// Who serves a connection that agreed on this protocol, or on none.
    fn handler(&self, protocol: Option<&str>) -> Option<&Handler> {
        let http = match protocol {
            // A WebSocket's "http/1.1" leads to MQTT.
            _ if self.websocket => false,
            Some(name) => HTTP_PROTOCOLS.contains(&name),
            None => self.silent_means_http,
        };
        if http {
            self.http.as_ref()
        } else {
            self.mqtt.as_ref()
        }
    }
}

pub(super) async fn run(socket: TcpListener, door: Arc<Door>, shared: Arc<Shared>) {
    let mut pause = PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.closing.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, address)) => {
                pause = PAUSE;
                shared.counters.accepted();
                admit(tcp, address, &door, &shared);
            }
            Err(error) if of_the_peer(&error) => {}
            Err(error) => {
                shared.counters.accept_error();
                if shared.log.pass(Instant::now()).is_some() {
                    let listener = door.address;
                    log::error!(listener:% = listener, error:% = error; "cannot accept a connection; trying again");
                }
                tokio::select! {
                    () = shared.closing.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Errors that accept(2) reports of a connection that is already gone, and which say nothing about the next one.
fn of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn admit(tcp: TcpStream, address: SocketAddr, door: &Arc<Door>, shared: &Arc<Shared>) {
    let place = match shared.gate.enter(address.ip()) {
        Ok(place) => place,
        // Dropping the socket closes it: the client learns at once, and nothing is spent on it.
        Err(why) => return failed(shared, door, address, &Failed(why, why.to_string())),
    };
    // What lives as long as the connection is this small future; all of the handshake's state is boxed and freed with it.
    let arriving = Box::pin(arrive(tcp, address, place, door.clone(), shared.clone()));
    let cutting = shared.cutting.clone();
    shared.connections.spawn(async move {
        if let Some((serving, _place)) = arriving.await {
            tokio::select! {
                biased;
                () = cutting.cancelled() => {}
                () = serving => {}
            }
        }
    });
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The handshake within its time; what serves the connection, or `None` when it failed.
async fn arrive(
    tcp: TcpStream,
    address: SocketAddr,
    place: Place,
    door: Arc<Door>,
    shared: Arc<Shared>,
) -> Option<(Serving, Place)> {
    let established = establish(tcp, address, &place, &door, &shared);
    let established = tokio::select! {
        biased;
        () = shared.closing.cancelled() => return None,
        established = timeout(shared.limits.handshake_time, established) => established,
    };
    let too_long = || Failed(Failure::Timeout, "the handshake took too long".into());
    match established.unwrap_or_else(|_| Err(too_long())) {
        Ok(serving) => {
            shared.counters.established();
            Some((serving, place))
        }
        Err(why) => {
            failed(&shared, &door, address, &why);
            None
        }
    }
}

async fn establish(
    tcp: TcpStream,
    address: SocketAddr,
    place: &Place,
    door: &Door,
    shared: &Shared,
) -> Result<Serving, Failed> {
    if let Err(error) = tune(&tcp) {
        return Err(Failed(Failure::Closed, error.to_string()));
    }
    let (mut stream, peer, protocol) = match &door.tls {
        None => {
            let peer = Peer {
                address: Some(address),
                certificate: None,
            };
            (Stream::Tcp(tcp), peer, None)
        }
        Some((tls, offer)) => {
            let means = (&shared.workers, &*shared.counters);
            let secured = handshake::secure(tcp, address, (tls, offer), place, means).await?;
            (Stream::Tls(secured.stream), secured.peer, secured.protocol)
        }
    };
    let Some(handler) = door.handler(protocol.as_deref()) else {
        let text = "nobody serves the protocol agreed on".into();
        return Err(Failed(Failure::Alpn, text));
    };
    if door.websocket {
        stream = handshake::upgrade(stream, shared.limits.websocket_message).await?;
    }
    Ok(handler(stream, peer))
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

fn failed(shared: &Shared, door: &Door, address: SocketAddr, why: &Failed) {
    shared.counters.failed(why.0);
    if let Some(suppressed) = shared.log.pass(Instant::now()) {
        let listener = door.address;
        log::info!(
            listener:% = listener, address:% = address, failure:% = why.0, suppressed;
            "a connection was not established: {}", why.1
        );
    }
}
