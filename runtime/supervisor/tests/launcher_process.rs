//! The process back end on real processes, with cgroups where this machine has them and without.

#![allow(clippy::unwrap_used)]

mod launcher_support;

use launcher_support::*;
use model::SystemLimits;
use std::{fs, os::unix::fs::MetadataExt, time::Duration};
use supervisor::launcher::{
    Backend, LaunchError, Launcher, Local, Options, Outcome, StepKind, Stream,
};

const GRACE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);

/// How a launcher is set up for a test.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    cgroups: bool,
    trampoline: bool,
}

const WAYS: [Way; 3] = [
    Way {
        name: "with cgroups",
        cgroups: true,
        trampoline: true,
    },
    Way {
        name: "without cgroups",
        cgroups: false,
        trampoline: true,
    },
    Way {
        name: "without a trampoline",
        cgroups: false,
        trampoline: false,
    },
];

impl Way {
    fn options(self, root: &Root) -> Options {
        self.set(root.options())
    }

    fn set(self, mut options: Options) -> Options {
        options.backend = Backend::Processes;
        options.cgroups = self.cgroups;
        if !self.trampoline {
            options.trampoline = None;
        }
        options
    }

    async fn open(self, root: &Root) -> Local {
        Local::open(self.options(root)).await.unwrap()
    }
}

fn main() {
    supervisor::launcher::trampoline_main();
    if std::env::args().nth(1).as_deref() == Some("be-killed") {
        return be_killed();
    }
    let mut trials = Vec::new();
    for way in WAYS {
        macro_rules! each {
            ($($test:ident)*) => { $(trials.push(trial(&format!("{} {}", stringify!($test), way.name), move || $test(way)));)* };
        }
        each!(
            an_end_is_reported_with_its_code_and_the_last_lines_of_stderr
            a_signal_is_told_from_a_code
            output_goes_to_the_sink_line_by_line
            a_script_longer_than_argv_allows_runs
            a_step_runs_in_its_work_folder_with_its_environment_and_no_more
            a_living_unit_is_not_started_twice_and_an_ended_one_is_replaced
            stop_ends_grandchildren_that_began_their_own_session
            stop_ends_processes_that_ignore_sigterm_and_fork_all_the_time
            what_a_run_step_leaves_behind_ends_with_it
            what_a_startup_step_leaves_behind_lives_until_stop
            a_frozen_component_does_nothing_until_it_is_thawed
            a_frozen_component_can_be_stopped
            two_hundred_starts_and_stops_leave_nothing_behind
            a_shell_that_does_not_exist_is_named
            the_owner_of_a_process_is_found
            what_a_killed_launcher_left_is_ended_by_the_next
            orphans_are_waited_for
            another_user_runs_it_when_root
            limits_hold_where_there_are_controllers
        );
    }
    trials.push(trial("the runtime serves as process 1", as_process_one));
    trials.push(trial(
        "two launchers on one root are refused",
        two_launchers,
    ));
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit();
}

async fn an_end_is_reported_with_its_code_and_the_last_lines_of_stderr(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let script = "for i in $(seq 1 30); do echo \"error $i\" >&2; done; exit 3";
    let pid = start(
        &launcher,
        unit(&root.path(), "a.B", StepKind::Install, script),
    )
    .await;
    let end = exited(&mut events, &id("a.B", StepKind::Install)).await;
    assert_eq!((end.pid, end.outcome), (pid, Outcome::Code(3)));
    assert_eq!(end.stderr_tail.len(), 20);
    assert_eq!(end.stderr_tail.last().unwrap(), "error 30");
    let known = launcher.inspect().await.unwrap();
    assert_eq!(
        known[0].ended.as_ref().unwrap().0,
        Outcome::Code(3),
        "an end is remembered for who comes later"
    );
    launcher.stop(&end.id, GRACE).await.unwrap();
    assert_eq!(launcher.inspect().await.unwrap(), []);
}

async fn a_signal_is_told_from_a_code(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    start(
        &launcher,
        unit(&root.path(), "a.B", StepKind::Run, "kill -9 $$"),
    )
    .await;
    assert_eq!(
        exited(&mut events, &id("a.B", StepKind::Run)).await.outcome,
        Outcome::Signal(9)
    );
}

async fn output_goes_to_the_sink_line_by_line(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    start(
        &launcher,
        unit(
            &root.path(),
            "a.B",
            StepKind::Run,
            "echo out; echo err >&2; read nothing || echo no input; sleep 60",
        ),
    )
    .await;
    root.line(|line| line == "no input").await;
    root.line(|line| line == "err").await;
    let lines = root.lines.lock().unwrap().clone();
    assert!(
        lines.contains(&(Stream::Stdout, "out".into()))
            && lines.contains(&(Stream::Stderr, "err".into()))
    );
    launcher.close(GRACE).await;
}

async fn a_script_longer_than_argv_allows_runs(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let script = format!("# {}\necho long", "x".repeat(300 << 10));
    let mut long = unit(&root.path(), "a.B", StepKind::Run, &script);
    if is_root() {
        long.user = Some("nobody".into());
    }
    start(&launcher, long).await;
    assert_eq!(
        exited(&mut events, &id("a.B", StepKind::Run)).await.outcome,
        Outcome::Code(0)
    );
    root.line(|line| line == "long").await;
    launcher
        .stop(&id("a.B", StepKind::Run), GRACE)
        .await
        .unwrap();
    assert_eq!(
        fs::read_dir(root.runtime_folder()).unwrap().count(),
        0,
        "the script's file goes with the unit"
    );
}

async fn a_step_runs_in_its_work_folder_with_its_environment_and_no_more(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let mut step = unit(&root.path(), "a.B", StepKind::Run, "pwd; env; umask");
    step.environment
        .insert("ODD".into(), "quotes \" ' and $HOME %n\nnew line".into());
    start(&launcher, step).await;
    exited(&mut events, &id("a.B", StepKind::Run)).await;
    let folder = fs::canonicalize(root.path()).unwrap().join("work/a.B");
    root.line(|line| line == folder.to_str().unwrap()).await;
    root.line(|line| line == "ODD=quotes \" ' and $HOME %n")
        .await;
    root.line(|line| line == "SVCUID=0123456789ABCDEF").await;
    root.line(|line| line.starts_with("HOME=/")).await;
    let lines = root.lines.lock().unwrap();
    assert!(
        !lines.iter().any(|(_, line)| line.starts_with("CARGO")),
        "{lines:?}"
    );
}

async fn a_living_unit_is_not_started_twice_and_an_ended_one_is_replaced(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let long = || unit(&root.path(), "a.B", StepKind::Run, "exec sleep 60");
    let first = start(&launcher, long()).await;
    assert_eq!(
        launcher.start(long()).await,
        Err(LaunchError::Exists(id("a.B", StepKind::Run)))
    );
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    exited(&mut events, &id("a.B", StepKind::Run)).await;
    let second = start(&launcher, long()).await;
    assert_ne!(first, second);
    launcher.close(GRACE).await;
    assert!(!lives(second));
}

/// A number that stands in no other command line.
fn word(way: Way) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let _ = way;
    format!(
        "{}.{}",
        100_000 + std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

async fn stop_ends_grandchildren_that_began_their_own_session(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let word = word(way);
    let script = format!(
        "setsid sleep {word}1 & (setsid setsid sh -c 'sleep {word}2; true' &) ; nohup sleep {word}3 >/dev/null 2>&1 & echo ready; sleep {word}4"
    );
    start(&launcher, unit(&root.path(), "a.B", StepKind::Run, &script)).await;
    root.line(|line| line == "ready").await;
    for last in 1..=4 {
        eventually(|| (!living_with(&format!("sleep\0{word}{last}")).is_empty()).then_some(()))
            .await;
    }
    launcher
        .stop(&id("a.B", StepKind::Run), GRACE)
        .await
        .unwrap();
    assert_eq!(living_with(&word), [0; 0], "none is left when stop returns");
}

async fn stop_ends_processes_that_ignore_sigterm_and_fork_all_the_time(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let word = word(way);
    let script = format!(
        "trap '' TERM; : {word}; for i in 1 2 3; do (while :; do setsid sh -c 'trap \"\" TERM; sleep 0.2; : {word}' & sleep 0.01; done) & done; echo ready; wait"
    );
    start(&launcher, unit(&root.path(), "a.B", StepKind::Run, &script)).await;
    root.line(|line| line == "ready").await;
    launcher
        .stop(&id("a.B", StepKind::Run), SHORT)
        .await
        .unwrap();
    assert_eq!(living_with(&word), [0; 0]);
    assert_eq!(
        exited(&mut events, &id("a.B", StepKind::Run)).await.outcome,
        Outcome::Signal(9)
    );
}

async fn what_a_run_step_leaves_behind_ends_with_it(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let word = word(way);
    let script = format!("setsid sleep {word} & echo ready; exit 0");
    start(&launcher, unit(&root.path(), "a.B", StepKind::Run, &script)).await;
    assert_eq!(
        exited(&mut events, &id("a.B", StepKind::Run)).await.outcome,
        Outcome::Code(0)
    );
    assert_eq!(living_with(&word), [0; 0]);
}

async fn what_a_startup_step_leaves_behind_lives_until_stop(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let word = word(way);
    let script = format!("setsid sleep {word} & exit 0");
    start(
        &launcher,
        unit(&root.path(), "a.B", StepKind::Startup, &script),
    )
    .await;
    assert_eq!(
        exited(&mut events, &id("a.B", StepKind::Startup))
            .await
            .outcome,
        Outcome::Code(0)
    );
    let left = eventually(|| living_with(&format!("sleep\0{word}")).first().copied()).await;
    assert_eq!(launcher.owner(left).await.unwrap(), Some(name("a.B")));
    launcher
        .stop(&id("a.B", StepKind::Startup), GRACE)
        .await
        .unwrap();
    assert!(!lives(left));
}

async fn a_frozen_component_does_nothing_until_it_is_thawed(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    start(
        &launcher,
        unit(
            &root.path(),
            "a.B",
            StepKind::Run,
            "i=0; while :; do i=$((i+1)); echo $i > count; sleep 0.01; done",
        ),
    )
    .await;
    let file = root.path().join("work/a.B/count");
    let count = || fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok();
    eventually(|| count().filter(|n| *n > 3)).await;
    launcher.freeze(&name("a.B")).await.unwrap();
    assert!(launcher.inspect().await.unwrap()[0].frozen);
    let frozen_at = eventually(count).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(count().unwrap_or(frozen_at), frozen_at);
    }
    launcher.thaw(&name("a.B")).await.unwrap();
    eventually(|| count().filter(|n| *n > frozen_at + 1)).await;
    assert_eq!(
        launcher.freeze(&name("other")).await,
        Err(LaunchError::NotFound("other".into()))
    );
    launcher.close(GRACE).await;
}

async fn a_frozen_component_can_be_stopped(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let run = id("a.B", StepKind::Run);
    let pid = start(
        &launcher,
        unit(
            &root.path(),
            "a.B",
            StepKind::Run,
            "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
        ),
    )
    .await;
    root.line(|line| line == "ready").await;
    launcher.freeze(&name("a.B")).await.unwrap();
    launcher.stop(&run, GRACE).await.unwrap();
    assert!(!lives(pid));
    assert_eq!(
        exited(&mut events, &run).await.outcome,
        Outcome::Code(7),
        "it had the chance to end by itself"
    );
}

async fn two_hundred_starts_and_stops_leave_nothing_behind(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let count = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|e| fs::read_link(e.ok()?.path()).ok())
            .count()
    };
    let mut pids = Vec::new();
    let mut open = 0;
    for round in 0..200 {
        let component = format!("c{}", round % 7);
        let script = if round % 2 == 0 {
            "exec sleep 60"
        } else {
            "sleep 60 & exit 1"
        };
        pids.push(
            start(
                &launcher,
                unit(&root.path(), &component, StepKind::Run, script),
            )
            .await,
        );
        launcher
            .stop(&id(&component, StepKind::Run), GRACE)
            .await
            .unwrap();
        if round == 20 {
            open = count();
        }
    }
    assert_eq!(launcher.inspect().await.unwrap(), []);
    eventually(|| pids.iter().all(|pid| state(*pid).is_none()).then_some(())).await; // nor zombies
    // Other tests run beside this one; a leak would show as hundreds.
    eventually(|| (count() < open + 60).then_some(())).await;
}

async fn a_shell_that_does_not_exist_is_named(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut wrong = unit(&root.path(), "a.B", StepKind::Run, "true");
    launcher
        .prepare_work_folder(&name("a.B"), None)
        .await
        .unwrap();
    wrong.shell = "/no/such/shell".into();
    let Err(LaunchError::Start { reason, .. }) = launcher.start(wrong).await else {
        panic!("it started")
    };
    assert!(
        reason.contains("/no/such/shell") && reason.contains("No such file"),
        "{reason}"
    );
    assert_eq!(launcher.inspect().await.unwrap(), []);
}

async fn the_owner_of_a_process_is_found(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let word = word(way);
    let first = start(
        &launcher,
        unit(&root.path(), "a.B", StepKind::Run, "exec sleep 60"),
    )
    .await;
    // It tries to pass for the other one: only its descent counts.
    let liar = format!(
        "GREENGRASS_UNIT=$(tr '\\0' '\\n' </proc/{first}/environ | sed -n s/GREENGRASS_UNIT=//p) sleep {word}; true"
    );
    let second = start(&launcher, unit(&root.path(), "c.D", StepKind::Run, &liar)).await;
    let liar = eventually(|| living_with(&format!("sleep\0{word}")).first().copied()).await;
    assert_eq!(launcher.owner(first).await.unwrap(), Some(name("a.B")));
    assert_eq!(launcher.owner(second).await.unwrap(), Some(name("c.D")));
    assert_eq!(launcher.owner(liar).await.unwrap(), Some(name("c.D")));
    assert_eq!(launcher.owner(std::process::id()).await.unwrap(), None);
    assert_eq!(launcher.owner(1).await.unwrap(), None);
    launcher.close(GRACE).await;
}

/// The child of the next test: a launcher that is killed while a component runs.
fn be_killed() {
    let root = std::env::args().nth(2).unwrap();
    let way = WAYS
        .into_iter()
        .find(|way| std::env::args().nth(3).as_deref() == Some(way.name))
        .unwrap();
    let script = std::env::args().nth(4).unwrap();
    block_on(async {
        let runtime_folder = format!("{root}/../run");
        let options = way.set(options(
            root.clone().into(),
            runtime_folder.into(),
            Lines::default(),
        ));
        let launcher = Local::open(options).await.unwrap();
        start(
            &launcher,
            unit(root.as_ref(), "a.B", StepKind::Run, &script),
        )
        .await;
        println!("started");
        std::future::pending::<()>().await;
    });
}

async fn what_a_killed_launcher_left_is_ended_by_the_next(way: Way) {
    let root = Root::new();
    let word = word(way);
    let script = format!("setsid sleep {word}1 & trap '' TERM; sleep {word}2; sleep {word}3");
    let mut child = std::process::Command::new("/proc/self/exe")
        .args([
            "be-killed",
            root.path().to_str().unwrap(),
            way.name,
            &script,
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for last in 1..=2 {
        eventually(|| (!living_with(&format!("sleep\0{word}{last}")).is_empty()).then_some(()))
            .await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        living_with(&format!("sleep\0{word}1")).len(),
        1,
        "components live on when their launcher is killed"
    );
    let launcher = way.open(&root).await;
    assert_eq!(living_with(&word), [0; 0]);
    assert_eq!(launcher.inspect().await.unwrap(), []);
}

async fn orphans_are_waited_for(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let word = word(way);
    let script =
        format!("(setsid sh -c 'echo $$ > orphan; exec sleep 0.{word}' &) ; exec sleep 60");
    start(&launcher, unit(&root.path(), "a.B", StepKind::Run, &script)).await;
    let file = root.path().join("work/a.B/orphan");
    let orphan: u32 = eventually(|| fs::read_to_string(&file).ok()?.trim().parse().ok()).await;
    eventually(|| state(orphan).is_none().then_some(())).await; // gone, and no zombie either
    launcher.close(GRACE).await;
}

/// As in a container whose only program is the runtime: all orphans are ours, and our session is one of outside.
async fn as_process_one() {
    if !is_root() {
        println!("SKIPPED: only root makes a PID namespace");
        return;
    }
    let program = fs::read_link("/proc/self/exe").unwrap();
    let arguments = ["--pid", "--fork", "--mount-proc"];
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(arguments)
        .arg(program)
        .arg("orphans_are_waited_for")
        .env("RUST_BACKTRACE", "0");
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("3 passed") && !text.contains("panicked"),
        "{text}"
    );
}

async fn another_user_runs_it_when_root(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let mut step = unit(
        &root.path(),
        "a.B",
        StepKind::Run,
        "id -un; id -gn; grep NoNewPrivs /proc/self/status; touch made; echo ready; sleep 60",
    );
    let other = if is_root() { "nobody" } else { "root" };
    step.user = Some(other.into());
    launcher
        .prepare_work_folder(&name("a.B"), Some(other))
        .await
        .unwrap();
    let started = launcher.start(step.clone()).await.unwrap();
    root.line(|line| line == "ready").await;
    launcher.stop(&step.id, GRACE).await.unwrap();
    exited(&mut events, &step.id).await;
    let made = fs::metadata(root.path().join("work/a.B/made")).unwrap();
    if !is_root() {
        println!("SKIPPED: only root becomes another user; it ran as the caller, with a warning");
        assert_eq!(made.uid(), rustix::process::geteuid().as_raw());
        assert!(
            started.warnings[0].contains("does not run as root"),
            "{:?}",
            started.warnings
        );
        return;
    }
    assert_eq!(made.uid(), 65534);
    let lines: Vec<String> = root
        .lines
        .lock()
        .unwrap()
        .iter()
        .map(|(_, line)| line.clone())
        .collect();
    assert_eq!(lines[..2], ["nobody".to_owned(), "nogroup".to_owned()]);
    assert!(!way.trampoline || lines[2].ends_with('1'), "{lines:?}");
    root.lines.lock().unwrap().clear();
    step.privileged = true;
    launcher.start(step).await.unwrap();
    root.line(|line| line == "ready").await;
    let lines: Vec<String> = root
        .lines
        .lock()
        .unwrap()
        .iter()
        .map(|(_, line)| line.clone())
        .collect();
    assert_eq!(lines[0], "root");
    assert!(lines[2].ends_with('0'), "{lines:?}");
    launcher.close(GRACE).await;
}

async fn limits_hold_where_there_are_controllers(way: Way) {
    let root = Root::new();
    let launcher = way.open(&root).await;
    let mut events = launcher.events();
    let script = "x=$(head -c 64m /dev/zero | tr '\\0' x); echo ${#x}";
    let mut greedy = unit(&root.path(), "a.B", StepKind::Run, script);
    greedy.limits = SystemLimits {
        memory_kib: Some(16 << 10),
        cpus: Some(0.5),
    };
    launcher
        .prepare_work_folder(&name("a.B"), None)
        .await
        .unwrap();
    let warnings = launcher.start(greedy.clone()).await.unwrap().warnings;
    let end = exited(&mut events, &greedy.id).await;
    if warnings.is_empty() {
        assert_eq!(end.outcome, Outcome::OutOfMemory);
        launcher
            .limits(&name("a.B"), &SystemLimits::default())
            .await
            .unwrap();
    } else {
        println!("SKIPPED: {warnings:?}");
        assert_eq!(warnings.len(), 2, "each limit that does not hold is named");
        assert_eq!(end.outcome, Outcome::Code(0));
        let refused = launcher.limits(&name("a.B"), &greedy.limits).await;
        assert!(
            matches!(refused, Err(LaunchError::Unsupported(_))),
            "{refused:?}"
        );
    }
}

async fn two_launchers() {
    let root = Root::new();
    let _first = WAYS[0].open(&root).await;
    let second = Local::open(WAYS[0].options(&root)).await;
    assert!(second.is_err_and(|e| e.to_string().contains("another runtime runs on this root")));
}
