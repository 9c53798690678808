//! Bytes of strangers: whatever comes, in whatever pieces, the codec neither panics nor stands still.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod codec_support;

use bytes::{Bytes, BytesMut};
use codec_support::{connected, decode, field, frame, one, parts};
use mqtt::{
    Message, Properties, QoS,
    packet::{
        Codec, DecodeError, Delivery, Encoder, Frame, Incoming, OutgoingPublish, PacketId, Version,
        reason,
    },
};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::sync::Arc;

/// What is said when rumqttd's codec refuses a frame that the guard has found in order: that should not happen.
const UNSEEN: &str = "the packet cannot be parsed";

/// A connection of a busy client, packet by packet.
fn session(version: Version) -> Vec<Vec<u8>> {
    let five = version == Version::V5;
    let properties = |bytes: &[u8]| {
        if five {
            [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
        } else {
            Vec::new()
        }
    };
    let will = properties(
        b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01c\x08\0\x01r\x09\0\x01d\x26\0\x01n\0\x01v",
    );
    let connect = parts(&[
        &field(b"MQTT"),
        &[if five { 5 } else { 4 }, 0xEE, 0, 60],
        &properties(
            b"\x11\0\0\0\x09\x21\0\x0a\x27\0\0\x10\0\x22\0\x0a\x19\x01\x17\0\x26\0\x01n\0\x01v",
        ),
        &field(b"client"),
        &will,
        &field(b"will/topic"),
        &field(b"gone"),
        &field(b"user"),
        &field(b"\xff\xfe"),
    ]);
    let publish = properties(b"\x01\x01\x02\0\0\0\x09\x23\0\x01\x08\0\x03r/t\x09\0\x02\xff\0\x26\0\x01n\0\x01v\x03\0\x04text");
    let mut packets = vec![
        frame(0x10, &connect),
        frame(
            0x30,
            &parts(&[&field(b"a/b"), &properties(b""), b"payload"]),
        ),
        frame(
            0x33,
            &parts(&[&field("é/temp".as_bytes()), &[0, 7], &publish, b"payload"]),
        ),
        frame(
            0x3D,
            &parts(&[&field(b"$aws/things/x"), &[0xFF, 0xFF], &publish]),
        ),
        frame(0x62, &[0, 7]),
        frame(0x40, &[0, 1]),
        frame(0x50, &[0, 2]),
        frame(0x70, &[0, 3]),
        frame(
            0x82,
            &parts(&[
                &[0, 9],
                &properties(b"\x0b\xff\x01\x26\0\x01n\0\x01v"),
                &field(b"a/+/#"),
                &[1],
                &field(b"$share/g/b"),
                &[2],
            ]),
        ),
        frame(
            0xA2,
            &parts(&[
                &[0, 10],
                &properties(b"\x26\0\x01n\0\x01v"),
                &field(b"a/+/#"),
                &field(b"b"),
            ]),
        ),
        frame(0xC0, &[]),
    ];
    if five {
        packets.push(frame(0x40, b"\0\x04\x10\x07\x26\0\x01n\0\x01v"));
        packets.push(frame(0xF0, b"\x18\0"));
        packets.push(frame(0xE0, b"\x04\x0c\x11\0\0\0\x09\x1f\0\x04done"));
    } else {
        packets.push(frame(0xE0, &[]));
    }
    packets
}

/// Everything that is read from `bytes` in such pieces, and the error at the end.
fn read(bytes: &[u8], mut piece: impl FnMut() -> usize) -> (Vec<Incoming>, Option<DecodeError>) {
    let mut codec = Codec::new(1 << 16);
    let (mut input, mut rest, mut packets) = (BytesMut::new(), bytes, Vec::new());
    loop {
        let before = input.len();
        match codec.decode(&mut input) {
            Ok(Some(mut packet)) => {
                assert!(input.len() < before, "a packet of no bytes");
                if let Incoming::Publish { message, .. } = &mut packet {
                    message.expires = None; // counted from now
                }
                packets.push(packet);
            }
            Ok(None) if rest.is_empty() => return (packets, None),
            Ok(None) => {
                assert_eq!(input.len(), before, "bytes taken without a packet");
                let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
                input.extend_from_slice(now);
                rest = later;
            }
            Err(error) => {
                assert_ne!(error.text, UNSEEN, "the guard let something through");
                return (packets, Some(error));
            }
        }
    }
}

#[test]
fn a_whole_session_is_read_packet_by_packet() {
    for version in [Version::V311, Version::V5] {
        let packets = session(version);
        let (read, error) = read(&packets.concat(), || usize::MAX);
        assert_eq!(error, None);
        assert_eq!(read.len(), packets.len());
    }
}

/// One change to a stream of bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Cut(Index),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        3 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        1 => (any::<Index>(), 1_usize..9).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), 1_usize..40).prop_map(|(at, count)| Change::Repeat(at, count)),
        1 => any::<Index>().prop_map(Change::Cut),
    ]
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match change {
        Change::Set(at, byte) => bytes[at.index(length)] = *byte,
        Change::Flip(at, bit) => bytes[at.index(length)] ^= bit,
        Change::Remove(at, count) => {
            let at = at.index(length);
            bytes.drain(at..(at + count).min(length));
        }
        Change::Insert(at, new) => {
            let at = at.index(length);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Repeat(at, count) => {
            let at = at.index(length);
            let again = bytes[at..(at + count).min(length)].to_vec();
            bytes.splice(at..at, again);
        }
        Change::Cut(at) => bytes.truncate(at.index(length)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_sessions_are_read_or_refused_alike_in_any_pieces(
        five in any::<bool>(), changes in vec(changes(), 0..4), pieces in vec(1_usize..60, 1..20),
    ) {
        let mut bytes = session(if five { Version::V5 } else { Version::V311 }).concat();
        for one in &changes {
            change(&mut bytes, one);
        }
        let whole = read(&bytes, || usize::MAX);
        prop_assert!(whole.1.is_none_or(|error| error.reason >= 0x80));
        let mut sizes = pieces.iter().copied().cycle();
        prop_assert_eq!(&read(&bytes, || sizes.next().unwrap()), &whole);
    }

    #[test]
    fn a_changed_packet_is_read_or_refused(five in any::<bool>(), which in any::<Index>(), changes in vec(changes(), 1..4)) {
        let version = if five { Version::V5 } else { Version::V311 };
        let packets = session(version);
        // With the right remaining length, so that the change meets the rules of the packet.
        let packet = which.get(&packets);
        let mut body = packet[if packet.len() > 129 { 3 } else { 2 }..].to_vec();
        for one in &changes {
            change(&mut body, one);
        }
        let bytes = frame(packet[0], &body);
        let mut codec = if packet[0] == 0x10 { Codec::new(1 << 16) } else { connected(version) };
        let mut input = BytesMut::from(&bytes[..]);
        match codec.decode(&mut input) {
            Ok(packet) => prop_assert!(packet.is_some() && input.is_empty()),
            Err(error) => {
                prop_assert!(error.reason >= 0x80);
                prop_assert_ne!(error.text, UNSEEN);
            }
        }
    }

    #[test]
    fn noise_is_refused(bytes in vec(any::<u8>(), 1..300), size in 1_usize..50) {
        let (packets, error) = read(&bytes, || size);
        prop_assert!(packets.is_empty());
        prop_assert!(error.is_some() || bytes[0] == 0x10);
    }
}

#[test]
fn what_only_a_server_sends_does_not_reach_the_codec_that_would_panic() {
    // The frames that end rumqttd's own connection task: CONNACK and UNSUBACK, before CONNECT and after it.
    for bytes in [&b"\x20\x03\0\0\0"[..], b"\xb0\x04\0\x01\0\0"] {
        let mut codec = Codec::new(1 << 20);
        assert_eq!(
            codec.decode(&mut BytesMut::from(bytes)).unwrap_err().reason,
            reason::PROTOCOL_ERROR
        );
        for version in [Version::V311, Version::V5] {
            assert_eq!(
                decode(version, bytes).unwrap_err().reason,
                reason::PROTOCOL_ERROR
            );
        }
    }
}

fn full_message() -> Message {
    Message {
        topic: "t".into(),
        payload: Bytes::from_static(b"payload"),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
        properties: Some(Arc::new(Properties {
            payload_format: Some(1),
            content_type: Some("text".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(b"\xff")),
            user: vec![("n".into(), "v".into())],
        })),
    }
}

#[test]
fn properties_of_a_publisher_of_5_are_not_sent_to_a_subscriber_of_3_1_1() {
    let delivery = Delivery::AtLeastOnce {
        id: PacketId::MAX,
        dup: false,
    };
    let outgoing = OutgoingPublish {
        delivery,
        retain: false,
        alias: Some(mqtt::packet::Alias::Use(1)),
        subscription_identifiers: &[1, 2],
        expiry: Some(9),
    };
    let (mut out, mut framed) = (BytesMut::new(), BytesMut::new());
    Encoder::new(Version::V311, None)
        .publish(&full_message(), &outgoing, &mut out)
        .unwrap();
    Frame::new(Version::V311, &full_message(), true, Some(9))
        .unwrap()
        .write(delivery, false, &mut framed)
        .unwrap();
    let expected = frame(0x32, &parts(&[&field(b"t"), &[0xFF, 0xFF], b"payload"]));
    assert_eq!(out, expected);
    assert_eq!(framed, expected);
}

#[test]
fn client_ids_may_have_any_characters_that_are_not_control_characters() {
    for id in ["a/b", "#", "+", "$SYS", "gerät", ""] {
        let body = parts(&[&field(b"MQTT"), &[4, 2, 0, 0], &field(id.as_bytes())]);
        let Ok(Incoming::Connect(connect)) = one(&mut Codec::new(1 << 20), &frame(0x10, &body))
        else {
            panic!("{id}")
        };
        assert_eq!((&*connect.client_id, connect.keep_alive), (id, 0));
    }
}

#[test]
fn user_name_and_password_are_told_apart_from_none_and_from_empty_ones() {
    // MQTT 5, so that a password may come alone; long ones move the borders of the remaining length.
    let names = [None, Some(""), Some("user")];
    let long = vec![0xFE; 20_000];
    let passwords = [
        None,
        Some(&b""[..]),
        Some(&b"\xff\0"[..]),
        Some(&b"secret"[..]),
        Some(&long[..119]),
        Some(&long),
    ];
    for username in names {
        for password in passwords {
            let flags = 2
                | if username.is_some() { 0x80 } else { 0 }
                | if password.is_some() { 0x40 } else { 0 };
            let mut body = parts(&[&field(b"MQTT"), &[5, flags, 0, 0, 0], &field(b"c")]);
            body.extend(
                username
                    .map(|name| field(name.as_bytes()))
                    .unwrap_or_default(),
            );
            body.extend(password.map(field).unwrap_or_default());
            let Ok(Incoming::Connect(connect)) = one(&mut Codec::new(1 << 20), &frame(0x10, &body))
            else {
                panic!()
            };
            assert_eq!(
                (connect.username.as_deref(), connect.password.as_deref()),
                (username, password)
            );
            assert!(!format!("{connect:?}").contains("secret"));
        }
    }
}

#[test]
fn topic_and_payload_are_slices_of_what_was_read() {
    for version in [Version::V311, Version::V5] {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let mut input =
            BytesMut::from(&frame(0x30, &parts(&[&field(b"topic"), properties, &[7; 5000]]))[..]);
        let memory = input.as_ptr_range();
        let Ok(Some(Incoming::Publish { message, .. })) = connected(version).decode(&mut input)
        else {
            panic!()
        };
        assert!(memory.contains(&message.topic.as_ptr()));
        assert!(memory.contains(&message.payload.as_ptr()));
        assert_eq!(message.payload.len(), 5000);
    }
}
