//! What a new runtime makes of what the old one left.

use super::*;
use crate::launcher::{Launcher, Outcome, StepKind, UnitId};
use model::StatusCode;

fn full(of: &str) -> ComponentSpec {
    component(
        of,
        &[
            ("install", "exit 0"),
            ("run", "hang"),
            ("shutdown", "exit 0"),
        ],
    )
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_kept_with_its_pid_and_token() {
    let device = Device::new();
    let up = component("up", &[("startup", "exit 0")]);
    let starting = component("starting", &[("startup", "after 50 exit 0")]);
    let set = [full("c"), up, starting];
    device.adopt(&set).await;
    let pid = device
        .until_status("c", |s| s.state == State::Running && s.pid.is_some())
        .await
        .pid;
    device.until("up", State::Running).await;
    device.until_status("starting", |s| s.pid.is_some()).await;
    let token = device.fake.units("c", "run")[0].environment["SVCUID"].clone();
    let log = device.fake.log_of(&["started", "stopped"]);

    let device = device.restart_runtime().await;
    device.adopt(&set).await;
    assert_eq!(device.status("c").pid, pid);
    assert_eq!(device.status("c").state, State::Running);
    assert_eq!(device.status("up").state, State::Running);
    assert_eq!(device.status("starting").state, State::Starting);
    assert_eq!(device.supervisor.authenticate(&token), Some(name("c")));
    device.until("starting", State::Running).await;
    assert_eq!(device.fake.log_of(&["started", "stopped"]), log);

    device.fake.exit("c", StepKind::Run, Outcome::Code(1));
    device.passes("c", State::Errored).await;
    device.until("c", State::Running).await;
    assert_eq!(
        device.fake.count("c/install started"),
        1,
        "installed before"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_between_two_runtimes_is_not_overlooked() {
    let device = Device::new();
    device.adopt(&[full("ends"), full("fails")]).await;
    device.until("ends", State::Running).await;
    device.until("fails", State::Running).await;
    let device = device
        .restart_runtime_after(|fake| {
            fake.exit("ends", StepKind::Run, Outcome::Code(0));
            fake.exit("fails", StepKind::Run, Outcome::Code(4));
        })
        .await;
    device.adopt(&[full("ends"), full("fails")]).await;
    let status = device.passes("fails", State::Errored).await;
    assert!(status.reason.contains("exited with code 4"));
    device.until("ends", State::Finished).await;
    assert_eq!(device.fake.count("ends/shutdown started"), 1);
    device.until("fails", State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_component_is_taken_down_by_the_scripts_it_was_started_with() {
    let device = Device::new();
    device.adopt(&[full("c")]).await;
    device.until("c", State::Running).await;
    let device = device.restart_runtime().await;
    let new = version(
        component(
            "c",
            &[("install", "exit 0"), ("run", "hang"), ("shutdown", "hang")],
        ),
        "2.0.0",
    );
    device.adopt(&[new]).await;
    device
        .until_status("c", |s| {
            s.state == State::Running && s.version.to_string() == "2.0.0"
        })
        .await;
    assert_eq!(
        device.fake.log()[3..],
        [
            "c/shutdown started",
            "c/shutdown exited",
            "c/run stopped",
            "c/run exited",
            "c/install started",
            "c/install exited",
            "c/run started"
        ]
    );
    assert_eq!(device.fake.units("c", "shutdown")[0].script, "exit 0");
}

#[tokio::test(start_paused = true)]
async fn what_should_not_run_is_stopped_and_can_come_back() {
    let device = Device::new();
    device.adopt(&[full("known"), full("stays")]).await;
    device.until("known", State::Running).await;
    device.until("stays", State::Running).await;
    let device = device.restart_runtime().await;
    let unknown = device.fake.units("known", "run")[0].clone();
    let unknown = crate::launcher::Unit {
        id: UnitId::new(name("unknown"), StepKind::Run),
        ..unknown
    };
    device.fake.start(unknown).await.unwrap();
    device.adopt(&[full("stays")]).await;
    device
        .until_status("stays", |_| device.fake.alive() == ["stays/run"])
        .await;
    assert_eq!(device.fake.count("known/shutdown started"), 1);
    device
        .until_status("stays", |_| {
            device.supervisor.status(&name("known")).is_none()
        })
        .await;
    device.apply(&keep(&[full("known")]), &[]).await;
    device.until("known", State::Running).await;
    assert_eq!(
        device.fake.count("known/install started"),
        1,
        "it was stopped, not uninstalled"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removal_cut_short_by_the_end_of_the_runtime_can_be_asked_for_again() {
    let device = Device::new();
    let gone = component(
        "gone",
        &[
            ("install", "exit 0"),
            ("run", "hang"),
            ("uninstall", "exit 0"),
        ],
    );
    device.adopt(std::slice::from_ref(&gone)).await;
    device.until("gone", State::Running).await;
    let device = device.restart_runtime().await;
    device.adopt(&[]).await;
    device.apply(&[], &["gone"]).await;
    assert_eq!(device.fake.count("gone/uninstall started"), 1);
    assert!(device.fake.alive().is_empty());
    assert!(device.supervisor.statuses().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_process_in_the_midst_of_something_is_begun_anew() {
    let device = Device::new();
    device
        .adopt(&[component(
            "c",
            &[("install", "after 60 exit 0"), ("run", "hang")],
        )])
        .await;
    device
        .until_status("c", |_| !device.fake.alive().is_empty())
        .await;
    let device = device.restart_runtime().await;
    device
        .adopt(&[component(
            "c",
            &[("install", "after 60 exit 0"), ("run", "hang")],
        )])
        .await;
    device.until("c", State::Running).await;
    assert_eq!(
        device.fake.log_of(&["started", "stopped"]),
        [
            "c/install started",
            "c/install stopped",
            "c/install started",
            "c/run started"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn errors_and_broken_outlive_the_runtime_and_a_stop_does_not() {
    let device = Device::new();
    let bad = component("bad", &[("run", "exit 1")]);
    device.adopt(&[bad.clone(), hang("stopped")]).await;
    device.until("bad", State::Broken).await;
    device.until("stopped", State::Running).await;
    device.supervisor.stop(&name("stopped")).await.unwrap();
    device.until("stopped", State::Finished).await;
    let device = device.restart_runtime().await;
    device.adopt(&[bad.clone(), hang("stopped")]).await;
    device.until("stopped", State::Running).await;
    let status = device.status("bad");
    assert_eq!(
        (status.state, status.code, status.errors),
        (State::Broken, StatusCode::RunError, 3)
    );
    assert_eq!(device.fake.count("bad/run started"), 3);
    // A deployment that names it tries again.
    device.apply(&keep(&[bad]), &[]).await;
    device
        .until_status("bad", |s| {
            s.state == State::Broken && device.fake.count("bad/run started") == 6
        })
        .await;
}
