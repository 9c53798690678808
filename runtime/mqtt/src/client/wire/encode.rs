//! Packets of a client, to bytes. Strings and binaries are known to be shorter than 64 KiB: the caller has checked.

use super::property;
use crate::{
    Message, Properties, QoS,
    client::{Options, Reason},
    packet::{PacketId, SubscribeFilter, Version},
};
use bytes::{BufMut, BytesMut};
use bytestring::ByteString;
use std::time::{Duration, SystemTime};

/// Encodes for one version; the scratch space is kept between packets.
#[derive(Debug)]
pub struct Encoder {
    v5: bool,
    body: Vec<u8>,
    properties: Vec<u8>,
}

/// What a PUBLISH carries beside the message.
#[derive(Clone, Copy, Debug)]
pub struct PublishFrame {
    /// For QoS 1 and 2.
    pub id: Option<PacketId>,
    /// Sent before.
    pub dup: bool,
    /// Topic alias; `known`: the server knows it already, the topic stays at home.
    pub alias: Option<Alias>,
}

/// A topic alias of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// 1..
    pub number: u16,
    /// Set on this connection before.
    pub known: bool,
}

impl Encoder {
    pub fn new(version: Version) -> Self {
        Self {
            v5: version == Version::V5,
            body: Vec::new(),
            properties: Vec::new(),
        }
    }

    pub fn connect(&mut self, options: &Options, clean: bool, out: &mut BytesMut) {
        self.start();
        self.text("MQTT");
        let will = options.will.as_ref();
        let credentials = options.credentials.as_ref();
        let mut flags = u8::from(clean) << 1;
        if let Some(will) = will {
            flags |= 0x04 | (will.message.qos as u8) << 3 | u8::from(will.message.retain) << 5;
        }
        if let Some(credentials) = credentials {
            flags |= 0x80 | u8::from(credentials.password.is_some()) << 6;
        }
        let keep_alive = u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX);
        self.body.put_u8(if self.v5 { 5 } else { 4 });
        self.body.put_u8(flags);
        self.body.put_u16(keep_alive);
        if self.v5 {
            if options.session_expiry > 0 {
                self.properties.put_u8(property::SESSION_EXPIRY);
                self.properties.put_u32(options.session_expiry);
            }
            self.properties.put_u8(property::RECEIVE_MAXIMUM);
            self.properties.put_u16(options.receive_maximum.max(1));
            self.properties.put_u8(property::MAXIMUM_PACKET_SIZE);
            self.properties.put_u32(options.maximum_packet_size.max(1));
            if options.topic_aliases > 0 {
                self.properties.put_u8(property::TOPIC_ALIAS_MAXIMUM);
                self.properties.put_u16(options.topic_aliases);
            }
            self.user_properties(&options.user_properties);
        }
        self.end_properties();
        self.text(&options.client_id);
        if let Some(will) = will {
            if self.v5 {
                if will.delay > 0 {
                    self.properties.put_u8(property::WILL_DELAY);
                    self.properties.put_u32(will.delay);
                }
                if let Some(expiry) = will.expiry {
                    self.properties.put_u8(property::MESSAGE_EXPIRY);
                    self.properties.put_u32(expiry);
                }
                self.message_properties(will.message.properties.as_deref());
            }
            self.end_properties();
            self.text(&will.message.topic);
            self.binary(&will.message.payload);
        }
        if let Some(credentials) = credentials {
            self.text(&credentials.username);
            if let Some(password) = &credentials.password {
                self.binary(password);
            }
        }
        self.finish(0x10, &[], out);
    }

    /// `now` is for the remaining lifetime.
    pub fn publish(
        &mut self,
        message: &Message,
        frame: PublishFrame,
        now: SystemTime,
        out: &mut BytesMut,
    ) {
        self.start();
        let hidden = self.v5 && frame.alias.is_some_and(|alias| alias.known);
        self.text(if hidden { "" } else { &message.topic });
        if let Some(id) = frame.id {
            self.body.put_u16(id.get());
        }
        if self.v5 {
            if let Some(expires) = message.expires {
                let left = expires.duration_since(now).unwrap_or(Duration::ZERO);
                // Rounded up: a second that has begun is not over yet.
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                self.properties.put_u8(property::MESSAGE_EXPIRY);
                self.properties
                    .put_u32(u32::try_from(seconds).unwrap_or(u32::MAX));
            }
            if let Some(alias) = frame.alias {
                self.properties.put_u8(property::TOPIC_ALIAS);
                self.properties.put_u16(alias.number);
            }
            self.message_properties(message.properties.as_deref());
        }
        self.end_properties();
        let qos = match frame.id {
            Some(_) => message.qos,
            None => QoS::AtMostOnce,
        };
        let flags = u8::from(frame.dup) << 3 | (qos as u8) << 1 | u8::from(message.retain);
        self.finish(0x30 | flags, &message.payload, out);
    }

    /// PUBACK.
    pub fn puback(&mut self, id: PacketId, reason: Reason, out: &mut BytesMut) {
        self.ack(0x40, id, reason, out);
    }

    /// PUBREC.
    pub fn pubrec(&mut self, id: PacketId, reason: Reason, out: &mut BytesMut) {
        self.ack(0x50, id, reason, out);
    }

    /// PUBREL.
    pub fn pubrel(&mut self, id: PacketId, reason: Reason, out: &mut BytesMut) {
        self.ack(0x62, id, reason, out);
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: PacketId, reason: Reason, out: &mut BytesMut) {
        self.ack(0x70, id, reason, out);
    }

    fn ack(&mut self, first: u8, id: PacketId, reason: Reason, out: &mut BytesMut) {
        self.start();
        self.body.put_u16(id.get());
        if self.v5 && reason != Reason::SUCCESS {
            self.body.put_u8(reason.0);
        }
        self.finish(first, &[], out);
    }

    pub fn subscribe(&mut self, id: PacketId, filters: &[SubscribeFilter], out: &mut BytesMut) {
        self.start();
        self.body.put_u16(id.get());
        self.end_properties();
        for filter in filters {
            self.text(&filter.filter);
            let mut options = filter.qos as u8;
            if self.v5 {
                options |= u8::from(filter.no_local) << 2
                    | u8::from(filter.retain_as_published) << 3
                    | (filter.retain_handling as u8) << 4;
            }
            self.body.put_u8(options);
        }
        self.finish(0x82, &[], out);
    }

    pub fn unsubscribe(&mut self, id: PacketId, filters: &[ByteString], out: &mut BytesMut) {
        self.start();
        self.body.put_u16(id.get());
        self.end_properties();
        for filter in filters {
            self.text(filter);
        }
        self.finish(0xa2, &[], out);
    }

    pub fn pingreq(out: &mut BytesMut) {
        out.put_slice(&[0xc0, 0]);
    }

    pub fn disconnect(&mut self, reason: Reason, out: &mut BytesMut) {
        self.start();
        if self.v5 && reason != Reason::SUCCESS {
            self.body.put_u8(reason.0);
        }
        self.finish(0xe0, &[], out);
    }

    fn start(&mut self) {
        self.body.clear();
        self.properties.clear();
    }

    fn text(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    fn binary(&mut self, bytes: &[u8]) {
        put_binary(&mut self.body, bytes);
    }

    fn message_properties(&mut self, properties: Option<&Properties>) {
        let Some(properties) = properties else { return };
        if let Some(format) = properties.payload_format {
            self.properties.put_u8(property::PAYLOAD_FORMAT);
            self.properties.put_u8(format);
        }
        if let Some(kind) = &properties.content_type {
            self.properties.put_u8(property::CONTENT_TYPE);
            put_binary(&mut self.properties, kind.as_bytes());
        }
        if let Some(topic) = &properties.response_topic {
            self.properties.put_u8(property::RESPONSE_TOPIC);
            put_binary(&mut self.properties, topic.as_bytes());
        }
        if let Some(data) = &properties.correlation_data {
            self.properties.put_u8(property::CORRELATION_DATA);
            put_binary(&mut self.properties, data);
        }
        self.user_properties(&properties.user);
    }

    fn user_properties(&mut self, user: &[(ByteString, ByteString)]) {
        for (key, value) in user {
            self.properties.put_u8(property::USER);
            put_binary(&mut self.properties, key.as_bytes());
            put_binary(&mut self.properties, value.as_bytes());
        }
    }

    /// The properties collected so far go into the body, their length first; nothing in 3.1.1.
    fn end_properties(&mut self) {
        if self.v5 {
            put_variable(&mut self.body, self.properties.len());
            self.body.extend_from_slice(&self.properties);
            self.properties.clear();
        }
    }

    fn finish(&mut self, first: u8, payload: &[u8], out: &mut BytesMut) {
        out.reserve(5 + self.body.len() + payload.len());
        out.put_u8(first);
        put_variable(out, self.body.len() + payload.len());
        out.put_slice(&self.body);
        out.put_slice(payload);
        if self.body.capacity() > 4096 {
            self.body = Vec::new();
            self.properties = Vec::new();
        }
    }
}

fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.extend_from_slice(&bytes[..length.into()]);
}

fn put_variable(out: &mut impl BufMut, mut value: usize) {
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            return out.put_u8(byte);
        }
        out.put_u8(byte | 0x80);
    }
}
