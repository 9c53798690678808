//! A process killed at any write: what it had acknowledged is there, whole, with the work that shared its transactions.

#![allow(clippy::unwrap_used)]

mod model;

use configuration::{Configuration, Operation};
use model::{Model, assert_same, operation};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};
use store::{Database, Schema, StoreError, rusqlite::Transaction};

const FOLDER: &str = "CONFIGURATION_TEST_FOLDER";
const SEED: &str = "CONFIGURATION_TEST_SEED";
const COMMITS: usize = 60;

/// What a deployment's journal would be: a step recorded with the commit it belongs to.
const JOURNAL: Schema = Schema {
    name: "journal",
    migrations: &["CREATE TABLE journal_step (step INTEGER PRIMARY KEY)"],
};

/// The commits of one seed, the same in parent and child.
fn commits(seed: u8) -> Vec<Vec<Operation>> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(
        Config {
            failure_persistence: None,
            ..Config::default()
        },
        rng,
    );
    let commits = vec(vec(operation(), 1..6), COMMITS..=COMMITS);
    commits.new_tree(&mut runner).unwrap().current()
}

fn open(folder: &Path) -> Database {
    Database::open(&folder.join("state.db"), &[Configuration::SCHEMA, JOURNAL]).unwrap()
}

#[test]
#[ignore = "the child process of the crash tests"]
fn child() {
    let (Some(folder), Ok(seed)) = (std::env::var_os(FOLDER), std::env::var(SEED)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let configuration = Configuration::open(open(Path::new(&folder))).await.unwrap();
        for (step, operations) in (0u32..).zip(commits(seed.parse().unwrap())) {
            let record = move |t: &Transaction<'_>| {
                t.execute("INSERT INTO journal_step VALUES (?1)", [step])?;
                Ok(())
            };
            configuration.commit_with(operations, record).await.unwrap();
            println!("acknowledged {step}");
        }
    });
}

fn spawn(folder: &Path, seed: u8, crash_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).env(SEED, seed.to_string());
    if let Some(point) = crash_at {
        command.env("GREENGRASS_CRASH_AT", point);
    }
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
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

/// Everything acknowledged is there, at most one commit more, and none by half.
fn assert_whole(folder: &Path, seed: u8, acknowledged: usize) {
    let database = open(folder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let configuration = runtime
        .block_on(Configuration::open(database.clone()))
        .unwrap();
    let steps = database.read_blocking(|t| {
        Ok::<u32, StoreError>(
            t.query_row("SELECT count(*) FROM journal_step", [], |row| row.get(0))?,
        )
    });
    let steps = usize::try_from(steps.unwrap()).unwrap();
    assert!(
        steps == acknowledged || steps == acknowledged + 1,
        "{acknowledged} acknowledged, {steps} there"
    );
    let mut model = Model::empty();
    commits(seed)
        .iter()
        .take(steps)
        .flatten()
        .for_each(|operation| model.apply(operation));
    assert_same(&configuration.tree(), &model);
}

#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let kill_after = 1 + usize::from(seed) * 5 % COMMITS;
        let count = acknowledged(spawn(folder.path(), seed, None), kill_after);
        assert!(
            count >= kill_after,
            "the child ended by itself after {count}"
        );
        assert_whole(folder.path(), seed, count);
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn a_crash_at_any_write_leaves_the_commit_before_or_after_it() {
    // Hits of the migration come first at the commit points.
    for (seed, point) in [
        "configuration.step:1",
        "configuration.step:7",
        "configuration.step:40",
        "store.commit.before:1",
        "store.commit.before:25",
        "store.commit.after:1",
        "store.commit.after:25",
    ]
    .into_iter()
    .enumerate()
    {
        let seed = u8::try_from(seed + 100).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let count = acknowledged(spawn(folder.path(), seed, Some(point)), usize::MAX);
        assert!(count < COMMITS, "{point} was not reached");
        assert_whole(folder.path(), seed, count);
    }
}
