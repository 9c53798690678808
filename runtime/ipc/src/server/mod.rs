//! The server: a socket, and a task for each connection.

mod admission;
mod handshake;
mod session;
mod stream;
mod throttle;

pub(crate) use session::Session;
pub(crate) use stream::{Call, StreamSender};

use crate::{
    Budget, ConfigurationValidators, Identity, Peer, Principal, PubSub, UpdateListeners,
    authorisation::Authorisation,
    outbox::Totals,
    ports::{Cloud, Components, Deployments, Metrics},
    socket::{self, Socket, SocketError},
};
use admission::Admission;
use configuration::Configuration;
use model::ComponentName;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use throttle::Throttle;
use tokio::{net::UnixStream, time};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How much one client and all together may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one component.
    pub connections_per_component: usize,
    /// Connections of one user that have not shown a token yet.
    pub handshakes_per_user: usize,
    /// How long a client may take to show its token.
    pub handshake: Duration,
    /// Open streams of one connection: subscriptions, and requests under way.
    pub streams: usize,
    /// Bytes of large requests of one component that are read and worked on at once, over all its connections; further
    /// ones wait in the socket.
    pub large_per_component: usize,
    /// Bytes that the open streams of one component may take, over all its connections, about.
    pub held_per_component: usize,
    /// Requests of one connection that are worked on at once; further ones wait in the socket.
    pub requests: usize,
    /// What may wait to be written.
    pub budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_component: 250,
            handshakes_per_user: 100,
            handshake: Duration::from_secs(5),
            streams: 1000,
            large_per_component: 32 * 1024 * 1024,
            held_per_component: 8 * 1024 * 1024,
            requests: 64,
            budget: Budget::default(),
        }
    }
}

/// Where to listen, and how much to allow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The socket.
    pub path: PathBuf,
    /// How much clients may ask for.
    pub limits: Limits,
}

/// What the operations work on.
#[derive(Clone)]
pub struct Ports {
    /// Who a token belongs to.
    pub identity: Arc<dyn Identity>,
    /// The components.
    pub components: Arc<dyn Components>,
    /// Local deployments.
    pub deployments: Arc<dyn Deployments>,
    /// Where component metrics go.
    pub metrics: Arc<dyn Metrics>,
    /// The MQTT broker in the cloud.
    pub cloud: Arc<dyn Cloud>,
    /// The configuration of all components, with their policies.
    pub configuration: Configuration,
    /// Local publish/subscribe; features of this process may use it too.
    pub pubsub: PubSub,
    /// Who wants to know of updates; deployments ask them.
    pub updates: UpdateListeners,
    /// Who checks new configurations; deployments ask them.
    pub validators: ConfigurationValidators,
}

/// Serves Greengrass IPC on a Unix socket.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    shared: Arc<Shared>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub ports: Ports,
    pub authorisation: Authorisation,
    pub limits: Limits,
    totals: Arc<Totals>,
    admission: Arc<Admission>,
    malformed: Throttle,
    refused: Throttle,
    /// Cancelled when the server is to end.
    closing: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Decides by the policies of all components, as they are at the moment. Clones decide alike.
#[derive(Clone, Debug)]
pub struct Rights(Arc<Shared>);

impl Rights {
    /// Whether a policy allows a component an operation of a service. `resource`: `None` when the operation has none.
    pub fn allow(
        &self,
        service: &str,
        component: &ComponentName,
        operation: &str,
        resource: Option<&str>,
    ) -> bool {
        let principal = Principal::Component(component.clone());
        let authorisation = &self.0.authorisation;
        authorisation
            .check(service, &principal, operation, resource)
            .is_ok()
    }
}

/// Counts for telemetry. Clones read the same counts.
#[derive(Clone, Debug)]
pub struct Statistics {
    totals: Arc<Totals>,
}

impl Statistics {
    /// Messages dropped for subscribers that did not keep up, since the start; wraps.
    pub fn dropped(&self) -> usize {
        self.totals.dropped()
    }

    /// Bytes of messages that wait for subscribers now.
    pub fn waiting(&self) -> usize {
        self.totals.waiting()
    }
}

/// How long a connection may take for its last words when the server ends.
const FAREWELL: Duration = Duration::from_secs(1);

impl Server {
    /// Binds the socket. From then on clients can connect; they are answered once [`Server::run`] runs.
    pub fn bind(options: &Options, ports: Ports) -> Result<Self, SocketError> {
        let limits = options.limits;
        let authorisation = Authorisation::new(ports.configuration.clone());
        let shared = Shared {
            ports,
            authorisation,
            limits,
            totals: Arc::default(),
            admission: Arc::new(Admission::new(limits)),
            malformed: Throttle::default(),
            refused: Throttle::default(),
            closing: CancellationToken::new(),
        };
        Ok(Self {
            socket: socket::bind(&options.path)?,
            shared: Arc::new(shared),
        })
    }

    /// The path to give to components as `AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT`: the socket's own, or a
    /// shorter name of it where that is too long for a socket address.
    pub fn address(&self) -> &Path {
        &self.socket.address
    }

    /// Who may do what, for services that components reach in other ways.
    pub fn rights(&self) -> Rights {
        Rights(self.shared.clone())
    }

    /// Counts, to be read at any time.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            totals: self.shared.totals.clone(),
        }
    }

    /// Serves until `shutdown`, then ends every stream and connection and removes the socket.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &connections),
                    Err(e) => {
                        // Out of file descriptors, as a rule: some will be free again.
                        if let Some(held_back) = self.shared.refused.pass() {
                            log::error!(held_back = held_back; "cannot accept an IPC connection: {e}");
                        }
                        time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        self.shared.closing.cancel();
        connections.close();
        if time::timeout(FAREWELL * 2, connections.wait())
            .await
            .is_err()
        {
            log::warn!(connections = connections.len(); "IPC connections did not end in time");
        }
    }

    fn admit(&self, stream: UnixStream, connections: &TaskTracker) {
        let peer = match peer(&stream) {
            Ok(peer) => peer,
            Err(e) => return log::debug!("an IPC client has gone before it was seen: {e}"),
        };
        let Some(place) = self.shared.admission.enter(peer.uid) else {
            if let Some(held_back) = self.shared.refused.pass() {
                log::warn!(uid = peer.uid, pid = peer.pid, held_back = held_back; "too many IPC connections, one is refused");
            }
            return;
        };
        connections.spawn(session::serve(self.shared.clone(), stream, peer, place));
    }
}

fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = stream.peer_cred()?;
    Ok(Peer {
        pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}
