//! The systemd back end on a real systemd as PID 1. `ci/systemd` boots one in a container and runs this program in it; elsewhere it
//! skips, so that nobody's own system is tried upon.
#![allow(clippy::unwrap_used)]

mod launcher_support;

use launcher_support::*;
use model::SystemLimits;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use supervisor::launcher::{
    Backend, Client, Event, LaunchError, Launcher, Local, Outcome, Socket, StepKind, Unit, run,
};
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
const RUN: StepKind = StepKind::Run;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    if std::env::var_os("GREENGRASS_TEST_SYSTEMD").is_none() {
        println!(
            "SKIPPED: these tests start units on the system's systemd; ci/systemd runs them in a container"
        );
        return;
    }
    let mut trials = Vec::new();
    macro_rules! all {
        ($($test:ident)*) => { $(trials.push(trial(stringify!($test), || async { clean().await; $test().await }));)* };
    }
    all!(
        an_end_is_reported_with_its_code_and_its_last_lines
        a_signal_is_told_from_a_code
        existing_tools_find_a_unit_by_its_name
        the_environment_arrives_whole_and_shows_in_no_property
        a_long_script_runs
        a_script_is_given_to_the_shell_untouched
        another_user_runs_it_with_all_its_groups
        stop_ends_grandchildren_that_began_their_own_session
        stop_ends_processes_that_ignore_sigterm_and_fork_all_the_time
        what_a_run_step_leaves_behind_ends_with_it
        what_a_failed_step_leaves_behind_ends_with_it
        what_a_startup_step_leaves_behind_lives_until_stop
        a_living_unit_is_not_started_twice_and_an_ended_one_is_replaced
        a_frozen_component_does_nothing_until_it_is_thawed_and_can_be_stopped
        the_owner_of_a_process_is_found
        what_cannot_start_says_why
        components_named_like_steps_do_not_meet
        a_unit_that_somebody_else_stops_is_reported
        a_killed_launcher_finds_its_units_again_with_the_same_processes
        an_end_that_no_launcher_saw_is_found_afterwards
        limits_are_set_where_there_are_controllers
        fifty_starts_and_stops_leave_nothing_behind
    );
    let mut arguments = libtest_mimic::Arguments::from_args();
    // One launcher at a time: each takes up all units there are.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

/// Removes what a failed test has left, so that it is the only one that fails.
async fn clean() {
    for unit in listed().lines().filter_map(|line| line.split(' ').next()) {
        for arguments in [
            ["thaw", unit].as_slice(),
            &["kill", "-s", "KILL", unit],
            &["stop", unit],
            &["reset-failed", unit],
        ] {
            let _ = Command::new("systemctl")
                .args(arguments)
                .stderr(Stdio::null())
                .status();
        }
    }
}

async fn open(root: &Root) -> Local {
    let mut options = root.options();
    options.backend = Backend::Systemd;
    Local::open(options).await.unwrap()
}

fn run_unit(root: &Root, component: &str, script: &str) -> Unit {
    unit(&root.path(), component, RUN, script)
}

fn show(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "-p", property, unit])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn listed() -> String {
    let output = Command::new("systemctl")
        .args(["list-units", "--all", "--plain", "--no-legend", "ggl.*"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn read(root: &Root, file: &str) -> Option<String> {
    fs::read_to_string(root.path().join("work").join(file))
        .ok()
        .filter(|text| text.ends_with('\n'))
}

/// Waits for a file that a component writes, whole lines of it.
async fn written(root: &Root, file: &str) -> String {
    eventually(|| read(root, file)).await.trim_end().to_owned()
}

async fn an_end_is_reported_with_its_code_and_its_last_lines() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let script = "for i in $(seq 1 30); do echo \"error $i\" >&2; done; exit 3";
    let pid = start(
        &launcher,
        unit(&root.path(), "a.End", StepKind::Install, script),
    )
    .await;
    let end = exited(&mut events, &id("a.End", StepKind::Install)).await;
    assert_eq!((end.pid, end.outcome), (pid, Outcome::Code(3)));
    assert_eq!(end.stderr_tail.len(), 20);
    assert_eq!(end.stderr_tail.last().unwrap(), "error 30");
    launcher.stop(&end.id, GRACE).await.unwrap();
    assert_eq!(launcher.inspect().await.unwrap(), []);
}

async fn a_signal_is_told_from_a_code() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    start(&launcher, run_unit(&root, "a.Signal", "kill -9 $$")).await;
    assert_eq!(
        exited(&mut events, &id("a.Signal", RUN)).await.outcome,
        Outcome::Signal(9)
    );
    launcher.stop(&id("a.Signal", RUN), GRACE).await.unwrap();
}

async fn existing_tools_find_a_unit_by_its_name() {
    let root = Root::new();
    let launcher = open(&root).await;
    let pid = start(
        &launcher,
        run_unit(&root, "com.example.Tool", "exec sleep 60"),
    )
    .await;
    let name = "ggl.com.example.Tool.service";
    assert_eq!(show(name, "ActiveState"), "active");
    assert_eq!(show(name, "MainPID"), pid.to_string());
    assert_eq!(show(name, "Slice"), "greengrass.slice");
    launcher
        .stop(&id("com.example.Tool", RUN), GRACE)
        .await
        .unwrap();
    assert_eq!(show(name, "LoadState"), "not-found");
}

async fn the_environment_arrives_whole_and_shows_in_no_property() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut step = run_unit(
        &root,
        "a.Env",
        "printf '%s|%s|%s\\n' \"$ODD\" \"$SVCUID\" \"$HOME\" > env; exec sleep 60",
    );
    let odd = "quotes \" ' and $HOME `id` %n \\ back\nnew line # ; ü";
    step.environment.insert("ODD".into(), odd.into());
    start(&launcher, step).await;
    let home = "/root";
    assert_eq!(
        written(&root, "a.Env/env").await,
        format!("{odd}|0123456789ABCDEF|{home}")
    );
    let all = Command::new("systemctl")
        .args(["show", "ggl.a.Env.service"])
        .output()
        .unwrap();
    let file = Command::new("systemctl")
        .args(["cat", "ggl.a.Env.service"])
        .output()
        .unwrap();
    for text in [all.stdout, file.stdout] {
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("sleep 60") && !text.contains("0123456789ABCDEF"),
            "{text}"
        );
    }
    let secret = fs::metadata(root.runtime_folder().join("a.Env.run.env")).unwrap();
    assert_eq!((secret.mode() & 0o777, secret.uid()), (0o400, 0));
    launcher.stop(&id("a.Env", RUN), GRACE).await.unwrap();
    assert_eq!(fs::read_dir(root.runtime_folder()).unwrap().count(), 0);
}

async fn a_long_script_runs() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let mut long = run_unit(
        &root,
        "a.Long",
        &format!("# {}\nexit 4", "x".repeat(300 << 10)),
    );
    long.user = Some("nobody".into());
    start(&launcher, long).await;
    assert_eq!(
        exited(&mut events, &id("a.Long", RUN)).await.outcome,
        Outcome::Code(4)
    );
    launcher.stop(&id("a.Long", RUN), GRACE).await.unwrap();
}

async fn a_script_is_given_to_the_shell_untouched() {
    let root = Root::new();
    let launcher = open(&root).await;
    let script =
        "x='%n %% $x ${x} \\n \"q\"'\nprintf '%s;%s\\n' \"$x\" \"${x#%}\" > out\nexec sleep 60";
    start(&launcher, run_unit(&root, "a.Script", script)).await;
    let x = "%n %% $x ${x} \\n \"q\"";
    assert_eq!(
        written(&root, "a.Script/out").await,
        format!("{x};{}", &x[1..])
    );
    launcher.stop(&id("a.Script", RUN), GRACE).await.unwrap();
}

async fn another_user_runs_it_with_all_its_groups() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let script =
        "(id -un; id -gn; id -Gn; grep NoNewPrivs /proc/self/status; pwd) > who; exec sleep 60";
    let mut step = run_unit(&root, "a.User", script);
    step.user = Some("ggc_user:ggc_group".into());
    start(&launcher, step.clone()).await;
    let lines = written(&root, "a.User/who").await;
    let lines = eventually(|| read(&root, "a.User/who").filter(|text| text.lines().count() == 5))
        .await
        + &lines[..0];
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[..2], ["ggc_user", "ggc_group"]);
    assert!(
        lines[2].split(' ').any(|group| group == "ggc_extra"),
        "{lines:?}"
    );
    assert!(lines[3].ends_with('1'), "{lines:?}");
    assert!(lines[4].ends_with("/root/work/a.User"), "{lines:?}");
    launcher.stop(&step.id, GRACE).await.unwrap();
    exited(&mut events, &step.id).await;
    fs::remove_file(root.path().join("work/a.User/who")).unwrap();
    step.privileged = true;
    start(&launcher, step.clone()).await;
    let lines =
        eventually(|| read(&root, "a.User/who").filter(|text| text.lines().count() == 5)).await;
    assert!(
        lines.starts_with("root\n") && lines.contains("NoNewPrivs:\t0"),
        "{lines}"
    );
    launcher.stop(&step.id, GRACE).await.unwrap();
    step.user = Some("no-such-user".into());
    step.privileged = false;
    assert!(matches!(
        launcher.start(step).await,
        Err(LaunchError::User { .. })
    ));
}

async fn stop_ends_grandchildren_that_began_their_own_session() {
    let root = Root::new();
    let launcher = open(&root).await;
    let script = "setsid sleep 7771 & (setsid setsid sh -c 'sleep 7772; true' &) ; nohup sleep 7773 >/dev/null 2>&1 & sleep 7774";
    start(&launcher, run_unit(&root, "a.Stop", script)).await;
    for last in 1..=4 {
        eventually(|| (!living_with(&format!("sleep\x00777{last}")).is_empty()).then_some(()))
            .await;
    }
    launcher.stop(&id("a.Stop", RUN), GRACE).await.unwrap();
    assert_eq!(
        living_with("sleep\x00777"),
        [0; 0],
        "none is left when stop returns"
    );
    assert_eq!(listed(), "");
}

async fn stop_ends_processes_that_ignore_sigterm_and_fork_all_the_time() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let script = "trap '' TERM; for i in 1 2 3; do (while :; do setsid sh -c 'trap \"\" TERM; sleep 0.2; : 8881' & sleep 0.01; done) & done; echo x > ready; wait";
    start(&launcher, run_unit(&root, "a.Bomb", script)).await;
    written(&root, "a.Bomb/ready").await;
    launcher.stop(&id("a.Bomb", RUN), SHORT).await.unwrap();
    assert_eq!(living_with("8881"), [0; 0]);
    assert_eq!(
        exited(&mut events, &id("a.Bomb", RUN)).await.outcome,
        Outcome::Signal(9)
    );
}

async fn what_a_run_step_leaves_behind_ends_with_it() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    start(
        &launcher,
        run_unit(&root, "a.Left", "setsid sleep 6661 & exit 0"),
    )
    .await;
    assert_eq!(
        exited(&mut events, &id("a.Left", RUN)).await.outcome,
        Outcome::Code(0)
    );
    assert_eq!(living_with("sleep\x006661"), [0; 0]);
    launcher.stop(&id("a.Left", RUN), GRACE).await.unwrap();
}

async fn what_a_failed_step_leaves_behind_ends_with_it() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    start(
        &launcher,
        run_unit(
            &root,
            "a.Left",
            "setsid sh -c 'trap \"\" TERM; while :; do sleep 6662; done' & sleep 0.1; exit 5",
        ),
    )
    .await;
    assert_eq!(
        exited(&mut events, &id("a.Left", RUN)).await.outcome,
        Outcome::Code(5)
    );
    assert_eq!(living_with("sleep\x006662"), [0; 0]);
    launcher.stop(&id("a.Left", RUN), GRACE).await.unwrap();
}

async fn what_a_startup_step_leaves_behind_lives_until_stop() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let startup = id("a.Startup", StepKind::Startup);
    start(
        &launcher,
        unit(
            &root.path(),
            "a.Startup",
            StepKind::Startup,
            "setsid sleep 5551 & exit 0",
        ),
    )
    .await;
    assert_eq!(
        exited(&mut events, &startup).await.outcome,
        Outcome::Code(0)
    );
    let left = eventually(|| living_with("sleep\x005551").first().copied()).await;
    assert_eq!(launcher.owner(left).await.unwrap(), Some(name("a.Startup")));
    let status = &launcher.inspect().await.unwrap()[0];
    assert_eq!(
        (status.pid, status.ended.clone()),
        (None, Some((Outcome::Code(0), Vec::new())))
    );
    launcher.freeze(&name("a.Startup")).await.unwrap();
    launcher.stop(&startup, GRACE).await.unwrap();
    assert!(!lives(left));
}

async fn a_living_unit_is_not_started_twice_and_an_ended_one_is_replaced() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let first = start(&launcher, run_unit(&root, "a.Twice", "exec sleep 60")).await;
    let again = launcher.start(run_unit(&root, "a.Twice", "true")).await;
    assert_eq!(again, Err(LaunchError::Exists(id("a.Twice", RUN))));
    Command::new("kill")
        .args(["-9", &first.to_string()])
        .status()
        .unwrap();
    exited(&mut events, &id("a.Twice", RUN)).await;
    let second = start(&launcher, run_unit(&root, "a.Twice", "exit 0")).await;
    assert_ne!(first, second);
    exited(&mut events, &id("a.Twice", RUN)).await;
    let third = start(&launcher, run_unit(&root, "a.Twice", "exec sleep 60")).await;
    assert!(lives(third));
    launcher.stop(&id("a.Twice", RUN), GRACE).await.unwrap();
}

async fn a_frozen_component_does_nothing_until_it_is_thawed_and_can_be_stopped() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let script =
        "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i > count; sleep 0.01; done";
    start(&launcher, run_unit(&root, "a.Frozen", script)).await;
    let count = || read(&root, "a.Frozen/count")?.trim().parse::<u32>().ok();
    eventually(|| count().filter(|n| *n > 3)).await;
    launcher.freeze(&name("a.Frozen")).await.unwrap();
    assert!(launcher.inspect().await.unwrap()[0].frozen);
    let frozen_at = eventually(count).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(count(), Some(frozen_at));
    }
    launcher.thaw(&name("a.Frozen")).await.unwrap();
    launcher.thaw(&name("a.Frozen")).await.unwrap();
    eventually(|| count().filter(|n| *n > frozen_at + 1)).await;
    launcher.freeze(&name("a.Frozen")).await.unwrap();
    launcher.stop(&id("a.Frozen", RUN), GRACE).await.unwrap();
    assert_eq!(
        exited(&mut events, &id("a.Frozen", RUN)).await.outcome,
        Outcome::Code(7)
    );
}

async fn the_owner_of_a_process_is_found() {
    let root = Root::new();
    let launcher = open(&root).await;
    let main = start(
        &launcher,
        run_unit(&root, "a.Owner", "setsid sleep 4441 & sleep 4442; true"),
    )
    .await;
    let child = eventually(|| living_with("sleep\x004441").first().copied()).await;
    assert_eq!(launcher.owner(main).await.unwrap(), Some(name("a.Owner")));
    assert_eq!(launcher.owner(child).await.unwrap(), Some(name("a.Owner")));
    for other in [1, std::process::id(), u32::MAX, 4_000_000] {
        assert_eq!(launcher.owner(other).await.unwrap(), None, "{other}");
    }
    let daemon: u32 = show("dbus.service", "MainPID").parse().unwrap();
    assert_eq!(
        launcher.owner(daemon).await.unwrap(),
        None,
        "units of others are no components"
    );
    launcher.stop(&id("a.Owner", RUN), GRACE).await.unwrap();
}

async fn what_cannot_start_says_why() {
    let root = Root::new();
    let launcher = open(&root).await;
    launcher
        .prepare_work_folder(&name("a.Fail"), None)
        .await
        .unwrap();
    let mut wrong = run_unit(&root, "a.Fail", "true");
    wrong.shell = "/etc/passwd".into();
    let Err(LaunchError::Start { reason, .. }) = launcher.start(wrong.clone()).await else {
        panic!("it started")
    };
    assert_eq!(reason, "its shell cannot be executed");
    wrong.shell = "no-such-shell".into();
    assert!(
        launcher
            .start(wrong.clone())
            .await
            .is_err_and(|e| e.to_string().contains("there is no shell"))
    );
    wrong.shell = "sh".into();
    wrong.work_folder = wrong.work_folder.join("not-there");
    let Err(LaunchError::Start { reason, .. }) = launcher.start(wrong).await else {
        panic!("it started")
    };
    assert_eq!(reason, "its work folder cannot be entered");
    assert_eq!(listed(), "");
    assert_eq!(fs::read_dir(root.runtime_folder()).unwrap().count(), 0);
}

async fn components_named_like_steps_do_not_meet() {
    let root = Root::new();
    let launcher = open(&root).await;
    start(
        &launcher,
        run_unit(&root, "com.example.install", "exec sleep 60"),
    )
    .await;
    start(
        &launcher,
        unit(
            &root.path(),
            "com.example",
            StepKind::Install,
            "exec sleep 60",
        ),
    )
    .await;
    let units = launcher.inspect().await.unwrap();
    assert_eq!(units.len(), 2);
    let again = {
        drop(launcher);
        open(&root).await
    };
    let ids = |units: Vec<supervisor::launcher::UnitStatus>| {
        units
            .into_iter()
            .map(|unit| (unit.id, unit.pid))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(again.inspect().await.unwrap()), ids(units));
    again
        .stop(&id("com.example", StepKind::Install), GRACE)
        .await
        .unwrap();
    assert_eq!(again.inspect().await.unwrap().len(), 1);
    again
        .stop(&id("com.example.install", RUN), GRACE)
        .await
        .unwrap();
}

async fn a_unit_that_somebody_else_stops_is_reported() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    start(&launcher, run_unit(&root, "a.Admin", "exec sleep 60")).await;
    assert!(
        Command::new("systemctl")
            .args(["stop", "ggl.a.Admin.service"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        exited(&mut events, &id("a.Admin", RUN)).await.outcome,
        Outcome::Signal(15)
    );
    launcher.stop(&id("a.Admin", RUN), GRACE).await.unwrap();
}

/// The launcher role, for the tests that kill it.
fn serve() {
    let root = std::env::args().nth(2).unwrap();
    let root = Path::new(&root);
    block_on(async {
        let mut options = options(root.join("root"), root.join("run"), Lines::default());
        options.backend = Backend::Systemd;
        let socket = Socket {
            path: root.join("launcher.socket"),
            peer: 0,
        };
        run(options, socket, CancellationToken::new())
            .await
            .unwrap();
    });
}

struct Role(Child);

impl Role {
    fn start(root: &Root) -> Self {
        let folder = root.path().parent().unwrap().to_owned();
        Self(
            Command::new("/proc/self/exe")
                .arg("serve")
                .arg(folder)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn connect(root: &Root) -> Client {
    let path = root.path().parent().unwrap().join("launcher.socket");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&path).await {
            Ok(client) => return client,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn a_killed_launcher_finds_its_units_again_with_the_same_processes() {
    let root = Root::new();
    let role = Role::start(&root);
    let client = connect(&root).await;
    let mut events = client.events();
    let mut pids = Vec::new();
    for component in ["a.One", "a.Two", "a.Three"] {
        pids.push(start(&client, run_unit(&root, component, "sleep 60; true")).await);
    }
    let before = client.inspect().await.unwrap();

    drop(role); // kill -9
    assert!(
        pids.iter().all(|pid| lives(*pid)),
        "components outlive the launcher"
    );
    let _role = Role::start(&root);
    assert_eq!(
        tokio::time::timeout(PATIENCE, events.next()).await.unwrap(),
        Some(Event::Missed)
    );
    // A nucleus that was killed too connects anew.
    drop(client);
    let client = connect(&root).await;
    let mut events = client.events();
    assert_eq!(
        client.inspect().await.unwrap(),
        before,
        "the same units, tags, processes and start times"
    );
    for (component, pid) in ["a.One", "a.Two", "a.Three"].iter().zip(&pids) {
        assert_eq!(
            show(&format!("ggl.{component}.service"), "MainPID"),
            pid.to_string()
        );
        assert_eq!(client.owner(*pid).await.unwrap(), Some(name(component)));
    }
    // And they are watched as before.
    Command::new("kill")
        .args(["-9", &pids[0].to_string()])
        .status()
        .unwrap();
    let end = exited(&mut events, &id("a.One", RUN)).await;
    assert_eq!((end.pid, end.outcome), (pids[0], Outcome::Signal(9)));
    for component in ["a.One", "a.Two", "a.Three"] {
        client.stop(&id(component, RUN), GRACE).await.unwrap();
    }
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert_eq!(listed(), "");
}

async fn an_end_that_no_launcher_saw_is_found_afterwards() {
    let root = Root::new();
    let launcher = open(&root).await;
    for (component, code) in [("a.Good", 0), ("a.Bad", 3)] {
        start(
            &launcher,
            run_unit(
                &root,
                component,
                &format!("until [ -e go ]; do sleep 0.02; done; exit {code}"),
            ),
        )
        .await;
    }
    drop(launcher);
    for component in ["a.Good", "a.Bad"] {
        fs::write(root.path().join(format!("work/{component}/go")), "").unwrap();
        eventually(|| (show(&format!("ggl.{component}.service"), "MainPID") == "0").then_some(()))
            .await;
    }
    let launcher = open(&root).await;
    let deadline = Instant::now() + PATIENCE;
    let units = loop {
        let units = launcher.inspect().await.unwrap();
        if units.iter().all(|unit| unit.ended.is_some()) {
            break units;
        }
        assert!(Instant::now() < deadline);
    };
    let ends: Vec<_> = units
        .into_iter()
        .map(|unit| (unit.id.component.to_string(), unit.ended.unwrap().0))
        .collect();
    assert_eq!(
        ends,
        [
            ("a.Bad".to_owned(), Outcome::Code(3)),
            ("a.Good".to_owned(), Outcome::Code(0))
        ]
    );
    for component in ["a.Good", "a.Bad"] {
        launcher.stop(&id(component, RUN), GRACE).await.unwrap();
    }
    assert_eq!(listed(), "");
}

async fn limits_are_set_where_there_are_controllers() {
    let root = Root::new();
    let launcher = open(&root).await;
    let mut events = launcher.events();
    let mut limited = run_unit(&root, "a.Limits", "exec sleep 60");
    limited.limits = SystemLimits {
        memory_kib: Some(16 << 10),
        cpus: Some(0.5),
    };
    launcher
        .prepare_work_folder(&name("a.Limits"), None)
        .await
        .unwrap();
    let warnings = launcher.start(limited.clone()).await.unwrap().warnings;
    assert_eq!(
        show("ggl.a.Limits.service", "MemoryMax"),
        (16 << 20).to_string()
    );
    assert_eq!(show("ggl.a.Limits.service", "CPUQuotaPerSecUSec"), "500ms");
    let changed = launcher
        .limits(
            &name("a.Limits"),
            &SystemLimits {
                memory_kib: Some(32 << 10),
                cpus: None,
            },
        )
        .await;
    assert_eq!(
        show("ggl.a.Limits.service", "MemoryMax"),
        (32 << 20).to_string()
    );
    assert_eq!(
        show("ggl.a.Limits.service", "CPUQuotaPerSecUSec"),
        "infinity"
    );
    launcher.stop(&limited.id, GRACE).await.unwrap();
    exited(&mut events, &limited.id).await;
    if !warnings.is_empty() {
        println!("SKIPPED: whether they hold, since {warnings:?}");
        assert_eq!(warnings.len(), 2);
        assert!(matches!(changed, Err(LaunchError::Unsupported(_))));
        return;
    }
    assert_eq!(changed, Ok(()));
    limited.script = "x=$(head -c 64m /dev/zero | tr '\\0' x); echo ${#x}".into();
    launcher.start(limited.clone()).await.unwrap();
    assert_eq!(
        exited(&mut events, &limited.id).await.outcome,
        Outcome::OutOfMemory
    );
    launcher.stop(&limited.id, GRACE).await.unwrap();
}

async fn fifty_starts_and_stops_leave_nothing_behind() {
    let root = Root::new();
    let launcher = open(&root).await;
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = 0;
    for round in 0..50 {
        let component = format!("c{}", round % 7);
        let script = if round % 2 == 0 {
            "exec sleep 60"
        } else {
            "sleep 60 & exit 1"
        };
        start(&launcher, run_unit(&root, &component, script)).await;
        launcher.stop(&id(&component, RUN), GRACE).await.unwrap();
        if round == 10 {
            before = open_files();
        }
    }
    assert_eq!(listed(), "");
    assert_eq!(launcher.inspect().await.unwrap(), []);
    assert_eq!(fs::read_dir(root.runtime_folder()).unwrap().count(), 0);
    assert!(open_files() <= before + 4);
}
