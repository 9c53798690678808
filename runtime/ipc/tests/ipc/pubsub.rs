//! Local publish/subscribe, and what a slow subscriber does to others: nothing.

use crate::world::{A, B, SOON, World, body, call, model, refused, request, until};
use ipc::{
    Budget, Limits,
    client::{Client, Events},
    frame::Flags,
    pubsub::Published,
};
use model::TopicFilter;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn next(events: &mut Events) -> Value {
    let event = timeout(SOON, events.next())
        .await
        .expect("a message arrives");
    let event = event.unwrap().unwrap();
    assert_eq!(event.model, "aws.greengrass#SubscriptionResponseMessage");
    event.parse().unwrap()
}

async fn subscribe(client: &Client, topic: &str, mode: Option<&str>) -> Events {
    let mut request = json!({ "topic": topic });
    if let Some(mode) = mode {
        request["receiveMode"] = mode.into();
    }
    let (answer, events) = client
        .subscribe::<Value>("aws.greengrass#SubscribeToTopic", &request)
        .await
        .unwrap();
    assert_eq!(answer, json!({ "topicName": topic }));
    events
}

#[tokio::test]
async fn messages_arrive_as_they_were_sent_and_in_order() {
    let world = World::new().await;
    let (a, b) = (world.client(A.0).await, world.client(B.0).await);
    let mut events = subscribe(&b, "pump/+/speed", None).await;
    for speed in 0..100 {
        a.publish_json("pump/1/speed", &json!({ "speed": speed }))
            .await
            .unwrap();
    }
    a.publish_binary("pump/2/speed", b"\x00\xff").await.unwrap();
    a.publish_binary("pump/2", b"elsewhere").await.unwrap();
    for speed in 0..100 {
        assert_eq!(
            next(&mut events).await,
            json!({ "jsonMessage": { "message": { "speed": speed }, "context": { "topic": "pump/1/speed" } } })
        );
    }
    assert_eq!(
        next(&mut events).await,
        json!({ "binaryMessage": { "message": "AP8=", "context": { "topic": "pump/2/speed" } } })
    );
}

#[tokio::test]
async fn the_receive_mode_decides_whether_a_component_hears_itself() {
    let world = World::new().await;
    let (a, b) = (world.client(A.0).await, world.client(B.0).await);
    let mut exact = subscribe(&a, "t/1", None).await;
    let mut wild = subscribe(&a, "t/+", None).await;
    let mut wild_all = subscribe(&a, "t/#", Some("RECEIVE_ALL_MESSAGES")).await;
    let mut exact_others = subscribe(&a, "t/1", Some("RECEIVE_MESSAGES_FROM_OTHERS")).await;
    a.publish_binary("t/1", b"a").await.unwrap();
    b.publish_binary("t/1", b"b").await.unwrap();
    let payload = |event: Value| {
        event["binaryMessage"]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for events in [&mut exact, &mut wild_all] {
        assert_eq!(payload(next(events).await), "YQ==");
        assert_eq!(payload(next(events).await), "Yg==");
    }
    for events in [&mut wild, &mut exact_others] {
        assert_eq!(payload(next(events).await), "Yg==");
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let a = world.client(A.0).await;
    let json = json!({ "jsonMessage": { "message": {} } });
    for request in [
        json!({ "publishMessage": json }),
        json!({ "topic": "a/+", "publishMessage": json }),
        json!({ "topic": "a*", "publishMessage": json }),
        json!({ "topic": "a" }),
        json!({ "topic": "a", "publishMessage": { "jsonMessage": { "message": 3 } } }),
        json!({ "topic": "a", "publishMessage": { "jsonMessage": { "message": {} }, "binaryMessage": { "message": "" } } }),
        json!({ "topic": "a", "publishMessage": { "binaryMessage": { "message": "?" } } }),
        json!({ "topic": 1 }),
    ] {
        assert_eq!(refused(&a, "PublishToTopic", request).await, "ServiceError");
    }
    for request in [
        json!({}),
        json!({ "topic": "a/#/b" }),
        json!({ "topic": "a", "receiveMode": "SOME" }),
    ] {
        assert_eq!(
            refused(&a, "SubscribeToTopic", request).await,
            "InvalidArgumentsError"
        );
    }
}

#[tokio::test]
async fn a_subscription_ends_when_the_client_ends_it() {
    let world = World::new().await;
    let mut raw = world.accepted(A.0).await;
    assert_eq!(
        model(
            &raw.call(1, "SubscribeToTopic", json!({ "topic": "t" }))
                .await
        ),
        "SubscribeToTopicResponse"
    );
    let mut end = request(1, "x", json!(null));
    end.headers = ipc::frame::Headers::Bare;
    end.flags = Flags::TERMINATE;
    end.payload = bytes::Bytes::new();
    raw.send(&end).await;
    let message =
        json!({ "topic": "t", "publishMessage": { "binaryMessage": { "message": "YQ==" } } });
    let answer = raw.call(2, "PublishToTopic", message.clone()).await;
    assert_eq!(
        (answer.stream, model(&answer)),
        (2, "PublishToTopicResponse")
    );
    // The same stream ended again, late: nothing happens.
    raw.send(&end).await;
    assert_eq!(raw.call(3, "PublishToTopic", message).await.stream, 3);
}

#[tokio::test]
async fn features_of_the_runtime_publish_and_subscribe_too() {
    let world = World::new().await;
    let mut inside = world
        .pubsub
        .subscribe(&TopicFilter::new("in/#").unwrap(), 2);
    let a = world.client(A.0).await;
    let mut outside = subscribe(&a, "out", None).await;
    a.publish_json("in/1", &json!({ "x": 1 })).await.unwrap();
    let message = inside.recv().await.unwrap();
    assert_eq!(
        (message.topic(), &message.payload()[..]),
        ("in/1", &b"{\"x\":1}"[..])
    );
    world.pubsub.publish(None, &Published::binary("out", b"hi"));
    assert_eq!(next(&mut outside).await["binaryMessage"]["message"], "aGk=");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_costs_a_bounded_amount_and_delays_nobody() {
    let budget = Budget {
        connection: 100_000,
        ..Budget::default()
    };
    let world = World::with(Limits {
        budget,
        ..Limits::default()
    })
    .await;
    let mut stuck = world.accepted(B.0).await;
    stuck
        .call(1, "SubscribeToTopic", json!({ "topic": "t" }))
        .await;
    let a = world.client(A.0).await;
    let mut reading = subscribe(&a, "t", None).await;
    let payload = vec![7; 10_000];
    for sent in 0..200_u32 {
        let mut payload = payload.clone();
        payload[..4].copy_from_slice(&sent.to_be_bytes());
        a.publish_binary("t", &payload).await.unwrap();
        next(&mut reading).await;
        assert!(world.statistics.waiting() <= 120_000);
    }
    let dropped = world.statistics.dropped();
    assert!(dropped > 100, "{dropped}");
    // It wakes up, and has the newest: none is out of order, and the last one is there.
    let mut last = None;
    while last != Some(199) {
        let event = body(&stuck.next().await);
        let text = event["binaryMessage"]["message"].as_str().unwrap();
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap();
        let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        assert!(last.is_none_or(|last| last < number));
        last = Some(number);
    }
    until("nothing waits any more", || world.statistics.waiting() == 0).await;
}

#[tokio::test]
async fn all_slow_subscribers_together_are_bounded() {
    let budget = Budget {
        connection: 1_000_000,
        total: 300_000,
        floor: 20_000,
        ..Budget::default()
    };
    let world = World::with(Limits {
        budget,
        ..Limits::default()
    })
    .await;
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut raw = world.accepted(B.0).await;
        raw.call(1, "SubscribeToTopic", json!({ "topic": "t" }))
            .await;
        stuck.push(raw);
    }
    for _ in 0..100 {
        world
            .pubsub
            .publish(None, &Published::binary("t", &[0; 7_000]));
        tokio::task::yield_now().await;
    }
    // Each holds at least one message, whatever its size.
    assert!(
        world.statistics.waiting() < 500_000,
        "{}",
        world.statistics.waiting()
    );
    drop(stuck);
    until("what waited for them is forgotten", || {
        world.statistics.waiting() == 0
    })
    .await;
}

#[tokio::test]
async fn a_message_larger_than_the_budget_still_arrives() {
    let budget = Budget {
        connection: 1000,
        ..Budget::default()
    };
    let world = World::with(Limits {
        budget,
        ..Limits::default()
    })
    .await;
    let a = world.client(A.0).await;
    let mut events = subscribe(&a, "t", None).await;
    let large = vec![1; 5_000_000];
    a.publish_binary("t", &large).await.unwrap();
    let message = next(&mut events).await;
    assert_eq!(
        message["binaryMessage"]["message"].as_str().unwrap().len(),
        5_000_000_usize.div_ceil(3) * 4
    );
    // The connection is as good as before.
    call(&a, "GetConfiguration", json!({})).await.unwrap();
}
