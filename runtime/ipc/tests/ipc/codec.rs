//! The codec against the frames that real clients exchanged, and against anything else.

use bytes::{BufMut, Bytes, BytesMut};
use ipc::frame::{Decoder, Flags, Frame, FrameError, Headers, Kind, MAX_FRAME, Message, encode};
use proptest::prelude::*;
use std::{fs, path::Path};

const DECODER: Decoder = Decoder { limit: MAX_FRAME };

pub fn captured() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut frames: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.trim();
            let bytes = (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap());
            (
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                bytes.collect(),
            )
        })
        .collect();
    frames.sort();
    frames
}

pub fn decode(bytes: &[u8]) -> Frame {
    let mut buffer = BytesMut::from(bytes);
    let frame = DECODER.decode(&mut buffer).unwrap().expect("a whole frame");
    assert!(buffer.is_empty());
    frame
}

#[test]
fn every_captured_frame_is_understood() {
    let frames = captured();
    assert_eq!(frames.len(), 160);
    for (name, bytes) in frames {
        let frame = decode(&bytes);
        assert_eq!(
            name.contains("_connect") && name.contains("c2s"),
            frame.kind == Kind::Connect,
            "{name}"
        );
        assert!(frame.stream >= 0, "{name}");
    }
}

#[test]
fn acknowledgements_are_byte_for_byte_what_clients_accepted() {
    let expected = captured()
        .into_iter()
        .find(|(name, _)| name == "py_002_s2c_connect_ack")
        .unwrap()
        .1;
    let message = Message {
        kind: Kind::ConnectAck,
        flags: Flags::ACCEPTED,
        stream: 0,
        headers: Headers::Bare,
        payload: Bytes::new(),
    };
    let mut bytes = BytesMut::new();
    encode(&message, &mut bytes);
    assert_eq!(bytes, expected);
}

#[test]
fn a_length_is_not_believed_before_its_checksum_and_its_limit() {
    let mut buffer = BytesMut::new();
    buffer.put_slice(&[0xff; 12]);
    assert_eq!(
        DECODER.decode(&mut buffer),
        Err(FrameError::Checksum("lengths"))
    );
    let mut buffer = BytesMut::new();
    buffer.put_u32(u32::MAX);
    buffer.put_u32(0);
    buffer.put_u32(crc32fast::hash(&buffer));
    assert!(matches!(
        DECODER.decode(&mut buffer),
        Err(FrameError::TooLong { .. })
    ));
    let mut buffer = BytesMut::new();
    buffer.put_u32(20);
    buffer.put_u32(5);
    buffer.put_u32(crc32fast::hash(&buffer));
    assert!(matches!(
        DECODER.decode(&mut buffer),
        Err(FrameError::Lengths { .. })
    ));
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(Kind::ApplicationMessage),
        Just(Kind::ApplicationError),
        Just(Kind::Ping),
        Just(Kind::ProtocolError)
    ];
    let flags = prop_oneof![
        Just(Flags::NONE),
        Just(Flags::ACCEPTED),
        Just(Flags::TERMINATE)
    ];
    let headers = prop_oneof![
        Just(Headers::Bare),
        Just(Headers::Connect),
        Just(Headers::Model("aws.greengrass#ServiceError")),
        "[a-z#.]{1,40}".prop_map(|name| Headers::Request(name.into())),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    (kind, flags, any::<i32>(), headers, payload).prop_map(
        |(kind, flags, stream, headers, payload)| Message {
            kind,
            flags,
            stream,
            headers,
            payload: payload.into(),
        },
    )
}

fn bytes_of(message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(message, &mut bytes);
    assert_eq!(bytes.len(), message.length());
    bytes
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again(message in message(), more in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut buffer = bytes_of(&message);
        buffer.extend_from_slice(&more);
        let frame = DECODER.decode(&mut buffer).unwrap().unwrap();
        prop_assert_eq!(frame.kind, message.kind);
        prop_assert_eq!(frame.flags, message.flags);
        prop_assert_eq!(frame.stream, message.stream);
        prop_assert_eq!(frame.payload, message.payload);
        match message.headers {
            Headers::Request(name) => {
                prop_assert_eq!(frame.operation.unwrap(), name.as_bytes());
                let model = format!("{name}Request");
                prop_assert_eq!(frame.model.unwrap(), model.as_bytes());
            }
            Headers::Model(model) => prop_assert_eq!(frame.model.unwrap(), model.as_bytes()),
            Headers::Connect => prop_assert_eq!(frame.version.unwrap(), &b"0.1.0"[..]),
            _ => prop_assert_eq!(frame.operation, None),
        }
        prop_assert_eq!(&buffer[..], &more[..]);
    }

    #[test]
    fn a_part_of_a_frame_waits_for_the_rest(message in message(), cut in any::<prop::sample::Index>()) {
        let whole = bytes_of(&message);
        let mut part = BytesMut::from(&whole[..cut.index(whole.len())]);
        prop_assert_eq!(DECODER.decode(&mut part), Ok(None));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed(message in message(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = bytes_of(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(!matches!(DECODER.decode(&mut bytes), Ok(Some(_))));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), seal in any::<bool>()) {
        if seal && bytes.len() >= 16 {
            // With right checksums, so that the headers are looked at.
            let length = u32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            let headers = u32::from(bytes[7]) % (length - 15);
            bytes[4..8].copy_from_slice(&headers.to_be_bytes());
            let checksum = crc32fast::hash(&bytes[..8]);
            bytes[8..12].copy_from_slice(&checksum.to_be_bytes());
            let body = bytes.len() - 4;
            let checksum = crc32fast::hash(&bytes[..body]);
            bytes[body..].copy_from_slice(&checksum.to_be_bytes());
        }
        let _ = DECODER.decode(&mut BytesMut::from(&bytes[..]));
    }
}
