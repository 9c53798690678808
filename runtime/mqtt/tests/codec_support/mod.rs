//! Frames by hand, for the tests of the codec.
#![allow(dead_code, reason = "each test file uses a part")]

use bytes::BytesMut;
use mqtt::packet::{Codec, DecodeError, Incoming, Version};

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
