//! The supervisor with real processes: what its fakes promise holds with the launcher's process back end.

#![allow(clippy::unwrap_used)] // all of this file is a test

use model::{
    ComponentName, ComponentSpec, ComponentStatus, RunWith, State, Step,
    component::{Action, DependencyType, Lifecycle, RestartPolicy},
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use supervisor::{
    Change, Options, SCHEMA, Supervisor,
    launcher::{self, Backend, Local, discard},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

fn component(of: &str, version: &str, steps: &[(&str, String)]) -> ComponentSpec {
    let step = |kind: &str| {
        let script = steps.iter().find(|(k, _)| *k == kind)?.1.clone();
        let timeout = (kind != "run").then_some(Duration::from_secs(20));
        Some(Step {
            script,
            requires_privilege: false,
            skip_if: None,
            timeout,
            setenv: BTreeMap::new(),
            on_rollback: false,
        })
    };
    ComponentSpec {
        name: name(of),
        version: version.parse().unwrap(),
        lifecycle: Lifecycle {
            install: step("install"),
            startup: step("startup"),
            run: step("run"),
            shutdown: step("shutdown"),
            uninstall: step("uninstall"),
            error_reset: Lifecycle::default_error_reset(),
            ..Lifecycle::default()
        },
        dependencies: BTreeMap::new(),
        run_with: RunWith::default(),
        restart_policy: RestartPolicy {
            first_delay: Duration::from_millis(10),
            ..RestartPolicy::default()
        },
        artifact_folders: Vec::new(),
    }
}

async fn open(root: &Path) -> (Supervisor, Arc<Local>, JoinHandle<()>) {
    let mut options = launcher::Options::new(root, root.join("runtime"), Arc::new(discard));
    options.backend = Backend::Processes;
    options.trampoline = None;
    options.cgroups = false;
    let launcher = Arc::new(Local::open(options).await.unwrap());
    let database = store::Database::open(&root.join("state.db"), &[SCHEMA]).unwrap();
    let (supervisor, task) = Supervisor::open(
        Options::new(root.into()),
        database,
        launcher.clone(),
        CancellationToken::new(),
    );
    (supervisor, launcher, tokio::spawn(task.run()))
}

async fn until(
    supervisor: &Supervisor,
    of: &str,
    is: impl Fn(&ComponentStatus) -> bool,
) -> ComponentStatus {
    let mut changes = supervisor.watch();
    let wait = async {
        loop {
            if let Some(status) = supervisor.status(&name(of)).filter(|status| is(status)) {
                return status;
            }
            let _ = changes.recv().await;
        }
    };
    timeout(LIMIT, wait)
        .await
        .unwrap_or_else(|_| panic!("{of} is {:?}", supervisor.status(&name(of))))
}

fn lives(pid: u32) -> bool {
    // A zombie has ended; it waits for its parent alone.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn components_run_are_replaced_fail_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (supervisor, launcher, task) = open(&root).await;
    let journal = root.join("journal");
    let note = |what: &str| format!("echo {what} >> {}", journal.display());
    let base = component(
        "base",
        "1.0.0",
        &[
            (
                "install",
                note("install $AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH"),
            ),
            ("run", format!("{}; exec sleep 1000", note("run $PWD"))),
            ("shutdown", note("shutdown 1.0.0")),
            ("uninstall", note("uninstall $GREENGRASS_COMPONENT_VERSION")),
        ],
    );
    let mut top = component(
        "top",
        "1.0.0",
        &[("startup", note("up")), ("shutdown", note("down"))],
    );
    top.dependencies.insert(name("base"), DependencyType::Hard);

    supervisor.adopt(vec![top, base.clone()]).await.unwrap();
    until(&supervisor, "top", |s| s.state == State::Running).await;
    let first = until(&supervisor, "base", |s| s.pid.is_some())
        .await
        .pid
        .unwrap();
    let work = root.join("work/base");
    let socket = root.join("ipc.socket");
    let said = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(
        said,
        format!("install {}\nrun {}\nup\n", socket.display(), work.display())
    );

    // Another version: the old scripts take it down, and what needs it goes with it.
    std::fs::remove_file(&journal).unwrap();
    let fails = component(
        "base",
        "2.0.0",
        &[("run", "echo no such luck >&2; exit 7".into())],
    );
    let change = Change {
        set: vec![(fails, Action::Reinstall)],
        remove: Vec::new(),
    };
    timeout(LIMIT, supervisor.apply(change))
        .await
        .unwrap()
        .unwrap();
    assert!(!lives(first));
    let broken = until(&supervisor, "base", |s| s.state == State::Broken).await;
    assert_eq!(
        broken.reason,
        "The run script exited with code 7.\nno such luck"
    );
    let said = std::fs::read_to_string(&journal).unwrap();
    assert!(said.starts_with("down\nshutdown 1.0.0\n"), "{said}");

    // And back.
    let change = Change {
        set: vec![(base, Action::Reinstall)],
        remove: Vec::new(),
    };
    timeout(LIMIT, supervisor.apply(change))
        .await
        .unwrap()
        .unwrap();
    until(&supervisor, "top", |s| s.state == State::Running).await;
    let second = until(&supervisor, "base", |s| {
        s.state == State::Running && s.pid.is_some()
    })
    .await
    .pid
    .unwrap();
    let change = Change {
        set: Vec::new(),
        remove: vec![name("top"), name("base")],
    };
    timeout(LIMIT, supervisor.apply(change))
        .await
        .unwrap()
        .unwrap();
    assert!(!lives(second));
    assert!(
        std::fs::read_to_string(&journal)
            .unwrap()
            .ends_with("down\nshutdown 1.0.0\nuninstall 1.0.0\n")
    );
    assert!(supervisor.statuses().is_empty());

    timeout(LIMIT, supervisor.shutdown()).await.unwrap();
    timeout(LIMIT, task).await.unwrap().unwrap();
    launcher.close(Duration::from_secs(1)).await;
}
