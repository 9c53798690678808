//! What rumqttd's own broker delivers wrongly, and how it has to be: QoS, acknowledgements, retained messages, aliases,
//! subscriptions.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod strangers_support;

use async_trait::async_trait;
use mqtt::{
    Identity, Policy, QoS,
    engine::Options,
    policy::{AllowAll, ConnectRefusal, ConnectRequest},
};
use strangers_support::*;

#[tokio::test]
async fn dollar_topics_are_topics_that_wildcards_at_the_start_do_not_match() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut all = hello(version, "all").connect(&engine).await;
        all.subscribe("#", 1).await;
        all.subscribe("+/things/t/shadow/update", 1).await;
        let mut shadow = hello(version, "shadow").connect(&engine).await;
        shadow.subscribe("$aws/things/+/shadow/#", 1).await;
        let mut client = hello(version, "client").connect(&engine).await;
        assert_eq!(
            client.publish("$aws/things/t/shadow/update", "{}", 1).await % 0x10,
            0
        );
        assert_eq!(shadow.take().await.topic, "$aws/things/t/shadow/update");
        client.publish("marker", "m", 1).await;
        assert_eq!(all.take().await.text(), "m");
        for client in [all, shadow, client] {
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn a_message_comes_with_the_lower_qos_of_publisher_and_subscription() {
    let engine = engine().await;
    for (from, to) in [(V311, V5), (V5, V311)] {
        let mut publisher = hello(from, "publisher").connect(&engine).await;
        let mut subscriber = hello(to, "subscriber").connect(&engine).await;
        for wanted in 0..3 {
            subscriber.subscribe("t", wanted).await;
            for sent in 0..3 {
                publisher.publish("t", "x", sent).await;
                assert_eq!(
                    subscriber.take().await.qos,
                    sent.min(wanted),
                    "sent {sent}, wanted {wanted}"
                );
            }
        }
        publisher.leave().await;
        subscriber.leave().await;
    }
}

#[tokio::test]
async fn a_duplicate_of_qos_2_is_delivered_once_and_the_next_message_too() {
    let engine = engine().await;
    let mut subscriber = hello(V5, "subscriber").connect(&engine).await;
    subscriber.subscribe("t", 2).await;
    for version in [V311, V5] {
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        let (first, again) = (
            client.message("t", b"x", 4, 7, &[]),
            client.message("t", b"x", 0x0C, 7, &[]),
        );
        client.send(&first).await;
        assert!(matches!(client.next().await, Seen::PubRec(7, _)));
        client.send(&again).await;
        assert!(matches!(client.next().await, Seen::PubRec(7, _)));
        client.vanish();
        // Also after it has come back.
        let mut client = hello(version, "client").lasting().connect(&engine).await;
        assert!(client.session_present);
        client.send(&again).await;
        assert!(matches!(client.next().await, Seen::PubRec(7, _)));
        // PUBREL with properties in 5.
        client
            .send(if version == V5 {
                b"\x62\x09\0\x07\0\x05\x26\0\0\0\0"
            } else {
                b"\x62\x02\0\x07"
            })
            .await;
        assert_eq!(client.next().await, Seen::PubComp(7, 0));
        client.publish("t", "y", 2).await;
        assert_eq!(subscriber.texts(2).await, ["x", "y"]);
        client.leave().await;
    }
}

#[tokio::test]
async fn acknowledgements_may_come_in_any_order() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut subscriber = hello(version, "subscriber").connect(&engine).await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = hello(V5, "publisher").connect(&engine).await;
        for qos in [1, 2, 1, 2] {
            publisher.publish("t", "x", qos).await;
        }
        let mut got = Vec::new();
        for _ in 0..4 {
            got.push(subscriber.got().await);
        }
        for one in got.iter().rev() {
            subscriber.acknowledge(one).await;
        }
        publisher.publish("t", "after", 1).await;
        assert_eq!(subscriber.take().await.text(), "after");
        subscriber.leave().await;
        publisher.leave().await;
    }
}

#[tokio::test]
async fn a_thousand_retained_messages_all_come() {
    let engine = engine().await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for number in 0..1000 {
        publisher
            .publish_with(&format!("mr/{number}"), b"kept", 3, &[])
            .await;
    }
    for version in [V311, V5] {
        for qos in 0..3 {
            let mut client = hello(version, "client").connect(&engine).await;
            client.subscribe("mr/#", qos).await;
            let mut topics = Vec::new();
            for _ in 0..1000 {
                let got = client.take().await;
                assert!(got.retain);
                assert_eq!(got.qos, qos.min(1));
                topics.push(got.topic);
            }
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), 1000);
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn an_empty_message_deletes_the_retained_one_only_when_it_is_retained() {
    let engine = engine().await;
    let mut client = hello(V5, "client").connect(&engine).await;
    client.publish_with("t", b"kept", 3, &[]).await;
    client.publish_with("t", b"", 2, &[]).await;
    client.subscribe("t", 1).await;
    assert_eq!(client.take().await.text(), "kept");
    // Subscribing again brings it again.
    client.subscribe("t", 1).await;
    let again = client.take().await;
    assert_eq!((again.text(), again.retain), ("kept", true));
    client.publish_with("t", b"", 3, &[]).await;
    let deleting = client.take().await;
    assert_eq!((deleting.text(), deleting.retain), ("", false));
    client.subscribe("t", 1).await;
    client.publish("t", "marker", 1).await;
    assert_eq!(client.take().await.text(), "marker");
}

#[tokio::test]
async fn a_retained_messages_expiry_runs_once() {
    let engine = engine().await;
    let mut client = hello(V5, "client").connect(&engine).await;
    client
        .publish_with("t", b"kept", 3, b"\x02\0\0\x03\xe8")
        .await;
    for _ in 0..5 {
        client.subscribe("t", 1).await;
        let got = client.take().await;
        let expiry = got.properties.iter().find_map(|property| match property {
            Property::MessageExpiryInterval(seconds) => Some(seconds.val()),
            _ => None,
        });
        assert!(matches!(expiry, Some(990..=1000)), "{expiry:?}");
    }
}

#[tokio::test]
async fn unsubscribe_is_answered_once_with_a_code_for_each_filter() {
    let engine = engine().await;
    let mut old = hello(V311, "old").connect(&engine).await;
    assert!(old.unsubscribe(&["never"]).await.is_empty());
    let mut new = hello(V5, "new").connect(&engine).await;
    new.subscribe("a", 1).await;
    assert_eq!(new.unsubscribe(&["never", "a"]).await, [0x11, 0]);
    new.send(&[0xC0, 0]).await;
    assert_eq!(new.next().await, Seen::PingResp, "no second UNSUBACK");
}

#[tokio::test]
async fn filters_and_topics_that_are_none_are_refused() {
    let engine = engine().await;
    let wrong = [
        "a/#/b",
        "a#",
        "#/a",
        "a+/b",
        "+a",
        "",
        "$share/g",
        "$share//t",
        "$share/g/",
        "$share/g+/t",
        "$share/#/t",
    ];
    for (version, refused) in [(V311, 0x80), (V5, 0x8F)] {
        let mut client = hello(version, "client").connect(&engine).await;
        let filters: Vec<(&str, u8)> = wrong
            .iter()
            .map(|filter| (*filter, 1))
            .chain([("good/+", 2)])
            .collect();
        let codes = client.subscribe_with(&filters, &[]).await;
        assert_eq!(
            codes[..wrong.len()],
            vec![refused; wrong.len()],
            "{wrong:?}"
        );
        assert_eq!(codes[wrong.len()], 2);
        let bytes = client.message("x/+/y", b"", 2, 9, &[]);
        client.send(&bytes).await;
        assert_eq!(
            client.end().await,
            if version == V5 {
                vec![Seen::Disconnect(0x90)]
            } else {
                vec![]
            }
        );
    }
}

#[tokio::test]
async fn each_topic_has_an_alias_of_its_own() {
    let engine = engine().await;
    let mut subscriber = hello(V5, "subscriber")
        .property(b"\x22\0\x0a")
        .connect(&engine)
        .await;
    subscriber.subscribe("w/+", 0).await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    let mut known = std::collections::HashMap::new();
    for round in 0..3 {
        for number in 1..=20 {
            publisher
                .publish(&format!("w/{number}"), &format!("{number}"), 0)
                .await;
            let got = subscriber.got().await;
            let alias = got.properties.iter().find_map(|property| match property {
                Property::TopicAlias(alias) => Some(alias.val()),
                _ => None,
            });
            let topic = match (alias, got.topic.is_empty()) {
                (Some(alias), true) => known[&alias],
                (Some(alias), false) => {
                    assert!((1..=10).contains(&alias));
                    known.insert(alias, number);
                    number
                }
                (None, empty) => {
                    assert!(!empty, "round {round}");
                    number
                }
            };
            assert_eq!(got.text(), topic.to_string());
        }
    }
}

#[tokio::test]
async fn a_clients_alias_stands_for_its_topic_until_it_is_given_to_another() {
    let engine = engine().await;
    let mut subscriber = hello(V311, "subscriber").connect(&engine).await;
    subscriber.subscribe("#", 0).await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for (topic, expected) in [("a", "a"), ("", "a"), ("b", "b"), ("", "b")] {
        publisher.publish_with(topic, b"", 0, b"\x23\0\x01").await;
        assert_eq!(subscriber.got().await.topic, expected);
    }
    for (alias, topic) in [
        (b"\x23\0\x02", ""),
        (b"\x23\xff\xff", "t"),
        (b"\x23\0\0", "t"),
    ] {
        let mut client = hello(V5, "client").connect(&engine).await;
        let bytes = client.message(topic, b"", 0, 0, alias);
        client.send(&bytes).await;
        let farewell = client.end().await;
        assert!(
            matches!(farewell[..], [Seen::Disconnect(0x82 | 0x94)]),
            "{topic} {alias:?}: {farewell:?}"
        );
    }
}

#[tokio::test]
async fn no_more_unacknowledged_messages_come_than_the_client_takes() {
    let engine = engine().await;
    let mut subscriber = hello(V5, "subscriber")
        .property(b"\x21\0\x02")
        .connect(&engine)
        .await;
    subscriber.subscribe("t", 2).await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    for number in 0..50 {
        publisher
            .publish("t", &number.to_string(), 1 + number % 2)
            .await;
    }
    let (one, two) = (subscriber.got().await, subscriber.got().await);
    subscriber.ping().await;
    publisher.publish("t", "0", 0).await;
    // QoS 0 does not count, but keeps its place in the order or overtakes; nothing with an identifier comes.
    subscriber.ping().await;
    subscriber.acknowledge(&one).await;
    subscriber.acknowledge(&two).await;
    let mut numbers = vec![one.text().to_owned(), two.text().to_owned()];
    while numbers.len() < 51 {
        numbers.push(subscriber.take().await.text().to_owned());
    }
    numbers.sort_by_key(|number| number.parse::<u8>().unwrap());
    assert_eq!(numbers.iter().filter(|number| *number == "0").count(), 2);
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

#[tokio::test]
async fn a_client_that_exceeds_our_receive_maximum_is_told_so() {
    let engine = engine_with(
        Options {
            receive_maximum: 2,
            ..Options::default()
        },
        AllowAll,
    )
    .await;
    let mut client = hello(V5, "client").connect(&engine).await;
    assert!(
        client
            .properties
            .iter()
            .any(|property| matches!(property, Property::ReceiveMaximum(most) if most.val() == 2))
    );
    for id in 1..=3 {
        let bytes = client.message("t", b"", 4, id, &[]);
        client.send(&bytes).await;
    }
    assert_eq!(client.end().await.last(), Some(&Seen::Disconnect(0x93)));
}

#[tokio::test]
async fn a_message_larger_than_the_client_takes_is_not_sent() {
    let engine = engine().await;
    let mut small = hello(V5, "small")
        .property(b"\x27\0\0\0\x40")
        .connect(&engine)
        .await;
    small.subscribe("t", 1).await;
    let mut publisher = hello(V5, "publisher").connect(&engine).await;
    publisher.publish("t", &"x".repeat(100), 1).await;
    publisher.publish("t", "small", 1).await;
    assert_eq!(small.take().await.text(), "small");
}

#[tokio::test]
async fn a_packet_larger_than_we_take_ends_the_connection() {
    let engine = engine_with(
        Options {
            max_packet_size: 1000,
            ..Options::default()
        },
        AllowAll,
    )
    .await;
    for version in [V311, V5] {
        let mut client = hello(version, "client").connect(&engine).await;
        let bytes = client.message("t", &[0; 1000], 0, 0, &[]);
        client.send(&bytes).await;
        assert_eq!(
            client.end().await,
            if version == V5 {
                vec![Seen::Disconnect(0x95)]
            } else {
                vec![]
            }
        );
    }
}

#[tokio::test]
async fn subscription_options_are_kept() {
    let engine = engine().await;
    let mut client = hello(V5, "client").connect(&engine).await;
    let mut other = hello(V5, "other").connect(&engine).await;
    // No local.
    client.subscribe("local", 0x05).await;
    client.publish("local", "mine", 1).await;
    other.publish("local", "theirs", 1).await;
    assert_eq!(client.take().await.text(), "theirs");
    // Retain as published.
    client.subscribe("as-published", 0x09).await;
    client.subscribe("not-as-published", 0x01).await;
    other.publish_with("as-published", b"x", 3, &[]).await;
    assert!(client.take().await.retain);
    other.publish_with("not-as-published", b"x", 3, &[]).await;
    assert!(!client.take().await.retain);
    // Retain handling: only when new, and never.
    other.publish_with("kept", b"kept", 3, &[]).await;
    client.subscribe("kept", 0x11).await;
    assert_eq!(client.take().await.text(), "kept");
    client.subscribe("kept", 0x11).await;
    other.subscribe("kept", 0x21).await;
    other.publish("kept", "marker", 1).await;
    assert_eq!(client.take().await.text(), "marker");
    assert_eq!(other.take().await.text(), "marker");
}

#[tokio::test]
async fn overlapping_subscriptions_bring_the_highest_qos_and_all_identifiers() {
    let engine = engine().await;
    let mut client = hello(V5, "client").connect(&engine).await;
    client.subscribe_with(&[("a/#", 0)], b"\x0b\x01").await;
    client.subscribe_with(&[("a/+", 2)], b"\x0b\x02").await;
    client.subscribe_with(&[("a/b", 1)], b"\x0b\xff\x7f").await;
    client.publish("a/b", "x", 2).await;
    let mut got = vec![client.take().await];
    client.publish("a/marker", "marker", 2).await;
    loop {
        let next = client.take().await;
        if next.text() == "marker" {
            break;
        }
        got.push(next);
    }
    let mut identifiers: Vec<u32> = got.iter().flat_map(Got::subscription_identifiers).collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 2, 16_383]);
    assert_eq!(got.iter().map(|got| got.qos).max(), Some(2));
}

#[tokio::test]
async fn shared_groups_of_the_same_name_on_two_filters_are_two_groups() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut publisher = hello(version, "publisher").connect(&engine).await;
        let mut members = Vec::new();
        for (number, filter) in [(1, "t1"), (2, "t2"), (3, "t1")] {
            let mut member = hello(version, &format!("member{number}"))
                .connect(&engine)
                .await;
            member.subscribe(&format!("$share/g/{filter}"), 1).await;
            members.push(member);
        }
        for number in 0..10 {
            publisher.publish("t1", &number.to_string(), 1).await;
            publisher.publish("t2", &number.to_string(), 1).await;
        }
        assert_eq!(
            members[1].texts(10).await,
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
        // Each of t1's members gets its share, and together they get everything once.
        for member in &mut members {
            member.subscribe("end", 1).await;
        }
        publisher.publish("end", "end", 1).await;
        let mut shares = Vec::new();
        for at in [0, 2] {
            let mut share = Vec::new();
            loop {
                let got = members[at].take().await;
                if got.topic == "end" {
                    break;
                }
                share.push(got.text().parse::<u8>().unwrap());
            }
            assert!(!share.is_empty());
            shares.extend(share);
        }
        shares.sort_unstable();
        assert_eq!(shares, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for member in members {
            member.leave().await;
        }
        publisher.leave().await;
    }
}

#[tokio::test]
async fn properties_of_five_pass_through() {
    let engine = engine().await;
    let mut client = hello(V5, "client").connect(&engine).await;
    client.subscribe("t", 1).await;
    let properties =
        b"\x01\x01\x03\0\x01c\x08\0\x03r/t\x09\0\x02\xff\0\x26\0\x01n\0\x01v\x26\0\x01n\0\x01w";
    client.publish_with("t", b"text", 2, properties).await;
    let got = client.take().await;
    let mut sent = client.message("t", b"text", 2, got.id, properties);
    sent[0] = 0x32;
    let Seen::Publish(expected) = codec_support::oracle(V5, &sent).into() else {
        panic!()
    };
    let sorted = |got: &Got| {
        let mut properties: Vec<String> = got
            .properties
            .iter()
            .map(|property| format!("{property:?}"))
            .collect();
        properties.sort();
        properties
    };
    assert_eq!(sorted(&got), sorted(&expected));
}

#[tokio::test]
async fn a_million_bytes_arrive() {
    let engine = engine().await;
    let payload: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for version in [V311, V5] {
        let mut subscriber = hello(version, "subscriber").connect(&engine).await;
        subscriber.subscribe("t", 1).await;
        let mut publisher = hello(version, "publisher").connect(&engine).await;
        let reading = tokio::spawn(async move { subscriber.take().await });
        publisher.publish_with("t", &payload, 2, &[]).await;
        assert!(reading.await.unwrap().payload == payload);
    }
}

/// Only topics below "open/" may be used.
struct OnlyOpen;

#[async_trait]
impl Policy for OnlyOpen {
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<(), ConnectRefusal> {
        if &*request.identity.client_id == "banned" {
            Err(ConnectRefusal::NotAuthorized)
        } else {
            Ok(())
        }
    }

    fn publish(&self, _who: &Identity, topic: &str, _qos: QoS, _retain: bool) -> bool {
        topic.starts_with("open/")
    }

    fn subscribe(&self, _who: &Identity, filter: &str, _qos: QoS) -> bool {
        filter.starts_with("open/")
    }
}

#[tokio::test]
async fn policy_is_asked_for_everything() {
    let engine = engine_with(Options::default(), OnlyOpen).await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    assert_eq!(
        watcher
            .subscribe_with(&[("open/#", 1), ("#", 1), ("$share/g/closed", 1)], &[])
            .await,
        [1, 0x87, 0x87]
    );
    for version in [V311, V5] {
        let mut banned = Client::open(&engine, version);
        banned.send(&hello(version, "banned").bytes()).await;
        let (seen, code) = (banned.end().await, if version == V5 { 0x87 } else { 5 });
        assert!(
            matches!(&seen[..], [Seen::ConnAck { code: found, .. }] if *found == code),
            "{seen:?}"
        );
        for (topic, flags) in [("closed", 0), ("closed", 2), ("closed", 4), ("closed", 3)] {
            let mut client = hello(version, "client").connect(&engine).await;
            let bytes = client.message(topic, b"secret", flags, 1, &[]);
            client.send(&bytes).await;
            client.vanish();
        }
        let mut old = hello(version, "old").connect(&engine).await;
        let refused = if version == V5 { 0x87 } else { 0x80 };
        assert_eq!(old.subscribe_with(&[("closed", 1)], &[]).await, [refused]);
        old.leave().await;
        let mut open = hello(version, "open").connect(&engine).await;
        open.publish("open/t", "public", 1).await;
        assert_eq!(watcher.take().await.text(), "public");
    }
    assert!(engine.metrics().denied_publish >= 8);
    assert!(engine.retained("#", None, 10).messages.is_empty());
}
