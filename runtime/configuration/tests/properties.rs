//! The tree and its store against the plain model, over random operations.

#![allow(clippy::unwrap_used)]

mod model;

use configuration::{Change, ChangeKind, Configuration, Operation, Tree};
use model::{Model, assert_same, operation};
use proptest::{collection::vec, prelude::*};
use store::{Database, StoreError};

/// The old tree with the changes played onto it must read as the new tree: nothing untold, nothing told in vain.
fn assert_told(old: &Tree, new: &Tree, changes: &[Change]) {
    let mut values = old.clone();
    for change in changes {
        let next = match change.kind {
            ChangeKind::Removed => {
                assert!(
                    old.contains(&change.path) && !new.contains(&change.path),
                    "{change:?}"
                );
                Operation::Remove {
                    path: change.path.clone(),
                    at: u64::MAX,
                }
            }
            ChangeKind::Set => {
                let value = new.get(&change.path).unwrap();
                assert_ne!(
                    old.get(&change.path).as_ref(),
                    Some(&value),
                    "{change:?} told in vain"
                );
                Operation::Replace {
                    path: change.path.clone(),
                    value,
                    at: 0,
                }
            }
        };
        values = values.apply(&next).unwrap().0;
    }
    assert_eq!(values.get::<String>(&[]), new.get::<String>(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_the_model_does_and_tells_what_changed(operations in vec(operation(), 0..24)) {
        let mut tree = Tree::empty();
        let mut model = Model::empty();
        for operation in &operations {
            let (next, changes) = tree.apply(operation).unwrap();
            model.apply(operation);
            assert_same(&next, &model);
            assert_told(&tree, &next, &changes);
            tree = next;
        }
    }
}

/// What happens to a store besides operations.
#[derive(Clone, Debug)]
enum Event {
    Commit(Vec<Operation>),
    /// Rolled back by the work that shares its transaction.
    Refused(Vec<Operation>),
    Reopen,
    Snapshot,
    Restore,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => vec(operation(), 0..5).prop_map(Event::Commit),
        1 => vec(operation(), 0..5).prop_map(Event::Refused),
        2 => Just(Event::Reopen),
        1 => Just(Event::Snapshot),
        1 => Just(Event::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_model_holds(events in vec(event(), 0..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(events));
    }
}

async fn run(events: Vec<Event>) {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let database =
            Database::open(&folder.path().join("state.db"), &[Configuration::SCHEMA]).unwrap();
        (
            database.clone(),
            Configuration::open(database).await.unwrap(),
        )
    };
    let (mut database, mut configuration) = open().await;
    let mut model = Model::empty();
    let mut snapshot = (configuration.snapshot(), model.clone());
    for event in events {
        match event {
            Event::Commit(operations) => {
                operations
                    .iter()
                    .for_each(|operation| model.apply(operation));
                configuration.commit(operations).await.unwrap();
            }
            Event::Refused(operations) => {
                let refuse =
                    |_: &store::rusqlite::Transaction<'_>| Err::<(), _>(StoreError::Closed);
                configuration
                    .commit_with(operations, refuse)
                    .await
                    .unwrap_err();
            }
            Event::Reopen => {
                drop(configuration);
                database.close();
                (database, configuration) = open().await;
            }
            Event::Snapshot => snapshot = (configuration.snapshot(), model.clone()),
            Event::Restore => {
                configuration
                    .restore_with(&snapshot.0, |_| Ok(()))
                    .await
                    .unwrap();
                model = snapshot.1.clone();
            }
        }
        assert_same(&configuration.tree(), &model);
    }
}
