//! Who may do what, through the socket. The rules of patterns themselves are the model's.

use crate::world::{A, CLI, POOR, STREAMS, World, call, refused};
use serde_json::json;

fn publish(topic: &str) -> serde_json::Value {
    json!({ "topic": topic, "publishMessage": { "binaryMessage": { "message": "" } } })
}

#[tokio::test]
async fn a_policy_is_in_force_for_the_next_request_and_so_is_its_removal() {
    let world = World::new().await;
    let client = world.client(POOR.0).await;
    assert_eq!(
        refused(&client, "PublishToTopic", publish("plant/1")).await,
        "UnauthorizedError"
    );
    world
        .allow(
            POOR.1,
            "aws.greengrass.ipc.pubsub",
            &["aws.greengrass#PublishToTopic"],
            &["plant/*"],
        )
        .await;
    call(&client, "PublishToTopic", publish("plant/1"))
        .await
        .unwrap();
    assert_eq!(
        refused(&client, "PublishToTopic", publish("office/1")).await,
        "UnauthorizedError"
    );
    assert_eq!(
        refused(&client, "SubscribeToTopic", json!({ "topic": "plant/1" })).await,
        "UnauthorizedError"
    );
    // Another change of configuration does not touch it.
    world.set(POOR.1, &["speed"], json!(3)).await;
    call(&client, "PublishToTopic", publish("plant/2"))
        .await
        .unwrap();
    let path = ["services", POOR.1, "configuration"]
        .map(Into::into)
        .to_vec();
    let removed = configuration::Operation::Remove { path, at: u64::MAX };
    world.configuration.commit(vec![removed]).await.unwrap();
    assert_eq!(
        refused(&client, "PublishToTopic", publish("plant/1")).await,
        "UnauthorizedError"
    );
}

#[tokio::test]
async fn a_denial_says_who_what_and_where() {
    let world = World::new().await;
    let client = world.client(POOR.0).await;
    let error = call(&client, "PublishToTopic", publish("t"))
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "Principal com.example.Poor is not authorized to perform aws.greengrass.ipc.pubsub:aws.greengrass#PublishToTopic on resource t"
    );
}

#[tokio::test]
async fn without_a_policy_all_that_needs_one_is_denied() {
    let world = World::new().await;
    let client = world.client(POOR.0).await;
    let name = json!({ "componentName": "com.example.A" });
    for (operation, request) in [
        ("PublishToTopic", publish("t")),
        ("SubscribeToTopic", json!({ "topic": "t" })),
        ("PauseComponent", name.clone()),
        ("ResumeComponent", name.clone()),
        ("GetComponentDetails", name.clone()),
        ("RestartComponent", name.clone()),
        ("StopComponent", name.clone()),
        ("ListComponents", json!({})),
        ("CreateLocalDeployment", json!({})),
        ("CancelLocalDeployment", json!({ "deploymentId": "d" })),
        ("GetLocalDeploymentStatus", json!({ "deploymentId": "d" })),
        ("ListLocalDeployments", json!({})),
        ("CreateDebugPassword", json!({})),
        (
            "PutComponentMetric",
            json!({ "metrics": [{ "name": "n", "unit": "COUNT", "value": 1 }] }),
        ),
        ("ValidateAuthorizationToken", json!({ "token": "t" })),
        ("PublishToIoTCore", json!({ "topicName": "t", "qos": "1" })),
        (
            "SubscribeToIoTCore",
            json!({ "topicName": "t", "qos": "0" }),
        ),
        ("GetSecretValue", json!({ "secretId": "s" })),
        ("GetThingShadow", json!({ "thingName": "t" })),
        (
            "UpdateThingShadow",
            json!({ "thingName": "t", "payload": "e30=" }),
        ),
        (
            "DeleteThingShadow",
            json!({ "thingName": "t", "shadowName": "s" }),
        ),
        ("ListNamedShadowsForThing", json!({ "thingName": "t" })),
        (
            "SubscribeToCertificateUpdates",
            json!({ "certificateOptions": { "certificateType": "SERVER" } }),
        ),
        ("VerifyClientDeviceIdentity", json!({ "credential": {} })),
        ("GetClientDeviceAuthToken", json!({ "credential": {} })),
        (
            "AuthorizeClientDeviceAction",
            json!({ "clientDeviceAuthToken": "t", "operation": "o", "resource": "r" }),
        ),
        ("aws.greengrass.private#PlanLocalDeployment", json!({})),
        (
            "aws.greengrass.private#SubscribeToDeployment",
            json!({ "deploymentId": "d" }),
        ),
    ] {
        assert_eq!(
            refused(&client, operation, request).await,
            "UnauthorizedError",
            "{operation}"
        );
    }
}

#[tokio::test]
async fn a_feature_that_is_not_installed_is_named_after_rights_and_arguments() {
    let world = World::new().await;
    for (service, resource) in [
        ("aws.greengrass.ipc.mqttproxy", "plant/#"),
        ("aws.greengrass.SecretManager", "*"),
        (
            "aws.greengrass.ShadowManager",
            "$aws/things/t/shadow/name/s",
        ),
        ("aws.greengrass.clientdevices.Auth", "*"),
    ] {
        world.allow(A.1, service, &["*"], &[resource]).await;
    }
    let client = world.client(A.0).await;
    for (operation, request, names) in [
        (
            "PublishToIoTCore",
            json!({ "topicName": "plant", "qos": "0" }),
            "AWS IoT Core",
        ),
        (
            "SubscribeToIoTCore",
            json!({ "topicName": "plant/+" }),
            "AWS IoT Core",
        ),
        (
            "SubscribeToIoTCoreConnectionStatus",
            json!({}),
            "AWS IoT Core",
        ),
        (
            "GetSecretValue",
            json!({ "secretId": "s" }),
            "aws.greengrass.SecretManager",
        ),
        (
            "GetThingShadow",
            json!({ "thingName": "t", "shadowName": "s" }),
            "aws.greengrass.ShadowManager",
        ),
        (
            "VerifyClientDeviceIdentity",
            json!({}),
            "aws.greengrass.clientdevices.Auth",
        ),
    ] {
        let error = call(&client, operation, request).await.unwrap_err();
        assert_eq!(error.code, "ServiceError", "{operation}");
        assert!(
            error.message.contains(names) && error.message.contains(operation),
            "{}",
            error.message
        );
    }
    for (operation, request, class) in [
        (
            "PublishToIoTCore",
            json!({ "topicName": "office", "qos": "0" }),
            "UnauthorizedError",
        ),
        (
            "GetThingShadow",
            json!({ "thingName": "t" }),
            "UnauthorizedError",
        ),
        (
            "GetThingShadow",
            json!({ "thingName": "t/../u" }),
            "InvalidArgumentsError",
        ),
        ("GetThingShadow", json!({}), "InvalidArgumentsError"),
        (
            "UpdateThingShadow",
            json!({ "thingName": "t", "shadowName": "s" }),
            "InvalidArgumentsError",
        ),
        (
            "SubscribeToCertificateUpdates",
            json!({ "certificateOptions": { "certificateType": "CLIENT" } }),
            "InvalidArgumentsError",
        ),
        ("CreateDebugPassword", json!({}), "UnauthorizedError"),
    ] {
        assert_eq!(
            refused(&client, operation, request).await,
            class,
            "{operation}"
        );
    }
    let person = world.client(CLI).await;
    let error = call(&person, "CreateDebugPassword", json!({}))
        .await
        .unwrap_err();
    assert!(
        error.code == "ServiceError" && error.message.contains("aws.greengrass.LocalDebugConsole")
    );
}

#[tokio::test]
async fn only_the_stream_manager_may_have_tokens_checked() {
    let world = World::new().await;
    let manager = world.client(STREAMS.0).await;
    let answer = call(
        &manager,
        "ValidateAuthorizationToken",
        json!({ "token": A.0 }),
    )
    .await
    .unwrap();
    assert_eq!(answer, json!({ "isValid": true }));
    assert_eq!(
        refused(
            &manager,
            "ValidateAuthorizationToken",
            json!({ "token": "x" })
        )
        .await,
        "InvalidTokenError"
    );
    let client = world.client(A.0).await;
    assert_eq!(
        refused(
            &client,
            "ValidateAuthorizationToken",
            json!({ "token": A.0 })
        )
        .await,
        "UnauthorizedError"
    );
}
