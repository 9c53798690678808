//! Messages to and from the cloud's broker.

use crate::world::{A, B, SOON, World, call, refused};
use bytes::Bytes;
use ipc::{
    client::Events,
    ports::{CloudMessage, CloudQos},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

async fn world() -> World {
    let world = World::new().await;
    world.cloud.configure();
    let service = "aws.greengrass.ipc.mqttproxy";
    world
        .allow(A.1, service, &["*"], &["plant/#", "full"])
        .await;
    world
}

async fn next(events: &mut Events) -> Value {
    let event = timeout(SOON, events.next()).await.unwrap();
    event.unwrap().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_published_message_arrives_with_all_its_members() {
    let world = world().await;
    let client = world.client(A.0).await;
    let request = json!({
        "topicName": "plant/1", "qos": "0", "payload": "AAE=", "retain": true,
        "userProperties": [{ "key": "k", "value": "1" }, { "key": "k", "value": "2" }],
        "messageExpiryIntervalSeconds": 60, "correlationData": "/w==", "responseTopic": "plant/answers",
        "payloadFormat": "1", "contentType": "text/plain",
    });
    call(&client, "PublishToIoTCore", request).await.unwrap();
    let plain = json!({ "topicName": "plant/2", "payload": "" });
    call(&client, "PublishToIoTCore", plain).await.unwrap();
    let published = world.cloud.published.lock().unwrap().clone();
    let expected = CloudMessage {
        topic: "plant/1".into(),
        payload: Bytes::from_static(b"\x00\x01"),
        qos: CloudQos::AtMostOnce,
        retain: true,
        expires_in: Some(Duration::from_secs(60)),
        payload_format: Some(1),
        content_type: Some("text/plain".into()),
        response_topic: Some("plant/answers".into()),
        correlation_data: Some(Bytes::from_static(b"\xff")),
        user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
    };
    let second = CloudMessage {
        topic: "plant/2".into(),
        ..CloudMessage::default()
    };
    assert_eq!(published, [expected, second]);
}

#[tokio::test]
async fn what_cannot_be_published_or_may_not_be_is_refused() {
    let world = world().await;
    let client = world.client(A.0).await;
    for (request, class) in [
        (json!({ "topicName": "office" }), "UnauthorizedError"),
        (json!({ "topicName": "plant/+" }), "ServiceError"),
        (
            json!({ "topicName": "plant/1", "qos": "2" }),
            "ServiceError",
        ),
        (
            json!({ "topicName": "plant/1", "payload": "?" }),
            "ServiceError",
        ),
        (
            json!({ "topicName": "plant/1", "payloadFormat": "2" }),
            "ServiceError",
        ),
        (
            json!({ "topicName": "plant/1", "messageExpiryIntervalSeconds": -1 }),
            "ServiceError",
        ),
        (json!({ "topicName": "full" }), "ServiceError"),
        (json!({}), "ServiceError"),
    ] {
        let said = request.to_string();
        assert_eq!(
            refused(&client, "PublishToIoTCore", request).await,
            class,
            "{said}"
        );
    }
    let other = world.client(B.0).await;
    for operation in ["PublishToIoTCore", "SubscribeToIoTCore"] {
        let request = json!({ "topicName": "plant/1" });
        assert_eq!(
            refused(&other, operation, request).await,
            "UnauthorizedError"
        );
    }
    assert!(world.cloud.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_subscriber_gets_messages_until_it_ends_its_stream() {
    let world = world().await;
    let client = world.client(A.0).await;
    let request = json!({ "topicName": "plant/+", "qos": "1" });
    let (_, mut events) = client
        .subscribe::<Value>("aws.greengrass#SubscribeToIoTCore", &request)
        .await
        .unwrap();
    let sender = world.cloud.subscriptions.lock().unwrap()["plant/+"].clone();
    let message = CloudMessage {
        topic: "plant/1".into(),
        payload: Bytes::from_static(b"\x00\x01"),
        payload_format: Some(0),
        user_properties: vec![("k".into(), "v".into())],
        ..CloudMessage::default()
    };
    sender.send(message).unwrap();
    assert_eq!(
        next(&mut events).await,
        json!({ "message": {
            "topicName": "plant/1", "payload": "AAE=", "retain": false, "payloadFormat": "0",
            "userProperties": [{ "key": "k", "value": "v" }],
        } })
    );
    drop(events);
    timeout(SOON, sender.closed()).await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_the_cloud_ends_ends_the_stream() {
    let world = world().await;
    let client = world.client(A.0).await;
    let request = json!({ "topicName": "plant/#" });
    let (_, mut events) = client
        .subscribe::<Value>("aws.greengrass#SubscribeToIoTCore", &request)
        .await
        .unwrap();
    world.cloud.subscriptions.lock().unwrap().clear();
    let end = timeout(SOON, events.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn the_connection_status_is_told_at_once_and_with_each_change() {
    let world = world().await;
    // No policy is needed.
    let client = world.client(B.0).await;
    let (_, mut events) = client
        .subscribe::<Value>(
            "aws.greengrass#SubscribeToIoTCoreConnectionStatus",
            &json!({}),
        )
        .await
        .unwrap();
    for (connected, status) in [
        (None, "DISCONNECTED"),
        (Some(true), "CONNECTED"),
        (Some(false), "DISCONNECTED"),
    ] {
        if let Some(connected) = connected {
            let sender = world.cloud.connected.lock().unwrap();
            sender.as_ref().unwrap().send_replace(connected);
        }
        assert_eq!(
            next(&mut events).await,
            json!({ "connectionStatusEvent": { "status": status } })
        );
    }
}
