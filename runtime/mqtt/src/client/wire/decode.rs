//! Packets of a server, from bytes. Whatever comes, the answer is a packet or a `WireError`.

use super::{
    Ack, Answers, ConnAck, Publication, Received, WireError,
    property::{self, Reader, Value},
};
use crate::{
    Message, Properties, QoS,
    client::Reason,
    packet::{PacketId, Version},
};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The whole length of the packet that `bytes` begin with, and how much of that is its fixed header. `None`: too early to
/// say.
pub fn frame_length(bytes: &[u8], maximum: u32) -> Result<Option<(usize, usize)>, WireError> {
    let mut remaining = 0_u32;
    for (at, shift) in [(1, 0), (2, 7), (3, 14), (4, 21)] {
        let Some(byte) = bytes.get(at) else {
            return Ok(None);
        };
        remaining |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let header = at + 1;
            let whole = usize::try_from(remaining).unwrap_or(usize::MAX - header) + header;
            if whole > usize::try_from(maximum).unwrap_or(usize::MAX) {
                let reason = Reason::PACKET_TOO_LARGE;
                let what = "a packet is larger than we take";
                return Err(WireError { reason, what });
            }
            return Ok(Some((header, whole)));
        }
    }
    Err(WireError::malformed("a length has more than four bytes"))
}

/// One whole packet; `header` bytes of it are the fixed header.
pub fn decode(version: Version, frame: &Bytes, header: usize) -> Result<Received, WireError> {
    let first = *frame
        .first()
        .ok_or(WireError::malformed("an empty packet"))?;
    let (kind, flags) = (first >> 4, first & 0x0f);
    let mut body = Reader(frame.slice(header..));
    let v5 = version == Version::V5;
    let expected = match kind {
        3 => flags,
        6 => 2,
        _ => 0,
    };
    if flags != expected {
        return Err(WireError::malformed(
            "reserved flags are not as they must be",
        ));
    }
    let received = match kind {
        2 => Received::ConnAck(Box::new(connack(&mut body, v5)?)),
        3 => return publish(body, flags, v5).map(|p| Received::Publish(Box::new(p))),
        4 => Received::PubAck(ack(&mut body, v5)?),
        5 => Received::PubRec(ack(&mut body, v5)?),
        6 => Received::PubRel(ack(&mut body, v5)?),
        7 => Received::PubComp(ack(&mut body, v5)?),
        9 => Received::SubAck(answers(&mut body, v5, true)?),
        11 => Received::UnsubAck(answers(&mut body, v5, v5)?),
        13 => Received::PingResp,
        14 if v5 => disconnect(&mut body)?,
        15 if v5 => {
            let what = "AUTH, although we did not ask for extended authentication";
            return Err(WireError::protocol(what));
        }
        _ => return Err(WireError::protocol("a packet that a server never sends")),
    };
    if !body.is_empty() {
        return Err(WireError::malformed("a packet is longer than its fields"));
    }
    Ok(received)
}

fn packet_id(body: &mut Reader) -> Result<PacketId, WireError> {
    PacketId::new(body.u16()?).ok_or(WireError::protocol("packet id 0"))
}

fn connack(body: &mut Reader, v5: bool) -> Result<ConnAck, WireError> {
    let flags = body.u8()?;
    let code = body.u8()?;
    if flags > 1 {
        return Err(WireError::malformed("reserved flags of CONNACK"));
    }
    let mut ack = ConnAck {
        session_present: flags == 1,
        reason: Some(Reason(code)),
        ..ConnAck::default()
    };
    if !v5 {
        ack.reason = Some(Reason::from_return_code(code));
    } else if !body.is_empty() {
        body.properties(property::OF_CONNACK, |id, value| ack.property(id, value))?;
    }
    if ack.session_present && ack.reason != Some(Reason::SUCCESS) {
        return Err(WireError::protocol("a refusal that claims a session"));
    }
    Ok(ack)
}

impl ConnAck {
    fn property(&mut self, id: u8, value: Value) -> Result<(), WireError> {
        match (id, value) {
            (property::SESSION_EXPIRY, Value::Four(v)) => self.session_expiry = Some(v),
            (property::RECEIVE_MAXIMUM, Value::Two(v)) => {
                let zero = WireError::protocol("a Receive Maximum of 0");
                self.receive_maximum = Some(Some(v).filter(|v| *v > 0).ok_or(zero)?);
            }
            (property::MAXIMUM_QOS, Value::Byte(v)) => {
                let wrong = WireError::protocol("a Maximum QoS that is neither 0 nor 1");
                self.maximum_qos = Some(Some(v).filter(|v| *v < 2).ok_or(wrong)?);
            }
            (property::MAXIMUM_PACKET_SIZE, Value::Four(v)) => {
                let zero = WireError::protocol("a Maximum Packet Size of 0");
                self.maximum_packet_size = Some(Some(v).filter(|v| *v > 0).ok_or(zero)?);
            }
            (property::RETAIN_AVAILABLE, v) => self.retain_available = Some(v.flag()?),
            (property::WILDCARDS_AVAILABLE, v) => self.wildcards_available = Some(v.flag()?),
            (property::SHARED_AVAILABLE, v) => self.shared_available = Some(v.flag()?),
            (property::IDENTIFIERS_AVAILABLE, v) => drop(v.flag()?),
            (property::ASSIGNED_CLIENT_ID, Value::Text(v)) => self.assigned_client_id = Some(v),
            (property::TOPIC_ALIAS_MAXIMUM, Value::Two(v)) => self.topic_alias_maximum = Some(v),
            (property::REASON_STRING, Value::Text(v)) => self.reason_string = Some(v),
            (property::SERVER_REFERENCE, Value::Text(v)) => self.server_reference = Some(v),
            (property::SERVER_KEEP_ALIVE, Value::Two(v)) => self.server_keep_alive = Some(v),
            (property::USER, Value::Pair(k, v)) => self.user_properties.push((k, v)),
            // Response information and authentication: never asked for.
            _ => {}
        }
        Ok(())
    }
}

fn publish(mut body: Reader, flags: u8, v5: bool) -> Result<Publication, WireError> {
    let qos = QoS::from_bits(flags >> 1 & 3).ok_or(WireError::malformed("QoS 3"))?;
    let dup = flags & 8 != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(WireError::malformed("QoS 0 with DUP"));
    }
    let topic = body.text()?;
    if topic.contains(['+', '#']) {
        return Err(WireError::malformed("a topic name with a wildcard"));
    }
    let id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(packet_id(&mut body)?),
    };
    let mut properties = Properties::default();
    let (mut alias, mut expiry) = (None, None);
    if v5 {
        body.properties(property::OF_PUBLISH, |id, value| {
            match (id, value) {
                (property::PAYLOAD_FORMAT, v) => {
                    properties.payload_format = Some(u8::from(v.flag()?));
                }
                (property::MESSAGE_EXPIRY, Value::Four(v)) => expiry = Some(v),
                (property::CONTENT_TYPE, Value::Text(v)) => properties.content_type = Some(v),
                (property::RESPONSE_TOPIC, Value::Text(v)) => properties.response_topic = Some(v),
                (property::CORRELATION_DATA, Value::Binary(v)) => {
                    properties.correlation_data = Some(v);
                }
                (property::TOPIC_ALIAS, Value::Two(v)) => alias = Some(v),
                (property::USER, Value::Pair(k, v)) => properties.user.push((k, v)),
                _ => {}
            }
            Ok(())
        })?;
    }
    if topic.is_empty() && alias.is_none() {
        return Err(WireError::protocol("a message without topic and alias"));
    }
    let expires = expiry.and_then(|s| SystemTime::now().checked_add(Duration::from_secs(s.into())));
    let message = Message {
        topic,
        payload: body.0,
        qos,
        retain: flags & 1 != 0,
        expires,
        properties: (properties != Properties::default()).then(|| Arc::new(properties)),
    };
    Ok(Publication {
        message,
        id,
        dup,
        alias,
    })
}

fn ack(body: &mut Reader, v5: bool) -> Result<Ack, WireError> {
    let mut ack = Ack {
        id: packet_id(body)?,
        reason: Reason::SUCCESS,
        reason_string: None,
        user_properties: Vec::new(),
    };
    if v5 && !body.is_empty() {
        ack.reason = Reason(body.u8()?);
        if !body.is_empty() {
            body.properties(property::OF_ACK, |_, value| {
                match value {
                    Value::Text(text) => ack.reason_string = Some(text),
                    Value::Pair(k, v) => ack.user_properties.push((k, v)),
                    _ => {}
                }
                Ok(())
            })?;
        }
    }
    Ok(ack)
}

fn answers(body: &mut Reader, v5: bool, with_reasons: bool) -> Result<Answers, WireError> {
    let id = packet_id(body)?;
    let mut reason_string = None;
    if v5 {
        body.properties(property::OF_ACK, |_, value| {
            if let Value::Text(text) = value {
                reason_string = Some(text);
            }
            Ok(())
        })?;
    }
    let mut reasons = Vec::new();
    if with_reasons {
        reasons = std::mem::take(&mut body.0)
            .iter()
            .copied()
            .map(Reason)
            .collect();
        if reasons.is_empty() {
            return Err(WireError::protocol("an acknowledgement without reasons"));
        }
    }
    Ok(Answers {
        id,
        reasons,
        reason_string,
    })
}

fn disconnect(body: &mut Reader) -> Result<Received, WireError> {
    let (mut reason, mut reason_string, mut server_reference) = (Reason::SUCCESS, None, None);
    if !body.is_empty() {
        reason = Reason(body.u8()?);
    }
    if !body.is_empty() {
        body.properties(property::OF_DISCONNECT, |id, value| {
            match (id, value) {
                (property::REASON_STRING, Value::Text(v)) => reason_string = Some(v),
                (property::SERVER_REFERENCE, Value::Text(v)) => server_reference = Some(v),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(Received::Disconnect {
        reason,
        reason_string,
        server_reference,
    })
}
