//! Who is told what, and what a slow or dead subscriber costs.

#![allow(clippy::unwrap_used)]

use configuration::{Change, ChangeKind, Configuration, Operation};
use serde_json::{Value, json};
use store::{Database, StoreError, rusqlite::Transaction};

async fn configuration() -> Configuration {
    Configuration::open(Database::in_memory(&[Configuration::SCHEMA]).unwrap())
        .await
        .unwrap()
}

fn path(text: &str) -> Vec<String> {
    text.split('/')
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect()
}

async fn set(configuration: &Configuration, at: &str, value: Value) {
    let operation = Operation::Replace {
        path: path(at),
        value,
        at: 5,
    };
    configuration.commit(vec![operation]).await.unwrap();
}

fn told(text: &str, kind: ChangeKind) -> Option<Change> {
    Some(Change {
        path: path(text),
        kind,
    })
}

#[tokio::test]
async fn a_subscriber_is_told_of_its_path_and_below_in_any_case_and_of_nothing_else() {
    let configuration = configuration().await;
    let mut below = configuration.subscribe(&["A", "b"]);
    let mut leaf = configuration.subscribe(&["a", "B", "leaf"]);
    let mut all = configuration.subscribe::<&str>(&[]);
    set(
        &configuration,
        "a",
        json!({"B": {"leaf": 1, "other": 1}, "bb": 1}),
    )
    .await;
    assert_eq!(below.recv().await, told("a/B/leaf", ChangeKind::Set));
    assert_eq!(below.recv().await, told("a/B/other", ChangeKind::Set));
    assert_eq!(below.try_recv(), None);
    assert_eq!(leaf.recv().await, told("a/B/leaf", ChangeKind::Set));
    assert_eq!(leaf.try_recv(), None);
    assert_eq!(std::iter::from_fn(|| all.try_recv()).count(), 3);
}

#[tokio::test]
async fn who_subscribed_below_what_is_removed_or_replaced_is_told_once() {
    let configuration = configuration().await;
    for last in [json!({"other": 1}), json!("a leaf")] {
        set(&configuration, "c", json!({"k": {"x": 1, "y": 1}})).await;
        let mut x = configuration.subscribe(&["c", "k", "X"]);
        let mut never = configuration.subscribe(&["c", "k", "z"]);
        set(&configuration, "c", last).await;
        assert_eq!(x.recv().await, told("c/k/X", ChangeKind::Removed));
        assert_eq!((x.try_recv(), never.try_recv()), (None, None));
    }
}

#[tokio::test]
async fn a_subscription_waits_for_what_is_not_there_yet_and_outlives_its_removal() {
    let configuration = configuration().await;
    let mut subscription = configuration.subscribe(&["c", "k"]);
    set(&configuration, "c", json!({"k": 1})).await;
    set(&configuration, "c", json!({})).await;
    assert_eq!(
        subscription.recv().await,
        told("c/k", ChangeKind::Removed),
        "the last word counts"
    );
    set(&configuration, "c", json!({"k": 2})).await;
    assert_eq!(subscription.recv().await, told("c/k", ChangeKind::Set));
    assert_eq!(subscription.try_recv(), None);
}

#[tokio::test]
async fn too_many_waiting_changes_become_one_of_the_subscribed_path() {
    let configuration = configuration().await;
    let mut slow = configuration.subscribe(&["c"]);
    for round in 0..3 {
        let many: serde_json::Map<_, _> =
            (0..1000).map(|n| (format!("k{n}"), json!(round))).collect();
        set(&configuration, "c", many.into()).await;
    }
    let waiting: Vec<_> = std::iter::from_fn(|| slow.try_recv()).collect();
    assert_eq!(waiting, [told("c", ChangeKind::Set).unwrap()]);
    set(&configuration, "c/k1", json!("later")).await;
    assert_eq!(slow.recv().await, told("c/k1", ChangeKind::Set));
}

#[tokio::test]
async fn what_is_rolled_back_is_told_to_nobody() {
    let configuration = configuration().await;
    set(&configuration, "c", json!({"k": 1})).await;
    let mut subscription = configuration.subscribe(&["c"]);
    let operations = vec![Operation::Remove {
        path: path("c"),
        at: u64::MAX,
    }];
    let refuse = |_: &Transaction<'_>| Err::<(), _>(StoreError::Closed);
    configuration
        .commit_with(operations.clone(), refuse)
        .await
        .unwrap_err();
    let panic = |_: &Transaction<'_>| -> Result<(), StoreError> {
        panic!("in the work that shares the transaction")
    };
    configuration
        .commit_with(operations, panic)
        .await
        .unwrap_err();
    assert_eq!(subscription.try_recv(), None);
    assert_eq!(configuration.get(&["c", "k"]), Some(json!(1)));
}

#[tokio::test]
async fn a_change_is_readable_when_it_is_told_also_when_its_committer_went_away() {
    let configuration = configuration().await;
    let mut subscription = configuration.subscribe(&["c"]);
    {
        let operation = Operation::Replace {
            path: path("c"),
            value: json!(7),
            at: 5,
        };
        let commit = configuration.commit(vec![operation]);
        let mut commit = std::pin::pin!(commit);
        std::future::poll_fn(|context| {
            let _ = commit.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert_eq!(subscription.recv().await, told("c", ChangeKind::Set));
    assert_eq!(configuration.get(&["c"]), Some(json!(7)));
}

#[tokio::test]
async fn a_subscription_ends_with_the_configuration() {
    let configuration = configuration().await;
    let mut subscription = configuration.subscribe(&["c"]);
    drop(configuration);
    assert_eq!(subscription.recv().await, None);
}

#[tokio::test]
async fn a_restore_tells_what_it_put_back() {
    let configuration = configuration().await;
    set(&configuration, "c", json!({"a": 1, "b": 1})).await;
    let snapshot = configuration.snapshot();
    set(&configuration, "c", json!({"a": 2, "n": 1})).await;
    let mut subscription = configuration.subscribe(&["c"]);
    let (changes, written) = configuration
        .restore_with(&snapshot, |_| Ok("journal"))
        .await
        .unwrap();
    let told: Vec<_> = std::iter::from_fn(|| subscription.try_recv()).collect();
    assert_eq!((changes, written), (told, "journal"));
    assert_eq!(configuration.get(&["c"]), Some(json!({"a": 1, "b": 1})));
    assert_eq!(configuration.tree().entry(&["c", "a"]).unwrap().at, 5);
    let error = configuration
        .restore_with(b"{\"version\":2,\"rows\":[]}", |_| Ok(()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("format 2"), "{error}");
}
