//! The front as the embedding program holds it: listeners that share caps and counters, and their orderly end.

use super::{
    FrontError, HTTP_PROTOCOLS, Limits, MQTT_PROTOCOLS, Metrics, Stream, TlsHandle, accept,
    alpn::Offer, handshake::Workers, limits::Gate, log_limit::LogLimit, metrics::Counters,
};
use crate::engine::Peer;
use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const BACKLOG: u32 = 1024;

/// Serves an established connection to its end.
pub type Handler =
    Arc<dyn Fn(Stream, Peer) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes a [`Handler`] of a closure that returns a future, such as
/// `handler(move |stream, peer| engine.connection(stream, peer))`.
pub fn handler<F, R>(serve: F) -> Handler
where
    F: Fn(Stream, Peer) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |stream, peer| Box::pin(serve(stream, peer)))
}

/// How a listener is spoken to.
#[derive(Clone, Debug)]
pub enum Transport {
    /// MQTT over TCP.
    Tcp,
    /// MQTT over TLS.
    Tls(TlsHandle),
    /// MQTT over WebSocket.
    WebSocket,
    /// MQTT over WebSocket over TLS.
    SecureWebSocket(TlsHandle),
}

/// How a listener is spoken to, and who serves what comes.
#[derive(Clone)]
pub struct Listener {
    transport: Transport,
    mqtt: Option<Handler>,
    http: Option<Handler>,
    silent_means_http: bool,
}

impl Listener {
    /// MQTT goes to `mqtt`.
    pub fn new(transport: Transport, mqtt: Handler) -> Self {
        Self {
            transport,
            mqtt: Some(mqtt),
            http: None,
            silent_means_http: false,
        }
    }

    /// TLS for HTTP alone, with the guards of this front.
    pub fn https(tls: TlsHandle, http: Handler) -> Self {
        Self {
            transport: Transport::Tls(tls),
            mqtt: None,
            http: Some(http),
            silent_means_http: true,
        }
    }

    /// On a listener of [`Transport::Tls`]: connections that agree on one of [`HTTP_PROTOCOLS`] go to `http`. (An HTTP server that
    /// gets a request to upgrade to MQTT over WebSocket wraps the stream in [`WebSocket::upgraded`](super::WebSocket::upgraded)
    /// and hands it to whoever serves MQTT.)
    #[must_use]
    pub fn with_http(mut self, http: Handler) -> Self {
        self.http = Some(http);
        self
    }

    /// Takes a client that offers no protocol for an HTTP client, as on port 443, instead of an MQTT client, as on 8883.
    #[must_use]
    pub fn silent_means_http(mut self) -> Self {
        self.silent_means_http = true;
        self
    }

    fn bind(self, address: SocketAddr) -> Result<accept::Door, FrontError> {
        let offer = self.offer()?;
        let websocket = matches!(
            self.transport,
            Transport::WebSocket | Transport::SecureWebSocket(_)
        );
        Ok(accept::Door {
            address,
            tls: match self.transport {
                Transport::Tls(tls) | Transport::SecureWebSocket(tls) => Some((tls, offer)),
                Transport::Tcp | Transport::WebSocket => None,
            },
            websocket,
            mqtt: self.mqtt,
            http: self.http,
            silent_means_http: self.silent_means_http,
        })
    }

    fn offer(&self) -> Result<Offer, FrontError> {
        let none: &[&str] = &[];
        let http = match self.http {
            Some(_) => HTTP_PROTOCOLS,
            None => none,
        };
        let names = match (&self.transport, &self.mqtt) {
            // A WebSocket begins as a request of HTTP/1.1.
            (Transport::SecureWebSocket(_), _) => vec!["http/1.1"],
            (_, Some(_)) => [MQTT_PROTOCOLS, http].concat(),
            (_, None) => http.to_vec(),
        };
        Offer::new(names)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("transport", &self.transport)
            .field("http", &self.http.is_some())
            .finish_non_exhaustive()
    }
}

/// What the listeners of a front share.
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) gate: Arc<Gate>,
    pub(super) counters: Arc<Counters>,
    pub(super) workers: Workers,
    pub(super) log: LogLimit,
    /// Nobody is let in any more.
    pub(super) closing: CancellationToken,
    /// Those inside are cut.
    pub(super) cutting: CancellationToken,
    pub(super) connections: TaskTracker,
    pub(super) listeners: TaskTracker,
}

/// Listeners that share caps and counters. Cheap to clone; all clones are the same front.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

impl Front {
    /// A front without listeners.
    pub fn new(limits: Limits) -> Self {
        let counters: Arc<Counters> = Arc::default();
        Self(Arc::new(Shared {
            limits,
            gate: Gate::new(limits, counters.clone()),
            counters,
            workers: Workers::new(limits.handshake_threads),
            log: LogLimit::default(),
            closing: CancellationToken::new(),
            cutting: CancellationToken::new(),
            connections: TaskTracker::new(),
            listeners: TaskTracker::new(),
        }))
    }

    /// Listens on an address (port 0: any free one) and returns the one it got. To be called within a tokio runtime, which
    /// then runs the listener and its connections.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the front has been stopped.
    pub fn listen(
        &self,
        address: SocketAddr,
        listener: Listener,
    ) -> Result<SocketAddr, FrontError> {
        let failed = |source| FrontError::Listen { address, source };
        self.serve(socket(address).map_err(failed)?, listener)
    }

    /// As [`Front::listen`], on a socket that listens already, such as one inherited from systemd.
    ///
    /// # Errors
    /// When the front has been stopped.
    pub fn serve(&self, socket: TcpListener, listener: Listener) -> Result<SocketAddr, FrontError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = (socket.local_addr()).map_err(|source| FrontError::Listen {
            address: unknown,
            source,
        })?;
        if self.0.closing.is_cancelled() {
            return Err(FrontError::Stopped(address));
        }
        let door = Arc::new(listener.bind(address)?);
        (self.0.listeners).spawn(accept::run(socket, door, self.0.clone()));
        Ok(address)
    }

    /// A reading of the counters.
    pub fn metrics(&self) -> Metrics {
        self.0.counters.read()
    }

    /// Closes the listeners and ends handshakes; returns once the ports are free. Established connections go on.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.listeners.close();
        self.0.listeners.wait().await;
    }

    /// [`Front::close`], then waits for the established connections to end by themselves and cuts those that have not within
    /// `grace`. Whoever serves them should have been told to end them. Returns how many were cut.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.close().await;
        self.0.connections.close();
        let cut = match timeout(grace, self.0.connections.wait()).await {
            Ok(()) => 0,
            Err(_) => self.0.connections.len(),
        };
        self.0.cutting.cancel();
        self.0.connections.wait().await;
        cut
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Front").field(&self.metrics()).finish()
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
