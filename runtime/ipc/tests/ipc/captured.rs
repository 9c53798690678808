//! The bytes that unmodified SDKs sent, against this server: each request is answered with the shape that the same client
//! accepted, or with an error that the operation declares.

use crate::{
    codec::{captured, decode},
    fakes::component,
    world::{Raw, World, body, model},
};
use ipc::frame::{Flags, Frame, Kind};
use model::deployment::DeploymentId;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::io::AsyncWriteExt;

/// What a request is answered with where that is not its response.
const ERRORS: &[(&str, &str)] = &[
    ("py_007_c2s_PublishToTopic", "UnauthorizedError"),
    ("py_014_c2s_SubscribeToIoTCore", "ServiceError"),
    ("py_018_c2s_PublishToIoTCore", "ServiceError"),
    ("py_031_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("py_033_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("py_035_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("py_037_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("py_043_c2s_GetSecretValue", "ServiceError"),
    ("py_045_c2s_GetThingShadow", "ServiceError"),
    ("py_047_c2s_UpdateThingShadow", "ServiceError"),
    ("py_049_c2s_ListNamedShadowsForThing", "ServiceError"),
    ("py_057_c2s_CreateDebugPassword", "ServiceError"),
    ("py_061_c2s_ValidateAuthorizationToken", "UnauthorizedError"),
    ("py_063_c2s_SubscribeToCertificateUpdates", "ServiceError"),
    ("py_066_c2s_GetClientDeviceAuthToken", "ServiceError"),
    ("node_007_c2s_PublishToTopic", "UnauthorizedError"),
    ("node_011_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("node_013_c2s_GetConfiguration", "ResourceNotFoundError"),
    ("node_024_c2s_PauseComponent", "ResourceNotFoundError"),
    ("csdk_025_c2s_PublishToIoTCore", "ServiceError"),
    ("csdk_029_c2s_SubscribeToIoTCore", "ServiceError"),
    ("csdk_040_c2s_GetThingShadow", "ServiceError"),
    ("csdk_044_c2s_UpdateThingShadow", "ServiceError"),
    ("csdk_048_c2s_ListNamedShadowsForThing", "ServiceError"),
];

async fn world() -> World {
    let world = World::new().await;
    let services = [
        ("aws.greengrass.ipc.mqttproxy", "*"),
        ("aws.greengrass.ipc.lifecycle", "*"),
        ("aws.greengrass.ipc.componentmetric", "*"),
        ("aws.greengrass.SecretManager", "*"),
        ("aws.greengrass.ShadowManager", "*"),
        ("aws.greengrass.clientdevices.Auth", "*"),
        ("aws.greengrass.Cli", "*"),
        ("aws.greengrass.ipc.pubsub", "a/*"),
    ];
    for name in ["com.example.Py", "com.example.Node", "com.example.C"] {
        world
            .set(
                name,
                &[],
                json!({ "a": { "b": { "k": "v" } }, "mqtt": { "port": 8883 } }),
            )
            .await;
        for (service, resource) in services {
            world.allow(name, service, &["*"], &[resource]).await;
        }
        world
            .allow(
                name,
                "aws.greengrass.ipc.pubsub",
                &["*"],
                &["a/*", "my/topic"],
            )
            .await;
    }
    world.set("x", &[], json!({ "a": { "k": "v" } })).await;
    world.set("c", &[], json!({ "a": { "b": 1 } })).await;
    world
}

/// Members of the answer that the client was shown when it was captured.
fn members(frame: &Frame) -> Vec<String> {
    match body(frame) {
        Value::Object(members) => members.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

async fn replay(prefix: &str) {
    let world = world().await;
    let frames: BTreeMap<String, Frame> = captured()
        .into_iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, bytes)| (name, decode(&bytes)))
        .collect();
    let bytes: BTreeMap<String, Vec<u8>> = captured().into_iter().collect();
    let mut connection: Option<Raw> = None;
    let mut answered = 0;
    for (name, frame) in &frames {
        if !name.contains("c2s") {
            continue;
        }
        if frame.kind == Kind::Connect {
            let mut raw = world.raw().await;
            raw.stream.write_all(&bytes[name]).await.unwrap();
            let welcome = raw.next().await;
            assert!(
                welcome.kind == Kind::ConnectAck && welcome.flags.has(Flags::ACCEPTED),
                "{name}"
            );
            connection = Some(raw);
            continue;
        }
        let connection = connection.as_mut().expect("a CONNECT comes first");
        if name.contains("DeferComponentUpdate") {
            ask(&world, connection).await;
        }
        connection.stream.write_all(&bytes[name]).await.unwrap();
        if name.ends_with("terminate") {
            continue;
        }
        let operation = name.rsplit('_').next().unwrap();
        let answer = loop {
            let answer = connection.next().await;
            // Events of subscriptions made before may come between.
            if answer.stream == frame.stream {
                break answer;
            }
        };
        check(name, operation, frame, &answer, &frames);
        answered += 1;
    }
    assert!(answered >= 5, "{prefix}: {answered}");
}

fn check(
    name: &str,
    operation: &str,
    request: &Frame,
    answer: &Frame,
    frames: &BTreeMap<String, Frame>,
) {
    let error = ERRORS.iter().find(|(failing, _)| *failing == name);
    let response = format!("{operation}Response");
    let wanted = error.map_or(response.as_str(), |(_, error)| error);
    let text = String::from_utf8_lossy(&answer.payload);
    assert_eq!(model(answer), wanted, "{name}: {text}");
    let streaming = operation.starts_with("SubscribeTo") && error.is_none();
    assert_eq!(answer.flags.has(Flags::TERMINATE), !streaming, "{name}");
    assert_eq!(
        answer.kind == Kind::ApplicationError,
        error.is_some(),
        "{name}"
    );
    assert_eq!(answer.stream, request.stream, "{name}");
    let expected = frames
        .values()
        .find(|f| f.stream == request.stream && f.model == answer.model && f.kind == answer.kind);
    if error.is_some() {
        for member in ["_service", "_message", "_errorCode", "message"] {
            assert!(
                members(answer).contains(&member.to_owned()),
                "{name} lacks {member}: {text}"
            );
        }
    } else if let Some(expected) = expected.filter(|expected| !expected.payload.is_empty()) {
        // Optional members of the model, which the captures happen to have.
        let optional = ["message", "messages"];
        for member in members(expected)
            .iter()
            .filter(|m| !optional.contains(&m.as_str()))
        {
            assert!(
                members(answer).contains(member),
                "{name} lacks {member}: {text}"
            );
        }
    }
}

/// What the captured DeferComponentUpdate answers.
async fn ask(world: &World, connection: &mut Raw) {
    let updates = world.updates.clone();
    tokio::spawn(async move {
        let deployment = DeploymentId("d".into());
        let deferrals = updates
            .pre_update(&deployment, false, Duration::from_secs(20))
            .await;
        assert_eq!(deferrals[0].component, component("com.example.Py"));
        assert_eq!(deferrals[0].recheck_after, Duration::from_millis(1000));
        updates.post_update(&deployment);
    });
    let event = connection.next().await;
    assert_eq!(model(&event), "ComponentUpdatePolicyEvents");
    assert_eq!(
        body(&event),
        json!({ "preUpdateEvent": { "deploymentId": "d", "isGgcRestarting": false } })
    );
}

#[tokio::test]
async fn the_python_sdk_is_answered_as_it_expects() {
    replay("py_0").await;
}

#[tokio::test]
async fn the_node_sdk_is_answered_as_it_expects() {
    replay("node_0").await;
}

#[tokio::test]
async fn the_c_sdk_is_answered_as_it_expects() {
    replay("csdk_").await;
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_its_own_headers() {
    let world = world().await;
    let frames: BTreeMap<String, Vec<u8>> = captured().into_iter().collect();
    let mut raw = world.accepted("0123456789ABCDEF").await;
    raw.stream
        .write_all(&frames["py_ping_004_c2s_ping"])
        .await
        .unwrap();
    let answer = raw.next().await;
    let expected = decode(&frames["py_ping_005_s2c_ping_response"]);
    assert_eq!(
        (answer.kind, answer.stream, &answer.payload),
        (expected.kind, 0, &expected.payload)
    );
}

#[tokio::test]
async fn a_refused_client_can_read_the_refusal_before_the_connection_ends() {
    let world = World::new().await;
    let frames: BTreeMap<String, Vec<u8>> = captured().into_iter().collect();
    for hello in ["py_reject_001_c2s_connect", "node_reject_001_c2s_connect"] {
        let mut bytes = frames[hello].clone();
        // A token that nobody has: the last character of the JSON string is another one.
        let at = bytes.len() - 7;
        bytes[at] = b'!';
        let body = bytes.len() - 4;
        let checksum = crc32fast::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum.to_be_bytes());
        let mut raw = world.raw().await;
        raw.stream.write_all(&bytes).await.unwrap();
        let answer = raw.next().await;
        let expected = decode(&frames["py_reject_002_s2c_connect_ack_reject"]);
        assert_eq!(
            (answer.kind, answer.flags, answer.stream),
            (expected.kind, expected.flags, expected.stream),
            "{hello}"
        );
        raw.stream.shutdown().await.unwrap();
        assert!(raw.maybe().await.is_none());
    }
}
