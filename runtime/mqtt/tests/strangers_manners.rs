//! Strangers at the door: those who speak another protocol, who dawdle, who ask for what is not offered, who go on after
//! they were refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod strangers_support;

use mqtt::engine::{Engine, Options};
use mqtt::policy::AllowAll;
use std::time::Duration;
use strangers_support::*;
use tokio::{io::AsyncReadExt as _, time::Instant};

/// What the engine answers, byte for byte, until it closes.
async fn answer(engine: &Engine, bytes: &[u8]) -> Vec<u8> {
    let mut client = Client::open(engine, V5);
    client.send(bytes).await;
    let mut said = Vec::new();
    let end = client.stream().read_to_end(&mut said);
    soon("the engine closes", end).await.unwrap();
    said
}

#[tokio::test]
async fn other_protocols_are_closed_without_a_word() {
    let engine = engine().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0",
        b"\x10\x0c\0\x04HTTP\x04\x02\0\x3c\0\0",
        b"\x30\x03\0\x01t",
        b"\xc0\0",
    ] {
        assert_eq!(answer(&engine, bytes).await, b"", "{bytes:?}");
    }
    assert_eq!(engine.metrics().connects, 0);
}

#[tokio::test]
async fn versions_that_are_not_spoken_are_told_so() {
    let engine = engine().await;
    let old = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c";
    assert_eq!(answer(&engine, old).await, b"\x20\x02\0\x01");
    let new = b"\x10\x0e\0\x04MQTT\x06\x02\0\x3c\0\0\x01c";
    assert_eq!(
        answer(&engine, new).await[..4],
        [0x20, new_length(&engine, new).await, 0, 0x84]
    );
}

async fn new_length(engine: &Engine, bytes: &[u8]) -> u8 {
    u8::try_from(answer(engine, bytes).await.len() - 2).unwrap()
}

#[tokio::test]
async fn extended_authentication_is_not_offered() {
    let engine = engine().await;
    let mut client = Client::open(&engine, V5);
    client
        .send(&hello(V5, "c").property(b"\x15\0\x01m\x16\0\x01d").bytes())
        .await;
    let seen = client.end().await;
    assert!(
        matches!(seen[..], [Seen::ConnAck { code: 0x8C, .. }]),
        "{seen:?}"
    );
    let mut client = hello(V5, "c").connect(&engine).await;
    client.send(&[0xF0, 0]).await;
    assert_eq!(client.end().await, [Seen::Disconnect(0x82)]);
}

#[tokio::test]
async fn a_second_connect_ends_the_connection() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut client = hello(version, "c").connect(&engine).await;
        client.send(&hello(version, "c").bytes()).await;
        let expected = if version == V5 {
            vec![Seen::Disconnect(0x82)]
        } else {
            vec![]
        };
        assert_eq!(client.end().await, expected);
    }
}

#[tokio::test]
async fn packets_need_not_wait_for_connack() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut client = Client::open(&engine, version);
        let mut bytes = hello(version, "c").bytes();
        let five: &[u8] = if version == V5 { &[0] } else { &[] };
        bytes.extend(frame(0x82, &parts(&[&[0, 1], five, &field(b"t"), &[1]])));
        bytes.extend(client.message("t", b"early", 2, 2, &[]));
        bytes.extend([0xC0, 0]);
        client.send(&bytes).await;
        assert!(matches!(client.next().await, Seen::ConnAck { code: 0, .. }));
        assert_eq!(client.next().await, Seen::SubAck(1, vec![1]));
        assert_eq!(client.take().await.text(), "early");
        client
            .wait(|seen| (*seen == Seen::PubAck(2, 0)).then_some(()))
            .await;
        client
            .wait(|seen| (*seen == Seen::PingResp).then_some(()))
            .await;
        client.leave().await;
    }
}

#[tokio::test]
async fn what_comes_after_a_malformed_packet_is_not_heard() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    watcher.subscribe("#", 0).await;
    for version in [V311, V5] {
        let mut client = hello(version, "c").connect(&engine).await;
        let mut bytes = client.message("before", b"", 0, 0, &[]);
        bytes.extend([0x36, 0]);
        bytes.extend(client.message("after", b"", 0, 0, &[]));
        client.send(&bytes).await;
        client.end().await;
        assert_eq!(watcher.got().await.topic, "before");
    }
    let mut last = hello(V5, "last").connect(&engine).await;
    last.publish("last", "", 0).await;
    assert_eq!(watcher.got().await.topic, "last");
}

#[tokio::test]
async fn what_comes_after_disconnect_is_not_heard() {
    let engine = engine().await;
    let mut watcher = hello(V5, "watcher").connect(&engine).await;
    watcher.subscribe("#", 0).await;
    for version in [V311, V5] {
        let mut client = hello(version, "c")
            .will("will", "", 0, false, &[])
            .connect(&engine)
            .await;
        let mut bytes = vec![0xE0, 0];
        bytes.extend(client.message("after", b"", 0, 0, &[]));
        client.send(&bytes).await;
        assert_eq!(client.end().await, []);
    }
    let mut last = hello(V5, "last").connect(&engine).await;
    last.publish("last", "", 0).await;
    assert_eq!(watcher.got().await.topic, "last");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_connect_in_time_is_cut() {
    let options = Options {
        connect_timeout: Duration::from_secs(10),
        ..Options::default()
    };
    let engine = engine_with(options, AllowAll).await;
    for (what, bytes) in [
        ("silence", &b""[..]),
        ("one byte", b"\x10"),
        ("half", b"\x10\x0e\0\x04MQTT"),
    ] {
        let began = Instant::now();
        assert_eq!(answer(&engine, bytes).await, b"", "{what}");
        assert_eq!(began.elapsed().as_secs(), 10, "{what}");
    }
    // A byte a second does not prolong it.
    let mut slow = Client::open(&engine, V5);
    let (began, bytes) = (Instant::now(), hello(V5, "slow").bytes());
    for byte in &bytes {
        slow.send(&[*byte]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(
        bytes.len() > 10 && slow.end().await.is_empty(),
        "cut while it was still speaking"
    );
    assert!(began.elapsed() < Duration::from_secs(bytes.len() as u64 + 1));
}

#[tokio::test(start_paused = true)]
async fn half_a_packet_does_not_keep_a_client_alive() {
    let engine = engine().await;
    let mut client = hello(V5, "c").keep_alive(2).connect(&engine).await;
    client.send(b"\x30\xff\x7f\0\x01t").await;
    let began = Instant::now();
    assert_eq!(client.end().await, [Seen::Disconnect(0x8D)]);
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_packet_in_single_bytes_is_a_packet() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut client = Client::open(&engine, version);
        let mut bytes = hello(version, "c").bytes();
        bytes.extend([0xC0, 0]);
        for byte in bytes {
            client.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
        assert!(matches!(client.next().await, Seen::ConnAck { code: 0, .. }));
        assert_eq!(client.next().await, Seen::PingResp);
    }
}

#[tokio::test]
async fn disconnect_may_change_the_expiry_of_a_session_that_lasts_only() {
    let engine = engine().await;
    // Down to nothing.
    let mut client = hello(V5, "c").lasting().connect(&engine).await;
    client.send(b"\xe0\x07\0\x05\x11\0\0\0\0").await;
    client.end().await;
    let mut again = hello(V5, "c");
    again.clean = false;
    let mut client = again.connect(&engine).await;
    assert!(!client.session_present);
    // Up from nothing is not allowed.
    client.send(b"\xe0\x07\0\x05\x11\0\0\0\x09").await;
    assert_eq!(client.end().await, [Seen::Disconnect(0x82)]);
    assert!(engine.clients().is_empty());
}

#[tokio::test]
async fn acknowledgements_of_what_was_never_sent_do_no_harm() {
    let engine = engine().await;
    for version in [V311, V5] {
        let mut client = hello(version, "c").connect(&engine).await;
        client.subscribe("t", 2).await;
        for first in [0x40, 0x70] {
            client.send(&frame(first, &[0x12, 0x34])).await;
        }
        client.send(&frame(0x62, &[0x12, 0x34])).await;
        let unknown = if version == V5 { 0x92 } else { 0 };
        client
            .wait(|seen| (*seen == Seen::PubComp(0x1234, unknown)).then_some(()))
            .await;
        client.publish("t", "still served", 2).await;
        assert_eq!(client.take().await.text(), "still served");
        client.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_on_several_threads() {
    let engine = engine().await;
    let mut tasks = Vec::new();
    for number in 0..16 {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let version = if number % 2 == 0 { V311 } else { V5 };
            for round in 0..10 {
                // Half of the client ids are shared by two tasks, which take over from each other.
                let mut client = Client::open(&engine, version);
                client
                    .send(&hello(version, &format!("c{}", number / 2)).bytes())
                    .await;
                let five: &[u8] = if version == V5 { &[0] } else { &[] };
                client
                    .send(&frame(0x82, &parts(&[&[0, 1], five, &field(b"t/#"), &[2]])))
                    .await;
                for id in 1..20_u16 {
                    let qos = u8::try_from(id % 3).unwrap();
                    let bytes = client.message(&format!("t/{number}"), b"x", qos << 1, id, &[]);
                    client.send(&bytes).await;
                }
                if round % 3 == 0 {
                    client.send(&[0x20, 0]).await;
                }
            }
        }));
    }
    for task in tasks {
        soon("a task", task).await.unwrap();
    }
    let gone = async {
        while engine.metrics().connections > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("every connection ends", gone).await;
    let metrics = engine.metrics();
    assert_eq!(
        (
            metrics.sessions,
            metrics.subscriptions,
            metrics.queued_bytes
        ),
        (0, 0, 0)
    );
    let mut last = hello(V5, "last").connect(&engine).await;
    last.subscribe("t", 1).await;
    last.publish("t", "still served", 1).await;
    assert_eq!(last.take().await.text(), "still served");
}
