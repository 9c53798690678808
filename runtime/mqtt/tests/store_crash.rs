//! A process killed at any moment: what the store then holds is what it held after some step, and not before one that a
//! ticket had acknowledged.

#![allow(clippy::unwrap_used)]

mod store_model;

use mqtt::store::{Options, Store};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use store_model::{Everything, Model, Step, Subject, state, step};

const FOLDER: &str = "MQTT_STORE_TEST_FOLDER";
const SEED: &str = "MQTT_STORE_TEST_SEED";
const STEPS: usize = 800;
/// Steps that the child may be ahead of what is durable.
const WINDOW: usize = 12;

/// The steps of one seed, the same in parent and child.
fn steps(seed: u8) -> Vec<Step> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = vec(step(), STEPS..=STEPS).new_tree(&mut runner);
    steps.unwrap().current()
}

fn open(folder: &Path) -> (Store, mqtt::store::Loaded) {
    let opened = Store::open(&folder.join("mqtt.db"), Options::default());
    let (store, loaded, aside) = opened.unwrap();
    assert!(aside.is_none(), "damaged: {aside:?}");
    (store, loaded)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().unwrap()
}

#[test]
#[ignore = "the child process of the crash tests"]
fn child() {
    let (Some(folder), Ok(seed)) = (std::env::var_os(FOLDER), std::env::var(SEED)) else {
        return;
    };
    let runtime = runtime();
    let (store, loaded) = open(Path::new(&folder));
    let mut subject = Subject::new(store, &loaded);
    let mut model = Model::new(Options::default());
    let mut waiting = VecDeque::new();
    let mut steps = steps(seed.parse().unwrap()).into_iter();
    loop {
        let step = steps.next();
        if waiting.len() == WINDOW || step.is_none() {
            let Some(ticket) = waiting.pop_front() else {
                return;
            };
            runtime.block_on(subject.store.durable(ticket)).unwrap();
            println!("acknowledged");
        }
        if let Some(step) = step {
            waiting.push_back(model.take(&step, Some(&mut subject)));
        }
    }
}

fn spawn(folder: &Path, seed: u8, crash_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).env(SEED, seed.to_string());
    if let Some(point) = crash_at {
        command.env("GREENGRASS_CRASH_AT", point);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Reads acknowledgements up to `kill_after` of them, kills the child, and reads what else it had said. Returns their number.
fn acknowledged(mut child: Child, kill_after: usize) -> usize {
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut count = 0;
    for line in output.lines() {
        if line.unwrap().contains("acknowledged") {
            count += 1;
            if count == kill_after {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    count
}

fn reopened(folder: &Path) -> Everything {
    let runtime = runtime();
    let (store, loaded) = open(folder);
    let found = runtime.block_on(state(&store, loaded));
    store.close().unwrap();
    found
}

/// The file holds the steps up to one at or after the last acknowledged, whole. It may lack messages that were acknowledged
/// to their publisher because their subscriber had acknowledged them before they touched the disk.
fn assert_whole(folder: &Path, seed: u8, acknowledged: usize) {
    let found = reopened(folder);
    let mut model = Model::new(Options::default());
    let mut matching = None;
    let mut touched = Vec::new();
    for (done, step) in steps(seed).iter().enumerate() {
        if model.state == found {
            matching = Some(done);
        }
        if done > acknowledged + WINDOW || done >= acknowledged && matching == Some(done) {
            break;
        }
        let before = model.state.clone();
        model.take(step, None);
        if model.state == before {
            // Nothing to do; counts as the step before.
            touched.push((step.clone(), None));
        } else {
            touched.push((step.clone(), Some(model.touched.clone())));
        }
    }
    if model.state == found {
        matching = Some(touched.len());
    }
    let held = matching.expect("the file holds no state that there ever was");
    let steps = touched.get(held..acknowledged).unwrap_or_default();
    for message in steps.iter().filter_map(|(_, touched)| touched.as_ref()) {
        let same = |other: &Option<_>| other.as_ref() == Some(message);
        let later = || touched[held..].iter().filter(|(_, other)| same(other));
        let came_and_went = message.is_some()
            && later().any(|(step, _)| matches!(step, Step::Enqueue(..)))
            && later().any(|(step, _)| matches!(step, Step::Remove(..)));
        assert!(
            came_and_went,
            "{held} steps there, {acknowledged} acknowledged: {message:?}"
        );
    }
}

#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    for seed in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let kill_after = 1 + usize::from(seed) * 47 % (STEPS - WINDOW);
        let count = acknowledged(spawn(folder.path(), seed, None), kill_after);
        assert!(
            count >= kill_after,
            "the child ended by itself after {count}"
        );
        assert_whole(folder.path(), seed, count);
    }
}

#[test]
fn without_a_kill_everything_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let count = acknowledged(spawn(folder.path(), 200, None), usize::MAX);
    assert_eq!(count, STEPS);
    assert_whole(folder.path(), 200, count);
}

#[cfg(feature = "crash-points")]
#[test]
fn a_crash_at_any_write_leaves_the_group_before_or_after_it() {
    let points = [
        "mqtt.store.batch.taken",
        "mqtt.store.batch.half",
        "store.commit.before",
        "store.commit.after",
    ];
    let passages = [1, 2, 5, 13, 30];
    let cases = points
        .iter()
        .flat_map(|point| passages.map(|n| format!("{point}:{n}")));
    for (seed, point) in (100..).zip(cases) {
        let folder = tempfile::tempdir().unwrap();
        let count = acknowledged(spawn(folder.path(), seed, Some(&point)), usize::MAX);
        assert!(count < STEPS, "{point} was not reached");
        assert_whole(folder.path(), seed, count);
    }
}
