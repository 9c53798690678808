//! A client that sends raw bytes over a pipe in memory, to an engine of its own.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../codec_support/mod.rs"]
pub mod codec_support;

use bytes::{Buf, BytesMut};
pub use codec_support::{field, frame, parts};
pub use mqtt::packet::Version::{self, V5, V311};
use mqtt::{
    Policy,
    engine::{Engine, Options, Peer},
    policy::AllowAll,
};
pub use mqtt_protocol_core::mqtt::packet::Property;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait as _, Packet};
use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for what must happen.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("did not happen: {what}"))
}

pub async fn engine() -> Engine {
    engine_with(Options::default(), AllowAll).await
}

pub async fn engine_with(options: Options, policy: impl Policy) -> Engine {
    Engine::start(options, Arc::new(policy), None)
        .await
        .expect("an engine")
}

/// A packet from the engine.
#[derive(Debug, PartialEq)]
pub enum Seen {
    ConnAck {
        session_present: bool,
        code: u8,
        properties: Vec<Property>,
    },
    Publish(Got),
    PubAck(u16, u8),
    PubRec(u16, u8),
    PubRel(u16, u8),
    PubComp(u16, u8),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    PingResp,
    Disconnect(u8),
}

/// A message from the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub id: u16,
    pub dup: bool,
    pub retain: bool,
    pub properties: Vec<Property>,
}

impl Got {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    pub fn subscription_identifiers(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .properties
            .iter()
            .filter_map(|property| match property {
                Property::SubscriptionIdentifier(id) => Some(id.val()),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }
}

impl From<Packet> for Seen {
    fn from(packet: Packet) -> Self {
        match packet {
            Packet::V3_1_1Connack(read) => Self::ConnAck {
                session_present: read.session_present(),
                code: read.return_code() as u8,
                properties: Vec::new(),
            },
            Packet::V5_0Connack(read) => Self::ConnAck {
                session_present: read.session_present(),
                code: read.reason_code() as u8,
                properties: read.props.clone(),
            },
            Packet::V3_1_1Publish(read) => Self::Publish(Got {
                topic: read.topic_name().to_owned(),
                payload: read.payload().as_slice().to_vec(),
                qos: read.qos() as u8,
                id: read.packet_id().unwrap_or(0),
                dup: read.dup(),
                retain: read.retain(),
                properties: Vec::new(),
            }),
            Packet::V5_0Publish(read) => Self::Publish(Got {
                topic: read.topic_name().to_owned(),
                payload: read.payload().as_slice().to_vec(),
                qos: read.qos() as u8,
                id: read.packet_id().unwrap_or(0),
                dup: read.dup(),
                retain: read.retain(),
                properties: read.props.clone(),
            }),
            Packet::V3_1_1Puback(read) => Self::PubAck(read.packet_id(), 0),
            Packet::V5_0Puback(read) => Self::PubAck(
                read.packet_id(),
                read.reason_code().map_or(0, |code| code as u8),
            ),
            Packet::V3_1_1Pubrec(read) => Self::PubRec(read.packet_id(), 0),
            Packet::V5_0Pubrec(read) => Self::PubRec(
                read.packet_id(),
                read.reason_code().map_or(0, |code| code as u8),
            ),
            Packet::V3_1_1Pubrel(read) => Self::PubRel(read.packet_id(), 0),
            Packet::V5_0Pubrel(read) => Self::PubRel(
                read.packet_id(),
                read.reason_code().map_or(0, |code| code as u8),
            ),
            Packet::V3_1_1Pubcomp(read) => Self::PubComp(read.packet_id(), 0),
            Packet::V5_0Pubcomp(read) => Self::PubComp(
                read.packet_id(),
                read.reason_code().map_or(0, |code| code as u8),
            ),
            Packet::V3_1_1Suback(read) => Self::SubAck(
                read.packet_id(),
                read.return_codes()
                    .into_iter()
                    .map(|code| code as u8)
                    .collect(),
            ),
            Packet::V5_0Suback(read) => Self::SubAck(
                read.packet_id(),
                read.reason_codes()
                    .into_iter()
                    .map(|code| code as u8)
                    .collect(),
            ),
            Packet::V3_1_1Unsuback(read) => Self::UnsubAck(read.packet_id(), Vec::new()),
            Packet::V5_0Unsuback(read) => Self::UnsubAck(
                read.packet_id(),
                read.reason_codes()
                    .into_iter()
                    .map(|code| code as u8)
                    .collect(),
            ),
            Packet::V3_1_1Pingresp(_) | Packet::V5_0Pingresp(_) => Self::PingResp,
            Packet::V5_0Disconnect(read) => {
                Self::Disconnect(read.reason_code().map_or(0, |code| code as u8))
            }
            other => panic!("not a server's packet: {} bytes", other.size()),
        }
    }
}

/// What a client says in CONNECT.
#[derive(Clone)]
pub struct Hello {
    pub version: Version,
    pub id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub properties: Vec<u8>,
    /// Topic, payload, QoS, retain, properties.
    pub will: Option<(String, String, u8, bool, Vec<u8>)>,
}

/// A clean session, a minute of keep-alive.
pub fn hello(version: Version, id: &str) -> Hello {
    Hello {
        version,
        id: id.to_owned(),
        clean: true,
        keep_alive: 60,
        properties: Vec::new(),
        will: None,
    }
}

/// In MQTT 5: keep the session for an hour.
pub const HOUR: &[u8] = b"\x11\0\0\x0e\x10";

impl Hello {
    /// A session that outlives the connection and that may exist already.
    pub fn lasting(mut self) -> Self {
        self.clean = false;
        if self.version == V5 {
            self.properties.extend_from_slice(HOUR);
        }
        self
    }

    pub fn property(mut self, bytes: &[u8]) -> Self {
        self.properties.extend_from_slice(bytes);
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub fn will(
        mut self,
        topic: &str,
        payload: &str,
        qos: u8,
        retain: bool,
        properties: &[u8],
    ) -> Self {
        self.will = Some((
            topic.to_owned(),
            payload.to_owned(),
            qos,
            retain,
            properties.to_vec(),
        ));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let five = self.version == V5;
        let properties = |bytes: &[u8]| {
            if five {
                [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
            } else {
                Vec::new()
            }
        };
        let mut flags = u8::from(self.clean) << 1;
        let mut will = Vec::new();
        if let Some((topic, payload, qos, retain, props)) = &self.will {
            flags |= 4 | qos << 3 | u8::from(*retain) << 5;
            will = parts(&[
                &properties(props),
                &field(topic.as_bytes()),
                &field(payload.as_bytes()),
            ]);
        }
        let head = parts(&[
            &field(b"MQTT"),
            &[if five { 5 } else { 4 }, flags],
            &self.keep_alive.to_be_bytes(),
        ]);
        frame(
            0x10,
            &parts(&[
                &head,
                &properties(&self.properties),
                &field(self.id.as_bytes()),
                &will,
            ]),
        )
    }

    /// Connects and wants to be let in.
    pub async fn connect(&self, engine: &Engine) -> Client {
        let mut client = Client::open(engine, self.version);
        client.send(&self.bytes()).await;
        match client.next().await {
            Seen::ConnAck {
                session_present,
                code: 0,
                properties,
            } => {
                client.session_present = session_present;
                client.properties = properties;
                client
            }
            other => panic!("{} is not let in: {other:?}", self.id),
        }
    }
}

/// One connection.
pub struct Client {
    stream: DuplexStream,
    input: BytesMut,
    early: VecDeque<Seen>,
    last_id: u16,
    pub version: Version,
    pub session_present: bool,
    /// Of CONNACK.
    pub properties: Vec<Property>,
}

impl Client {
    /// A stream on which nothing has been said. It takes 64 KiB that nobody reads.
    pub fn open(engine: &Engine, version: Version) -> Self {
        let (stream, other) = tokio::io::duplex(64 << 10);
        tokio::spawn(engine.connection(other, Peer::default()));
        let (input, early) = (BytesMut::new(), VecDeque::new());
        Self {
            stream,
            input,
            early,
            last_id: 0,
            version,
            session_present: false,
            properties: Vec::new(),
        }
    }

    /// Writes; that the engine has closed meanwhile is seen when reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = soon("the engine reads", self.stream.write_all(bytes)).await;
    }

    async fn read(&mut self) -> Option<Seen> {
        loop {
            if let Some(seen) = self.parse() {
                return Some(seen);
            }
            match soon("a packet", self.stream.read_buf(&mut self.input)).await {
                Ok(1..) => {}
                _ => return None,
            }
        }
    }

    fn parse(&mut self) -> Option<Seen> {
        let mut length = 0;
        for (at, byte) in self.input.iter().enumerate().skip(1) {
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            if byte & 0x80 == 0 {
                let whole = at + 1 + length;
                if self.input.len() < whole {
                    return None;
                }
                let packet = self.input.split_to(whole);
                return Some(codec_support::oracle(self.version, &packet).into());
            }
        }
        None
    }

    /// The next packet.
    pub async fn next(&mut self) -> Seen {
        if let Some(seen) = self.early.pop_front() {
            return seen;
        }
        self.read().await.expect("a packet, not the end")
    }

    /// The packet that `wanted` picks; others that come before it are kept for later.
    pub async fn wait<T>(&mut self, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        if let Some((at, found)) = self
            .early
            .iter()
            .enumerate()
            .find_map(|(at, seen)| wanted(seen).map(|found| (at, found)))
        {
            self.early.remove(at);
            return found;
        }
        loop {
            let seen = self.read().await.expect("a packet, not the end");
            match wanted(&seen) {
                Some(found) => return found,
                None => self.early.push_back(seen),
            }
        }
    }

    /// What comes until the engine closes.
    pub async fn end(&mut self) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self.early.drain(..).collect();
        while let Some(packet) = self.read().await {
            seen.push(packet);
        }
        seen
    }

    /// A round trip: the engine has seen everything that was sent before.
    pub async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
        self.wait(|seen| matches!(seen, Seen::PingResp).then_some(()))
            .await;
    }

    fn id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    fn five(&self, bytes: &[u8]) -> Vec<u8> {
        match self.version {
            V311 => Vec::new(),
            V5 => [&[u8::try_from(bytes.len()).unwrap()], bytes].concat(),
        }
    }

    /// SUBSCRIBE with options and properties; the codes granted.
    pub async fn subscribe_with(&mut self, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
        let id = self.id();
        let mut body = parts(&[&id.to_be_bytes(), &self.five(properties)]);
        for (filter, options) in filters {
            body.extend(field(filter.as_bytes()));
            body.push(*options);
        }
        self.send(&frame(0x82, &body)).await;
        self.wait(|seen| match seen {
            Seen::SubAck(of, codes) if *of == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// SUBSCRIBE to one filter, which must be granted as asked.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) {
        assert_eq!(
            self.subscribe_with(&[(filter, qos)], &[]).await,
            [qos & 3],
            "{filter}"
        );
    }

    /// UNSUBSCRIBE; the codes, which 3.1.1 does not have.
    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.id();
        let mut body = parts(&[&id.to_be_bytes(), &self.five(&[])]);
        for filter in filters {
            body.extend(field(filter.as_bytes()));
        }
        self.send(&frame(0xA2, &body)).await;
        self.wait(|seen| match seen {
            Seen::UnsubAck(of, codes) if *of == id => Some(codes.clone()),
            _ => None,
        })
        .await
    }

    /// The bytes of PUBLISH; `flags` as in its first byte.
    pub fn message(
        &self,
        topic: &str,
        payload: &[u8],
        flags: u8,
        id: u16,
        properties: &[u8],
    ) -> Vec<u8> {
        let id = if flags & 6 == 0 {
            Vec::new()
        } else {
            id.to_be_bytes().to_vec()
        };
        frame(
            0x30 | flags,
            &parts(&[
                &field(topic.as_bytes()),
                &id,
                &self.five(properties),
                payload,
            ]),
        )
    }

    /// PUBLISH and whatever its QoS asks for; returns the reason code.
    pub async fn publish(&mut self, topic: &str, payload: &str, qos: u8) -> u8 {
        self.publish_with(topic, payload.as_bytes(), qos << 1, &[])
            .await
    }

    /// As [`Client::publish`]; with the retain bit in `flags` and properties.
    pub async fn publish_with(
        &mut self,
        topic: &str,
        payload: &[u8],
        flags: u8,
        properties: &[u8],
    ) -> u8 {
        let id = self.id();
        let bytes = self.message(topic, payload, flags, id, properties);
        self.send(&bytes).await;
        match flags & 6 {
            2 => {
                self.wait(|seen| match seen {
                    Seen::PubAck(of, code) if *of == id => Some(*code),
                    _ => None,
                })
                .await
            }
            4 => {
                let code = self
                    .wait(|seen| match seen {
                        Seen::PubRec(of, code) if *of == id => Some(*code),
                        _ => None,
                    })
                    .await;
                if code < 0x80 {
                    self.send(&frame(0x62, &id.to_be_bytes())).await;
                    self.wait(|seen| (*seen == Seen::PubComp(id, 0)).then_some(()))
                        .await;
                }
                code
            }
            _ => {
                self.ping().await;
                0
            }
        }
    }

    /// The next message, not acknowledged.
    pub async fn got(&mut self) -> Got {
        self.wait(|seen| match seen {
            Seen::Publish(got) => Some(got.clone()),
            _ => None,
        })
        .await
    }

    /// The next message, which may take its time.
    pub async fn got_in(&mut self, longest: Duration) -> Got {
        loop {
            if let Some(Seen::Publish(got)) = self.early.pop_front().or_else(|| self.parse()) {
                return got;
            }
            let read = timeout(longest, self.stream.read_buf(&mut self.input)).await;
            assert!(matches!(read, Ok(Ok(1..))), "no message in {longest:?}");
        }
    }

    /// Acknowledges a message to the end.
    pub async fn acknowledge(&mut self, got: &Got) {
        let id = got.id;
        match got.qos {
            1 => self.send(&frame(0x40, &id.to_be_bytes())).await,
            2 => {
                self.send(&frame(0x50, &id.to_be_bytes())).await;
                self.wait(|seen| (*seen == Seen::PubRel(id, 0)).then_some(()))
                    .await;
                self.send(&frame(0x70, &id.to_be_bytes())).await;
            }
            _ => {}
        }
    }

    /// The next message, acknowledged.
    pub async fn take(&mut self) -> Got {
        let got = self.got().await;
        self.acknowledge(&got).await;
        got
    }

    /// The payloads of the next messages, acknowledged.
    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.take().await.text().to_owned());
        }
        texts
    }

    /// Leaves with DISCONNECT and waits until the engine has closed.
    pub async fn leave(mut self) {
        self.send(&[0xE0, 0]).await;
        self.end().await;
    }

    /// Is gone without a word.
    pub fn vanish(self) {}

    /// The stream, to be left alone or half read.
    pub fn stream(&mut self) -> &mut DuplexStream {
        &mut self.stream
    }

    /// Bytes read but not parsed.
    pub fn unread(&self) -> usize {
        self.input.remaining()
    }
}
