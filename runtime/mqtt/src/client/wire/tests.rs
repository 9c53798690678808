//! The client's half of the wire against the server's half of this crate and against another implementation.

use super::*;
use crate::{
    Properties, QoS,
    client::{Credentials, Options},
    packet::{self, Codec, Delivery, Incoming, OutgoingPublish, SubscribeFilter, Version, Will},
};
use bytes::{Bytes, BytesMut};
use mqtt_protocol_core::mqtt::packet as other;
use proptest::prelude::*;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V5), Just(Version::V311)]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn text() -> impl Strategy<Value = ByteString> {
    "[a-zé$ /]{0,20}".prop_map(ByteString::from)
}

fn binary() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn id() -> impl Strategy<Value = PacketId> {
    any::<PacketId>()
}

fn properties() -> impl Strategy<Value = Option<Arc<Properties>>> {
    let some = (
        proptest::option::of(0..2_u8),
        proptest::option::of(text()),
        proptest::option::of("[a-z/]{1,9}".prop_map(ByteString::from)),
        proptest::option::of(binary()),
        proptest::collection::vec((text(), text()), 0..4),
    );
    some.prop_map(
        |(payload_format, content_type, response_topic, correlation_data, user)| {
            let properties = Properties {
                payload_format,
                content_type,
                response_topic,
                correlation_data,
                user,
            };
            (properties != Properties::default()).then(|| Arc::new(properties))
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    (
        "[a-zé]{1,5}(/[a-z$]{0,5}){0,3}".prop_map(ByteString::from),
        binary(),
        qos(),
        any::<bool>(),
        properties(),
    )
        .prop_map(|(topic, payload, qos, retain, properties)| Message {
            topic,
            payload,
            qos,
            retain,
            expires: None,
            properties,
        })
}

fn options() -> impl Strategy<Value = Options> {
    let will = (message(), any::<u32>(), proptest::option::of(any::<u32>()));
    let credentials = (text(), proptest::option::of(binary()));
    (
        version(),
        "[a-z0-9]{1,20}",
        proptest::option::of(will),
        proptest::option::of(credentials),
        proptest::collection::vec((text(), text()), 0..3),
        any::<(u32, u16, u16)>(),
    )
        .prop_map(
            |(version, client_id, will, credentials, user_properties, numbers)| Options {
                version,
                will: will.map(|(message, delay, expiry)| Will {
                    message,
                    delay,
                    expiry,
                }),
                credentials: credentials
                    .map(|(username, password)| Credentials { username, password }),
                user_properties,
                session_expiry: numbers.0,
                keep_alive: Duration::from_secs(numbers.1.into()),
                receive_maximum: numbers.2.max(1),
                ..Options::new(client_id)
            },
        )
}

/// What our server reads after a CONNECT of that version.
fn served(version: Version, packet: &BytesMut) -> Incoming {
    let mut codec = Codec::new(1 << 20);
    let mut bytes = BytesMut::new();
    let connect = Options {
        version,
        ..Options::new("c")
    };
    Encoder::new(version).connect(&connect, true, &mut bytes);
    bytes.extend_from_slice(packet);
    codec.decode(&mut bytes).unwrap().unwrap();
    let incoming = codec.decode(&mut bytes).unwrap().unwrap();
    assert!(bytes.is_empty());
    incoming
}

fn decoded(version: Version, bytes: &[u8]) -> Result<Received, WireError> {
    let (header, whole) = frame_length(bytes, u32::MAX)?.expect("a whole packet");
    assert_eq!(whole, bytes.len());
    decode(version, &Bytes::copy_from_slice(bytes), header)
}

proptest! {
    #[test]
    fn our_server_reads_the_connect_that_was_meant(options in options(), clean in any::<bool>()) {
        let mut out = BytesMut::new();
        Encoder::new(options.version).connect(&options, clean, &mut out);
        let v5 = options.version == Version::V5;
        if v5 {
            let (theirs, length) = other::v5_0::Connect::parse(&out[2 + usize::from(out[1] & 0x80 != 0)..]).unwrap();
            prop_assert_eq!(theirs.size(), out.len());
            prop_assert_eq!(length + 2 + usize::from(out[1] & 0x80 != 0), out.len());
        }
        let mut codec = Codec::new(1 << 20);
        let Incoming::Connect(connect) = codec.decode(&mut out).unwrap().unwrap() else { panic!() };
        prop_assert_eq!(&connect.client_id, &options.client_id);
        prop_assert_eq!(connect.clean, clean);
        prop_assert_eq!(Duration::from_secs(connect.keep_alive.into()), options.keep_alive);
        let credentials = options.credentials.as_ref();
        prop_assert_eq!(connect.username.as_ref(), credentials.map(|c| &c.username));
        prop_assert_eq!(connect.password.as_ref(), credentials.and_then(|c| c.password.as_ref()));
        if v5 {
            prop_assert_eq!(connect.session_expiry, options.session_expiry);
            prop_assert_eq!(connect.receive_maximum, options.receive_maximum);
            prop_assert_eq!(connect.topic_alias_maximum, options.topic_aliases);
        }
        let will = options.will.clone().map(|will| if v5 { will } else {
            Will { delay: 0, expiry: None, message: Message { properties: None, ..will.message } }
        });
        prop_assert_eq!(connect.will.map(|will| *will), will);
    }

    #[test]
    fn our_server_reads_the_message_that_was_meant(version in version(), message in message(), id in id(), dup in any::<bool>()) {
        let id = (message.qos != QoS::AtMostOnce).then_some(id);
        let dup = dup && id.is_some();
        let frame = PublishFrame { id, dup, alias: None };
        let mut out = BytesMut::new();
        Encoder::new(version).publish(&message, frame, SystemTime::now(), &mut out);
        let Incoming::Publish { message: came, id: its, dup: again, alias } = served(version, &out) else { panic!() };
        let properties = message.properties.clone().filter(|_| version == Version::V5);
        prop_assert_eq!(came, Message { properties, ..message });
        prop_assert_eq!((its, again, alias), (id, dup, None));
    }

    #[test]
    fn we_read_the_message_that_our_server_meant(version in version(), message in message(), id in id(), dup in any::<bool>()) {
        let id = (message.qos != QoS::AtMostOnce).then_some(id);
        let dup = dup && id.is_some();
        let outgoing = OutgoingPublish {
            delivery: Delivery::new(message.qos, id, dup).unwrap(),
            retain: message.retain,
            alias: None,
            subscription_identifiers: &[],
            expiry: None,
        };
        let mut out = BytesMut::new();
        packet::Encoder::new(version, None).publish(&message, &outgoing, &mut out).unwrap();
        let properties = message.properties.clone().filter(|_| version == Version::V5);
        let publication = Publication { message: Message { properties, ..message }, id, dup, alias: None };
        prop_assert_eq!(decoded(version, &out), Ok(Received::Publish(Box::new(publication))));
    }

    #[test]
    fn our_server_reads_the_requests_that_were_meant(version in version(), id in id(), filters in proptest::collection::vec(("[a-z]{1,9}(/[+])?(/#)?", qos()), 1..9)) {
        let filters: Vec<SubscribeFilter> = filters.into_iter().map(|(filter, qos)| SubscribeFilter {
            filter: filter.into(),
            qos,
            no_local: version == Version::V5 && qos == QoS::AtLeastOnce,
            retain_as_published: version == Version::V5 && qos == QoS::ExactlyOnce,
            retain_handling: packet::RetainHandling::Always,
        }).collect();
        let mut encoder = Encoder::new(version);
        let mut out = BytesMut::new();
        encoder.subscribe(id, &filters, &mut out);
        prop_assert_eq!(served(version, &out), Incoming::Subscribe { id, filters: filters.clone(), identifier: None });
        let filters: Vec<ByteString> = filters.into_iter().map(|filter| filter.filter).collect();
        out.clear();
        encoder.unsubscribe(id, &filters, &mut out);
        prop_assert_eq!(served(version, &out), Incoming::Unsubscribe { id, filters });
    }

    #[test]
    fn acknowledgements_are_read_as_meant_both_ways(version in version(), id in id()) {
        let mut encoder = Encoder::new(version);
        let v5 = version == Version::V5;
        let codes = |failure| [0, if v5 { failure } else { 0 }];
        for reason in codes(0x87) {
            let mut out = BytesMut::new();
            encoder.puback(id, Reason(reason), &mut out);
            prop_assert_eq!(served(version, &out), Incoming::PubAck(id, reason));
            out.clear();
            encoder.pubrec(id, Reason(reason), &mut out);
            prop_assert_eq!(served(version, &out), Incoming::PubRec(id, reason));
            let server = packet::Encoder::new(version, None);
            let ack = Ack { id, reason: Reason(reason), reason_string: None, user_properties: Vec::new() };
            out.clear();
            server.puback(id, reason, &mut out);
            prop_assert_eq!(decoded(version, &out), Ok(Received::PubAck(ack.clone())));
            out.clear();
            server.pubrec(id, reason, &mut out);
            prop_assert_eq!(decoded(version, &out), Ok(Received::PubRec(ack)));
        }
        for reason in codes(0x92) {
            let mut out = BytesMut::new();
            encoder.pubrel(id, Reason(reason), &mut out);
            prop_assert_eq!(served(version, &out), Incoming::PubRel(id, reason));
            out.clear();
            encoder.pubcomp(id, Reason(reason), &mut out);
            prop_assert_eq!(served(version, &out), Incoming::PubComp(id, reason));
        }
        let server = packet::Encoder::new(version, None);
        let reasons: &[u8] = if v5 { &[0, 1, 2, 0x87, 0x97] } else { &[0, 1, 2, 0x80] };
        let mut out = BytesMut::new();
        server.suback(id, reasons, &mut out);
        let answers = Answers { id, reasons: reasons.iter().copied().map(Reason).collect(), reason_string: None };
        prop_assert_eq!(decoded(version, &out), Ok(Received::SubAck(answers)));
        out.clear();
        server.unsuback(id, &[0, 0x11], &mut out);
        let reasons = if v5 { vec![Reason(0), Reason(0x11)] } else { Vec::new() };
        prop_assert_eq!(decoded(version, &out), Ok(Received::UnsubAck(Answers { id, reasons, reason_string: None })));
    }

    #[test]
    fn whatever_comes_is_a_packet_or_an_error(version in version(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some((header, whole))) = frame_length(&bytes, 1 << 20)
            && bytes.len() >= whole
        {
            let _ = decode(version, &Bytes::copy_from_slice(&bytes[..whole]), header);
        }
    }

    #[test]
    fn a_packet_cut_or_changed_anywhere_does_no_harm(message in message(), at in any::<usize>(), value in any::<u8>(), cut in any::<usize>()) {
        let outgoing = OutgoingPublish {
            delivery: Delivery::new(message.qos, (message.qos != QoS::AtMostOnce).then_some(PacketId::MIN), false).unwrap(),
            retain: false,
            alias: None,
            subscription_identifiers: &[7],
            expiry: Some(3),
        };
        let mut out = BytesMut::new();
        packet::Encoder::new(Version::V5, None).publish(&message, &outgoing, &mut out).unwrap();
        let at = at % out.len();
        out[at] = value;
        let cut = cut % (out.len() + 1);
        if let Ok(Some((header, _))) = frame_length(&out, 1 << 20)
            && header <= cut
        {
            let _ = decode(Version::V5, &Bytes::copy_from_slice(&out[..cut]), header);
        }
    }
}

#[test]
fn every_property_of_connack_is_read() {
    use other::{Property, v5_0::Connack};
    let properties = vec![
        Property::SessionExpiryInterval(other::SessionExpiryInterval::new(7).unwrap()),
        Property::ReceiveMaximum(other::ReceiveMaximum::new(100).unwrap()),
        Property::MaximumQos(other::MaximumQos::new(1).unwrap()),
        Property::RetainAvailable(other::RetainAvailable::new(0).unwrap()),
        Property::MaximumPacketSize(other::MaximumPacketSize::new(149_504).unwrap()),
        Property::AssignedClientIdentifier(other::AssignedClientIdentifier::new("me").unwrap()),
        Property::TopicAliasMaximum(other::TopicAliasMaximum::new(8).unwrap()),
        Property::ReasonString(other::ReasonString::new("welcome").unwrap()),
        Property::UserProperty(other::UserProperty::new("k", "v").unwrap()),
        Property::WildcardSubscriptionAvailable(
            other::WildcardSubscriptionAvailable::new(0).unwrap(),
        ),
        Property::SubscriptionIdentifierAvailable(
            other::SubscriptionIdentifierAvailable::new(0).unwrap(),
        ),
        Property::SharedSubscriptionAvailable(other::SharedSubscriptionAvailable::new(1).unwrap()),
        Property::ServerKeepAlive(other::ServerKeepAlive::new(1200).unwrap()),
        Property::ResponseInformation(other::ResponseInformation::new("r").unwrap()),
        Property::ServerReference(other::ServerReference::new("there").unwrap()),
    ];
    let theirs = Connack::builder()
        .session_present(true)
        .reason_code(mqtt_protocol_core::mqtt::result_code::ConnectReasonCode::Success)
        .props(properties)
        .build()
        .unwrap();
    let ours = ConnAck {
        session_present: true,
        reason: Some(Reason::SUCCESS),
        session_expiry: Some(7),
        receive_maximum: Some(100),
        maximum_qos: Some(1),
        retain_available: Some(false),
        maximum_packet_size: Some(149_504),
        assigned_client_id: Some("me".into()),
        topic_alias_maximum: Some(8),
        reason_string: Some("welcome".into()),
        user_properties: vec![("k".into(), "v".into())],
        wildcards_available: Some(false),
        shared_available: Some(true),
        server_keep_alive: Some(1200),
        server_reference: Some("there".into()),
    };
    let bytes = theirs.to_continuous_buffer();
    assert_eq!(
        decoded(Version::V5, &bytes),
        Ok(Received::ConnAck(Box::new(ours)))
    );
}

#[test]
fn a_lifetime_is_sent_in_whole_seconds_rounded_up() {
    let now = SystemTime::now();
    let message = Message {
        topic: "t".into(),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires: Some(now + Duration::from_millis(1001)),
        properties: None,
    };
    let frame = PublishFrame {
        id: None,
        dup: false,
        alias: Some(Alias {
            number: 3,
            known: true,
        }),
    };
    let mut out = BytesMut::new();
    Encoder::new(Version::V5).publish(&message, frame, now, &mut out);
    assert_eq!(out[..], [0x30, 11, 0, 0, 8, 2, 0, 0, 0, 2, 35, 0, 3]);
}

#[test]
fn twice_the_same_property_or_one_out_of_place_is_refused() {
    for bytes in [
        &[0x20, 9, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1][..],
        &[0x20, 5, 0, 0, 2, 1, 0],
        &[0x20, 5, 0, 0, 2, 200, 0],
        &[0x20, 6, 0, 0, 3, 0x21, 0, 0],
        &[0x20, 5, 0, 0, 2, 0x25, 2],
        &[0x20, 3, 1, 0x87, 0],
    ] {
        let error = decoded(Version::V5, bytes).unwrap_err();
        assert_eq!(error.reason, Reason::PROTOCOL_ERROR, "{bytes:02x?}");
    }
}
