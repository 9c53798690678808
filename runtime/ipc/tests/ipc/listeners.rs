//! Components that are asked before an update, and about their configuration.

use crate::{
    fakes::component,
    world::{A, B, CLI, SOON, World, call, refused},
};
use ipc::{
    NotValid,
    client::{Client, Events},
};
use model::deployment::DeploymentId;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

const UPDATES: &str = "aws.greengrass#SubscribeToComponentUpdates";
const VALIDATION: &str = "aws.greengrass#SubscribeToValidateConfigurationUpdates";

async fn subscribe(client: &Client, operation: &str) -> Events {
    client
        .subscribe::<Value>(operation, &json!({}))
        .await
        .unwrap()
        .1
}

async fn next(events: &mut Events) -> Value {
    timeout(SOON, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .parse()
        .unwrap()
}

fn id() -> DeploymentId {
    DeploymentId("d".into())
}

fn defer(milliseconds: u32) -> Value {
    json!({ "deploymentId": "d", "message": "busy", "recheckAfterMs": milliseconds })
}

#[tokio::test]
async fn an_update_waits_for_all_answers_and_no_longer() {
    let world = World::new().await;
    let (a, b) = (world.client(A.0).await, world.client(B.0).await);
    let (mut from_a, mut from_b) = (subscribe(&a, UPDATES).await, subscribe(&b, UPDATES).await);
    let updates = world.updates.clone();
    let asking = tokio::spawn(async move { updates.pre_update(&id(), true, SOON * 10).await });
    for events in [&mut from_a, &mut from_b] {
        assert_eq!(
            next(events).await,
            json!({ "preUpdateEvent": { "deploymentId": "d", "isGgcRestarting": true } })
        );
    }
    call(&a, "DeferComponentUpdate", defer(30_000))
        .await
        .unwrap();
    call(&b, "DeferComponentUpdate", defer(0)).await.unwrap();
    let deferrals = timeout(SOON, asking).await.unwrap().unwrap();
    assert_eq!(deferrals.len(), 1);
    assert_eq!(
        (&deferrals[0].component, deferrals[0].recheck_after),
        (&component(A.1), Duration::from_secs(30))
    );
    assert_eq!(deferrals[0].message, "busy");
    // Answered already.
    assert_eq!(
        refused(&a, "DeferComponentUpdate", defer(1)).await,
        "ServiceError"
    );
    world.updates.post_update(&id());
    assert_eq!(
        next(&mut from_a).await,
        json!({ "postUpdateEvent": { "deploymentId": "d" } })
    );
}

#[tokio::test]
async fn who_does_not_answer_or_is_gone_does_not_hold_an_update_up() {
    let world = World::new().await;
    let (a, b) = (world.client(A.0).await, world.client(B.0).await);
    let mut from_a = subscribe(&a, UPDATES).await;
    let silent = subscribe(&b, UPDATES).await;
    assert!(
        world
            .updates
            .pre_update(&id(), false, Duration::from_millis(10))
            .await
            .is_empty()
    );
    assert_eq!(
        refused(&a, "DeferComponentUpdate", defer(1)).await,
        "ServiceError"
    );
    next(&mut from_a).await;
    let updates = world.updates.clone();
    let asking = tokio::spawn(async move { updates.pre_update(&id(), false, SOON * 10).await });
    next(&mut from_a).await;
    drop((silent, b));
    call(&a, "DeferComponentUpdate", defer(0)).await.unwrap();
    assert!(timeout(SOON, asking).await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn only_subscribed_components_put_updates_off() {
    let world = World::new().await;
    let a = world.client(A.0).await;
    assert_eq!(
        refused(&a, "DeferComponentUpdate", defer(1)).await,
        "InvalidArgumentsError"
    );
    let _events = subscribe(&a, UPDATES).await;
    assert_eq!(
        refused(&a, "DeferComponentUpdate", json!({ "recheckAfterMs": 1 })).await,
        "InvalidArgumentsError"
    );
    let person = world.client(CLI).await;
    assert_eq!(
        refused(&person, "SubscribeToComponentUpdates", json!({})).await,
        "ResourceNotFoundError"
    );
    assert!(
        world
            .updates
            .pre_update(&DeploymentId("e".into()), false, Duration::ZERO)
            .await
            .is_empty()
    );
}

fn report(status: &str) -> Value {
    json!({ "configurationValidityReport": { "status": status, "deploymentId": "d", "message": "too fast" } })
}

#[tokio::test]
async fn a_configuration_is_applied_only_when_its_component_accepts_it() {
    let world = World::new().await;
    let a = world.client(A.0).await;
    let mut events = subscribe(&a, VALIDATION).await;
    let new = BTreeMap::from([
        (component(A.1), json!({ "speed": 9 })),
        (component(B.1), json!({})),
    ]);
    for (status, wanted) in [
        ("ACCEPTED", Ok(())),
        (
            "REJECTED",
            Err(NotValid::Rejected {
                component: component(A.1),
                message: "too fast".into(),
            }),
        ),
    ] {
        let (validators, new) = (world.validators.clone(), new.clone());
        let asking = tokio::spawn(async move { validators.validate(&new, &id(), SOON * 10).await });
        assert_eq!(
            next(&mut events).await,
            json!({ "validateConfigurationUpdateEvent": { "configuration": { "speed": 9 }, "deploymentId": "d" } })
        );
        call(&a, "SendConfigurationValidityReport", report(status))
            .await
            .unwrap();
        assert_eq!(timeout(SOON, asking).await.unwrap().unwrap(), wanted);
    }
    assert_eq!(
        refused(&a, "SendConfigurationValidityReport", report("ACCEPTED")).await,
        "InvalidArgumentsError"
    );
    assert_eq!(
        refused(&a, "SendConfigurationValidityReport", json!({})).await,
        "InvalidArgumentsError"
    );
}

#[tokio::test]
async fn a_component_that_cannot_answer_does_not_accept() {
    let world = World::new().await;
    let a = world.client(A.0).await;
    let mut events = subscribe(&a, VALIDATION).await;
    let new = BTreeMap::from([(component(A.1), json!({}))]);
    let within = Duration::from_millis(10);
    let late = world.validators.validate(&new, &id(), within).await;
    assert_eq!(
        late,
        Err(NotValid::NoAnswer {
            component: component(A.1),
            within
        })
    );
    next(&mut events).await;
    let (validators, asked) = (world.validators.clone(), new.clone());
    let asking = tokio::spawn(async move { validators.validate(&asked, &id(), SOON * 10).await });
    next(&mut events).await;
    drop((events, a));
    assert_eq!(
        timeout(SOON, asking).await.unwrap().unwrap(),
        Err(NotValid::Gone(component(A.1)))
    );
    assert_eq!(world.validators.validate(&new, &id(), SOON).await, Ok(()));
}
