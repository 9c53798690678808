//! A server on a socket of its own, and ways to talk to it.

use crate::fakes::{FakeCloud, FakeComponents, FakeDeployments, FakeIdentity, FakeMetrics};
use bytes::BytesMut;
use configuration::{Configuration, Operation};
use ipc::{
    ConfigurationValidators, Limits, Options, Ports, PubSub, Server, Statistics, UpdateListeners,
    client::{Client, ClientError, RemoteError},
    frame::{Decoder, Frame, Headers, Kind, MAX_FRAME, Message, encode},
};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; no test waits that long when it passes.
pub const SOON: Duration = Duration::from_secs(20);

/// A component's token, and its name.
pub const A: (&str, &str) = ("TOKENOFCOMPONENTA", "com.example.A");
/// Another.
pub const B: (&str, &str) = ("TOKENOFCOMPONENTB", "com.example.B");
/// One without any policy.
pub const POOR: (&str, &str) = ("TOKENOFPOOR", "com.example.Poor");
/// A person at the command line.
pub const CLI: &str = "TOKENOFCLI";
/// The stream manager.
pub const STREAMS: (&str, &str) = ("TOKENOFSTREAMS", "aws.greengrass.StreamManager");

pub struct World {
    folder: tempfile::TempDir,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    pub configuration: Configuration,
    pub components: Arc<FakeComponents>,
    pub deployments: Arc<FakeDeployments>,
    pub metrics: Arc<FakeMetrics>,
    pub cloud: Arc<FakeCloud>,
    pub pubsub: PubSub,
    pub updates: UpdateListeners,
    pub validators: ConfigurationValidators,
    pub statistics: Statistics,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = store::Database::in_memory(&[Configuration::SCHEMA]).unwrap();
        let configuration = Configuration::open(database).await.unwrap();
        let (components, deployments, metrics) = (Arc::default(), Arc::default(), Arc::default());
        let cloud = Arc::<FakeCloud>::default();
        let (pubsub, updates, validators) = (
            PubSub::default(),
            UpdateListeners::default(),
            ConfigurationValidators::default(),
        );
        let ports = Ports {
            identity: Arc::new(FakeIdentity),
            components: Arc::clone(&components) as Arc<FakeComponents>,
            deployments: Arc::clone(&deployments) as Arc<FakeDeployments>,
            metrics: Arc::clone(&metrics) as Arc<FakeMetrics>,
            cloud: cloud.clone(),
            configuration: configuration.clone(),
            pubsub: pubsub.clone(),
            updates: updates.clone(),
            validators: validators.clone(),
        };
        let path = folder.path().join("ipc.socket");
        let server = Server::bind(&Options { path, limits }, ports).unwrap();
        let statistics = server.statistics();
        let shutdown = CancellationToken::new();
        let running = Some(tokio::spawn(server.run(shutdown.clone())));
        let world = Self {
            folder,
            shutdown,
            running,
            configuration,
            components,
            deployments,
            metrics,
            cloud,
            pubsub,
            updates,
            validators,
            statistics,
        };
        for component in [A, B, POOR, STREAMS] {
            world.set(component.1, &[], json!({})).await;
        }
        for component in [A, B] {
            world
                .allow(component.1, "aws.greengrass.ipc.pubsub", &["*"], &["*"])
                .await;
        }
        world
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ipc.socket")
    }

    /// Merges into a component's configuration.
    pub async fn set(&self, component: &str, keys: &[&str], value: Value) {
        let mut path: Vec<String> = ["services", component, "configuration"]
            .map(Into::into)
            .to_vec();
        path.extend(keys.iter().map(|key| (*key).to_owned()));
        let operation = Operation::Merge {
            path,
            value,
            at: 1000,
        };
        self.configuration.commit(vec![operation]).await.unwrap();
    }

    pub async fn allow(
        &self,
        component: &str,
        service: &str,
        operations: &[&str],
        resources: &[&str],
    ) {
        let policy = json!({ "operations": operations, "resources": resources });
        let id = format!("{component}:{service}:{}", operations.join(","));
        self.set(
            component,
            &["accessControl"],
            json!({ service: { id: policy } }),
        )
        .await;
    }

    pub async fn client(&self, token: &str) -> Client {
        Client::connect_within(&self.path(), token, SOON)
            .await
            .unwrap()
    }

    pub async fn raw(&self) -> Raw {
        Raw {
            stream: UnixStream::connect(self.path()).await.unwrap(),
            buffer: BytesMut::new(),
        }
    }

    /// A connection whose bytes the test writes itself, accepted already.
    pub async fn accepted(&self, token: &str) -> Raw {
        let mut raw = self.raw().await;
        raw.send(&connect(token)).await;
        assert_eq!(raw.next().await.kind, Kind::ConnectAck);
        raw
    }

    /// Ends the server and waits for that.
    pub async fn shut_down(&mut self) {
        self.shutdown.cancel();
        timeout(SOON, self.running.take().unwrap())
            .await
            .unwrap()
            .unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn connect(token: &str) -> Message {
    Message {
        kind: Kind::Connect,
        flags: Default::default(),
        stream: 0,
        headers: Headers::Connect,
        payload: json!({ "authToken": token }).to_string().into(),
    }
}

pub fn request(stream: i32, operation: &str, payload: Value) -> Message {
    Message {
        kind: Kind::ApplicationMessage,
        flags: Default::default(),
        stream,
        headers: Headers::Request(format!("aws.greengrass#{operation}").into()),
        payload: payload.to_string().into(),
    }
}

pub struct Raw {
    pub stream: UnixStream,
    buffer: BytesMut,
}

impl Raw {
    pub async fn send(&mut self, message: &Message) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame; `None` when the server has closed.
    pub async fn maybe(&mut self) -> Option<Frame> {
        let decoder = Decoder { limit: MAX_FRAME };
        loop {
            if let Some(frame) = decoder.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            let read = timeout(SOON, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("the server says something or closes") {
                Ok(1..) => {}
                // A close with bytes that nobody has read is a reset.
                Ok(0) | Err(_) => return None,
            }
        }
    }

    pub async fn next(&mut self) -> Frame {
        self.maybe().await.expect("the server goes on")
    }

    pub async fn call(&mut self, stream: i32, operation: &str, payload: Value) -> Frame {
        self.send(&request(stream, operation, payload)).await;
        self.next().await
    }
}

pub fn body(frame: &Frame) -> Value {
    serde_json::from_slice(&frame.payload).unwrap()
}

pub fn model(frame: &Frame) -> &str {
    let model = std::str::from_utf8(frame.model.as_deref().unwrap_or_default()).unwrap();
    model.strip_prefix("aws.greengrass#").unwrap_or(model)
}

pub async fn call(client: &Client, operation: &str, request: Value) -> Result<Value, RemoteError> {
    let name = if operation.contains('#') {
        operation.to_owned()
    } else {
        format!("aws.greengrass#{operation}")
    };
    match client.call(&name, &request).await {
        Ok(value) => Ok(value),
        Err(ClientError::Remote(error)) => Err(error),
        Err(other) => panic!("{operation}: {other}"),
    }
}

/// The class of the error that a call must end with.
pub async fn refused(client: &Client, operation: &str, request: Value) -> String {
    match call(client, operation, request.clone()).await {
        Err(error) => error.code,
        Ok(answer) => panic!("{operation} {request} is answered with {answer}"),
    }
}

/// Waits until something holds that another task brings about.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "{what}");
}
