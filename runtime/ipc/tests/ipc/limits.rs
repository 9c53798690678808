//! What a client cannot do to the server.

use crate::world::{A, B, Raw, SOON, World, body, call, connect, model, request};
use bytes::{BufMut, BytesMut};
use ipc::{
    Limits,
    client::{Client, ClientError},
    frame::{Flags, Headers, Kind, Message, encode},
};
use serde_json::json;
use std::time::Duration;
use tokio::{io::AsyncWriteExt, time::timeout};

/// The refusal that ends a connection before it is accepted.
async fn refused(raw: &mut Raw) {
    let answer = raw.next().await;
    assert_eq!((answer.kind, answer.flags), (Kind::ConnectAck, Flags::NONE));
    assert!(raw.maybe().await.is_none());
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_greeting_is_closed() {
    let limits = Limits {
        handshake: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let mut silent = world.raw().await;
    let mut half = world.raw().await;
    let mut bytes = BytesMut::new();
    encode(&connect(A.0), &mut bytes);
    half.stream.write_all(&bytes[..40]).await.unwrap();
    refused(&mut silent).await;
    refused(&mut half).await;
}

#[tokio::test]
async fn only_a_good_greeting_is_accepted() {
    let world = World::new().await;
    let mut no_token = connect(A.0);
    no_token.payload = "{}".into();
    let mut no_json = connect(A.0);
    no_json.payload = "authToken".into();
    let mut no_version = connect(A.0);
    no_version.headers = Headers::Bare;
    let mut large = connect(A.0);
    large.payload = vec![b' '; 20_000].into();
    let early = request(1, "GetConfiguration", json!({}));
    for hello in [
        connect("WRONG"),
        no_token,
        no_json,
        no_version,
        large,
        early,
    ] {
        let mut raw = world.raw().await;
        raw.send(&hello).await;
        refused(&mut raw).await;
    }
    let mut raw = world.raw().await;
    raw.stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    refused(&mut raw).await;
    assert!(matches!(
        Client::connect(&world.path(), "WRONG").await,
        Err(ClientError::Refused)
    ));
    // More members are none of our business.
    let mut more = connect(A.0);
    more.payload = json!({ "authToken": A.0, "componentName": "x", "more": [1] })
        .to_string()
        .into();
    let mut raw = world.raw().await;
    raw.send(&more).await;
    assert!(raw.next().await.flags.has(Flags::ACCEPTED));
}

#[tokio::test]
async fn malformed_input_is_answered_with_the_reason_and_the_connection_closed() {
    let world = World::new().await;
    let bare = |kind, stream| Message {
        kind,
        flags: Flags::NONE,
        stream,
        headers: Headers::Bare,
        payload: Default::default(),
    };
    for bad in [
        bare(Kind::ApplicationMessage, 7),
        request(0, "GetConfiguration", json!({})),
        request(-1, "GetConfiguration", json!({})),
        bare(Kind::Connect, 0),
        bare(Kind::ProtocolError, 0),
    ] {
        let mut raw = world.accepted(A.0).await;
        raw.send(&bad).await;
        let answer = raw.next().await;
        assert_eq!(
            (answer.kind, answer.stream),
            (Kind::ProtocolError, 0),
            "{bad:?}"
        );
        assert!(body(&answer)["message"].is_string());
        assert!(raw.maybe().await.is_none());
    }
    let mut raw = world.accepted(A.0).await;
    let mut bytes = BytesMut::new();
    bytes.put_u32(100 * 1024 * 1024);
    bytes.put_u32(10);
    bytes.put_u32(crc32fast::hash(&bytes));
    raw.stream.write_all(&bytes).await.unwrap();
    assert_eq!(raw.next().await.kind, Kind::ProtocolError);
    // Somebody else's connection goes on.
    call(&world.client(B.0).await, "GetConfiguration", json!({}))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_operation_is_an_error_of_its_stream_only() {
    let world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    let answer = raw.call(1, "MakeCoffee", json!({})).await;
    assert_eq!(
        (answer.kind, model(&answer)),
        (Kind::ApplicationError, "ServiceError")
    );
    assert!(answer.flags.has(Flags::TERMINATE));
    assert!(
        body(&answer)["message"]
            .as_str()
            .unwrap()
            .contains("MakeCoffee")
    );
    let answer = raw.call(2, "GetConfiguration", json!({})).await;
    assert_eq!(model(&answer), "GetConfigurationResponse");
}

#[tokio::test]
async fn a_request_without_a_body_is_an_empty_one() {
    let world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    let mut empty = request(1, "GetConfiguration", json!({}));
    empty.payload = Default::default();
    raw.send(&empty).await;
    assert_eq!(model(&raw.next().await), "GetConfigurationResponse");
}

#[tokio::test]
async fn a_component_has_a_bounded_number_of_connections() {
    let world = World::with(Limits {
        connections_per_component: 3,
        ..Limits::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(world.client(A.0).await);
    }
    assert!(matches!(
        Client::connect(&world.path(), A.0).await,
        Err(ClientError::Refused)
    ));
    world.client(B.0).await;
    open.pop();
    let reconnected = timeout(SOON, async {
        while Client::connect(&world.path(), A.0).await.is_err() {}
    });
    reconnected
        .await
        .expect("a place that was left is free again");
}

#[tokio::test]
async fn as_many_connections_work_as_are_allowed_and_one_more_is_turned_away() {
    let limits = Limits {
        connections: 400,
        connections_per_component: 400,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let mut open = Vec::new();
    for _ in 0..400 {
        open.push(world.client(A.0).await);
    }
    for client in &open {
        client.ping().await.unwrap();
    }
    assert!(Client::connect(&world.path(), B.0).await.is_err());
    open.truncate(10);
    let reconnected = timeout(SOON, async {
        while Client::connect(&world.path(), B.0).await.is_err() {}
    });
    reconnected
        .await
        .expect("places that were left are free again");
}

#[tokio::test]
async fn one_user_cannot_take_all_places_without_a_token() {
    let limits = Limits {
        handshakes_per_user: 2,
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let (mut first, _second) = (world.raw().await, world.raw().await);
    let mut third = world.raw().await;
    assert!(third.maybe().await.is_none());
    // Those that are in can still say who they are.
    first.send(&connect(A.0)).await;
    assert!(first.next().await.flags.has(Flags::ACCEPTED));
}

#[tokio::test]
async fn streams_of_a_connection_are_bounded() {
    let world = World::with(Limits {
        streams: 5,
        ..Limits::default()
    })
    .await;
    let mut raw = world.accepted(A.0).await;
    for stream in 1..=5 {
        let answer = raw
            .call(stream, "SubscribeToTopic", json!({ "topic": "t" }))
            .await;
        assert_eq!(model(&answer), "SubscribeToTopicResponse");
    }
    let answer = raw
        .call(6, "SubscribeToTopic", json!({ "topic": "t" }))
        .await;
    assert_eq!(model(&answer), "ServiceError");
    raw.send(&request(5, "SubscribeToTopic", json!({ "topic": "t" })))
        .await;
    assert_eq!(raw.next().await.kind, Kind::ProtocolError);
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_not_read_from_any_more() {
    let budget = ipc::Budget {
        replies: 10_000,
        ..ipc::Budget::default()
    };
    let world = World::with(Limits {
        budget,
        ..Limits::default()
    })
    .await;
    world
        .set(A.1, &[], json!({ "text": "x".repeat(5_000) }))
        .await;
    let mut raw = world.accepted(A.0).await;
    let mut bytes = BytesMut::new();
    let mut sent = 0;
    // Until the socket takes no more: then the server has stopped reading.
    let stuck = async {
        loop {
            sent += 1;
            bytes.clear();
            encode(&request(sent, "GetConfiguration", json!({})), &mut bytes);
            raw.stream.write_all(&bytes).await.unwrap();
        }
    };
    assert!(timeout(Duration::from_millis(500), stuck).await.is_err());
    assert!(sent < 20_000, "{sent}");
    // Others do not notice, and it is served as soon as it reads.
    call(&world.client(B.0).await, "GetConfiguration", json!({}))
        .await
        .unwrap();
    for stream in 1..sent {
        assert_eq!(raw.next().await.stream, stream);
    }
}

#[tokio::test]
async fn the_end_of_the_server_ends_streams_and_removes_the_socket() {
    let mut world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    raw.call(1, "SubscribeToTopic", json!({ "topic": "t" }))
        .await;
    let client = world.client(B.0).await;
    let mut events = client.subscribe_to_topic("t").await.unwrap();
    world.shut_down().await;
    let last = raw.next().await;
    assert_eq!((last.stream, last.flags), (1, Flags::TERMINATE));
    assert!(raw.maybe().await.is_none());
    assert!(events.next().await.is_none());
    timeout(SOON, client.closed()).await.unwrap();
    assert!(matches!(client.ping().await, Err(ClientError::Closed)));
    assert!(!world.path().exists());
}

#[tokio::test]
async fn the_subscriptions_of_a_component_take_bounded_memory_over_all_its_connections() {
    let world = World::with(Limits {
        held_per_component: 20_000,
        ..Limits::default()
    })
    .await;
    let deep = |n: usize| json!({ "topic": format!("{n}/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a") });
    let (mut one, mut two) = (world.accepted(A.0).await, world.accepted(A.0).await);
    let answer = one.call(1, "SubscribeToTopic", deep(1)).await;
    assert_eq!(model(&answer), "SubscribeToTopicResponse");
    let answer = two.call(1, "SubscribeToTopic", deep(2)).await;
    assert_eq!(model(&answer), "SubscribeToTopicResponse");
    let answer = two.call(2, "SubscribeToTopic", deep(3)).await;
    assert_eq!(model(&answer), "ServiceError");
    // Others have room of their own, and what ends makes room.
    let mut other = world.accepted(B.0).await;
    let answer = other.call(1, "SubscribeToTopic", deep(4)).await;
    assert_eq!(model(&answer), "SubscribeToTopicResponse");
    drop(one);
    let mut stream = 2;
    let again = timeout(SOON, async {
        loop {
            stream += 1;
            let answer = two.call(stream, "SubscribeToTopic", deep(5)).await;
            if model(&answer) == "SubscribeToTopicResponse" {
                return;
            }
        }
    });
    again.await.expect("what ended makes room");
}

#[tokio::test]
async fn a_filter_has_a_bounded_number_of_levels() {
    let world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    let topic = "/".repeat(60_000);
    let answer = raw
        .call(1, "SubscribeToTopic", json!({ "topic": topic }))
        .await;
    assert_eq!(model(&answer), "InvalidArgumentsError");
}

#[tokio::test]
async fn half_sent_large_requests_of_a_component_wait_for_each_other_and_for_nobody_else() {
    let world = World::with(Limits {
        large_per_component: 1024 * 1024,
        ..Limits::default()
    })
    .await;
    let mut bytes = BytesMut::new();
    let publish = json!({ "topic": "t", "publishMessage": { "jsonMessage": { "message": { "m": "x".repeat(900_000) } } } });
    encode(&request(1, "PublishToTopic", publish), &mut bytes);
    let (head, tail) = bytes.split_at(800_000);
    let mut first = world.accepted(A.0).await;
    first.stream.write_all(head).await.unwrap();
    // The second is left in its socket, which takes only so much.
    let mut second = world.accepted(A.0).await;
    let stuck = second.stream.write_all(&bytes);
    assert!(timeout(Duration::from_millis(300), stuck).await.is_err());
    // Small requests and other components go on.
    call(&world.client(A.0).await, "GetConfiguration", json!({}))
        .await
        .unwrap();
    let mut other = world.accepted(B.0).await;
    other.stream.write_all(&bytes).await.unwrap();
    assert_ne!(model(&other.next().await), "");
    first.stream.write_all(tail).await.unwrap();
    assert_eq!(model(&first.next().await), "PublishToTopicResponse");
    // The second has the room now, and gives it back when it goes.
    drop(second);
    let mut third = world.accepted(A.0).await;
    third.stream.write_all(&bytes).await.unwrap();
    assert_eq!(model(&third.next().await), "PublishToTopicResponse");
}

#[tokio::test]
async fn a_ping_with_a_large_payload_ends_the_connection() {
    let world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    let mut ping = request(0, "GetConfiguration", json!({}));
    ping.kind = Kind::Ping;
    ping.payload = vec![0; 70_000].into();
    raw.send(&ping).await;
    assert_eq!(raw.next().await.kind, Kind::ProtocolError);
}
