//! A stranger's bytes through the codec: nothing panics, every step makes progress, and what has been understood can be
//! written and understood again.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mqtt::{
    Message, QoS,
    packet::{Alias, Codec, Delivery, Encoder, Frame, Incoming, OutgoingPublish, PacketId, Version},
};

const CONNECT_311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c";

// The first byte says after which CONNECT the rest comes (or none), and in pieces of which size.
fuzz_target!(|bytes: &[u8]| {
    let Some((&control, bytes)) = bytes.split_first() else { return };
    let mut codec = Codec::new(1 << 16);
    let mut input = BytesMut::from(match control & 3 {
        1 => CONNECT_311,
        2 | 3 => CONNECT_5,
        _ => &[],
    });
    for piece in bytes.chunks(usize::from(control >> 2) * 4 + 1) {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match codec.decode(&mut input) {
                Ok(Some(packet)) => {
                    assert!(input.len() < before, "a packet without bytes");
                    if let Incoming::Publish { message, .. } = packet {
                        again(&message);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    farewell(&codec, error);
                    return;
                }
            }
        }
    }
});

fn farewell(codec: &Codec, error: mqtt::packet::DecodeError) {
    assert!(error.reason >= 0x80, "an error with a reason of success");
    assert_ne!(error.text, "the packet cannot be parsed", "the guard let something through");
    for connected in [false, true] {
        let mut out = BytesMut::new();
        codec.refuse(&error, connected, &mut out);
        assert!(out.is_empty() || out.len() == usize::from(out[1]) + 2, "a farewell of the wrong length");
    }
}

/// A message that was received goes out to subscribers of both versions as it came.
fn again(message: &Message) {
    for (version, connect) in [(Version::V311, CONNECT_311), (Version::V5, CONNECT_5)] {
        let delivery = Delivery::new(message.qos, (message.qos > QoS::AtMostOnce).then_some(PacketId::MAX), false).unwrap();
        let alias = message.topic.is_empty().then_some(Alias::Announce(1));
        let mut out = BytesMut::new();
        let outgoing = OutgoingPublish { delivery, retain: message.retain, alias, subscription_identifiers: &[], expiry: None };
        Encoder::new(version, None).publish(message, &outgoing, &mut out).unwrap();
        if message.topic.is_empty() {
            continue;
        }
        let mut framed = BytesMut::new();
        let frame = Frame::new(version, message, delivery.id().is_some(), None).unwrap();
        frame.write(delivery, message.retain, &mut framed).unwrap();
        assert_eq!(out, framed);
        let mut input = BytesMut::from(connect);
        input.extend_from_slice(&out);
        let mut codec = Codec::new(u32::MAX);
        codec.decode(&mut input).unwrap();
        let Ok(Some(Incoming::Publish { message: mut read, .. })) = codec.decode(&mut input) else { panic!("not read again") };
        assert!(input.is_empty());
        if version == Version::V311 {
            read.properties = message.properties.clone();
        }
        read.expires = message.expires;
        assert_eq!(&read, message);
    }
}
