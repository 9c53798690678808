//! Against an independent implementation of MQTT: it reads what we write, and we read what it writes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod codec_support;

use bytes::{Bytes, BytesMut};
use codec_support::{connected, one, oracle};
use mqtt::{
    Message, Properties, QoS,
    packet::{
        Alias, Codec, ConnAck, Delivery, EncodeError, Encoder, Frame, Incoming, OutgoingPublish,
        PacketId, RetainHandling, Version, reason,
    },
};
use mqtt_protocol_core::mqtt::packet::{
    self as theirs, GenericPacketTrait as _, Packet, Property, Qos, SubEntry, SubOpts, v3_1_1, v5_0,
};
use proptest::{collection::vec, option, prelude::*};
use std::sync::Arc;

fn written(version: Version, write: impl Fn(&Encoder, &mut BytesMut)) -> Packet {
    let mut out = BytesMut::new();
    write(&Encoder::new(version, None), &mut out);
    oracle(version, &out)
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

fn ids() -> impl Strategy<Value = PacketId> {
    (1_u16..).prop_map(|id| PacketId::new(id).unwrap())
}

fn topics() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[^\\pC+#]{1,40}", 1 => "[a-z/]{130,300}"]
}

fn properties() -> impl Strategy<Value = Properties> {
    let text = || "[^\\pC]{0,20}";
    (
        option::of(0_u8..2),
        option::of(text()),
        option::of(topics()),
        option::of(vec(any::<u8>(), 0..20)),
        vec((text(), text()), 0..4),
    )
        .prop_map(
            |(payload_format, content_type, response_topic, correlation_data, user)| Properties {
                payload_format,
                content_type: content_type.map(Into::into),
                response_topic: response_topic.map(Into::into),
                correlation_data: correlation_data.map(Into::into),
                user: user
                    .into_iter()
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
            },
        )
}

fn messages() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![9 => vec(any::<u8>(), 0..200), 1 => vec(any::<u8>(), 16_000..17_000)];
    (topics(), payload, properties()).prop_map(|(topic, payload, properties)| Message {
        topic: topic.into(),
        payload: payload.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires: None,
        properties: (properties != Properties::default()).then(|| Arc::new(properties)),
    })
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    (0_u8..3, ids(), any::<bool>()).prop_map(|(qos, id, dup)| {
        let qos = QoS::from_bits(qos).unwrap();
        Delivery::new(qos, (qos > QoS::AtMostOnce).then_some(id), dup).unwrap()
    })
}

/// The properties that we pass on, as theirs.
fn passed(properties: Option<&Properties>) -> Vec<Property> {
    let Some(from) = properties else {
        return Vec::new();
    };
    let mut to = Vec::new();
    if let Some(format) = from.payload_format {
        let format = if format == 0 {
            theirs::PayloadFormat::Binary
        } else {
            theirs::PayloadFormat::String
        };
        to.push(Property::PayloadFormatIndicator(
            theirs::PayloadFormatIndicator::new(format).unwrap(),
        ));
    }
    if let Some(text) = &from.content_type {
        to.push(Property::ContentType(
            theirs::ContentType::new(&**text).unwrap(),
        ));
    }
    if let Some(topic) = &from.response_topic {
        to.push(Property::ResponseTopic(
            theirs::ResponseTopic::new(&**topic).unwrap(),
        ));
    }
    if let Some(data) = &from.correlation_data {
        to.push(Property::CorrelationData(
            theirs::CorrelationData::new(data.to_vec()).unwrap(),
        ));
    }
    for (name, value) in &from.user {
        to.push(Property::UserProperty(
            theirs::UserProperty::new(&**name, &**value).unwrap(),
        ));
    }
    to
}

/// To be compared without regard to order; that of user properties, which counts, is compared apart.
fn sorted(properties: impl IntoIterator<Item = Property>) -> Vec<String> {
    let mut properties: Vec<String> = properties
        .into_iter()
        .map(|property| format!("{property:?}"))
        .collect();
    properties.sort();
    properties
}

fn users(properties: &[Property]) -> Vec<String> {
    properties
        .iter()
        .filter(|property| matches!(property, Property::UserProperty(_)))
        .map(|user| format!("{user:?}"))
        .collect()
}

fn number(qos: Qos) -> u8 {
    qos as u8
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_message_arrives_as_it_was_sent(
        message in messages(), delivery in deliveries(), retain in any::<bool>(), version in versions(),
        expiry in option::of(any::<u32>()), identifiers in vec(1_u32..=268_435_455, 0..4),
        alias in option::of((1_u16.., any::<bool>())),
    ) {
        let alias = alias.map(|(alias, known)| if known { Alias::Use(alias) } else { Alias::Announce(alias) });
        let outgoing = OutgoingPublish { delivery, retain, alias, subscription_identifiers: &identifiers, expiry };
        let packet = written(version, |encoder, out| encoder.publish(&message, &outgoing, out).unwrap());
        let (qos, dup) = match delivery {
            Delivery::AtMostOnce => (0, false),
            Delivery::AtLeastOnce { dup, .. } => (1, dup),
            Delivery::ExactlyOnce { dup, .. } => (2, dup),
        };
        let id = delivery.id().map(PacketId::get);
        match packet {
            Packet::V3_1_1Publish(read) => {
                prop_assert_eq!((number(read.qos()), read.dup(), read.retain(), read.packet_id()), (qos, dup, retain, id));
                prop_assert_eq!(read.topic_name(), &*message.topic);
                prop_assert_eq!(read.payload().as_slice(), &message.payload[..]);
            }
            Packet::V5_0Publish(read) => {
                prop_assert_eq!((number(read.qos()), read.dup(), read.retain(), read.packet_id()), (qos, dup, retain, id));
                let topic = if let Some(Alias::Use(_)) = alias { "" } else { &*message.topic };
                prop_assert_eq!(read.topic_name(), topic);
                prop_assert_eq!(read.payload().as_slice(), &message.payload[..]);
                let mut expected = passed(message.properties.as_deref());
                expected.extend(expiry.map(|seconds| {
                    Property::MessageExpiryInterval(theirs::MessageExpiryInterval::new(seconds).unwrap())
                }));
                expected.extend(identifiers.iter().map(|id| {
                    Property::SubscriptionIdentifier(theirs::SubscriptionIdentifier::new(*id).unwrap())
                }));
                expected.extend(alias.map(|(Alias::Announce(alias) | Alias::Use(alias))| {
                    Property::TopicAlias(theirs::TopicAlias::new(alias).unwrap())
                }));
                prop_assert_eq!(users(&read.props), users(&expected));
                prop_assert_eq!(sorted(read.props.iter().cloned()), sorted(expected));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_frame_for_many_is_for_each_what_would_be_encoded_for_it(
        message in messages(), copies in vec((deliveries(), any::<bool>()), 1..4), version in versions(),
        expiry in option::of(any::<u32>()), maximum in option::of(any::<u16>()),
    ) {
        let encoder = Encoder::new(version, maximum.map(u32::from));
        let (mut one, mut many) = (BytesMut::from("before"), BytesMut::from("before"));
        for (delivery, retain) in copies {
            let outgoing = OutgoingPublish { delivery, retain, alias: None, subscription_identifiers: &[], expiry };
            let result = encoder.publish(&message, &outgoing, &mut one);
            let frame = Frame::new(version, &message, delivery.id().is_some(), expiry).unwrap();
            prop_assert_eq!(result, encoder.fits(frame.len()));
            if result.is_ok() {
                frame.write(delivery, retain, &mut many).unwrap();
            }
        }
        prop_assert_eq!(one, many);
    }

    #[test]
    fn an_acknowledgement_arrives_as_it_was_sent(id in ids(), version in versions(), code in any::<u8>()) {
        let puback = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
        let expected = if puback.contains(&code) { code } else { 0x80 };
        let two = if code == 0 { 0 } else { 0x92 };
        let said = |code: Option<u8>| code.unwrap_or(0);
        match written(version, |encoder, out| encoder.puback(id, code, out)) {
            Packet::V3_1_1Puback(read) => prop_assert_eq!(read.packet_id(), id.get()),
            Packet::V5_0Puback(read) => {
                prop_assert_eq!((read.packet_id(), said(read.reason_code().map(|code| code as u8))), (id.get(), expected));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match written(version, |encoder, out| encoder.pubrec(id, code, out)) {
            Packet::V3_1_1Pubrec(read) => prop_assert_eq!(read.packet_id(), id.get()),
            Packet::V5_0Pubrec(read) => {
                prop_assert_eq!((read.packet_id(), said(read.reason_code().map(|code| code as u8))), (id.get(), expected));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match written(version, |encoder, out| encoder.pubrel(id, code, out)) {
            Packet::V3_1_1Pubrel(read) => prop_assert_eq!(read.packet_id(), id.get()),
            Packet::V5_0Pubrel(read) => {
                prop_assert_eq!((read.packet_id(), said(read.reason_code().map(|code| code as u8))), (id.get(), two));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match written(version, |encoder, out| encoder.pubcomp(id, code, out)) {
            Packet::V3_1_1Pubcomp(read) => prop_assert_eq!(read.packet_id(), id.get()),
            Packet::V5_0Pubcomp(read) => {
                prop_assert_eq!((read.packet_id(), said(read.reason_code().map(|code| code as u8))), (id.get(), two));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn the_answer_to_subscribe_and_unsubscribe_has_a_code_for_each_filter(
        id in ids(), version in versions(), codes in vec(any::<u8>(), 1..300),
    ) {
        match written(version, |encoder, out| encoder.suback(id, &codes, out)) {
            Packet::V3_1_1Suback(read) => {
                let expected: Vec<u8> = codes.iter().map(|code| if *code < 3 { *code } else { 0x80 }).collect();
                let read = (read.packet_id(), read.return_codes().into_iter().map(|code| code as u8).collect::<Vec<_>>());
                prop_assert_eq!(read, (id.get(), expected));
            }
            Packet::V5_0Suback(read) => {
                let known = [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
                let expected: Vec<u8> = codes.iter().map(|code| if known.contains(code) { *code } else { 0x80 }).collect();
                let read = (read.packet_id(), read.reason_codes().into_iter().map(|code| code as u8).collect::<Vec<_>>());
                prop_assert_eq!(read, (id.get(), expected));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match written(version, |encoder, out| encoder.unsuback(id, &codes, out)) {
            Packet::V3_1_1Unsuback(read) => prop_assert_eq!(read.packet_id(), id.get()),
            Packet::V5_0Unsuback(read) => {
                let known = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
                let expected: Vec<u8> = codes.iter().map(|code| if known.contains(code) { *code } else { 0x80 }).collect();
                let read = (read.packet_id(), read.reason_codes().into_iter().map(|code| code as u8).collect::<Vec<_>>());
                prop_assert_eq!(read, (id.get(), expected));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn connack_says_what_it_was_given(
        session_present in any::<bool>(), code in any::<u8>(), session_expiry in option::of(any::<u32>()),
        receive_maximum in option::of(1_u16..), maximum_packet_size in option::of(1_u32..),
        assigned_client_id in option::of("[a-z0-9]{1,30}"), topic_alias_maximum in option::of(any::<u16>()),
        reason_string in option::of("[a-z ]{0,300}"), server_keep_alive in option::of(any::<u16>()), room in 0_u32..400,
    ) {
        let connack = ConnAck {
            session_present, reason: code, session_expiry, receive_maximum, maximum_packet_size, topic_alias_maximum,
            assigned_client_id: assigned_client_id.as_deref().map(Into::into),
            reason_string: reason_string.as_deref().map(Into::into), server_keep_alive,
        };
        let mut out = BytesMut::new();
        Encoder::new(Version::V5, Some(room)).connack(&connack, &mut out);
        let Packet::V5_0Connack(read) = oracle(Version::V5, &out) else { panic!() };
        prop_assert_eq!(read.session_present(), session_present && code == 0);
        prop_assert!(read.reason_code() as u8 == code || read.reason_code() as u8 == 0x80 || code == reason::SERVER_SHUTTING_DOWN);
        let mut expected = Vec::new();
        expected.extend(session_expiry.map(|v| Property::SessionExpiryInterval(theirs::SessionExpiryInterval::new(v).unwrap())));
        expected.extend(receive_maximum.map(|v| Property::ReceiveMaximum(theirs::ReceiveMaximum::new(v).unwrap())));
        expected.extend(maximum_packet_size.map(|v| Property::MaximumPacketSize(theirs::MaximumPacketSize::new(v).unwrap())));
        expected.extend(assigned_client_id.map(|v| {
            Property::AssignedClientIdentifier(theirs::AssignedClientIdentifier::new(v).unwrap())
        }));
        expected.extend(topic_alias_maximum.map(|v| Property::TopicAliasMaximum(theirs::TopicAliasMaximum::new(v).unwrap())));
        expected.extend(server_keep_alive.map(|v| Property::ServerKeepAlive(theirs::ServerKeepAlive::new(v).unwrap())));
        let without = sorted(expected.clone());
        expected.extend(reason_string.map(|v| Property::ReasonString(theirs::ReasonString::new(v).unwrap())));
        let read = sorted(read.props.iter().cloned());
        if out.len() > room as usize {
            prop_assert_eq!(read, without);
        } else {
            prop_assert!(read == sorted(expected) || read == without);
        }

        let mut old = BytesMut::new();
        Encoder::new(Version::V311, None).connack(&connack, &mut old);
        match reason::connect_return_code(code) {
            None => prop_assert!(old.is_empty()),
            Some(expected) => {
                let Packet::V3_1_1Connack(read) = oracle(Version::V311, &old) else { panic!() };
                prop_assert_eq!(read.return_code() as u8, expected);
                prop_assert_eq!(read.session_present(), session_present && code == 0);
            }
        }
    }

    #[test]
    fn disconnect_says_why_as_far_as_the_client_has_room(code in any::<u8>(), text in option::of("[a-z ]{0,300}"), room in 4_u32..400) {
        let mut out = BytesMut::new();
        Encoder::new(Version::V5, Some(room)).disconnect(code, text.as_deref(), &mut out);
        prop_assert!(out.len() <= room as usize);
        let Packet::V5_0Disconnect(read) = oracle(Version::V5, &out) else { panic!() };
        let read_code = read.reason_code().map_or(0, |code| code as u8);
        let known = [0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B].contains(&code) || (0x8D..=0x90).contains(&code) || (0x93..=0xA2).contains(&code);
        prop_assert_eq!(read_code, if known { code } else { 0x80 });
        let said = read.props.as_ref().is_some_and(|props| !props.is_empty());
        prop_assert_eq!(said, text.as_ref().is_some_and(|text| !text.is_empty() && disconnect_size(text) <= room as usize));
        let before = out.clone();
        Encoder::new(Version::V311, None).disconnect(code, text.as_deref(), &mut out);
        prop_assert_eq!(out, before, "3.1.1 only closes");
    }

    #[test]
    fn a_clients_message_is_read_as_it_was_written(
        message in messages(), delivery in deliveries(), retain in any::<bool>(), version in versions(), alias in option::of(1_u16..),
    ) {
        let (qos, dup) = match delivery {
            Delivery::AtMostOnce => (Qos::AtMostOnce, false),
            Delivery::AtLeastOnce { dup, .. } => (Qos::AtLeastOnce, dup),
            Delivery::ExactlyOnce { dup, .. } => (Qos::ExactlyOnce, dup),
        };
        let mut expected = message.clone();
        expected.qos = QoS::from_bits(qos as u8).unwrap();
        expected.retain = retain;
        let bytes = match version {
            Version::V311 => {
                expected.properties = None;
                let mut builder = v3_1_1::Publish::builder().topic_name(&*message.topic).unwrap()
                    .payload(message.payload.to_vec()).qos(qos).dup(dup).retain(retain);
                if let Some(id) = delivery.id() {
                    builder = builder.packet_id(id.get());
                }
                builder.build().unwrap().to_continuous_buffer()
            }
            Version::V5 => {
                let mut props = passed(message.properties.as_deref());
                props.extend(alias.map(|alias| Property::TopicAlias(theirs::TopicAlias::new(alias).unwrap())));
                let mut builder = v5_0::Publish::builder().topic_name(&*message.topic).unwrap()
                    .payload(message.payload.to_vec()).qos(qos).dup(dup).retain(retain).props(props);
                if let Some(id) = delivery.id() {
                    builder = builder.packet_id(id.get());
                }
                builder.build().unwrap().to_continuous_buffer()
            }
        };
        let alias = alias.filter(|_| version == Version::V5);
        let expected = Incoming::Publish { message: expected, id: delivery.id(), dup, alias };
        prop_assert_eq!(codec_support::decode(version, &bytes), Ok(expected));
    }

    #[test]
    fn connect_is_read_as_it_was_written(
        client_id in "[^\\pC]{1,40}", clean in any::<bool>(), keep_alive in any::<u16>(), version in versions(),
        login in option::of(("[^\\pC]{0,10}", option::of(vec(any::<u8>(), 0..150)))),
        will in option::of((messages(), 0_u8..3, any::<bool>(), option::of(any::<u32>()))),
        session_expiry in option::of(any::<u32>()), receive_maximum in option::of(1_u16..), maximum in option::of(1_u32..),
        aliases in option::of(any::<u16>()),
    ) {
        let quality = |qos| [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(qos)];
        let bytes = match version {
            Version::V311 => {
                let mut builder = v3_1_1::Connect::builder().client_id(&*client_id).unwrap().clean_session(clean).keep_alive(keep_alive);
                if let Some((message, qos, retain, _)) = &will {
                    builder = builder.will_message(&*message.topic, message.payload.to_vec(), quality(*qos), *retain).unwrap();
                }
                if let Some((name, password)) = &login {
                    builder = builder.user_name(&**name).unwrap();
                    if let Some(password) = password {
                        builder = builder.password(password.clone()).unwrap();
                    }
                }
                builder.build().unwrap().to_continuous_buffer()
            }
            Version::V5 => {
                let mut props = Vec::new();
                props.extend(session_expiry.map(|v| Property::SessionExpiryInterval(theirs::SessionExpiryInterval::new(v).unwrap())));
                props.extend(receive_maximum.map(|v| Property::ReceiveMaximum(theirs::ReceiveMaximum::new(v).unwrap())));
                props.extend(maximum.map(|v| Property::MaximumPacketSize(theirs::MaximumPacketSize::new(v).unwrap())));
                props.extend(aliases.map(|v| Property::TopicAliasMaximum(theirs::TopicAliasMaximum::new(v).unwrap())));
                let mut builder = v5_0::Connect::builder()
                    .client_id(&*client_id).unwrap().clean_start(clean).keep_alive(keep_alive).props(props);
                if let Some((message, qos, retain, delay)) = &will {
                    let mut props = passed(message.properties.as_deref());
                    props.extend(delay.map(|v| Property::WillDelayInterval(theirs::WillDelayInterval::new(v).unwrap())));
                    builder = builder.will_message(&*message.topic, message.payload.to_vec(), quality(*qos), *retain).unwrap()
                        .will_props(props);
                }
                if let Some((name, password)) = &login {
                    builder = builder.user_name(&**name).unwrap();
                    if let Some(password) = password {
                        builder = builder.password(password.clone()).unwrap();
                    }
                }
                builder.build().unwrap().to_continuous_buffer()
            }
        };
        let read = one(&mut Codec::new(1 << 20), &bytes);
        let Ok(Incoming::Connect(read)) = read else { panic!("{read:?}") };
        prop_assert_eq!((read.version, &*read.client_id, read.clean, read.keep_alive), (version, &*client_id, clean, keep_alive));
        prop_assert_eq!(read.username.as_deref(), login.as_ref().map(|(name, _)| &**name));
        prop_assert_eq!(read.password, login.and_then(|(_, password)| password).map(Bytes::from));
        match (read.will, will) {
            (None, None) => {}
            (Some(read), Some((mut message, qos, retain, delay))) => {
                message.qos = QoS::from_bits(qos).unwrap();
                message.retain = retain;
                if version == Version::V311 {
                    message.properties = None;
                }
                prop_assert_eq!(read.message, message);
                prop_assert_eq!(read.delay, delay.filter(|_| version == Version::V5).unwrap_or_default());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        match version {
            Version::V311 => prop_assert_eq!(read.session_expiry, if clean { 0 } else { u32::MAX }),
            Version::V5 => {
                prop_assert_eq!(read.session_expiry, session_expiry.unwrap_or(0));
                prop_assert_eq!(read.receive_maximum, receive_maximum.unwrap_or(u16::MAX));
                prop_assert_eq!(read.maximum_packet_size, maximum);
                prop_assert_eq!(read.topic_alias_maximum, aliases.unwrap_or(0));
            }
        }
    }

    #[test]
    fn subscribe_and_unsubscribe_are_read_as_they_were_written(
        id in ids(), version in versions(), identifier in option::of(1_u32..=268_435_455),
        filters in vec(("[^\\pC$]{1,30}", 0_u8..3, any::<bool>(), any::<bool>(), 0_u8..3), 1..5),
    ) {
        let names: Vec<&str> = filters.iter().map(|(filter, ..)| &**filter).collect();
        let (subscribe, unsubscribe) = match version {
            Version::V311 => {
                let entries = filters.iter().map(|(filter, qos, ..)| SubEntry::new(&**filter, SubOpts::from_u8(*qos).unwrap()).unwrap());
                let subscribe = v3_1_1::Subscribe::builder().packet_id(id.get()).entries(entries.collect::<Vec<_>>()).build().unwrap();
                let unsubscribe = v3_1_1::Unsubscribe::builder().packet_id(id.get()).entries(names.clone()).unwrap().build().unwrap();
                (subscribe.to_continuous_buffer(), unsubscribe.to_continuous_buffer())
            }
            Version::V5 => {
                let entries = filters.iter().map(|(filter, qos, local, retain, handling)| {
                    let options = qos | u8::from(*local) << 2 | u8::from(*retain) << 3 | handling << 4;
                    SubEntry::new(&**filter, SubOpts::from_u8(options).unwrap()).unwrap()
                });
                let props: Vec<_> = identifier.iter()
                    .map(|id| Property::SubscriptionIdentifier(theirs::SubscriptionIdentifier::new(*id).unwrap())).collect();
                let subscribe = v5_0::Subscribe::builder()
                    .packet_id(id.get()).entries(entries.collect::<Vec<_>>()).props(props).build().unwrap();
                let unsubscribe = v5_0::Unsubscribe::builder().packet_id(id.get()).entries(names.clone()).unwrap().build().unwrap();
                (subscribe.to_continuous_buffer(), unsubscribe.to_continuous_buffer())
            }
        };
        let mut codec = connected(version);
        let read = one(&mut codec, &subscribe);
        let Ok(Incoming::Subscribe { id: read_id, filters: read, identifier: read_identifier }) = read else { panic!("{read:?}") };
        prop_assert_eq!((read_id, read_identifier), (id, identifier.filter(|_| version == Version::V5)));
        prop_assert_eq!(read.len(), filters.len());
        for (read, (filter, qos, local, retain, handling)) in read.iter().zip(&filters) {
            prop_assert_eq!((&*read.filter, read.qos as u8), (&**filter, *qos));
            let options = (read.no_local, read.retain_as_published, read.retain_handling as u8);
            prop_assert_eq!(options, if version == Version::V5 { (*local, *retain, *handling) } else { (false, false, 0) });
        }
        let read = one(&mut codec, &unsubscribe);
        let Ok(Incoming::Unsubscribe { id: read_id, filters: read }) = read else { panic!("{read:?}") };
        prop_assert_eq!(read_id, id);
        prop_assert_eq!(read, names);
    }
}

/// The size of DISCONNECT with a reason string.
fn disconnect_size(text: &str) -> usize {
    let with_length = |size: usize| if size < 128 { 1 + size } else { 2 + size };
    1 + with_length(1 + with_length(1 + 2 + text.len()))
}

#[test]
fn pingresp_is_two_bytes() {
    for version in [Version::V311, Version::V5] {
        let packet = written(version, Encoder::pingresp);
        assert_eq!(packet.size(), 2);
    }
    assert_eq!(RetainHandling::default(), RetainHandling::Always);
}

#[test]
fn a_field_longer_than_the_wire_can_say_is_an_error_and_writes_nothing() {
    let long = "x".repeat(65_536);
    let mut message = Message {
        topic: long.as_str().into(),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires: None,
        properties: None,
    };
    assert!(matches!(
        Frame::new(Version::V311, &message, false, None),
        Err(EncodeError::TooLong("topic"))
    ));
    message.topic = "t".into();
    let user = vec![("n".into(), long.as_str().into())];
    message.properties = Some(Arc::new(Properties {
        user,
        ..Properties::default()
    }));
    let mut out = BytesMut::from("before");
    let outgoing = OutgoingPublish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        alias: None,
        subscription_identifiers: &[],
        expiry: None,
    };
    let encoder = Encoder::new(Version::V5, None);
    assert_eq!(
        encoder.publish(&message, &outgoing, &mut out),
        Err(EncodeError::TooLong("user property"))
    );
    assert_eq!(&out[..], b"before");
    encoder.disconnect(reason::PROTOCOL_ERROR, Some(&long), &mut out);
    assert_eq!(out.len(), 6 + 1 + 3 + 1 + 3 + 3 + 65_535);
}

#[test]
fn a_frame_is_not_written_for_another_quality_of_service() {
    let message = Message {
        topic: "t".into(),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        expires: None,
        properties: None,
    };
    let id = PacketId::MIN;
    for (acknowledged, delivery) in [
        (false, Delivery::AtLeastOnce { id, dup: false }),
        (true, Delivery::AtMostOnce),
    ] {
        let mut out = BytesMut::new();
        let frame = Frame::new(Version::V311, &message, acknowledged, None).unwrap();
        assert_eq!(
            frame.write(delivery, false, &mut out),
            Err(EncodeError::Quality)
        );
        assert!(out.is_empty());
    }
}
