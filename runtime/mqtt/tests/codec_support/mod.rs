//! Frames by hand, and an independent implementation of MQTT to read what a server writes.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::BytesMut;
use mqtt::packet::{Codec, DecodeError, Incoming, Version};
use mqtt_protocol_core::mqtt::packet::{self as theirs, Packet, v3_1_1, v5_0};
use std::sync::Arc;

/// CONNECT of a client "c" with a clean session and a keep-alive of a minute.
pub fn connect(version: Version) -> Vec<u8> {
    match version {
        Version::V311 => b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c".to_vec(),
        Version::V5 => b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c".to_vec(),
    }
}

/// A frame with the right remaining length.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mut left = body.len();
    loop {
        let byte = u8::try_from(left % 128).unwrap();
        left /= 128;
        frame.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    frame.extend_from_slice(body);
    frame
}

/// A string or binary field.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// A body of several parts.
pub fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A codec that has read CONNECT.
pub fn connected(version: Version) -> Codec {
    let mut codec = Codec::new(1 << 20);
    let mut input = BytesMut::from(&connect(version)[..]);
    assert!(matches!(
        codec.decode(&mut input),
        Ok(Some(Incoming::Connect(_)))
    ));
    codec
}

/// The one packet that a connected client sends with these bytes.
pub fn decode(version: Version, bytes: &[u8]) -> Result<Incoming, DecodeError> {
    one(&mut connected(version), bytes)
}

/// The one packet of these bytes.
pub fn one(codec: &mut Codec, bytes: &[u8]) -> Result<Incoming, DecodeError> {
    let mut input = BytesMut::from(bytes);
    let packet = codec.decode(&mut input)?.expect("a whole packet");
    assert!(input.is_empty(), "bytes are left over: {input:?}");
    Ok(packet)
}

/// Reads one server packet and wants every byte used.
pub fn oracle(version: Version, bytes: &[u8]) -> Packet {
    use theirs::VariableByteInteger as Variable;
    let (length, size) = match Variable::decode_stream(&bytes[1..]) {
        theirs::DecodeResult::Ok(length, size) => (length.to_u32() as usize, size),
        other => panic!("no remaining length: {other:?}"),
    };
    assert_eq!(bytes.len(), 1 + size + length, "the remaining length");
    let body = &bytes[1 + size..];
    macro_rules! read {
        ($($kind:literal => $module:ident::$type:ident as $variant:ident),*) => {
            match bytes[0] >> 4 {
                $($kind => {
                    let (packet, used) = $module::$type::parse(body).expect("a packet");
                    assert_eq!(used, body.len(), "bytes that are not used");
                    Packet::$variant(packet)
                })*
                kind => panic!("packet type {kind}"),
            }
        };
    }
    match (version, bytes[0] >> 4) {
        (Version::V311, 3) => Packet::V3_1_1Publish(
            v3_1_1::Publish::parse(bytes[0] & 15, Arc::from(body))
                .unwrap()
                .0,
        ),
        (Version::V5, 3) => Packet::V5_0Publish(
            v5_0::Publish::parse(bytes[0] & 15, Arc::from(body))
                .unwrap()
                .0,
        ),
        (Version::V311, _) => read!(
            2 => v3_1_1::Connack as V3_1_1Connack, 4 => v3_1_1::Puback as V3_1_1Puback, 5 => v3_1_1::Pubrec as V3_1_1Pubrec,
            6 => v3_1_1::Pubrel as V3_1_1Pubrel, 7 => v3_1_1::Pubcomp as V3_1_1Pubcomp, 9 => v3_1_1::Suback as V3_1_1Suback,
            11 => v3_1_1::Unsuback as V3_1_1Unsuback, 13 => v3_1_1::Pingresp as V3_1_1Pingresp
        ),
        (Version::V5, _) => read!(
            2 => v5_0::Connack as V5_0Connack, 4 => v5_0::Puback as V5_0Puback, 5 => v5_0::Pubrec as V5_0Pubrec,
            6 => v5_0::Pubrel as V5_0Pubrel, 7 => v5_0::Pubcomp as V5_0Pubcomp, 9 => v5_0::Suback as V5_0Suback,
            11 => v5_0::Unsuback as V5_0Unsuback, 13 => v5_0::Pingresp as V5_0Pingresp, 14 => v5_0::Disconnect as V5_0Disconnect
        ),
    }
}
