//! A client that does exactly what a test says: packets by hand over an in-memory stream, so that wrong order, repeated
//! identifiers and silence can be played. Shared by the engine's tests.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mqtt::{
    Policy,
    engine::{Engine, Options, Peer},
    policy::AllowAll,
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

/// No test waits longer for anything.
pub const LIMIT: Duration = Duration::from_secs(10);

pub async fn engine(options: Options) -> Engine {
    engine_with(options, AllowAll).await
}

pub async fn engine_with(options: Options, policy: impl Policy) -> Engine {
    Engine::start(options, Arc::new(policy), None)
        .await
        .expect("nothing to load")
}

/// A property of MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prop {
    Byte(u8, u8),
    Two(u8, u16),
    Four(u8, u32),
    Var(u8, u32),
    Text(u8, String),
    Pair(u8, String, String),
}

impl Prop {
    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Byte(id, v) => {
                out.put_u8(*id);
                out.put_u8(*v);
            }
            Self::Two(id, v) => {
                out.put_u8(*id);
                out.put_u16(*v);
            }
            Self::Four(id, v) => {
                out.put_u8(*id);
                out.put_u32(*v);
            }
            Self::Var(id, v) => {
                out.put_u8(*id);
                var(*v, out);
            }
            Self::Text(id, v) => {
                out.put_u8(*id);
                text(v, out);
            }
            Self::Pair(id, n, v) => {
                out.put_u8(*id);
                text(n, out);
                text(v, out);
            }
        }
    }

    fn read(data: &mut Bytes) -> Self {
        let id = data.get_u8();
        match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Self::Byte(id, data.get_u8()),
            0x13 | 0x21 | 0x22 | 0x23 => Self::Two(id, data.get_u16()),
            0x02 | 0x11 | 0x18 | 0x27 => Self::Four(id, data.get_u32()),
            0x0B => Self::Var(id, get_var(data)),
            0x26 => Self::Pair(id, get_text(data), get_text(data)),
            _ => Self::Text(id, get_text(data)),
        }
    }
}

pub const EXPIRY: u8 = 0x02;
pub const SUBSCRIPTION_ID: u8 = 0x0B;
pub const SESSION_EXPIRY: u8 = 0x11;
pub const ASSIGNED_ID: u8 = 0x12;
pub const SERVER_KEEP_ALIVE: u8 = 0x13;
pub const WILL_DELAY: u8 = 0x18;
pub const RECEIVE_MAXIMUM: u8 = 0x21;
pub const ALIAS_MAXIMUM: u8 = 0x22;
pub const ALIAS: u8 = 0x23;
pub const USER: u8 = 0x26;
pub const MAXIMUM_PACKET: u8 = 0x27;

fn var(mut value: u32, out: &mut BytesMut) {
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        out.put_u8(if value > 0 { byte | 128 } else { byte });
        if value == 0 {
            return;
        }
    }
}

fn get_var(data: &mut Bytes) -> u32 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = data.get_u8();
        value |= u32::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

fn text(text: &str, out: &mut BytesMut) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn get_text(data: &mut Bytes) -> String {
    let len = data.get_u16() as usize;
    String::from_utf8(data.split_to(len).to_vec()).unwrap()
}

fn properties(properties: &[Prop], out: &mut BytesMut) {
    let mut body = BytesMut::new();
    properties.iter().for_each(|p| p.write(&mut body));
    var(body.len() as u32, out);
    out.put_slice(&body);
}

fn get_properties(data: &mut Bytes) -> Vec<Prop> {
    let len = get_var(data) as usize;
    let mut data = data.split_to(len);
    let mut properties = Vec::new();
    while data.has_remaining() {
        properties.push(Prop::read(&mut data));
    }
    properties
}

/// PUBLISH, either way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pub {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub props: Vec<Prop>,
}

impl Pub {
    pub fn new(topic: &str, payload: impl AsRef<[u8]>, qos: u8, id: u16) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.as_ref().to_vec(),
            qos,
            id,
            ..Self::default()
        }
    }

    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub fn with(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    ConnAck {
        present: bool,
        code: u8,
        props: Vec<Prop>,
    },
    Publish(Pub),
    PubAck(u16, u8),
    PubRec(u16, u8),
    PubRel(u16, u8),
    PubComp(u16, u8),
    SubAck(u16, Vec<u8>),
    UnsubAck(u16, Vec<u8>),
    PingResp,
    Disconnect(u8),
}

/// CONNECT.
#[derive(Clone, Debug)]
pub struct Conn {
    pub v5: bool,
    pub id: String,
    pub clean: bool,
    pub keep_alive: u16,
    pub props: Vec<Prop>,
    pub will: Option<(Pub, Vec<Prop>)>,
    pub login: Option<(String, String)>,
}

impl Conn {
    pub fn v4(id: &str) -> Self {
        Self {
            v5: false,
            id: id.into(),
            clean: true,
            keep_alive: 60,
            props: Vec::new(),
            will: None,
            login: None,
        }
    }

    pub fn v5(id: &str) -> Self {
        Self {
            v5: true,
            ..Self::v4(id)
        }
    }

    pub fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    pub fn lasting(mut self) -> Self {
        self.clean = false;
        if self.v5 {
            self.props.push(Prop::Four(SESSION_EXPIRY, 3600));
        }
        self
    }

    pub fn with(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub fn will(mut self, will: Pub, props: Vec<Prop>) -> Self {
        self.will = Some((will, props));
        self
    }

    pub fn bytes(&self) -> BytesMut {
        let mut body = BytesMut::new();
        text("MQTT", &mut body);
        body.put_u8(if self.v5 { 5 } else { 4 });
        let mut flags = u8::from(self.clean) << 1;
        if let Some((will, _)) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if self.login.is_some() {
            flags |= 0xC0;
        }
        body.put_u8(flags);
        body.put_u16(self.keep_alive);
        if self.v5 {
            properties(&self.props, &mut body);
        }
        text(&self.id, &mut body);
        if let Some((will, props)) = &self.will {
            if self.v5 {
                properties(props, &mut body);
            }
            text(&will.topic, &mut body);
            body.put_u16(will.payload.len() as u16);
            body.put_slice(&will.payload);
        }
        if let Some((user, password)) = &self.login {
            text(user, &mut body);
            text(password, &mut body);
        }
        frame(0x10, &body)
    }
}

fn frame(first: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(first);
    var(body.len() as u32, &mut out);
    out.put_slice(body);
    out
}

pub struct Client {
    pub stream: DuplexStream,
    pub v5: bool,
    input: BytesMut,
    pub connack: Packet,
    next_id: u16,
    /// Packets that came while another was waited for.
    stash: VecDeque<Packet>,
}

impl Client {
    /// Connects, and expects to be let in.
    pub async fn connect(engine: &Engine, conn: Conn) -> Self {
        let client = Self::try_connect(engine, conn).await;
        assert!(
            matches!(client.connack, Packet::ConnAck { code: 0, .. }),
            "refused: {:?}",
            client.connack
        );
        client
    }

    /// Connects, whatever the answer.
    pub async fn try_connect(engine: &Engine, conn: Conn) -> Self {
        Self::connect_through(engine, conn, 1 << 20, Peer::default()).await
    }

    /// The stream holds so many bytes each way: what a socket's buffers do.
    pub async fn connect_through(engine: &Engine, conn: Conn, buffer: usize, peer: Peer) -> Self {
        let (near, far) = tokio::io::duplex(buffer);
        tokio::spawn(engine.connection(far, peer));
        let mut client = Self {
            stream: near,
            v5: conn.v5,
            input: BytesMut::new(),
            connack: Packet::PingResp,
            next_id: 0,
            stash: VecDeque::new(),
        };
        client.send(&conn.bytes()).await;
        client.connack = client.read().await;
        client
    }

    pub fn session_present(&self) -> bool {
        matches!(self.connack, Packet::ConnAck { present: true, .. })
    }

    pub fn connack_prop(&self, id: u8) -> Option<Prop> {
        let Packet::ConnAck { props, .. } = &self.connack else {
            return None;
        };
        let with_id = |p: &&Prop| match p {
            Prop::Byte(i, _) | Prop::Two(i, _) | Prop::Four(i, _) | Prop::Var(i, _) => *i == id,
            Prop::Text(i, _) | Prop::Pair(i, _, _) => *i == id,
        };
        props.iter().find(with_id).cloned()
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(LIMIT, self.stream.write_all(bytes))
            .await
            .expect("the engine reads")
            .expect("the stream is open");
    }

    pub async fn publish(&mut self, publish: &Pub) {
        let bytes = self.publish_bytes(publish);
        self.send(&bytes).await;
    }

    pub fn publish_bytes(&self, publish: &Pub) -> BytesMut {
        let mut body = BytesMut::new();
        text(&publish.topic, &mut body);
        if publish.qos > 0 {
            body.put_u16(publish.id);
        }
        if self.v5 {
            properties(&publish.props, &mut body);
        }
        body.put_slice(&publish.payload);
        frame(
            0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain),
            &body,
        )
    }

    /// Publishes and goes through the acknowledgements.
    pub async fn publish_done(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) -> u8 {
        self.next_id += 1;
        let id = self.next_id;
        self.publish(&Pub::new(topic, payload, qos, id)).await;
        match qos {
            1 => match self.read().await {
                Packet::PubAck(acked, code) if acked == id => code,
                other => panic!("{other:?} in place of PUBACK {id}"),
            },
            2 => {
                let Packet::PubRec(acked, code) = self.read().await else {
                    panic!("no PUBREC")
                };
                assert_eq!(acked, id);
                self.ack(6, id).await;
                assert_eq!(self.read().await, Packet::PubComp(id, 0));
                code
            }
            _ => 0,
        }
    }

    /// PUBACK 4, PUBREC 5, PUBREL 6, PUBCOMP 7.
    pub async fn ack(&mut self, kind: u8, id: u16) {
        let first = kind << 4 | if kind == 6 { 2 } else { 0 };
        self.send(&frame(first, &id.to_be_bytes())).await;
    }

    pub fn subscribe_bytes(&self, id: u16, filters: &[(&str, u8)], props: &[Prop]) -> BytesMut {
        let mut body = BytesMut::new();
        body.put_u16(id);
        if self.v5 {
            properties(props, &mut body);
        }
        for (filter, options) in filters {
            text(filter, &mut body);
            body.put_u8(*options);
        }
        frame(0x82, &body)
    }

    /// Options: QoS in bits 0 and 1, no local 4, retain as published 8, retain handling 16 and 32.
    pub async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        self.subscribe_with(filters, &[]).await
    }

    pub async fn subscribe_with(&mut self, filters: &[(&str, u8)], props: &[Prop]) -> Vec<u8> {
        let bytes = self.subscribe_bytes(77, filters, props);
        self.send(&bytes).await;
        match self.read().await {
            Packet::SubAck(77, codes) => codes,
            other => panic!("{other:?} in place of SUBACK"),
        }
    }

    pub async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let mut body = BytesMut::new();
        body.put_u16(78);
        if self.v5 {
            properties(&[], &mut body);
        }
        filters.iter().for_each(|filter| text(filter, &mut body));
        self.send(&frame(0xA2, &body)).await;
        match self.read().await {
            Packet::UnsubAck(78, codes) => codes,
            other => panic!("{other:?} in place of UNSUBACK"),
        }
    }

    pub async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.read().await, Packet::PingResp);
    }

    pub async fn disconnect(mut self) {
        self.send(&[0xE0, 0]).await;
        assert_eq!(self.read_or_end().await, None);
    }

    pub async fn disconnect_with(mut self, code: u8, props: &[Prop]) {
        let mut body = BytesMut::new();
        body.put_u8(code);
        properties(props, &mut body);
        self.send(&frame(0xE0, &body)).await;
        assert_eq!(self.read_or_end().await, None);
    }

    pub async fn read(&mut self) -> Packet {
        self.read_or_end().await.expect("the connection is open")
    }

    /// `None`: the server closed the connection.
    pub async fn read_or_end(&mut self) -> Option<Packet> {
        if let Some(packet) = self.stash.pop_front() {
            return Some(packet);
        }
        timeout(LIMIT, self.next())
            .await
            .expect("a packet or the end in time")
    }

    pub async fn message(&mut self) -> Pub {
        match self.read().await {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} in place of PUBLISH"),
        }
    }

    /// A message, acknowledged as its QoS wants.
    pub async fn message_done(&mut self) -> Pub {
        let message = self.message().await;
        match message.qos {
            1 => self.ack(4, message.id).await,
            2 => {
                self.ack(5, message.id).await;
                self.wait_for(&Packet::PubRel(message.id, 0)).await;
                self.ack(7, message.id).await;
            }
            _ => {}
        }
        message
    }

    /// Reads until this packet comes; what came before it is read later.
    pub async fn wait_for(&mut self, wanted: &Packet) {
        let mut before = VecDeque::new();
        loop {
            let packet = self.read().await;
            if packet == *wanted {
                break;
            }
            before.push_back(packet);
        }
        before.append(&mut self.stash);
        self.stash = before;
    }

    /// Nothing is under way to this client: what was sent before is handled before PINGRESP comes.
    pub async fn expect_nothing(&mut self) {
        self.ping().await;
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.parse() {
                return Some(packet);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn parse(&mut self) -> Option<Packet> {
        let (mut length, mut header) = (0, 1);
        loop {
            let byte = *self.input.get(header)?;
            length |= usize::from(byte & 127) << (7 * (header - 1));
            header += 1;
            if byte < 128 {
                break;
            }
        }
        if self.input.len() < header + length {
            return None;
        }
        let mut frame = self.input.split_to(header + length).freeze();
        let first = frame[0];
        frame.advance(header);
        let v5 = self.v5;
        let acked = |frame: &mut Bytes| {
            (
                frame.get_u16(),
                if frame.has_remaining() {
                    frame.get_u8()
                } else {
                    0
                },
            )
        };
        Some(match first >> 4 {
            2 => {
                let present = frame.get_u8() == 1;
                let code = frame.get_u8();
                let props = if v5 {
                    get_properties(&mut frame)
                } else {
                    Vec::new()
                };
                Packet::ConnAck {
                    present,
                    code,
                    props,
                }
            }
            3 => {
                let topic = get_text(&mut frame);
                let qos = first >> 1 & 3;
                let id = if qos > 0 { frame.get_u16() } else { 0 };
                let props = if v5 {
                    get_properties(&mut frame)
                } else {
                    Vec::new()
                };
                let (retain, dup) = (first & 1 == 1, first & 8 == 8);
                Packet::Publish(Pub {
                    topic,
                    payload: frame.to_vec(),
                    qos,
                    retain,
                    dup,
                    id,
                    props,
                })
            }
            4 => {
                let (id, code) = acked(&mut frame);
                Packet::PubAck(id, code)
            }
            5 => {
                let (id, code) = acked(&mut frame);
                Packet::PubRec(id, code)
            }
            6 => {
                let (id, code) = acked(&mut frame);
                Packet::PubRel(id, code)
            }
            7 => {
                let (id, code) = acked(&mut frame);
                Packet::PubComp(id, code)
            }
            kind @ (9 | 11) => {
                let id = frame.get_u16();
                if v5 {
                    get_properties(&mut frame);
                }
                if kind == 9 {
                    Packet::SubAck(id, frame.to_vec())
                } else {
                    Packet::UnsubAck(id, frame.to_vec())
                }
            }
            13 => Packet::PingResp,
            14 => Packet::Disconnect(if frame.has_remaining() {
                frame.get_u8()
            } else {
                0
            }),
            other => panic!("packet type {other} from a server"),
        })
    }
}

/// Waits until a condition holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the condition did not come true in time"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
