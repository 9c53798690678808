//! A client of the IPC socket: for the command line, for measurements and for tests.
//!
//! One connection, any number of calls at once. A task owns the socket; it ends when the last [`Client`] and the last
//! [`Events`] are gone.

mod connection;
mod error;

pub use error::{ClientError, RemoteError};

use crate::{
    frame::{Flags, Headers, Kind, Message},
    outbox::Outbox,
};
use bytes::Bytes;
use connection::{Answer, Streams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long a connection or an answer is waited for.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Events of one subscription that may wait; one more, and the whole connection waits for its reader.
const WAITING_EVENTS: usize = 1024;

/// A connection that was accepted. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    timeout: Duration,
}

#[derive(Debug)]
struct Inner {
    outbox: Arc<Outbox>,
    streams: Arc<Streams>,
    closed: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

/// One answer or event, as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its shape, for example `aws.greengrass#SubscriptionResponseMessage`.
    pub model: String,
    /// Its JSON.
    pub payload: Bytes,
}

impl Event {
    /// The payload as a value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.payload).map_err(|source| ClientError::Json {
            what: self.model.clone(),
            source,
        })
    }
}

/// The events of one subscription. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Events {
    stream: i32,
    inner: Arc<Inner>,
    answers: mpsc::Receiver<Answer>,
}

impl Client {
    /// Connects and shows a token, with [`DEFAULT_TIMEOUT`] for this and every call.
    pub async fn connect(path: &Path, token: &str) -> Result<Self, ClientError> {
        Self::connect_within(path, token, DEFAULT_TIMEOUT).await
    }

    /// Like [`Client::connect`], with another timeout.
    pub async fn connect_within(
        path: &Path,
        token: &str,
        within: Duration,
    ) -> Result<Self, ClientError> {
        let connecting = connection::open(path, token);
        let (outbox, streams, closed) =
            timeout(within, connecting)
                .await
                .map_err(|_| ClientError::Timeout {
                    what: "CONNECT".into(),
                    after: within,
                })??;
        Ok(Self {
            inner: Arc::new(Inner {
                outbox,
                streams,
                closed,
            }),
            timeout: within,
        })
    }

    /// The same connection with another timeout for each call.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            inner: self.inner.clone(),
            timeout,
        }
    }

    /// Returns when the connection is gone.
    pub async fn closed(&self) {
        self.inner.closed.cancelled().await;
    }

    /// Calls an operation, for example `aws.greengrass#ListComponents`, and waits for its answer.
    pub async fn call<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call_raw(operation, json(operation, request)?)
            .await?
            .parse()
    }

    /// [`Client::call`] with the JSON as it is on the wire.
    pub async fn call_raw(&self, operation: &str, request: Bytes) -> Result<Event, ClientError> {
        let mut events = self.open(operation, request)?;
        events.first(operation, self.timeout).await
    }

    /// Calls a streaming operation: its answer, and the events that follow.
    pub async fn subscribe<T: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<(T, Events), ClientError> {
        let mut events = self.open(operation, json(operation, request)?)?;
        let answer = events.first(operation, self.timeout).await?.parse()?;
        Ok((answer, events))
    }

    /// PublishToTopic with a JSON object.
    pub async fn publish_json(
        &self,
        topic: &str,
        message: &impl Serialize,
    ) -> Result<(), ClientError> {
        let message = serde_json::json!({ "jsonMessage": { "message": message } });
        self.publish(topic, message).await
    }

    /// PublishToTopic with any bytes.
    pub async fn publish_binary(&self, topic: &str, message: &[u8]) -> Result<(), ClientError> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let message =
            serde_json::json!({ "binaryMessage": { "message": STANDARD.encode(message) } });
        self.publish(topic, message).await
    }

    async fn publish(&self, topic: &str, message: serde_json::Value) -> Result<(), ClientError> {
        let request = serde_json::json!({ "topic": topic, "publishMessage": message });
        self.call::<serde_json::Value>("aws.greengrass#PublishToTopic", &request)
            .await
            .map(|_| ())
    }

    /// SubscribeToTopic with the default receive mode.
    pub async fn subscribe_to_topic(&self, topic: &str) -> Result<Events, ClientError> {
        let request = serde_json::json!({ "topic": topic });
        let (_, events) = self
            .subscribe::<serde_json::Value>("aws.greengrass#SubscribeToTopic", &request)
            .await?;
        Ok(events)
    }

    /// Sends a PING and waits for its answer.
    pub async fn ping(&self) -> Result<(), ClientError> {
        let answer = self.inner.streams.expect_pong();
        self.send(Kind::Ping, Headers::Bare, 0, Flags::NONE, Bytes::new())?;
        match timeout(self.timeout, answer).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ClientError::Closed),
            Err(_) => Err(ClientError::Timeout {
                what: "PING".into(),
                after: self.timeout,
            }),
        }
    }

    fn open(&self, operation: &str, request: Bytes) -> Result<Events, ClientError> {
        let (sender, answers) = mpsc::channel(WAITING_EVENTS);
        let stream = self.inner.streams.open(sender)?;
        let events = Events {
            stream,
            inner: self.inner.clone(),
            answers,
        };
        let headers = Headers::Request(operation.to_owned().into());
        self.send(
            Kind::ApplicationMessage,
            headers,
            stream,
            Flags::NONE,
            request,
        )?;
        Ok(events)
    }

    fn send(
        &self,
        kind: Kind,
        headers: Headers,
        stream: i32,
        flags: Flags,
        payload: Bytes,
    ) -> Result<(), ClientError> {
        let message = Message {
            kind,
            flags,
            stream,
            headers,
            payload,
        };
        self.inner
            .outbox
            .push(message)
            .map_err(|_| ClientError::Closed)
    }
}

impl Events {
    /// The next event. `None` when the server has ended the subscription; [`ClientError::Closed`] when the connection is gone.
    pub async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        match self.answers.recv().await {
            Some(Answer::Event(event)) => Some(Ok(event)),
            Some(Answer::Error(error)) => Some(Err(ClientError::Remote(error))),
            Some(Answer::End) => None,
            None => Some(Err(ClientError::Closed)),
        }
    }

    /// The next event that waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.answers.try_recv() {
            Ok(Answer::Event(event)) => Some(event),
            _ => None,
        }
    }

    async fn first(&mut self, operation: &str, within: Duration) -> Result<Event, ClientError> {
        let answer = timeout(within, self.next())
            .await
            .map_err(|_| ClientError::Timeout {
                what: operation.to_owned(),
                after: within,
            })?;
        answer.unwrap_or_else(|| {
            Err(ClientError::Protocol(format!(
                "{operation} ended without an answer"
            )))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.inner.streams.close(self.stream) {
            let end = Message {
                kind: Kind::ApplicationMessage,
                flags: Flags::TERMINATE,
                stream: self.stream,
                headers: Headers::Bare,
                payload: Bytes::new(),
            };
            // Nothing to do when the connection is gone: then the stream is too.
            let _ = self.inner.outbox.push(end);
        }
    }
}

fn json(what: &str, request: &impl Serialize) -> Result<Bytes, ClientError> {
    let text = serde_json::value::to_raw_value(request).map_err(|source| ClientError::Json {
        what: what.to_owned(),
        source,
    })?;
    let text: Box<RawValue> = text;
    Ok(Bytes::from(String::from(Box::<str>::from(text))))
}
