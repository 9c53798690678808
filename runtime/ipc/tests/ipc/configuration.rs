//! Reading, writing and watching configuration.

use crate::world::{A, CLI, POOR, SOON, World, call, refused};
use serde_json::{Value, json};
use tokio::time::timeout;

#[tokio::test]
async fn any_component_reads_any_configuration() {
    let world = World::new().await;
    world
        .set(
            "com.example.B",
            &[],
            json!({ "Mqtt": { "port": 8883, "host": "h" }, "list": [1, { "a": null }] }),
        )
        .await;
    world
        .set(
            "aws.greengrass.Nucleus",
            &[],
            json!({ "logging": { "level": "INFO" } }),
        )
        .await;
    let client = world.client(POOR.0).await;
    let b = |keys: Value| json!({ "componentName": "com.example.B", "keyPath": keys });
    let value = |keys| {
        let (client, request) = (client.clone(), b(keys));
        async move { call(&client, "GetConfiguration", request).await }
    };
    let answer = value(json!(["Mqtt"])).await.unwrap();
    assert_eq!(
        answer,
        json!({ "componentName": "com.example.B", "value": { "port": 8883, "host": "h" } })
    );
    // A single value is wrapped, and keys match in any case.
    assert_eq!(
        value(json!(["mqtt", "PORT"])).await.unwrap()["value"],
        json!({ "port": 8883 })
    );
    assert_eq!(
        value(json!(["list"])).await.unwrap()["value"],
        json!({ "list": [1, { "a": null }] })
    );
    assert_eq!(
        value(json!([])).await.unwrap()["value"]["Mqtt"]["host"],
        "h"
    );
    assert_eq!(
        call(&client, "GetConfiguration", json!({})).await.unwrap()["componentName"],
        POOR.1
    );
    let nucleus = json!({ "componentName": "aws.greengrass.NucleusLite", "keyPath": ["logging"] });
    let answer = call(&client, "GetConfiguration", nucleus).await.unwrap();
    assert_eq!(
        answer,
        json!({ "componentName": "aws.greengrass.NucleusLite", "value": { "level": "INFO" } })
    );
    let missing = value(json!(["Mqtt", "user"])).await.unwrap_err();
    assert_eq!(missing.code, "ResourceNotFoundError");
    assert_eq!(missing.resource.as_deref(), Some("com.example.B/Mqtt/user"));
    assert_eq!(
        refused(
            &client,
            "GetConfiguration",
            json!({ "componentName": "no" })
        )
        .await,
        "ResourceNotFoundError"
    );
    assert_eq!(
        refused(
            &client,
            "GetConfiguration",
            json!({ "componentName": "a/b" })
        )
        .await,
        "ResourceNotFoundError"
    );
    let person = world.client(CLI).await;
    assert_eq!(
        call(&person, "GetConfiguration", b(json!(["list"])))
            .await
            .unwrap()["componentName"],
        "com.example.B"
    );
}

#[tokio::test]
async fn a_component_writes_its_own_configuration_unless_it_is_too_late() {
    let world = World::new().await;
    world
        .set(A.1, &[], json!({ "speed": 1, "pump": { "on": true } }))
        .await;
    let client = world.client(A.0).await;
    let update = |keys: Value, seconds: Value, value: Value| json!({ "keyPath": keys, "timestamp": seconds, "valueToMerge": value });
    call(
        &client,
        "UpdateConfiguration",
        update(json!([]), json!(1_767_323_045.678), json!({ "speed": 2 })),
    )
    .await
    .unwrap();
    call(
        &client,
        "UpdateConfiguration",
        update(
            json!(["pump"]),
            json!(0.0),
            json!({ "on": false, "new": 1.5 }),
        ),
    )
    .await
    .unwrap();
    let mine = |key| {
        world
            .configuration
            .get(&["services", A.1, "configuration", key])
    };
    assert_eq!(mine("speed"), Some(json!(2)));
    assert_eq!(mine("pump"), Some(json!({ "on": false, "new": 1.5 })));
    let old = update(json!([]), json!(1.0), json!({ "speed": 3 }));
    assert_eq!(
        refused(&client, "UpdateConfiguration", old).await,
        "FailedUpdateConditionCheckError"
    );
    for bad in [
        update(json!([]), json!(2e9), json!({ "AccessControl": {} })),
        update(json!(["accesscontrol", "x"]), json!(2e9), json!({})),
        update(json!([]), json!(-1), json!({})),
        json!({ "keyPath": [] }),
        json!({ "keyPath": "speed", "valueToMerge": {} }),
    ] {
        assert_eq!(
            refused(&client, "UpdateConfiguration", bad).await,
            "InvalidArgumentsError"
        );
    }
    assert_eq!(mine("speed"), Some(json!(2)));
    let person = world.client(CLI).await;
    assert_eq!(
        refused(
            &person,
            "UpdateConfiguration",
            update(json!([]), json!(2e9), json!({}))
        )
        .await,
        "InvalidArgumentsError"
    );
}

#[tokio::test]
async fn a_subscription_tells_the_key_that_changed() {
    let world = World::new().await;
    world
        .set(
            "com.example.B",
            &[],
            json!({ "pump": { "speed": 1, "unit": "l/s" }, "other": 1 }),
        )
        .await;
    let client = world.client(A.0).await;
    let request = json!({ "componentName": "com.example.B", "keyPath": ["pump"] });
    let name = "aws.greengrass#SubscribeToConfigurationUpdate";
    let (answer, mut events) = client.subscribe::<Value>(name, &request).await.unwrap();
    assert_eq!(answer, json!({}));
    world
        .set(
            "com.example.B",
            &[],
            json!({ "other": 2, "pump": { "speed": 2 } }),
        )
        .await;
    let event = timeout(SOON, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(event.model, "aws.greengrass#ConfigurationUpdateEvents");
    assert_eq!(
        event.parse::<Value>().unwrap(),
        json!({ "configurationUpdateEvent": { "componentName": "com.example.B", "keyPath": ["pump", "speed"] } })
    );
    let missing = json!({ "componentName": "com.example.B", "keyPath": ["no"] });
    assert_eq!(
        refused(&client, "SubscribeToConfigurationUpdate", missing).await,
        "ResourceNotFoundError"
    );
    drop(events);
    // The server has seen that: the next request is answered after it.
    call(&client, "GetConfiguration", json!({})).await.unwrap();
}
