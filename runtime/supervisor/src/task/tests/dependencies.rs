//! Order, up and down.

use super::*;
use DependencyType::{Hard, Soft};

fn chain() -> [ComponentSpec; 3] {
    [
        needing(
            component("top", &[("run", "hang"), ("shutdown", "after 1 exit 0")]),
            &[("middle", Hard)],
        ),
        needing(
            component(
                "middle",
                &[
                    ("startup", "after 3 exit 0"),
                    ("shutdown", "after 1 exit 0"),
                ],
            ),
            &[("base", Hard)],
        ),
        component(
            "base",
            &[
                ("install", "after 2 exit 0"),
                ("run", "hang"),
                ("shutdown", "after 1 exit 0"),
            ],
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_component_starts_once_what_it_needs_is_up() {
    let device = Device::new();
    device.adopt(&chain()).await;
    device.until("top", State::Running).await;
    assert_eq!(
        device.fake.log_of(&["started", "exited"]),
        [
            "base/install started",
            "base/install exited",
            "base/run started",
            "middle/startup started",
            "middle/startup exited",
            "top/run started"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn all_go_down_in_reverse_order_with_the_runtime() {
    let device = Device::new();
    device.adopt(&chain()).await;
    device.until("top", State::Running).await;
    let before = device.fake.log().len();
    within(device.supervisor.shutdown()).await;
    let shutdowns: Vec<_> = device.fake.log()[before..].to_vec();
    assert_eq!(
        shutdowns,
        [
            "top/shutdown started",
            "top/shutdown exited",
            "top/run stopped",
            "top/run exited",
            "middle/shutdown started",
            "middle/shutdown exited",
            "base/shutdown started",
            "base/shutdown exited",
            "base/run stopped",
            "base/run exited"
        ]
    );
    assert!(device.fake.alive().is_empty());
    within(device.task).await.unwrap();
    assert_eq!(
        device.supervisor.restart(&name("top")).await,
        Err(crate::RequestError::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn hard_dependers_restart_with_what_they_need_and_soft_ones_do_not() {
    let device = Device::new();
    device
        .adopt(&[
            hang("base"),
            needing(hang("hard"), &[("base", Hard)]),
            needing(hang("soft"), &[("base", Soft)]),
        ])
        .await;
    device.until("hard", State::Running).await;
    device.until("soft", State::Running).await;
    let before = device.fake.log().len();
    device.supervisor.restart(&name("base")).await.unwrap();
    device.passes("base", State::Stopping).await;
    device.until("hard", State::Running).await;
    assert_eq!(
        device.fake.log()[before..],
        [
            "hard/run stopped",
            "hard/run exited",
            "base/run stopped",
            "base/run exited",
            "base/run started",
            "hard/run started"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_takes_hard_dependers_down_until_it_is_over() {
    let device = Device::new();
    device
        .adopt(&[hang("base"), needing(hang("top"), &[("base", Hard)])])
        .await;
    device.until("top", State::Running).await;
    device.fake.exit(
        "base",
        crate::launcher::StepKind::Run,
        crate::launcher::Outcome::Signal(11),
    );
    let status = device.passes("base", State::Errored).await;
    device.passes("top", State::Stopping).await;
    assert_eq!(
        status.reason,
        "The run script was killed by signal 11.\nlast words of run"
    );
    device.until("top", State::Running).await;
    assert_eq!(device.fake.count("base/run started"), 2);
    assert_eq!(device.fake.count("top/run started"), 2);
    assert_eq!(device.status("top").errors, 0, "it did not fail itself");
}

#[tokio::test(start_paused = true)]
async fn a_soft_dependency_is_waited_for_but_not_for_ever() {
    let device = Device::new();
    device
        .adopt(&[
            component("slow", &[("install", "after 100 exit 0"), ("run", "hang")]),
            needing(hang("a"), &[("slow", Soft)]),
        ])
        .await;
    device.until("a", State::Running).await;
    assert_eq!(
        device.fake.times("a/run started"),
        [Duration::from_secs(10)]
    );
    let device = Device::new();
    device
        .adopt(&[
            component("quick", &[("install", "after 3 exit 0"), ("run", "hang")]),
            needing(hang("a"), &[("quick", Soft)]),
        ])
        .await;
    device.until("a", State::Running).await;
    assert_eq!(device.fake.times("a/run started"), [Duration::from_secs(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_does_not_lock_up() {
    let device = Device::new();
    device
        .adopt(&[
            needing(hang("a"), &[("b", Hard)]),
            needing(hang("b"), &[("a", Hard)]),
        ])
        .await;
    device.until("a", State::Running).await;
    device.until("b", State::Running).await;
    within(device.supervisor.shutdown()).await;
    assert!(device.fake.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_by_request_leaves_dependers_up_and_shutdown_waits_for_one_that_cannot_be_killed() {
    let device = Device::new();
    device
        .adopt(&[
            hang("base"),
            needing(component("top", &[("run", "immortal")]), &[("base", Hard)]),
        ])
        .await;
    device.until("top", State::Running).await;
    device.supervisor.stop(&name("base")).await.unwrap();
    device.until("base", State::Finished).await;
    assert_eq!(device.status("top").state, State::Running);
    device.supervisor.restart(&name("base")).await.unwrap();
    device.passes("top", State::Stopping).await;
    device.until("base", State::Running).await;
    within(device.supervisor.shutdown()).await;
    assert_eq!(
        device.fake.alive(),
        ["top/run"],
        "all but what the kernel holds"
    );
}
