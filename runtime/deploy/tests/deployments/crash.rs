//! A deployment that is killed at each of its journalled steps in turn: after the next start everything is the new set or
//! everything is the old one. The test starts itself as the process that dies.

use crate::{
    fakes::Behaviour,
    setting::{Home, RequestExt, files, name, request},
};
use model::deployment::{DeploymentStatus, DetailedStatus, LocalDeploymentRequest};
use serde_json::{Value, json};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const FOLDER: &str = "DEPLOY_CRASH_FOLDER";
const FAILS: &str = "DEPLOY_CRASH_FAILS";
const RESUMES: &str = "DEPLOY_CRASH_RESUMES";

/// Places passed by a deployment that succeeds, in order, each as often as it says.
const FORWARD: &[(&str, u32)] = &[
    ("deploy.staging", 2),
    ("deploy.consenting.before", 1),
    ("deploy.consenting.after", 1),
    ("deploy.exchanging.before", 1),
    ("deploy.exchanging.after", 1),
    ("deploy.rename.before", 6),
    ("deploy.rename.after", 6),
    ("deploy.commit.before", 1),
    ("deploy.commit.after", 1),
    ("deploy.bootstrapping.before", 2),
    ("deploy.bootstrapping.after", 2),
    ("deploy.activating.before", 2),
    ("deploy.activating.after", 2),
    ("deploy.applied", 1),
    ("deploy.watching.before", 1),
    ("deploy.watching.after", 1),
    ("deploy.cleaning.before", 1),
    ("deploy.cleaning.after", 1),
    ("deploy.finish.before", 1),
    ("deploy.finish.after", 1),
];

/// Further places passed by one that fails and goes back.
const BACK: &[(&str, u32)] = &[
    ("deploy.restoring.before", 1),
    ("deploy.restoring.after", 1),
    ("deploy.rename.before", 12),
    ("deploy.rename.after", 12),
    ("deploy.restore.before", 1),
    ("deploy.restore.after", 1),
    ("deploy.restoring-bootstrap.before", 2),
    ("deploy.restoring-bootstrap.after", 2),
    ("deploy.reactivating.before", 1),
    ("deploy.reactivating.after", 1),
    ("deploy.reapplied", 1),
    ("deploy.rewatching.before", 1),
    ("deploy.rewatching.after", 1),
    ("deploy.finish.before", 1),
    ("deploy.finish.after", 1),
];

fn recipe(script: &str) -> Value {
    let bootstrap = json!({"Script": script, "BootstrapOnRollback": true});
    json!({
        "ComponentConfiguration": {"DefaultConfiguration": {"x": script}},
        "Manifests": [{"Lifecycle": {"Bootstrap": bootstrap, "Run": script}, "Artifacts": [{"URI": "s3://b/f"}]}]
    })
}

fn plain(script: &str) -> Value {
    json!({"Manifests": [{"Lifecycle": {"Run": script}, "Artifacts": [{"URI": "s3://b/f"}]}]})
}

/// com.a 1 with a bootstrap step, com.same 1, com.gone 1.
fn old(home: &Home) -> LocalDeploymentRequest {
    home.recipe("com.a", "1.0.0", recipe("old"));
    for component in ["com.same", "com.gone"] {
        home.recipe(component, "1.0.0", plain("old"));
    }
    for component in ["com.a", "com.same", "com.gone"] {
        home.artifact(component, "1.0.0", "f", "old");
    }
    request(
        home,
        &[
            ("com.a", "1.0.0"),
            ("com.same", "1.0.0"),
            ("com.gone", "1.0.0"),
        ],
    )
}

/// com.a 2, com.same 1 with other content, no com.gone.
fn new(home: &Home) -> LocalDeploymentRequest {
    home.recipe("com.a", "2.0.0", recipe("new"));
    home.artifact("com.a", "2.0.0", "f", "new");
    home.recipe("com.same", "1.0.0", plain("new"));
    home.artifact("com.same", "1.0.0", "f", "new");
    let mut wanted = request(home, &[("com.a", "2.0.0"), ("com.same", "1.0.0")]).rolling_back();
    wanted.remove.push(name("com.gone"));
    wanted.merge("com.a", json!({"x": "deployed"}))
}

fn breaks(fakes: &crate::setting::Fakes, fails: bool) {
    if fails {
        fakes
            .components
            .behave("com.a", "2.0.0", Behaviour::Breaks("it is broken"));
    }
}

/// What a start of this test binary does in the place of the device that is killed.
#[tokio::test]
async fn device_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let home = Home::at(&folder);
    let fakes = crate::setting::Fakes::default();
    breaks(&fakes, std::env::var_os(FAILS).is_some());
    let device = home.start_with(home.options(), fakes).await;
    if std::env::var_os(RESUMES).is_none() {
        device.deploy(new(&home)).await;
        return;
    }
    let mut events = device.deployments.watch();
    let id = device.deployments.list()[0].id.clone();
    device.end_of(&mut events, &id).await;
}

/// Whether it died as it was told to.
fn kill_at(folder: &Path, point: &str, fails: bool) -> bool {
    die(folder, point, fails.then_some(FAILS))
}

fn die(folder: &Path, point: &str, mode: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "crash::device_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env("GREENGRASS_CRASH_AT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(mode) = mode {
        command.env(mode, "1");
    }
    let status = command.status().unwrap();
    assert!(
        status.success() || status.signal() == Some(6),
        "{point}: {status}"
    );
    !status.success()
}

/// Everything there is to see of a set.
#[derive(PartialEq, Debug)]
struct Seen {
    running: Vec<String>,
    scripts: Vec<String>,
    files: Vec<(String, String)>,
    configuration: Option<Value>,
}

async fn look(home: &Home, fails: bool) -> (Seen, Vec<model::deployment::DeploymentReport>) {
    let fakes = crate::setting::Fakes::default();
    breaks(&fakes, fails);
    let device = home.start_with(home.options(), fakes).await;
    let mut events = device.deployments.watch();
    while let Some(open) = device
        .deployments
        .list()
        .into_iter()
        .find(|r| !r.status.is_final())
    {
        device.end_of(&mut events, &open.id).await;
    }
    let components = &device.fakes.components;
    let active = device.deployments.active();
    let mut configuration = device.configuration.get(&["services"]);
    // The id of the deployment is another in each run.
    for group in ["GroupToRootComponents", "GroupToLastDeployment"] {
        if let Some(Value::Object(runtime)) = configuration
            .as_mut()
            .and_then(|c| c.pointer_mut("/DeploymentService/runtime"))
        {
            runtime.get_mut(group).into_iter().for_each(forget);
        }
    }
    let seen = Seen {
        running: components.running(),
        scripts: active
            .iter()
            .map(|spec| {
                assert_eq!(
                    components.spec(spec.name.as_str()).as_ref(),
                    Some(spec),
                    "what runs is what is active"
                );
                format!(
                    "{} {}",
                    spec.name,
                    spec.lifecycle.run.as_ref().unwrap().script
                )
            })
            .collect(),
        files: files(&home.root()),
        configuration,
    };
    let reports = device.deployments.list();
    device.stop().await;
    (seen, reports)
}

fn forget(value: &mut Value) {
    if let Value::Object(members) = value {
        members
            .retain(|key, _| key != "groupConfigArn" && key != "configArn" && key != "timestamp");
        members.values_mut().for_each(forget);
    }
}

async fn begin() -> Home {
    let home = Home::new();
    let first = old(&home);
    let device = home.start().await;
    device.succeed(first).await;
    device.stop().await;
    home
}

/// The old set, and the new one, as they are without any crash.
async fn references() -> (Seen, Seen) {
    let home = begin().await;
    let (before, _) = look(&home, false).await;
    let device = home.start().await;
    device.succeed(new(&home)).await;
    device.stop().await;
    let (after, _) = look(&home, false).await;
    (before, after)
}

async fn kill_at_each(places: &[(&str, u32)], fails: bool) {
    let (before, after) = references().await;
    assert_ne!(before, after);
    for (place, times) in places {
        for time in 1..=*times + 1 {
            let point = format!("{place}:{time}");
            let home = begin().await;
            if time > *times {
                assert!(
                    !kill_at(home.folder(), &point, fails),
                    "{point} is passed once more"
                );
                break;
            }
            assert!(
                kill_at(home.folder(), &point, fails),
                "{point} is not passed"
            );
            let (seen, reports) = look(&home, fails).await;
            let report = &reports[0];
            if fails {
                assert_eq!(seen, before, "{point}: the old set, whole");
                assert_eq!(
                    report.detailed,
                    Some(DetailedStatus::FailedRollbackComplete),
                    "{point}: {report:?}"
                );
            } else {
                assert_eq!(
                    report.status,
                    DeploymentStatus::Succeeded,
                    "{point}: {report:?}"
                );
                assert_eq!(seen, after, "{point}: the new set, whole");
            }
        }
    }
}

#[tokio::test]
async fn a_deployment_killed_at_any_step_goes_on_to_the_new_set() {
    kill_at_each(FORWARD, false).await;
}

#[tokio::test]
async fn a_rollback_killed_at_any_step_goes_on_to_the_old_set() {
    kill_at_each(BACK, true).await;
}

#[tokio::test]
async fn a_set_that_kills_the_runtime_again_and_again_is_rolled_back() {
    let (before, _) = references().await;
    let home = begin().await;
    assert!(kill_at(home.folder(), "deploy.applied", false));
    let mut starts = 1;
    while die(home.folder(), "deploy.applied", Some(RESUMES)) {
        starts += 1;
        assert!(starts < 10, "it goes on for ever");
    }
    assert_eq!(starts, 4);
    let (seen, reports) = look(&home, false).await;
    assert_eq!(seen, before);
    assert_eq!(
        reports[0].detailed,
        Some(DetailedStatus::FailedRollbackComplete),
        "{:?}",
        reports[0]
    );
    assert_eq!(
        reports[0].error_stack.last().unwrap(),
        "DEPLOYMENT_INTERRUPTED"
    );
}

/// Dies at every commit of the database, from the first of the process on, whatever it is about.
async fn kill_at_each_commit(fails: bool) {
    let (before, after) = references().await;
    for place in ["store.commit.before", "store.commit.after"] {
        for time in 1.. {
            let point = format!("{place}:{time}");
            let home = begin().await;
            if !kill_at(home.folder(), &point, fails) {
                assert!(time > 10, "{place} was passed only {time} times");
                break;
            }
            let (seen, reports) = look(&home, fails).await;
            let accepted = reports.len() > 1;
            let expected = if accepted && !fails { &after } else { &before };
            assert_eq!(&seen, expected, "{point}: one set, whole");
            assert!(reports.iter().all(|report| report.status.is_final()));
        }
    }
}

#[tokio::test]
async fn a_deployment_killed_at_any_commit_ends_in_one_set() {
    kill_at_each_commit(false).await;
}

#[tokio::test]
async fn a_rollback_killed_at_any_commit_ends_in_one_set() {
    kill_at_each_commit(true).await;
}
