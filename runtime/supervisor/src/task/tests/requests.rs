//! Stop, restart, pause, reports, changes of the set, bootstrap.

use super::*;
use crate::{
    ApplyError, BootstrapError, BootstrapExit, Reported, RequestError,
    launcher::{Outcome, StepKind},
};
use model::{
    StatusCode,
    component::{SkipCondition, SkipIf},
};

#[tokio::test(start_paused = true)]
async fn a_stop_during_install_ends_the_install() {
    let device = Device::new();
    device
        .adopt(&[component(
            "c",
            &[("install", "hang"), ("run", "hang"), ("shutdown", "exit 0")],
        )])
        .await;
    device
        .until_status("c", |_| !device.fake.alive().is_empty())
        .await;
    device.supervisor.stop(&name("c")).await.unwrap();
    device
        .until_status("c", |s| {
            s.state == State::New && device.fake.log().len() == 3
        })
        .await;
    assert_eq!(
        device.fake.log(),
        ["c/install started", "c/install stopped", "c/install exited"]
    );
    assert_eq!(device.status("c").errors, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_component_stays_down_until_a_restart_or_a_deployment() {
    let device = Device::new();
    device.adopt(&[hang("a"), hang("b")]).await;
    for c in ["a", "b"] {
        device.until(c, State::Running).await;
        device.supervisor.stop(&name(c)).await.unwrap();
        device.until(c, State::Finished).await;
    }
    device.supervisor.restart(&name("a")).await.unwrap();
    device.until("a", State::Running).await;
    assert_eq!(device.status("b").state, State::Finished);
    device.apply(&keep(&[hang("b")]), &[]).await;
    device.until("b", State::Running).await;
    assert_eq!(
        device.fake.count("a/run started"),
        2,
        "not touched by the deployment"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_step_that_ends_well_is_shut_down_and_finished() {
    let device = Device::new();
    device
        .adopt(&[
            component("c", &[("run", "after 5 exit 0"), ("shutdown", "exit 0")]),
            component("lib", &[("install", "exit 0")]),
        ])
        .await;
    device.until("lib", State::Finished).await;
    device.until("c", State::Running).await;
    device.until("c", State::Finished).await;
    assert_eq!(device.fake.count("c/shutdown started"), 1);
    device.supervisor.restart(&name("c")).await.unwrap();
    device.until("c", State::Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_component_reports_its_state() {
    let device = Device::new();
    device
        .adopt(&[component("c", &[("startup", "hang")]), hang("run")])
        .await;
    device
        .until_status("c", |s| s.state == State::Starting && s.pid.is_some())
        .await;
    let report = async |reported| device.supervisor.report(&name("c"), reported).await;
    report(Reported::Running).await.unwrap();
    assert_eq!(device.status("c").state, State::Running);
    device.until("run", State::Running).await;
    report(Reported::Errored).await.unwrap();
    let status = device.passes("c", State::Errored).await;
    assert_eq!(
        (status.code, status.reason.as_str()),
        (
            StatusCode::RunError,
            "The component reported that it has failed."
        )
    );
    assert!(matches!(
        report(Reported::Running).await,
        Err(RequestError::State {
            state: State::Errored,
            ..
        })
    ));
    device.until("c", State::Starting).await;
    let unknown = device
        .supervisor
        .report(&name("nobody"), Reported::Running)
        .await;
    assert_eq!(unknown, Err(RequestError::NotFound(name("nobody"))));
}

#[tokio::test(start_paused = true)]
async fn a_paused_component_is_thawed_before_it_stops() {
    let device = Device::new();
    device
        .adopt(&[component("c", &[("run", "hang"), ("shutdown", "exit 0")])])
        .await;
    device.until("c", State::Running).await;
    device.supervisor.pause(&name("c")).await.unwrap();
    assert!(device.status("c").paused);
    device.supervisor.resume(&name("c")).await.unwrap();
    assert!(!device.status("c").paused);
    device.supervisor.pause(&name("c")).await.unwrap();
    device.supervisor.stop(&name("c")).await.unwrap();
    assert!(!device.until("c", State::Finished).await.paused);
    assert_eq!(
        device.fake.log()[1..],
        [
            "c frozen",
            "c thawed",
            "c frozen",
            "c thawed",
            "c/shutdown started",
            "c/shutdown exited",
            "c/run stopped",
            "c/run exited"
        ]
    );
    assert!(matches!(
        device.supervisor.pause(&name("c")).await,
        Err(RequestError::State { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn without_a_freezer_pause_says_so() {
    let device = Device::new();
    device.fake.no_freezer();
    device.adopt(&[hang("c")]).await;
    device.until("c", State::Running).await;
    let refused = device.supervisor.pause(&name("c")).await.unwrap_err();
    assert!(refused.to_string().contains("no cgroup"), "{refused}");
    assert!(!device.status("c").paused);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_shut_down_by_the_old_scripts_and_installed() {
    let device = Device::new();
    let old = component(
        "c",
        &[
            ("install", "exit 0"),
            ("run", "hang"),
            ("shutdown", "after 1 exit 0"),
            ("uninstall", "exit 0"),
        ],
    );
    device.adopt(std::slice::from_ref(&old)).await;
    device.until("c", State::Running).await;
    let new = version(
        component(
            "c",
            &[
                ("install", "after 2 exit 0"),
                ("run", "after 99 exit 0"),
                ("shutdown", "exit 0"),
            ],
        ),
        "2.0.0",
    );
    device.apply(&[(new, Action::Reinstall)], &[]).await;
    assert_eq!(
        device.fake.units("c", "shutdown")[0].script,
        "after 1 exit 0"
    );
    assert_eq!(device.status("c").version.to_string(), "2.0.0");
    device.until("c", State::Running).await;
    assert_eq!(device.fake.units("c", "install").len(), 2);
    assert!(
        device.fake.units("c", "uninstall").is_empty(),
        "a new version is not a removal"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_component_is_uninstalled_and_forgotten() {
    let device = Device::new();
    let gone = version(
        component(
            "gone",
            &[
                ("install", "exit 0"),
                ("run", "hang"),
                ("uninstall", "exit 0"),
            ],
        ),
        "1.2.3",
    );
    device.adopt(&[gone.clone(), hang("stays")]).await;
    device.until("gone", State::Running).await;
    device.until("stays", State::Running).await;
    let token = device.fake.units("gone", "run")[0].environment["SVCUID"].clone();
    assert_eq!(device.supervisor.authenticate(&token), Some(name("gone")));
    device.apply(&[], &["gone"]).await;
    assert_eq!(
        device.fake.units("gone", "uninstall")[0].environment["GREENGRASS_COMPONENT_VERSION"],
        "1.2.3"
    );
    assert_eq!(device.supervisor.status(&name("gone")), None);
    assert_eq!(device.supervisor.authenticate(&token), None);
    assert_eq!(device.fake.alive(), ["stays/run"]);
    device.apply(&keep(&[gone]), &[]).await;
    device.until("gone", State::Running).await;
    assert_eq!(
        device.fake.units("gone", "install").len(),
        2,
        "nothing of its past life is believed"
    );
    assert_ne!(
        device.fake.units("gone", "run")[1].environment["SVCUID"],
        token
    );
}

#[tokio::test(start_paused = true)]
async fn limits_change_in_place() {
    let device = Device::new();
    device.adopt(&[hang("c")]).await;
    device.until("c", State::Running).await;
    let mut limited = hang("c");
    limited.run_with.limits.memory_kib = Some(2048);
    device.apply(&keep(&[limited]), &[]).await;
    device.until_status("c", |_| true).await;
    within(device.supervisor.shutdown()).await;
    assert_eq!(
        device.fake.log()[..2],
        ["c/run started", "c limited to Some(2048) KiB"]
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_does_not_hold_up_the_others() {
    let device = Device::new();
    device
        .adopt(&[
            component("hangs", &[("install", "hang"), ("run", "hang")]),
            component("dies-not", &[("run", "immortal")]),
            hang("a"),
        ])
        .await;
    device.until("a", State::Running).await;
    device.until("dies-not", State::Running).await;
    // A change of both: one cannot go, the other is changed all the same.
    let restart = |spec| (spec, Action::Restart);
    let change = Change {
        set: vec![
            restart(component("dies-not", &[("run", "hang")])),
            restart(hang("a")),
        ],
        remove: Vec::new(),
    };
    assert_eq!(
        within(device.supervisor.apply(change)).await,
        Err(ApplyError::Stuck(vec![name("dies-not")]))
    );
    device.until("a", State::Running).await;
    assert_eq!(device.fake.count("a/run started"), 2);
    assert_eq!(device.status("hangs").state, State::New);
    // Once the kernel lets go, the change is carried on.
    device.fake.let_die();
    device.until("dies-not", State::Running).await;
    assert_eq!(
        device.fake.units("dies-not", "run").last().unwrap().script,
        "hang"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_gives_way_to_a_later_one() {
    let device = Device::new();
    let slow = component("c", &[("run", "hang"), ("shutdown", "hang")]);
    device.adopt(std::slice::from_ref(&slow)).await;
    device.until("c", State::Running).await;
    let apply = |spec: ComponentSpec| {
        let supervisor = device.supervisor.clone();
        async move {
            supervisor
                .apply(Change {
                    set: vec![(spec, Action::Restart)],
                    remove: Vec::new(),
                })
                .await
        }
    };
    let first = tokio::spawn(apply(version(slow.clone(), "2.0.0")));
    device.passes("c", State::Stopping).await;
    // The asker has given up, the other one asks for the old version again.
    let second = tokio::spawn(apply(slow));
    assert_eq!(within(first).await.unwrap(), Err(ApplyError::Superseded));
    within(second).await.unwrap().unwrap();
    assert_eq!(
        device.until("c", State::Running).await.version.to_string(),
        "1.0.0"
    );
    assert_eq!(
        device.fake.count("c/run started"),
        2,
        "the other version never ran"
    );
}

#[tokio::test(start_paused = true)]
async fn skipped_steps_count_as_done() {
    let device = Device::new();
    let skip = |step: Step| {
        Some(Step {
            skip_if: Some(SkipIf {
                negated: false,
                condition: SkipCondition::OnPath("sh".into()),
            }),
            ..step
        })
    };
    let mut c = hang("c");
    c.lifecycle.install = skip(timed("exit 1", 5));
    let mut done = component("done", &[]);
    done.lifecycle.run = skip(step("exit 1"));
    device.adopt(&[c, done]).await;
    device.until("c", State::Running).await;
    device.until("done", State::Finished).await;
    assert_eq!(device.fake.log(), ["c/run started"]);
}

#[tokio::test(start_paused = true)]
async fn the_default_user_owns_artifacts_before_install_and_runs_the_scripts() {
    let device = Device::with(Fake::new(), |options| {
        options.default_user = DefaultUser::Named("ggc_user".into());
    });
    device
        .adopt(&[component("c", &[("install", "exit 0"), ("run", "hang")])])
        .await;
    device.until("c", State::Running).await;
    assert_eq!(
        device.fake.log()[..2],
        ["c owned by ggc_user", "c/install started"]
    );
    assert_eq!(device.fake.count("c owned by ggc_user"), 1);
    assert_eq!(
        device.fake.units("c", "run")[0].user.as_deref(),
        Some("ggc_user")
    );
}

#[tokio::test(start_paused = true)]
async fn bootstrap_tells_what_its_exit_code_asks_for() {
    let device = Device::new();
    let run = async |script| {
        device
            .supervisor
            .bootstrap(&component("c", &[("bootstrap", script)]))
            .await
    };
    assert_eq!(run("exit 0").await, Ok(BootstrapExit::Done));
    assert_eq!(run("exit 100").await, Ok(BootstrapExit::RestartRuntime));
    assert_eq!(run("after 9 exit 101").await, Ok(BootstrapExit::Reboot));
    assert_eq!(
        device.supervisor.bootstrap(&component("c", &[])).await,
        Ok(BootstrapExit::Done)
    );
    let failed = run("exit 3").await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "the bootstrap script of c exited with code 3\nlast words of bootstrap"
    );
    assert!(matches!(
        run("hang").await,
        Err(BootstrapError::Timeout { .. })
    ));
    assert!(matches!(
        run("unstartable").await,
        Err(BootstrapError::Launch { .. })
    ));
    assert!(device.fake.alive().is_empty());
    let token = &device.fake.units("c", "bootstrap")[0].environment["SVCUID"];
    assert!(
        device
            .fake
            .units("c", "bootstrap")
            .iter()
            .all(|unit| unit.environment["SVCUID"] == *token)
    );
    device.adopt(&[hang("c")]).await;
    device.until("c", State::Running).await;
    assert_eq!(
        device.fake.units("c", "run")[0].environment["SVCUID"],
        *token
    );
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_nobody_waits_for_is_ended() {
    let device = Device::new();
    let mut spec = component("c", &[("bootstrap", "hang")]);
    spec.lifecycle.bootstrap = Some(step("hang"));
    let given_up = timeout(Duration::from_secs(600), device.supervisor.bootstrap(&spec)).await;
    assert!(given_up.is_err());
    // The answer to a later request comes after the step was told to end.
    assert_eq!(
        device
            .supervisor
            .bootstrap(&component("d", &[("bootstrap", "after 1 exit 0")]))
            .await,
        Ok(BootstrapExit::Done)
    );
    assert!(device.fake.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stale_end_of_an_earlier_process_is_not_taken_for_the_present_one() {
    let device = Device::new();
    device.adopt(&[hang("c")]).await;
    let first = device.until("c", State::Running).await.pid;
    device.supervisor.restart(&name("c")).await.unwrap();
    device.passes("c", State::Stopping).await;
    let second = device
        .until_status("c", |s| s.state == State::Running && s.pid.is_some())
        .await
        .pid;
    assert_ne!(first, second);
    device.fake.exit("c", StepKind::Run, Outcome::Code(0));
    device.until("c", State::Finished).await;
    assert_eq!(device.fake.count("c/run started"), 2);
}
