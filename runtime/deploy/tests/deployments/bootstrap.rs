//! Bootstrap steps: order, exit codes, restarts in between.

use crate::setting::{Device, Fakes, Home, RequestExt, files, request};
use deploy::{BootstrapError, BootstrapExit};
use model::deployment::DetailedStatus;
use serde_json::{Value, json};

fn bootstrap(dependency: Option<&str>) -> Value {
    let mut recipe =
        json!({"Manifests": [{"Lifecycle": {"Bootstrap": "prepare", "Run": "serve"}}]});
    if let Some(dependency) = dependency {
        recipe["ComponentDependencies"] = json!({dependency: {"VersionRequirement": "*"}});
    }
    recipe
}

/// com.a, com.b and com.c run, the first on the second, all with a bootstrap step in 2.0.0.
async fn before(home: &Home) -> Device {
    for (component, dependency) in [("com.a", Some("com.b")), ("com.b", None), ("com.c", None)] {
        home.recipe(component, "1.0.0", json!({}));
        home.recipe(component, "2.0.0", bootstrap(dependency));
    }
    let device = home.start().await;
    device
        .succeed(request(
            home,
            &[("com.a", "1.0.0"), ("com.b", "1.0.0"), ("com.c", "1.0.0")],
        ))
        .await;
    device.fakes.components.log();
    device
}

#[tokio::test]
async fn steps_run_in_the_order_of_dependencies_while_their_components_are_down() {
    let home = Home::new();
    let device = before(&home).await;
    device
        .succeed(request(&home, &[("com.a", "2.0.0"), ("com.b", "2.0.0")]))
        .await;
    assert_eq!(
        device.fakes.components.log(),
        [
            "halt com.b",
            "halt com.a",
            "bootstrap com.b 2.0.0",
            "bootstrap com.a 2.0.0",
            "start com.b 2.0.0",
            "start com.a 2.0.0"
        ]
    );
    // They do not run again for a mere restart.
    device.succeed(request(&home, &[("com.a", "2.0.0")])).await;
    assert_eq!(device.fakes.components.log(), [""; 0]);
}

#[tokio::test]
async fn a_restart_of_the_runtime_goes_on_with_the_next_step() {
    let home = Home::new();
    let device = before(&home).await;
    device
        .fakes
        .components
        .bootstrap_ends("com.b", [Ok(BootstrapExit::RestartRuntime)]);
    let id = device
        .deployments
        .create(request(&home, &[("com.a", "2.0.0"), ("com.b", "2.0.0")]))
        .await
        .unwrap();
    device.fakes.runtime.called.notified().await;
    assert_eq!(*device.fakes.runtime.asked.lock().unwrap(), ["restart"]);
    device.stop().await;

    let fakes = Fakes::default();
    let device = home.start_with(home.options(), fakes).await;
    let mut running = device.fakes.components.running();
    running.retain(|spec| spec.ends_with("1.0.0"));
    assert_eq!(
        running,
        ["com.c 1.0.0"],
        "half bootstrapped components stay down"
    );
    let mut events = device.deployments.watch();
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::Successful),
        "{report:?}"
    );
    let log = device.fakes.components.log();
    assert_eq!(
        log,
        [
            "bootstrap com.a 2.0.0",
            "start com.b 2.0.0",
            "start com.a 2.0.0"
        ]
    );
}

#[tokio::test]
async fn a_reboot_is_asked_for_until_the_device_has_booted() {
    let home = Home::new();
    let device = before(&home).await;
    *device.fakes.runtime.boot.lock().unwrap() = Some("boot 1".into());
    device
        .fakes
        .components
        .bootstrap_ends("com.c", [Ok(BootstrapExit::Reboot)]);
    let id = device
        .deployments
        .create(request(&home, &[("com.c", "2.0.0")]))
        .await
        .unwrap();
    device.fakes.runtime.called.notified().await;
    device.stop().await;

    // The program came again, the device did not go.
    let fakes = Fakes::default();
    *fakes.runtime.boot.lock().unwrap() = Some("boot 1".into());
    let device = home.start_with(home.options(), fakes).await;
    device.fakes.runtime.called.notified().await;
    assert_eq!(*device.fakes.runtime.asked.lock().unwrap(), ["reboot"]);
    device.stop().await;

    let fakes = Fakes::default();
    *fakes.runtime.boot.lock().unwrap() = Some("boot 2".into());
    let device = home.start_with(home.options(), fakes).await;
    let mut events = device.deployments.watch();
    let report = device.end_of(&mut events, &id).await;
    assert_eq!(report.detailed, Some(DetailedStatus::Successful));
    assert!(device.fakes.runtime.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_step_puts_everything_back_and_says_what_the_script_said() {
    let home = Home::new();
    let device = before(&home).await;
    let (disk, tree) = (files(&home.root()), device.configuration.get(&["services"]));
    let error = BootstrapError::Exit {
        code: 7,
        stderr_tail: vec!["no such".into(), "kernel".into()],
    };
    device
        .fakes
        .components
        .bootstrap_ends("com.a", [Err(error)]);
    let wanted =
        request(&home, &[("com.a", "2.0.0"), ("com.b", "2.0.0")]).merge("com.c", json!({"x": 1}));
    let report = device.deploy(wanted).await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackComplete),
        "{report:?}"
    );
    assert_eq!(
        report.error_stack.last().unwrap(),
        "COMPONENT_BOOTSTRAP_ERROR"
    );
    assert!(
        report
            .failure_cause
            .contains("code 7; its last words: no such\nkernel"),
        "{}",
        report.failure_cause
    );
    assert_eq!(
        device.fakes.components.running(),
        ["com.a 1.0.0", "com.b 1.0.0", "com.c 1.0.0"]
    );
    assert_eq!(files(&home.root()), disk);
    assert_eq!(device.configuration.get(&["services"]), tree);
}

#[tokio::test]
async fn a_step_that_asks_for_it_runs_again_on_a_rollback() {
    let home = Home::new();
    let step = |text: &str| json!({"Manifests": [{"Lifecycle": {"Bootstrap": {"Script": text, "BootstrapOnRollback": true}, "Run": "serve"}}]});
    home.recipe("com.a", "1.0.0", step("old"));
    home.recipe("com.a", "2.0.0", step("new"));
    let device = home.start().await;
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    device.fakes.components.log();
    device
        .fakes
        .components
        .behave("com.a", "2.0.0", crate::fakes::Behaviour::Breaks("no"));
    let report = device
        .deploy(request(&home, &[("com.a", "2.0.0")]).rolling_back())
        .await;
    assert_eq!(
        report.detailed,
        Some(DetailedStatus::FailedRollbackComplete),
        "{report:?}"
    );
    let log = device.fakes.components.log();
    assert_eq!(
        log,
        [
            "halt com.a",
            "bootstrap com.a 2.0.0",
            "start com.a 2.0.0",
            "halt com.a",
            "bootstrap com.a 1.0.0",
            "start com.a 1.0.0"
        ]
    );
}
