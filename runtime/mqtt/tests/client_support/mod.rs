//! What the client's tests share: a server that follows a script, certificates, mosquitto.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod certificates;
pub mod mosquitto;

use async_trait::async_trait;
use bytes::Bytes;
use mqtt::{
    Message, QoS,
    client::{Client, Dial, DialError, Options, Status, Stream, Timeouts},
};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    time::{Instant, timeout},
};

/// No wait in a test is longer.
pub const SOON: Duration = Duration::from_secs(20);

/// The other end of a client: every dial of the client is a connection here.
pub struct Server {
    connections: mpsc::UnboundedReceiver<DuplexStream>,
    pub dialed: Arc<Mutex<Vec<Instant>>>,
}

pub struct FakeDial {
    connections: mpsc::UnboundedSender<DuplexStream>,
    dialed: Arc<Mutex<Vec<Instant>>>,
}

#[async_trait]
impl Dial for FakeDial {
    async fn dial(&self, _: &Timeouts) -> Result<Box<dyn Stream>, DialError> {
        self.dialed.lock().unwrap().push(Instant::now());
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let refused = |_| DialError::Resolve {
            host: "fake".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        self.connections.send(theirs).map_err(refused)?;
        Ok(Box::new(ours))
    }
}

impl Server {
    pub fn new() -> (Self, FakeDial) {
        let (sender, connections) = mpsc::unbounded_channel();
        let dialed = Arc::new(Mutex::new(Vec::new()));
        let dial = FakeDial {
            connections: sender,
            dialed: Arc::clone(&dialed),
        };
        (
            Self {
                connections,
                dialed,
            },
            dial,
        )
    }

    /// A client with these options, whose task runs.
    pub fn client(options: Options) -> (Self, Client) {
        let (server, dial) = Self::new();
        let (client, task) = Client::start(options, dial, None);
        tokio::spawn(task);
        (server, client)
    }

    /// The next connection, before CONNECT.
    pub async fn accept(&mut self) -> Peer {
        // An hour: back-off and paused clocks.
        let stream = timeout(Duration::from_secs(3600), self.connections.recv()).await;
        Peer {
            stream: stream.expect("a connection").expect("the client lives"),
        }
    }

    /// The next connection, its CONNECT read and accepted with the properties (MQTT 5).
    pub async fn connected(&mut self, session_present: bool, properties: &[u8]) -> Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.packet().await.first, 0x10);
        peer.connack(session_present, 0, properties).await;
        peer
    }

    /// Refuses every dial from here on.
    pub fn close(&mut self) {
        self.connections.close();
    }
}

/// A packet of the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    pub first: u8,
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet id, for packets that begin with one.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// Topic of a PUBLISH.
    pub fn topic(&self) -> &str {
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        std::str::from_utf8(&self.body[2..2 + length]).unwrap()
    }

    /// Packet id of a PUBLISH of QoS 1 or 2.
    pub fn publish_id(&self) -> u16 {
        let at = 2 + self.topic().len();
        u16::from_be_bytes([self.body[at], self.body[at + 1]])
    }

    /// Filters of a SUBSCRIBE or UNSUBSCRIBE of MQTT 5 without properties.
    pub fn filters(&self) -> Vec<String> {
        let mut rest = &self.body[3..];
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            filters.push(String::from_utf8(rest[2..2 + length].to_vec()).unwrap());
            rest = &rest[2 + length..];
            if self.first == 0x82 {
                rest = &rest[1..];
            }
        }
        filters
    }
}

/// One connection, seen from the server.
pub struct Peer {
    pub stream: DuplexStream,
}

impl Peer {
    pub async fn packet(&mut self) -> Packet {
        timeout(Duration::from_secs(3600), self.read())
            .await
            .expect("a packet in time")
            .expect("a packet")
    }

    async fn read(&mut self) -> io::Result<Packet> {
        let first = self.stream.read_u8().await?;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(Packet { first, body })
    }

    /// The next packet is of this type and these flags.
    pub async fn expect(&mut self, first: u8) -> Packet {
        let packet = self.packet().await;
        assert_eq!(packet.first, first, "{packet:02x?}");
        packet
    }

    /// Nothing comes for so long, by the paused clock.
    pub async fn expect_nothing(&mut self, so_long: Duration) {
        let mut byte = [0];
        let read = timeout(so_long, self.stream.read(&mut byte)).await;
        assert!(read.is_err(), "{read:?} {byte:02x?}");
    }

    /// The client closes the connection.
    pub async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let read = timeout(
            Duration::from_secs(3600),
            self.stream.read_to_end(&mut rest),
        )
        .await;
        read.expect("an end").expect("an orderly end");
        assert!(rest.is_empty(), "{rest:02x?}");
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub async fn connack(&mut self, session_present: bool, reason: u8, properties: &[u8]) {
        let mut body = vec![u8::from(session_present), reason];
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
        self.send(&packet(0x20, &body)).await;
    }

    /// PUBACK and its relatives, MQTT 5.
    pub async fn ack(&mut self, first: u8, id: u16, reason: u8) {
        let [high, low] = id.to_be_bytes();
        self.send(&packet(first, &[high, low, reason])).await;
    }

    /// SUBACK or UNSUBACK of MQTT 5.
    pub async fn answer(&mut self, first: u8, id: u16, reasons: &[u8]) {
        let mut body = id.to_be_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(reasons);
        self.send(&packet(first, &body)).await;
    }

    /// Reads a SUBSCRIBE of MQTT 5 and grants it.
    pub async fn grant(&mut self, qos: u8) -> Vec<String> {
        let subscribe = self.expect(0x82).await;
        let filters = subscribe.filters();
        let reasons = vec![qos; filters.len()];
        self.answer(0x90, subscribe.id(), &reasons).await;
        filters
    }

    /// A PUBLISH of MQTT 5.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], id: Option<u16>, first: u8) {
        self.send(&publish(topic, payload, id, first, &[])).await;
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub fn publish(
    topic: &str,
    payload: &[u8],
    id: Option<u16>,
    first: u8,
    properties: &[u8],
) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if let Some(id) = id {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(first, &body)
}

pub fn message(topic: &str, payload: impl Into<Bytes>, qos: QoS) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.into(),
        qos,
        retain: false,
        expires: None,
        properties: None,
    }
}

/// Waits for a status.
pub async fn status(client: &Client, wanted: impl FnMut(&Status) -> bool) -> Status {
    let mut status = client.status();
    let found = timeout(SOON.max(Duration::from_secs(3600)), status.wait_for(wanted)).await;
    found
        .expect("the status in time")
        .expect("the client lives")
        .clone()
}

/// Polls a condition until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let by = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < by, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
