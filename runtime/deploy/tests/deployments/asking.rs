//! Components that defer an update or refuse a configuration.

use crate::setting::{Device, Home, RequestExt, name, request};
use model::deployment::{DetailedStatus, LocalDeploymentRequest, UpdateAction, UpdatePolicy};
use serde_json::json;
use std::time::Duration;

async fn before(home: &Home, options: deploy::Options) -> Device {
    home.recipe(
        "com.a",
        "1.0.0",
        json!({"ComponentConfiguration": {"DefaultConfiguration": {"x": 1}}}),
    );
    home.recipe("com.a", "2.0.0", json!({}));
    home.recipe("com.new", "1.0.0", json!({}));
    let device = home.start_with(options, Default::default()).await;
    device.succeed(request(home, &[("com.a", "1.0.0")])).await;
    device
}

fn asking(mut request: LocalDeploymentRequest) -> LocalDeploymentRequest {
    request.update_policy = Some(UpdatePolicy {
        action: UpdateAction::NotifyComponents,
        timeout_seconds: 60,
    });
    request
}

#[tokio::test]
async fn a_component_that_defers_is_asked_again_when_it_said() {
    let home = Home::new();
    let device = before(&home, home.options()).await;
    device
        .fakes
        .listeners
        .deferrals
        .lock()
        .unwrap()
        .extend([Duration::from_millis(30), Duration::from_millis(30)]);
    let start = std::time::Instant::now();
    let report = device
        .succeed(asking(request(
            &home,
            &[("com.a", "2.0.0"), ("com.new", "1.0.0")],
        )))
        .await;
    assert!(start.elapsed() >= Duration::from_millis(60));
    let asked = device.fakes.listeners.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3);
    assert_eq!(
        asked[0].components,
        [name("com.a")],
        "a component that is not there yet is not asked"
    );
    assert_eq!(
        device.fakes.listeners.told.lock().unwrap().last(),
        Some(&report.id)
    );
}

#[tokio::test]
async fn an_update_cannot_be_deferred_for_ever() {
    let home = Home::new();
    let mut options = home.options();
    options.defer_limit = Duration::from_millis(100);
    let device = before(&home, options).await;
    device
        .fakes
        .listeners
        .deferrals
        .lock()
        .unwrap()
        .extend([Duration::from_secs(3600); 50]);
    device
        .succeed(asking(request(&home, &[("com.a", "2.0.0")])))
        .await;
}

#[tokio::test]
async fn nobody_is_asked_unless_the_request_says_so() {
    let home = Home::new();
    let device = before(&home, home.options()).await;
    device.succeed(request(&home, &[("com.a", "2.0.0")])).await;
    assert!(device.fakes.listeners.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_configuration_fails_the_deployment_before_anything_changes() {
    let home = Home::new();
    let device = before(&home, home.options()).await;
    *device.fakes.validators.refuse.lock().unwrap() = Some("x is too large");
    let report = device
        .deploy(request(&home, &[]).merge("com.a", json!({"x": 1000})))
        .await;
    assert_eq!(report.detailed, Some(DetailedStatus::FailedNoStateChange));
    assert_eq!(
        report.error_stack.last().unwrap(),
        "COMPONENT_CONFIGURATION_NOT_VALID"
    );
    assert!(
        report.failure_cause.contains("com.a refuses")
            && report.failure_cause.contains("x is too large")
    );
    assert_eq!(
        *device.fakes.validators.seen.lock().unwrap(),
        [(name("com.a"), json!({"x": 1000}))]
    );
    assert_eq!(device.value("com.a", "x"), Some(json!(1)));
}

#[tokio::test]
async fn the_configuration_of_the_runtime_itself_is_deployed_and_planned_like_any_other() {
    let home = Home::new();
    let device = before(&home, home.options()).await;
    let update = || {
        let policy = json!({"maxErrors": 7, "components": {"com.a": {"firstDelaySeconds": "2"}}});
        let merge = json!({"logging": {"level": "DEBUG"}, "restartPolicy": policy});
        request(&home, &[]).merge("aws.greengrass.Nucleus", merge)
    };
    let plan = device.deployments.plan(update()).await.unwrap();
    let nucleus = plan
        .components
        .iter()
        .find(|c| c.component == name("aws.greengrass.Nucleus"))
        .unwrap();
    assert!(nucleus.why[0].contains("/logging/level"), "{nucleus:?}");
    device.succeed(update()).await;
    let logging = [
        "services",
        "aws.greengrass.Nucleus",
        "configuration",
        "logging",
        "level",
    ];
    assert_eq!(device.configuration.get(&logging), Some(json!("DEBUG")));
    device.succeed(request(&home, &[("com.a", "2.0.0")])).await;
    let policy = device
        .fakes
        .components
        .spec("com.a")
        .unwrap()
        .restart_policy;
    assert_eq!(
        (policy.max_errors, policy.first_delay),
        (7, Duration::from_secs(2))
    );
}
