//! A set that does not come up: left as it is, or everything put back.

use crate::{
    fakes::Behaviour,
    setting::{Device, Home, RequestExt, files, name, request},
};
use model::deployment::{DeploymentStatus, DetailedStatus};
use serde_json::json;

fn with_file(script: &str) -> serde_json::Value {
    json!({
        "ComponentConfiguration": {"DefaultConfiguration": {"x": 1}},
        "Manifests": [{"Lifecycle": {"Run": format!("{script} {{configuration:/x}}")}, "Artifacts": [{"URI": "s3://b/f"}]}]
    })
}

/// com.a 1.0.0, com.same 1.0.0 and com.gone 1.0.0 run.
async fn before(home: &Home) -> Device {
    for component in ["com.a", "com.same", "com.gone"] {
        home.recipe(component, "1.0.0", with_file("old"));
        home.artifact(component, "1.0.0", "f", "old");
    }
    let device = home.start().await;
    let set = [
        ("com.a", "1.0.0"),
        ("com.same", "1.0.0"),
        ("com.gone", "1.0.0"),
    ];
    device
        .succeed(request(home, &set).merge("com.a", json!({"x": 2})))
        .await;
    device.fakes.components.log();
    device
}

/// com.a goes to 2.0.0, com.same has other content, com.new comes and com.gone goes.
fn change(home: &Home) -> model::deployment::LocalDeploymentRequest {
    home.recipe("com.a", "2.0.0", with_file("new"));
    home.artifact("com.a", "2.0.0", "f", "new");
    home.recipe("com.same", "1.0.0", with_file("new"));
    home.artifact("com.same", "1.0.0", "f", "new");
    home.recipe("com.new", "1.0.0", json!({}));
    let mut wanted = request(
        home,
        &[
            ("com.a", "2.0.0"),
            ("com.same", "1.0.0"),
            ("com.new", "1.0.0"),
        ],
    );
    wanted.remove.push(name("com.gone"));
    wanted
        .merge("com.a", json!({"x": 3, "more": true}))
        .merge("com.same", json!({"x": 9}))
}

#[tokio::test]
async fn without_a_wish_for_rollback_the_new_set_stays_and_the_report_says_why_it_failed() {
    let home = Home::new();
    let device = before(&home).await;
    let reason = "The startup script exited with code 3.\nModuleNotFoundError: no pump";
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", Behaviour::Breaks(reason));
    let report = device.deploy(change(&home)).await;
    assert_eq!(report.status, DeploymentStatus::Failed);
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackNotRequested)
    );
    assert_eq!(
        report.error_stack,
        [
            "DEPLOYMENT_FAILURE",
            "COMPONENT_UPDATE_ERROR",
            "COMPONENT_BROKEN"
        ]
    );
    assert_eq!(
        report.error_types,
        ["COMPONENT_ERROR", "USER_COMPONENT_ERROR"]
    );
    assert_eq!(
        report.failure_cause,
        format!("Service com.a in broken state: {reason}")
    );
    assert_eq!(
        device.fakes.components.running(),
        ["com.new 1.0.0", "com.same 1.0.0"]
    );
    assert_eq!(device.value("com.a", "x"), Some(json!(3)));
    // A version that works mends it, and so does another component beside it.
    home.recipe("com.a", "3.0.0", with_file("mended"));
    home.artifact("com.a", "3.0.0", "f", "mended");
    device.succeed(request(&home, &[("com.a", "3.0.0")])).await;
}

#[tokio::test]
async fn another_component_can_be_deployed_beside_a_broken_one() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    home.recipe("com.b", "1.0.0", json!({}));
    let device = home.start().await;
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::Breaks("no"));
    device.deploy(request(&home, &[("com.a", "1.0.0")])).await;
    device.succeed(request(&home, &[("com.b", "1.0.0")])).await;
    // Asked for again by name, it is tried again.
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::Runs);
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    assert_eq!(
        device.fakes.components.running(),
        ["com.a 1.0.0", "com.b 1.0.0"]
    );
}

#[tokio::test]
async fn a_rollback_restores_versions_content_configuration_and_processes() {
    let home = Home::new();
    let device = before(&home).await;
    let (disk, tree) = (files(&home.root()), device.configuration.get(&["services"]));
    let at = device
        .configuration
        .tree()
        .entry(&["services", "com.a", "configuration", "x"])
        .unwrap()
        .at;
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", Behaviour::DiesSoon);
    let report = device.deploy(change(&home).rolling_back()).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackComplete),
        "{report:?}"
    );
    assert!(
        report.failure_cause.contains("exited with code 1"),
        "{}",
        report.failure_cause
    );
    assert_eq!(
        device.fakes.components.running(),
        ["com.a 1.0.0", "com.gone 1.0.0", "com.same 1.0.0"]
    );
    assert_eq!(
        device
            .fakes
            .components
            .spec("com.same")
            .unwrap()
            .lifecycle
            .run
            .unwrap()
            .script,
        "old 1"
    );
    assert_eq!(files(&home.root()), disk);
    assert_eq!(device.configuration.get(&["services"]), tree);
    assert_eq!(
        device
            .configuration
            .tree()
            .entry(&["services", "com.a", "configuration", "x"])
            .unwrap()
            .at,
        at
    );
    // The same content again is a change again.
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", Behaviour::Runs);
    device.succeed(change(&home)).await;
    assert_eq!(
        device.fakes.components.running(),
        ["com.a 2.0.0", "com.new 1.0.0", "com.same 1.0.0"]
    );
}

#[tokio::test]
async fn what_other_components_wrote_meanwhile_survives_a_rollback() {
    let home = Home::new();
    home.recipe(
        "com.other",
        "1.0.0",
        json!({"ComponentConfiguration": {"DefaultConfiguration": {"count": 0}}}),
    );
    home.recipe("com.a", "1.0.0", json!({}));
    let device = home.start().await;
    device
        .succeed(request(&home, &[("com.other", "1.0.0")]))
        .await;
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::NeverComesUp);
    let mut events = device.deployments.watch();
    let id = device
        .deployments
        .create(request(&home, &[("com.a", "1.0.0")]).rolling_back())
        .await
        .unwrap();
    device
        .until(&mut events, &id, |r| r.phase.contains("com.a (STARTING)"))
        .await;
    let path = ["services", "com.other", "configuration", "count"]
        .map(str::to_owned)
        .to_vec();
    let write = configuration::Operation::Merge {
        path,
        value: json!(7),
        at: u64::MAX / 4,
    };
    device.configuration.commit(vec![write]).await.unwrap();
    device.deployments.cancel(&id).await.unwrap();
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(report.detailed, Some(DetailedStatus::Canceled));
    assert_eq!(device.value("com.other", "count"), Some(json!(7)));
    assert!(device.configuration.get(&["services", "com.a"]).is_none());
}

#[tokio::test]
async fn a_rollback_whose_old_set_does_not_come_up_says_so() {
    let home = Home::new();
    let device = before(&home).await;
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", Behaviour::Breaks("new is broken"));
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::Breaks("old is broken too"));
    let report = device.deploy(change(&home).rolling_back()).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedUnableToRollback)
    );
    assert!(
        report.failure_cause.contains("new is broken"),
        "{}",
        report.failure_cause
    );
    assert!(
        report.failure_cause.contains("old is broken too"),
        "{}",
        report.failure_cause
    );
}

#[tokio::test]
async fn a_component_that_was_broken_before_does_not_fail_the_rollback() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    home.recipe("com.a", "2.0.0", json!({}));
    let device = home.start().await;
    for version in ["1.0.0", "2.0.0"] {
        device
            .fakes
            .components
            .behave("com.a", version, Behaviour::Breaks("no"));
    }
    device.deploy(request(&home, &[("com.a", "1.0.0")])).await;
    let report = device
        .deploy(request(&home, &[("com.a", "2.0.0")]).rolling_back())
        .await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackComplete),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_component_that_never_comes_up_fails_the_deployment_when_its_time_is_over() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    let mut options = home.options();
    options.watch_limit = Some(std::time::Duration::from_millis(50));
    let device = home.start_with(options, Default::default()).await;
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", Behaviour::NeverComesUp);
    let report = device
        .deploy(request(&home, &[("com.a", "1.0.0")]).rolling_back())
        .await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackComplete)
    );
    assert!(
        report.failure_cause.contains("com.a (STARTING)"),
        "{}",
        report.failure_cause
    );
    assert_eq!(files(&home.root()), []);
}

#[tokio::test]
async fn folders_that_cannot_be_put_in_place_leave_the_old_set_as_it_was() {
    let home = Home::new();
    let device = before(&home).await;
    let _ = change(&home);
    home.artifact("com.new", "1.0.0", "f", "new");
    // A file where the folder of the component is to be.
    std::fs::write(home.root().join("packages/artifacts/com.new"), "in the way").unwrap();
    let (disk, tree) = (files(&home.root()), device.configuration.get(&["services"]));
    let report = device.deploy(change(&home)).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedNoStateChange),
        "{report:?}"
    );
    // It had begun: what changes under its feet was down for a moment.
    let log = device.fakes.components.log();
    assert_eq!(log, ["halt com.same", "start com.same 1.0.0"]);
    assert_eq!(
        device.fakes.components.running(),
        ["com.a 1.0.0", "com.gone 1.0.0", "com.same 1.0.0"]
    );
    assert_eq!(files(&home.root()), disk);
    assert_eq!(device.configuration.get(&["services"]), tree);
}
