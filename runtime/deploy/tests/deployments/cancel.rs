//! Cancellation, in each phase.

use crate::{
    fakes::Behaviour,
    setting::{Home, RequestExt, files, request},
};
use deploy::CancelError;
use model::deployment::{
    DeploymentId, DeploymentStatus, DetailedStatus, UpdateAction, UpdatePolicy,
};
use serde_json::json;
use std::{sync::atomic::Ordering, time::Duration};

#[tokio::test]
async fn a_deployment_in_the_queue_is_canceled_at_once() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    let device = home.start().await;
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::NeverComesUp);
    let mut events = device.deployments.watch();
    let first = device
        .deployments
        .create(request(&home, &[("com.a", "1.0.0")]))
        .await
        .unwrap();
    device
        .until(&mut events, &first, |r| r.phase.contains("STARTING"))
        .await;
    let second = device
        .deployments
        .create(request(&home, &[]))
        .await
        .unwrap();
    device.deployments.cancel(&second).await.unwrap();
    let report = device.deployments.report(&second).unwrap();
    assert_eq!(
        (report.status, report.detailed),
        (DeploymentStatus::Canceled, Some(DetailedStatus::Canceled))
    );
    device.deployments.cancel(&first).await.unwrap();
    device.end_of(&mut events, &first).await;
    let again = device.deployments.cancel(&second).await;
    assert!(matches!(again, Err(CancelError::TooLate { .. })));
    let unknown = device.deployments.cancel(&DeploymentId("x".into())).await;
    assert!(matches!(unknown, Err(CancelError::NotFound(_))));
}

/// Cancels when the phase contains `at`; nothing may be left of the deployment.
async fn cancel_at(at: &str, prepare: impl FnOnce(&crate::setting::Device)) {
    let home = Home::new();
    home.recipe(
        "com.a",
        "1.0.0",
        json!({"ComponentConfiguration": {"DefaultConfiguration": {"x": 1}}}),
    );
    home.recipe(
        "com.a",
        "2.0.0",
        json!({"Manifests": [{"Lifecycle": {"Bootstrap": "b", "Run": "r"}}]}),
    );
    home.artifact("com.a", "2.0.0", "f", "data");
    let device = home.start().await;
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    let (disk, tree) = (files(&home.root()), device.configuration.get(&["services"]));
    prepare(&device);
    let mut wanted = request(&home, &[("com.a", "2.0.0")]).merge("com.a", json!({"x": 2}));
    wanted.update_policy = Some(UpdatePolicy {
        action: UpdateAction::NotifyComponents,
        timeout_seconds: 1,
    });
    let mut events = device.deployments.watch();
    let id = device.deployments.create(wanted).await.unwrap();
    device
        .until(&mut events, &id, |r| r.phase.contains(at))
        .await;
    device.deployments.cancel(&id).await.unwrap();
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(
        (report.status, report.detailed),
        (DeploymentStatus::Canceled, Some(DetailedStatus::Canceled)),
        "{at}"
    );
    assert_eq!(device.fakes.components.running(), ["com.a 1.0.0"], "{at}");
    assert_eq!(files(&home.root()), disk, "{at}");
    assert_eq!(device.configuration.get(&["services"]), tree, "{at}");
}

#[tokio::test]
async fn a_deployment_that_waits_for_a_deferral_is_canceled() {
    cancel_at("com.a defers the update: busy", |device| {
        device
            .fakes
            .listeners
            .deferrals
            .lock()
            .unwrap()
            .push_back(Duration::from_secs(3600));
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_waits_for_a_verdict_is_canceled() {
    cancel_at("configuration is valid", |device| {
        device.fakes.validators.hang.store(true, Ordering::SeqCst);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_in_a_bootstrap_step_is_canceled_and_put_back() {
    cancel_at("bootstrap step of com.a", |device| {
        device.fakes.components.bootstrap_gate.forget_permits(1000);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_waits_for_components_is_canceled_and_put_back() {
    cancel_at("com.a (STARTING)", |device| {
        device
            .fakes
            .components
            .behave("com.a", "2.0.0", Behaviour::NeverComesUp);
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_copies_is_canceled_and_leaves_nothing() {
    let home = Home::new();
    home.recipe(
        "com.a",
        "1.0.0",
        json!({"Manifests": [{"Lifecycle": {"Run": "r"}, "Artifacts": [{"URI": "s3://b/f"}]}]}),
    );
    // A pipe in the place of a large file would be refused; a sparse file takes long enough to be read.
    home.artifact("com.a", "1.0.0", "f", "");
    let file = std::fs::File::options()
        .write(true)
        .open(home.artifacts().join("com.a/1.0.0/f"))
        .unwrap();
    file.set_len(4 << 30).unwrap();
    let device = home.start().await;
    let mut events = device.deployments.watch();
    let id = device
        .deployments
        .create(request(&home, &[("com.a", "1.0.0")]))
        .await
        .unwrap();
    device
        .until(&mut events, &id, |r| {
            r.phase.contains("looking for artifacts")
        })
        .await;
    device.deployments.cancel(&id).await.unwrap();
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(report.status, DeploymentStatus::Canceled);
    assert_eq!(files(&home.root()), []);
}

#[tokio::test]
async fn a_deployment_on_its_way_back_is_not_canceled_again() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    home.recipe("com.a", "2.0.0", json!({}));
    let device = home.start().await;
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", Behaviour::Breaks("no"));
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::NeverComesUp);
    let mut events = device.deployments.watch();
    let id = device
        .deployments
        .create(request(&home, &[("com.a", "2.0.0")]).rolling_back())
        .await
        .unwrap();
    device
        .until(&mut events, &id, |r| r.phase.contains("com.a (STARTING)"))
        .await;
    assert!(matches!(
        device.deployments.cancel(&id).await,
        Err(CancelError::TooLate { .. })
    ));
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedUnableToRollback)
    );
}
