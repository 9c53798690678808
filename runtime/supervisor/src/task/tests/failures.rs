//! Errors: back-off, BROKEN, time limits, what cannot start.

use super::*;
use crate::launcher::{Outcome, StepKind};
use model::{StatusCode, component::RestartPolicy};

#[tokio::test(start_paused = true)]
async fn the_third_error_breaks_after_growing_pauses_and_a_restart_leads_out() {
    let device = Device::new();
    device
        .adopt(&[component(
            "c",
            &[
                ("run", "exit 3"),
                ("recover", "exit 0"),
                ("shutdown", "exit 0"),
            ],
        )])
        .await;
    let status = device.until("c", State::Broken).await;
    assert_eq!((status.code, status.errors), (StatusCode::RunError, 3));
    assert_eq!(
        status.reason,
        "The run script exited with code 3.\nlast words of run"
    );
    let pauses: Vec<_> = device
        .fake
        .times("c/run started")
        .windows(2)
        .map(|w| w[1] - w[0])
        .collect();
    assert_eq!(pauses, [Duration::from_millis(500), Duration::from_secs(1)]);
    device
        .until_status("c", |_| device.fake.count("c/shutdown exited") == 3)
        .await;
    assert_eq!(
        device.fake.log()[..6],
        [
            "c/run started",
            "c/run exited",
            "c/recover started",
            "c/recover exited",
            "c/shutdown started",
            "c/shutdown exited"
        ]
    );

    device.supervisor.restart(&name("c")).await.unwrap();
    device
        .until_status("c", |s| {
            s.state == State::Broken && device.fake.count("c/run started") == 6
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_may_never_break_and_may_try_a_broken_component_again() {
    let device = Device::new();
    let mut never = component("never", &[("run", "exit 1")]);
    never.restart_policy = RestartPolicy {
        max_errors: 0,
        max_delay: Duration::from_secs(4),
        ..RestartPolicy::default()
    };
    let mut heals = component("heals", &[("run", "exit 1")]);
    heals.restart_policy = RestartPolicy {
        retry_broken: Some(Duration::from_secs(1800)),
        ..RestartPolicy::default()
    };
    device.adopt(&[never, heals]).await;
    device.until("heals", State::Broken).await;
    device
        .until_status("heals", |_| device.fake.count("heals/run started") == 4)
        .await;
    device.until("heals", State::Broken).await;
    let times = device.fake.times("never/run started");
    let pauses: Vec<_> = times
        .windows(2)
        .map(|w| (w[1] - w[0]).as_millis())
        .take(6)
        .collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 4000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn each_step_has_its_own_limit() {
    let device = Device::new();
    let mut run = component("run", &[]);
    run.lifecycle.run = Some(timed("hang", 7));
    device
        .adopt(&[
            component("install", &[("install", "hang"), ("run", "hang")]),
            component(
                "startup",
                &[
                    ("startup", "hang"),
                    ("recover", "hang"),
                    ("shutdown", "hang"),
                ],
            ),
            run,
        ])
        .await;
    let status = device.until("install", State::Broken).await;
    assert_eq!(status.code, StatusCode::InstallTimeout);
    assert_eq!(status.reason, "The install script timed out after 120 s.");
    assert_eq!(
        device.until("startup", State::Broken).await.code,
        StatusCode::StartupTimeout
    );
    assert_eq!(
        device.until("run", State::Broken).await.code,
        StatusCode::RunTimeout
    );
    device
        .until_status("startup", |_| {
            device.fake.count("startup/shutdown stopped") == 3
        })
        .await;
    let second = |what| device.fake.times(what)[1].as_secs();
    assert_eq!(
        second("startup/startup started"),
        120 + 60 + 15,
        "0.5 s more are the pause"
    );
    within(device.supervisor.shutdown()).await;
    assert!(device.fake.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_says_why() {
    let device = Device::with(Fake::new(), |options| {
        options.default_user = DefaultUser::Missing;
    });
    let mut user = hang("user");
    user.run_with.posix_user = Some("nobody-here".into());
    let mut shell = component("shell", &[("startup", "unstartable")]);
    shell.run_with.posix_user = Some("u".into());
    let mut root = hang("root");
    root.lifecycle.run = Some(Step {
        requires_privilege: true,
        ..step("hang")
    });
    device
        .adopt(&[
            hang("none"),
            user,
            shell,
            component("inst", &[("install", "exit 0")]),
            root,
        ])
        .await;
    let broken = async |component| device.until(component, State::Broken).await;
    assert_eq!(
        broken("none").await.code,
        StatusCode::RunMissingDefaultRunwith
    );
    assert_eq!(
        broken("inst").await.code,
        StatusCode::InstallMissingDefaultRunwith
    );
    let status = broken("user").await;
    assert_eq!(status.code, StatusCode::RunConfigNotValid);
    assert!(status.reason.contains("no such user"), "{}", status.reason);
    assert_eq!(broken("shell").await.code, StatusCode::StartupIoError);
    device.until("root", State::Running).await;
    assert!(device.fake.units("root", "run")[0].privileged);
}

#[tokio::test(start_paused = true)]
async fn fifty_flapping_components_lose_no_event() {
    // A small backlog on purpose: the launcher's events overflow it.
    let device = Device::with(Fake::with_backlog(8), |_| ());
    let mut changes = device.supervisor.watch();
    let specs: Vec<_> = (0..50)
        .map(|i| {
            component(
                &format!("c{i}"),
                &[("run", "exit 1"), ("shutdown", "exit 0")],
            )
        })
        .collect();
    device.adopt(&specs).await;
    for i in 0..50 {
        device.until(&format!("c{i}"), State::Broken).await;
        assert_eq!(
            device.fake.count(&format!("c{i}/run started")),
            3,
            "no error was lost, none was counted twice"
        );
    }
    within(device.supervisor.shutdown()).await;
    let mut last: std::collections::BTreeMap<ComponentName, (u64, State)> =
        std::collections::BTreeMap::new();
    while let Ok(status) = changes.try_recv() {
        let before = last.insert(status.name.clone(), (status.sequence, status.state));
        assert_eq!(
            status.sequence,
            before.map_or(0, |(sequence, _)| sequence + 1)
        );
    }
    assert_eq!(last.len(), 50);
    assert!(last.values().all(|(_, state)| *state == State::Broken));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_saw_is_found_when_events_were_missed() {
    let device = Device::new();
    device.adopt(&[hang("a"), hang("b")]).await;
    device.until("a", State::Running).await;
    device.until("b", State::Running).await;
    device
        .fake
        .exit_unseen("a", StepKind::Run, Outcome::Code(9));
    device.fake.missed();
    let status = device.passes("a", State::Errored).await;
    assert!(status.reason.contains("exited with code 9"));
    device.until("a", State::Running).await;
    assert_eq!(device.fake.count("b/run started"), 1);
}
