//! Operations on components, and their metrics.

use crate::{
    fakes::component,
    world::{A, B, CLI, POOR, STREAMS, World, call, refused},
};
use ipc::ports::{Metric, Unit};
use serde_json::json;

fn name(name: &str) -> serde_json::Value {
    json!({ "componentName": name })
}

#[tokio::test]
async fn components_are_described_with_version_state_and_configuration() {
    let world = World::new().await;
    world.set(A.1, &["speed"], json!(3)).await;
    let person = world.client(CLI).await;
    let answer = call(&person, "GetComponentDetails", name(A.1))
        .await
        .unwrap();
    let details = &answer["componentDetails"];
    assert_eq!(details["componentName"], A.1);
    assert_eq!(
        (&details["version"], &details["state"]),
        (&json!("1.2.3"), &json!("RUNNING"))
    );
    assert_eq!(details["configuration"]["speed"], 3);
    let all = call(&person, "ListComponents", json!({})).await.unwrap();
    assert_eq!(all["components"].as_array().unwrap().len(), 2);
    assert_eq!(all["components"][1]["state"], "BROKEN");
    assert_eq!(
        refused(&person, "GetComponentDetails", name("com.example.No")).await,
        "ResourceNotFoundError"
    );
    assert_eq!(
        refused(&person, "GetComponentDetails", name("")).await,
        "InvalidArgumentsError"
    );
}

#[tokio::test]
async fn restart_and_stop_say_whether_they_are_under_way() {
    let world = World::new().await;
    let person = world.client(CLI).await;
    let answer = call(&person, "RestartComponent", name(A.1)).await.unwrap();
    assert_eq!(answer, json!({ "restartStatus": "SUCCEEDED" }));
    let answer = call(&person, "StopComponent", name(B.1)).await.unwrap();
    assert_eq!(
        answer,
        json!({ "stopStatus": "FAILED", "message": "com.example.B is BROKEN" })
    );
    for operation in ["RestartComponent", "StopComponent"] {
        assert_eq!(
            refused(&person, operation, name("com.example.No")).await,
            "ComponentNotFoundError"
        );
        assert_eq!(
            refused(&person, operation, name("a b")).await,
            "ComponentNotFoundError"
        );
        assert_eq!(
            refused(&person, operation, json!({})).await,
            "InvalidArgumentsError"
        );
    }
    assert_eq!(world.components.done(), ["restart com.example.A"]);
}

#[tokio::test]
async fn a_component_pauses_those_that_its_policy_names() {
    let world = World::new().await;
    world
        .allow(
            POOR.1,
            "aws.greengrass.ipc.lifecycle",
            &["*"],
            &[A.1, B.1, "com.example.No"],
        )
        .await;
    let client = world.client(POOR.0).await;
    call(&client, "PauseComponent", name(A.1)).await.unwrap();
    call(&client, "ResumeComponent", name(A.1)).await.unwrap();
    assert_eq!(
        world.components.done(),
        ["pause com.example.A", "resume com.example.A"]
    );
    assert_eq!(
        refused(&client, "PauseComponent", name(B.1)).await,
        "ServiceError"
    );
    assert_eq!(
        refused(&client, "PauseComponent", name("com.example.No")).await,
        "ResourceNotFoundError"
    );
    assert_eq!(
        refused(&client, "PauseComponent", name("com.example.C")).await,
        "UnauthorizedError"
    );
    assert_eq!(
        refused(&client, "PauseComponent", json!({})).await,
        "ServiceError"
    );
}

#[tokio::test]
async fn a_component_reports_its_own_state() {
    let world = World::new().await;
    let client = world.client(A.0).await;
    call(&client, "UpdateState", json!({ "state": "RUNNING" }))
        .await
        .unwrap();
    call(&client, "UpdateState", json!({ "state": "ERRORED" }))
        .await
        .unwrap();
    assert_eq!(
        world.components.done(),
        ["Running com.example.A", "Errored com.example.A"]
    );
    assert_eq!(
        refused(&client, "UpdateState", json!({ "state": "FINISHED" })).await,
        "ServiceError"
    );
    let unknown = world.client(POOR.0).await;
    assert_eq!(
        refused(&unknown, "UpdateState", json!({ "state": "RUNNING" })).await,
        "ResourceNotFoundError"
    );
    let person = world.client(CLI).await;
    assert_eq!(
        refused(&person, "UpdateState", json!({ "state": "RUNNING" })).await,
        "ResourceNotFoundError"
    );
}

#[tokio::test]
async fn metrics_are_taken_in_whole_or_not_at_all() {
    let world = World::new().await;
    world
        .allow(
            A.1,
            "aws.greengrass.ipc.componentmetric",
            &["*"],
            &["pump*"],
        )
        .await;
    let metric =
        |name: &str, unit: &str, value: f64| json!({ "name": name, "unit": unit, "value": value });
    let metrics = |list: &[serde_json::Value]| json!({ "metrics": list });
    let client = world.client(A.0).await;
    let good = metric("pump.speed", "BYTES_PER_SECOND", 1.5);
    call(
        &client,
        "PutComponentMetric",
        metrics(std::slice::from_ref(&good)),
    )
    .await
    .unwrap();
    for (bad, class) in [
        (metric("valve", "COUNT", 1.0), "UnauthorizedError"),
        (metric("pump", "COUNT", -1.0), "InvalidArgumentsError"),
        (metric("pump", "PIECES", 1.0), "InvalidArgumentsError"),
        (
            metric(&"p".repeat(33), "COUNT", 1.0),
            "InvalidArgumentsError",
        ),
        (metric("", "COUNT", 1.0), "InvalidArgumentsError"),
    ] {
        assert_eq!(
            refused(&client, "PutComponentMetric", metrics(&[good.clone(), bad])).await,
            class
        );
    }
    assert_eq!(
        refused(&client, "PutComponentMetric", json!({})).await,
        "InvalidArgumentsError"
    );
    let manager = world.client(STREAMS.0).await;
    call(
        &manager,
        "PutComponentMetric",
        metrics(&[metric("any", "COUNT", 2.0)]),
    )
    .await
    .unwrap();
    let wanted = |name: &str, unit, value| Metric {
        name: name.into(),
        unit,
        value,
    };
    assert_eq!(
        *world.metrics.recorded.lock().unwrap(),
        [
            (
                component(A.1),
                wanted("pump.speed", Unit::BytesPerSecond, 1.5)
            ),
            (component(STREAMS.1), wanted("any", Unit::Count, 2.0)),
        ]
    );
}
