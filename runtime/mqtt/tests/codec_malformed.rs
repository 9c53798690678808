//! Everything that a client must not send, with the reason code that it is told.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod codec_support;

use bytes::BytesMut;
use codec_support::{connected, decode, field, frame, one, parts};
use mqtt::packet::{Codec, Incoming, Version, reason};

const BOTH: &[Version] = &[Version::V311, Version::V5];
const OLD: &[Version] = &[Version::V311];
const NEW: &[Version] = &[Version::V5];

const MALFORMED: u8 = reason::MALFORMED_PACKET;
const PROTOCOL: u8 = reason::PROTOCOL_ERROR;

/// A field "t".
const T: &[u8] = b"\0\x01t";

struct Case(&'static str, &'static [Version], u8, Vec<u8>);

/// PUBLISH, QoS 0, MQTT 5, topic "t", with these properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    frame(
        0x30,
        &parts(&[
            T,
            &[u8::try_from(properties.len()).unwrap()],
            properties,
            b"payload",
        ]),
    )
}

#[rustfmt::skip] // a row a line
fn after_connect() -> Vec<Case> {
    vec![
        // The fixed header.
        Case("packet type 0", BOTH, MALFORMED, frame(0x00, &[])),
        Case("AUTH, which 3.1.1 does not have", OLD, MALFORMED, frame(0xF0, &[])),
        Case("CONNACK from a client", BOTH, PROTOCOL, frame(0x20, &[0, 0])),
        Case("SUBACK from a client", BOTH, PROTOCOL, frame(0x90, &[0, 1, 0])),
        Case("UNSUBACK from a client", BOTH, PROTOCOL, frame(0xB0, &[0, 1])),
        Case("PINGRESP from a client", BOTH, PROTOCOL, frame(0xD0, &[])),
        Case("a second CONNECT of 3.1.1", BOTH, PROTOCOL, codec_support::connect(Version::V311)),
        Case("a second CONNECT of 5", BOTH, PROTOCOL, codec_support::connect(Version::V5)),
        Case("PUBACK with flags", BOTH, MALFORMED, frame(0x41, &[0, 1])),
        Case("PUBREC with flags", BOTH, MALFORMED, frame(0x52, &[0, 1])),
        Case("PUBREL without its flags", BOTH, MALFORMED, frame(0x60, &[0, 1])),
        Case("PUBCOMP with flags", BOTH, MALFORMED, frame(0x74, &[0, 1])),
        Case("SUBSCRIBE without its flags", BOTH, MALFORMED, frame(0x80, &[])),
        Case("UNSUBSCRIBE without its flags", BOTH, MALFORMED, frame(0xA3, &[])),
        Case("PINGREQ with flags", BOTH, MALFORMED, frame(0xC1, &[])),
        Case("DISCONNECT with flags", BOTH, MALFORMED, frame(0xE1, &[])),
        Case("AUTH with flags", NEW, MALFORMED, frame(0xF1, &[])),
        Case("PINGREQ with a body", BOTH, MALFORMED, frame(0xC0, &[0])),
        Case("a remaining length of five bytes", BOTH, MALFORMED, vec![0xC0, 0x80, 0x80, 0x80, 0x80, 0x00]),
        Case("a remaining length longer than needed", NEW, MALFORMED, vec![0xC0, 0x80, 0x00]),
        Case("a packet larger than the maximum", BOTH, reason::PACKET_TOO_LARGE, vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
        // PUBLISH.
        Case("PUBLISH with QoS 3", BOTH, MALFORMED, frame(0x36, &parts(&[T, &[0, 1], &[0]]))),
        Case("PUBLISH with QoS 0 and DUP", BOTH, MALFORMED, frame(0x38, &parts(&[T, &[0]]))),
        Case("PUBLISH with packet identifier 0", BOTH, PROTOCOL, frame(0x32, &parts(&[T, &[0, 0], &[0]]))),
        Case("PUBLISH without its packet identifier", BOTH, MALFORMED, frame(0x32, T)),
        Case("PUBLISH with nothing", BOTH, MALFORMED, frame(0x30, &[])),
        Case("PUBLISH with a topic cut short", BOTH, MALFORMED, frame(0x30, &[0, 9, b't'])),
        Case("PUBLISH without a topic", OLD, MALFORMED, frame(0x30, &[0, 0])),
        Case("PUBLISH with neither topic nor alias", NEW, PROTOCOL, frame(0x30, &[0, 0, 0])),
        Case("PUBLISH to x/+/y", BOTH, reason::TOPIC_NAME_INVALID, frame(0x30, &parts(&[&field(b"x/+/y"), &[0]]))),
        Case("PUBLISH to a/#", BOTH, reason::TOPIC_NAME_INVALID, frame(0x30, &parts(&[&field(b"a/#"), &[0]]))),
        Case("a topic with U+0000", BOTH, MALFORMED, frame(0x30, &parts(&[&field(b"a\0b"), &[0]]))),
        Case("a topic with a control character", BOTH, MALFORMED, frame(0x30, &parts(&[&field(b"a\x1bb"), &[0]]))),
        Case("a topic with U+0085", BOTH, MALFORMED, frame(0x30, &parts(&[&field("a\u{85}b".as_bytes()), &[0]]))),
        Case("a topic that is not UTF-8", BOTH, MALFORMED, frame(0x30, &parts(&[&field(b"a\xffb"), &[0]]))),
        Case("a topic with a surrogate", BOTH, MALFORMED, frame(0x30, &parts(&[&field(b"\xed\xa0\x80"), &[0]]))),
        Case("PUBLISH without property length", NEW, MALFORMED, frame(0x30, T)),
        Case("properties beyond the packet", NEW, MALFORMED, frame(0x30, &parts(&[T, &[9], b"\x01\x01"]))),
        Case("a property beyond the property length", NEW, MALFORMED, frame(0x30, &parts(&[T, &[2], b"\x02\0\0\0\x09"]))),
        Case("a property length longer than needed", NEW, MALFORMED, frame(0x30, &parts(&[T, &[0x80, 0], b"p"]))),
        Case("a property length of five bytes", NEW, MALFORMED, frame(0x30, &parts(&[T, &[0x80; 4], &[0]]))),
        Case("a property that ends at its name", NEW, MALFORMED, publish_with(b"\x26")),
        Case("an unknown property", NEW, MALFORMED, publish_with(b"\x04\x00")),
        Case("a property number beyond 127", NEW, MALFORMED, publish_with(b"\xa6\x00")),
        Case("a receive maximum in PUBLISH", NEW, MALFORMED, publish_with(b"\x21\0\x01")),
        Case("the payload format twice", NEW, PROTOCOL, publish_with(b"\x01\x00\x01\x00")),
        Case("the content type twice", NEW, PROTOCOL, publish_with(b"\x03\0\0\x03\0\0")),
        Case("payload format 2", NEW, PROTOCOL, publish_with(b"\x01\x02")),
        Case("topic alias 0", NEW, reason::TOPIC_ALIAS_INVALID, publish_with(b"\x23\0\0")),
        Case("a response topic with wildcards", NEW, PROTOCOL, publish_with(b"\x08\0\x03a/+")),
        Case("an empty response topic", NEW, PROTOCOL, publish_with(b"\x08\0\0")),
        Case("a client's subscription identifier", NEW, PROTOCOL, publish_with(b"\x0b\x01")),
        Case("a user property with U+0000", NEW, MALFORMED, publish_with(b"\x26\0\x01\0\0\x01v")),
        Case("a user property that is not UTF-8", NEW, MALFORMED, publish_with(b"\x26\0\x01n\0\x01\xc0")),
        Case("a content type that is not UTF-8", NEW, MALFORMED, publish_with(b"\x03\0\x01\xff")),
        Case("too many user properties", NEW, reason::QUOTA_EXCEEDED, {
            let properties = b"\x26\0\0\0\0".repeat(1025);
            let [low, high] =
                [(5125 % 128) | 0x80, 5125_u16 / 128].map(|byte| u8::try_from(byte).unwrap());
            frame(0x30, &parts(&[T, &[low, high], &properties]))
        }),
        // Acknowledgements.
        Case("PUBACK with nothing", BOTH, MALFORMED, frame(0x40, &[])),
        Case("PUBACK with half an identifier", BOTH, MALFORMED, frame(0x40, &[1])),
        Case("PUBACK with packet identifier 0", BOTH, PROTOCOL, frame(0x40, &[0, 0])),
        Case("PUBREL with packet identifier 0", BOTH, PROTOCOL, frame(0x62, &[0, 0])),
        Case("PUBACK with a reason, which 3.1.1 does not have", OLD, MALFORMED, frame(0x40, &[0, 1, 0])),
        Case("PUBREL with bytes left over", OLD, MALFORMED, frame(0x62, &[0, 1, 0, 0, 0])),
        Case("PUBACK with a reason of PUBREL", NEW, PROTOCOL, frame(0x40, &[0, 1, 0x92])),
        Case("PUBREL with a reason of PUBACK", NEW, PROTOCOL, frame(0x62, &[0, 1, 0x97])),
        Case("PUBCOMP with an unknown reason", NEW, PROTOCOL, frame(0x70, &[0, 1, 0x01])),
        Case("PUBACK with a property that it may not have", NEW, MALFORMED, frame(0x40, &[0, 1, 0, 2, 1, 0])),
        Case("two reason strings", NEW, PROTOCOL, frame(0x40, b"\0\x01\0\x06\x1f\0\0\x1f\0\0")),
        Case("PUBACK with bytes after its properties", NEW, MALFORMED, frame(0x40, &[0, 1, 0, 0, 0])),
        // SUBSCRIBE and UNSUBSCRIBE.
        Case("SUBSCRIBE with packet identifier 0", BOTH, PROTOCOL, frame(0x82, &[0, 0, 0])),
        Case("SUBSCRIBE without a filter", OLD, PROTOCOL, frame(0x82, &[0, 1])),
        Case("SUBSCRIBE without a filter", NEW, PROTOCOL, frame(0x82, &[0, 1, 0])),
        Case("SUBSCRIBE without options", OLD, MALFORMED, frame(0x82, &parts(&[&[0, 1], T]))),
        Case("SUBSCRIBE without options", NEW, MALFORMED, frame(0x82, &parts(&[&[0, 1, 0], T]))),
        Case("options of 5 in 3.1.1", OLD, MALFORMED, frame(0x82, &parts(&[&[0, 1], T, &[0x04]]))),
        Case("reserved options", NEW, MALFORMED, frame(0x82, &parts(&[&[0, 1, 0], T, &[0x40]]))),
        Case("SUBSCRIBE with QoS 3", OLD, PROTOCOL, frame(0x82, &parts(&[&[0, 1], T, &[3]]))),
        Case("SUBSCRIBE with QoS 3", NEW, PROTOCOL, frame(0x82, &parts(&[&[0, 1, 0], T, &[3]]))),
        Case("retain handling 3", NEW, PROTOCOL, frame(0x82, &parts(&[&[0, 1, 0], T, &[0x30]]))),
        Case("a shared subscription with no local", NEW, PROTOCOL, {
            frame(0x82, &parts(&[&[0, 1, 0], &field(b"$share/g/t"), &[0x04]]))
        }),
        Case("subscription identifier 0", NEW, PROTOCOL, frame(0x82, &parts(&[&[0, 1, 2, 0x0b, 0], T, &[0]]))),
        Case("two subscription identifiers", NEW, PROTOCOL, frame(0x82, &parts(&[&[0, 1, 4, 0x0b, 1, 0x0b, 2], T, &[0]]))),
        Case("a filter with U+0000", OLD, MALFORMED, frame(0x82, &parts(&[&[0, 1], &field(b"a\0"), &[0]]))),
        Case("a filter that is not UTF-8", OLD, MALFORMED, frame(0x82, &parts(&[&[0, 1], &field(b"\x80"), &[0]]))),
        Case("too many filters", OLD, reason::QUOTA_EXCEEDED, frame(0x82, &parts(&[&[0, 1], &b"\0\x01t\0".repeat(1025)]))),
        Case("UNSUBSCRIBE without a filter", OLD, PROTOCOL, frame(0xA2, &[0, 1])),
        Case("UNSUBSCRIBE with nothing", BOTH, MALFORMED, frame(0xA2, &[1])),
        Case("UNSUBSCRIBE with packet identifier 0", BOTH, PROTOCOL, frame(0xA2, &[0, 0, 0])),
        Case("UNSUBSCRIBE with a filter cut short", OLD, MALFORMED, frame(0xA2, &[0, 1, 0, 2, b'a'])),
        Case("UNSUBSCRIBE with a subscription identifier", NEW, MALFORMED, frame(0xA2, &parts(&[&[0, 1, 2, 0x0b, 1], T]))),
        // DISCONNECT.
        Case("DISCONNECT with a body", OLD, MALFORMED, frame(0xE0, &[0])),
        Case("DISCONNECT with a reason that only a server has", NEW, PROTOCOL, frame(0xE0, &[0x8E])),
        Case("DISCONNECT that makes a session last", NEW, PROTOCOL, frame(0xE0, b"\0\x05\x11\0\0\0\x01")),
        Case("DISCONNECT with a server reference", NEW, MALFORMED, frame(0xE0, b"\0\x04\x1c\0\x01s")),
        Case("DISCONNECT with bytes left over", NEW, MALFORMED, frame(0xE0, &[0, 0, 0])),
    ]
}

#[test]
fn what_a_client_must_not_send_is_refused_with_its_reason_code() {
    for Case(what, versions, expected, bytes) in after_connect() {
        for version in versions {
            let mut codec = connected(*version);
            let mut input = BytesMut::from(&bytes[..]);
            let error = codec
                .decode(&mut input)
                .expect_err(&format!("{what} in {version:?}"));
            assert_eq!(error.reason, expected, "{what} in {version:?}: {error}");
            assert_eq!(
                codec.decode(&mut input),
                Err(error),
                "{what}: the connection is over"
            );
            let mut out = BytesMut::new();
            codec.refuse(&error, true, &mut out);
            match version {
                Version::V311 => assert!(out.is_empty(), "{what}"),
                Version::V5 => assert_eq!(
                    out[..3],
                    [0xE0, u8::try_from(out.len() - 2).unwrap(), expected],
                    "{what}"
                ),
            }
        }
    }
}

/// Level, flags, properties of MQTT 5, and what follows.
fn connect(level: u8, flags: u8, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = parts(&[&field(b"MQTT"), &[level, flags, 0, 60]]);
    if let Some(properties) = properties {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    frame(0x10, &body)
}

fn connect_5(properties: &[u8]) -> Vec<u8> {
    connect(5, 2, Some(properties), b"\0\x01c")
}

/// CONNACK of 3.1.1.
const fn old(code: u8) -> [u8; 4] {
    [0x20, 2, 0, code]
}

#[test]
fn a_connect_that_must_not_be_is_refused_with_its_code() {
    let client: &[u8] = b"\0\x01c";
    let will = |properties: &[u8], topic: &[u8]| {
        parts(&[client, properties, &field(topic), &field(b"gone")])
    };
    // What, the reason code, what 3.1.1 says in CONNACK if it is in 3.1.1, and the bytes.
    let cases: Vec<(&str, u8, Option<u8>, Vec<u8>)> = vec![
        (
            "level 3 of MQIsdp",
            0x84,
            Some(1),
            frame(0x10, b"\0\x06MQIsdp\x03\x02\0\x3c\0\x01c"),
        ),
        ("level 3", 0x84, Some(1), connect(3, 2, None, client)),
        (
            "level 4 with the bit of a bridge",
            0x84,
            Some(1),
            connect(0x84, 2, None, client),
        ),
        ("level 6", 0x84, None, connect(6, 2, None, client)),
        ("level 0", 0x84, Some(1), connect(0, 2, None, client)),
        (
            "the reserved flag",
            MALFORMED,
            None,
            connect(5, 3, Some(&[]), client),
        ),
        (
            "will QoS without a will",
            MALFORMED,
            None,
            connect(5, 0x0A, Some(&[]), client),
        ),
        (
            "will retain without a will",
            MALFORMED,
            None,
            connect(5, 0x22, Some(&[]), client),
        ),
        (
            "will QoS 3",
            MALFORMED,
            None,
            connect(5, 0x1E, Some(&[]), &will(&[0], b"t")),
        ),
        (
            "a will to a filter",
            reason::TOPIC_NAME_INVALID,
            None,
            connect(5, 0x06, Some(&[]), &will(&[0], b"a/#")),
        ),
        (
            "a will without a topic",
            MALFORMED,
            None,
            connect(5, 0x06, Some(&[]), &will(&[0], b"")),
        ),
        (
            "a will with a topic alias",
            MALFORMED,
            None,
            connect(5, 0x06, Some(&[]), &will(b"\x03\x23\0\x01", b"t")),
        ),
        (
            "two will delays",
            PROTOCOL,
            None,
            connect(
                5,
                0x06,
                Some(&[]),
                &will(b"\x0a\x18\0\0\0\x01\x18\0\0\0\x01", b"t"),
            ),
        ),
        (
            "no client id for a lasting session",
            0x85,
            Some(2),
            connect(4, 0, None, &[0, 0]),
        ),
        (
            "a client id that is not UTF-8",
            MALFORMED,
            None,
            connect(5, 2, Some(&[]), b"\0\x01\xff"),
        ),
        (
            "a client id with a line feed",
            MALFORMED,
            None,
            connect(5, 2, Some(&[]), b"\0\x01\n"),
        ),
        (
            "a user name cut short",
            MALFORMED,
            None,
            connect(5, 0x82, Some(&[]), b"\0\x01c\0\x02u"),
        ),
        (
            "a user name with U+0000",
            MALFORMED,
            None,
            connect(5, 0x82, Some(&[]), b"\0\x01c\0\x01\0"),
        ),
        (
            "a password flag without a password",
            MALFORMED,
            None,
            connect(5, 0x42, Some(&[]), client),
        ),
        (
            "bytes left over",
            MALFORMED,
            None,
            connect(5, 2, Some(&[]), b"\0\x01c!"),
        ),
        ("receive maximum 0", PROTOCOL, None, connect_5(b"\x21\0\0")),
        (
            "maximum packet size 0",
            PROTOCOL,
            None,
            connect_5(b"\x27\0\0\0\0"),
        ),
        (
            "request problem information 2",
            PROTOCOL,
            None,
            connect_5(b"\x17\x02"),
        ),
        (
            "request response information 2",
            PROTOCOL,
            None,
            connect_5(b"\x19\x02"),
        ),
        (
            "two session expiries",
            PROTOCOL,
            None,
            connect_5(b"\x11\0\0\0\x01\x11\0\0\0\x01"),
        ),
        (
            "authentication data without a method",
            PROTOCOL,
            None,
            connect_5(b"\x16\0\x01d"),
        ),
        (
            "a reason string",
            MALFORMED,
            None,
            connect_5(b"\x1f\0\x01r"),
        ),
        ("a topic alias", MALFORMED, None, connect_5(b"\x23\0\x01")),
        ("a remaining length longer than needed", MALFORMED, None, {
            let mut frame = codec_support::connect(Version::V5);
            frame.splice(1..2, [frame[1] | 0x80, 0]);
            frame
        }),
    ];
    for (what, expected, code, bytes) in cases {
        let mut codec = Codec::new(1 << 20);
        let error = codec
            .decode(&mut BytesMut::from(&bytes[..]))
            .expect_err(what);
        assert_eq!(error.reason, expected, "{what}: {error}");
        let mut out = BytesMut::new();
        codec.refuse(&error, false, &mut out);
        match code {
            Some(code) => assert_eq!(out[..], old(code), "{what}"),
            None => assert_eq!(
                out[..4],
                [0x20, u8::try_from(out.len() - 2).unwrap(), 0, expected],
                "{what}"
            ),
        }
    }
}

#[test]
fn three_one_one_has_no_connack_for_a_malformed_connect() {
    for payload in [&b"\0\x01c\0\x01p"[..], b"\0\x01c"] {
        let mut codec = Codec::new(1 << 20);
        let error = codec
            .decode(&mut BytesMut::from(&connect(4, 0x42, None, payload)[..]))
            .unwrap_err();
        assert_eq!(error.reason, MALFORMED, "a password without a user name");
        let mut out = BytesMut::new();
        codec.refuse(&error, false, &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn who_does_not_begin_with_connect_is_cut_at_the_first_byte_without_an_answer() {
    for first in (0..=0xFF).filter(|first| first >> 4 != 1) {
        let mut codec = Codec::new(1 << 20);
        let error = codec.decode(&mut BytesMut::from(&[first][..])).unwrap_err();
        assert_eq!(error.reason, PROTOCOL);
        let mut out = BytesMut::new();
        codec.refuse(&error, false, &mut out);
        assert!(out.is_empty());
    }
    for start in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01\x02\x00",
        b"\x10\x0c\0\x04HTTP\x04\x02\0\0\0\0",
    ] {
        let mut codec = Codec::new(1 << 20);
        let error = codec.decode(&mut BytesMut::from(start)).unwrap_err();
        assert!([MALFORMED, PROTOCOL].contains(&error.reason), "{error}");
        assert_eq!(codec.version(), None);
    }
}

#[test]
fn a_large_packet_is_refused_before_it_has_come() {
    let mut codec = connected(Version::V5);
    let mut input = BytesMut::from(&b"\x30\x81\x80\x40"[..]);
    assert_eq!(
        codec.decode(&mut input).unwrap_err().reason,
        reason::PACKET_TOO_LARGE
    );

    let mut codec = Codec::new(1 << 20);
    let mut input = BytesMut::from(&b"\x10\x80\x80\x08\0\x04MQTT\x05"[..]);
    let error = codec.decode(&mut input).unwrap_err();
    assert_eq!(
        error.reason,
        reason::PACKET_TOO_LARGE,
        "a CONNECT has a limit of its own"
    );
    let mut out = BytesMut::new();
    codec.refuse(&error, false, &mut out);
    assert_eq!(out[3], reason::PACKET_TOO_LARGE);
}

#[test]
fn the_largest_packet_is_taken_and_one_byte_more_is_not() {
    for version in [Version::V311, Version::V5] {
        let body = |length: usize| {
            let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
            let mut body = parts(&[T, properties]);
            body.resize(length, b'p');
            body
        };
        let maximum = 200;
        let mut codec = Codec::new(maximum);
        one(&mut codec, &codec_support::connect(version)).unwrap();
        assert!(matches!(
            one(&mut codec, &frame(0x30, &body(197))),
            Ok(Incoming::Publish { .. })
        ));
        assert_eq!(
            one(&mut codec, &frame(0x30, &body(198)))
                .unwrap_err()
                .reason,
            reason::PACKET_TOO_LARGE
        );
    }
}

#[test]
fn what_looks_odd_but_is_allowed_is_read() {
    let publish = |bytes: &[u8], version| match decode(version, bytes) {
        Ok(Incoming::Publish { message, alias, .. }) => (message, alias),
        other => panic!("{other:?}"),
    };
    // A topic alias in place of the topic.
    let (message, alias) = publish(&frame(0x30, b"\0\0\x03\x23\0\x07p"), Version::V5);
    assert_eq!(
        (
            &*message.topic,
            alias,
            &message.payload[..],
            message.properties
        ),
        ("", Some(7), &b"p"[..], None)
    );
    // Tabs and line feeds in what is only passed on.
    let (message, _) = publish(&publish_with(b"\x26\0\x01\t\0\x01\n"), Version::V5);
    assert_eq!(
        message.properties.unwrap().user,
        [("\t".into(), "\n".into())]
    );
    // Topics that begin with a slash, a dollar or another alphabet.
    for topic in ["/", "$aws/things/t/shadow/update", "é/temp", "//", " "] {
        let (message, _) = publish(&frame(0x30, &field(topic.as_bytes())), Version::V311);
        assert_eq!(message.topic, topic);
    }
    // An older client that always uses four bytes for the remaining length.
    assert_eq!(
        decode(Version::V311, &[0xC0, 0x80, 0x80, 0x80, 0x00]),
        Ok(Incoming::PingReq)
    );
    // DISCONNECT with a reason and no property length.
    let left = Incoming::Disconnect {
        reason: 4,
        session_expiry: None,
    };
    assert_eq!(decode(Version::V5, &[0xE0, 1, 4]), Ok(left.clone()));
    assert_eq!(decode(Version::V5, &[0xE0, 2, 4, 0]), Ok(left));
    // Acknowledgements with properties.
    let id = mqtt::packet::PacketId::new(7).unwrap();
    assert_eq!(
        decode(Version::V5, &frame(0x62, b"\0\x07\0\x04\x1f\0\x01r")),
        Ok(Incoming::PubRel(id, 0))
    );
    assert_eq!(
        decode(Version::V5, &frame(0x62, b"\0\x07\x92")),
        Ok(Incoming::PubRel(id, 0x92))
    );
    assert_eq!(
        decode(Version::V5, &frame(0x40, b"\0\x07\x10\x05\x26\0\0\0\0")),
        Ok(Incoming::PubAck(id, 0x10))
    );
    // An empty filter is for the engine to refuse, in SUBACK.
    let subscribe = decode(Version::V311, &frame(0x82, b"\0\x07\0\0\x01"));
    assert!(
        matches!(subscribe, Ok(Incoming::Subscribe { filters, .. }) if filters[0].filter.is_empty())
    );
    assert_eq!(
        decode(Version::V5, &frame(0xF0, b"\x18\0")),
        Ok(Incoming::Auth)
    );
}

#[test]
fn a_farewell_is_no_larger_than_the_client_takes() {
    let mut codec = Codec::new(1 << 20);
    one(&mut codec, &connect_5(b"\x27\0\0\0\x05")).unwrap();
    let error = one(&mut codec, &[0xD0, 0]).unwrap_err();
    let mut out = BytesMut::new();
    codec.refuse(&error, true, &mut out);
    assert_eq!(&out[..], [0xE0, 2, PROTOCOL, 0]);
}
