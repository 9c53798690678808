//! GetConfiguration, UpdateConfiguration and SubscribeToConfigurationUpdate for one component.

#![allow(clippy::unwrap_used)]

use configuration::{Configuration, MAX_COMPONENT, Operation, UpdateRefused};
use model::ComponentName;
use serde_json::{Value, json};
use store::Database;

fn pump() -> ComponentName {
    ComponentName::new("com.example.Pump").unwrap()
}

fn keys(text: &str) -> Vec<String> {
    text.split('/')
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A device with one component, deployed at time 100.
async fn device() -> Configuration {
    let configuration = Configuration::open(Database::in_memory(&[Configuration::SCHEMA]).unwrap())
        .await
        .unwrap();
    let value = json!({
        "version": "1.0.0",
        "configuration": {"Speed": 3, "limits": {"max": 9, "alarm": null}, "accessControl": {}, "empty": {}},
    });
    let path = vec!["services".to_owned(), pump().to_string()];
    configuration
        .commit(vec![Operation::Replace {
            path,
            value,
            at: 100,
        }])
        .await
        .unwrap();
    configuration
}

async fn update(
    configuration: &Configuration,
    at: &str,
    value: Value,
    time: u64,
) -> Result<(), UpdateRefused> {
    configuration.update(&pump(), &keys(at), value, time).await
}

#[tokio::test]
async fn a_container_is_read_as_it_is_and_a_value_wrapped_in_its_key() {
    let configuration = device().await;
    let get = |at: &str| configuration.component_value(&pump(), &keys(at));
    assert_eq!(get("limits").unwrap(), json!({"max": 9, "alarm": null}));
    assert_eq!(get("speed").unwrap(), json!({"Speed": 3}));
    assert_eq!(get("Limits/ALARM").unwrap(), json!({"alarm": null}));
    assert_eq!(get("").unwrap()["Speed"], 3);
    assert_eq!(
        get("limits/min").unwrap_err().to_string(),
        r#"com.example.Pump has no configuration at "/limits/min""#
    );
    let unknown = ComponentName::new("com.example.Valve").unwrap();
    assert!(configuration.component_value(&unknown, &[]).is_err());
}

#[tokio::test]
async fn an_update_merges_at_its_time_and_tells_subscribers_the_key_path() {
    let configuration = device().await;
    let mut all = configuration.subscribe_component(&pump(), &[]).unwrap();
    let mut limits = configuration
        .subscribe_component(&pump(), &keys("LIMITS"))
        .unwrap();
    update(
        &configuration,
        "limits",
        json!({"MAX": 10, "new": {"k": true}}),
        101,
    )
    .await
    .unwrap();
    update(&configuration, "", json!({"speed": 4}), 100)
        .await
        .unwrap();
    update(&configuration, "limits/alarm", json!({"level": 7}), 102)
        .await
        .unwrap();
    let config = configuration.component_value(&pump(), &[]).unwrap();
    assert_eq!(
        config["limits"],
        json!({"max": 10, "alarm": {"level": 7}, "new": {"k": true}})
    );
    assert_eq!(config["Speed"], 4);
    let expected = ["limits/max", "limits/new/k", "limits/alarm/level"].map(keys);
    assert_eq!(
        std::iter::from_fn(|| limits.try_recv()).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(std::iter::from_fn(|| all.try_recv()).count(), 4);
}

#[tokio::test]
async fn an_update_older_than_any_value_it_touches_is_refused_whole() {
    let configuration = device().await;
    update(&configuration, "", json!({"limits": {"max": 20}}), 200)
        .await
        .unwrap();
    for value in [
        json!({"speed": 5, "limits": {"max": 21}}),
        json!({"new": 1, "limits": {"max": 20}}),
    ] {
        let refused = update(&configuration, "", value, 150).await.unwrap_err();
        assert!(
            matches!(&refused, UpdateRefused::Older { path, present: 200, proposed: 150 } if *path == ["limits", "max"]),
            "{refused}"
        );
    }
    let config = configuration.component_value(&pump(), &[]).unwrap();
    assert_eq!((&config["Speed"], config.get("new")), (&json!(3), None));
    update(
        &configuration,
        "",
        json!({"speed": 5, "limits": {"other": 1}}),
        150,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn access_rights_are_not_the_components_to_write() {
    let configuration = device().await;
    for (at, value) in [
        ("", json!({"accessControl": {}})),
        ("ACCESScontrol", json!({"x": 1})),
        ("accessControl/x", json!(1)),
    ] {
        let refused = update(&configuration, at, value, 999).await.unwrap_err();
        assert!(matches!(refused, UpdateRefused::AccessControl), "{refused}");
    }
    update(&configuration, "limits", json!({"accessControl": 1}), 999)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_update_does_not_turn_an_object_into_a_value_or_back() {
    let configuration = device().await;
    for (at, value, place) in [
        ("", json!({"limits": 1}), "limits"),
        ("limits", json!([1]), "limits"),
        ("", json!({"empty": "x"}), "empty"),
        ("speed", json!({"x": 1}), "speed"),
        ("speed/deep", json!(1), "speed"),
        ("", json!("x"), ""),
    ] {
        let refused = update(&configuration, at, value.clone(), 999)
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, UpdateRefused::KindChange { path, .. } if *path == keys(place)),
            "{at} {value}: {refused}"
        );
    }
}

#[tokio::test]
async fn only_a_component_that_is_there_updates_and_not_beyond_its_share() {
    let configuration = device().await;
    let unknown = ComponentName::new("com.example.Valve").unwrap();
    let refused = configuration
        .update(&unknown, &[], json!({"a": 1}), 999)
        .await
        .unwrap_err();
    assert!(matches!(refused, UpdateRefused::UnknownComponent(name) if name == unknown));
    let half = "x".repeat(MAX_COMPONENT / 5);
    let mut refused = None;
    for n in 0..6 {
        refused = update(&configuration, "", json!({format!("k{n}"): half}), 999)
            .await
            .err();
    }
    let refused = refused.unwrap();
    assert!(matches!(refused, UpdateRefused::Invalid(_)), "{refused}");
    assert!(
        refused
            .to_string()
            .starts_with("configuration at /services/com.example.Pump/configuration: too large")
    );
    update(&configuration, "", json!({"k0": "small again"}), 999)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_subscribes_only_to_what_is_there() {
    let configuration = device().await;
    let unknown = ComponentName::new("com.example.Valve").unwrap();
    assert!(configuration.subscribe_component(&unknown, &[]).is_err());
    assert!(
        configuration
            .subscribe_component(&pump(), &keys("limits/min"))
            .is_err()
    );
    // The key path may go away and come back while subscribed; told is the key path to ask for.
    let mut max = configuration
        .subscribe_component(&pump(), &keys("limits/max"))
        .unwrap();
    let path = vec!["services".to_owned(), pump().to_string()];
    configuration
        .commit(vec![Operation::Remove {
            path: path.clone(),
            at: u64::MAX,
        }])
        .await
        .unwrap();
    assert_eq!(max.recv().await, Some(keys("limits/max")));
    let value = json!({"configuration": {"limits": {"max": 1}}});
    configuration
        .commit(vec![Operation::Replace { path, value, at: 1 }])
        .await
        .unwrap();
    assert_eq!(max.recv().await, Some(keys("limits/max")));
}
