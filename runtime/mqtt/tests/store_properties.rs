//! Random steps and restarts against plain maps.

#![allow(clippy::unwrap_used)]

mod store_model;

use ::store::{Database, StoreError};
use mqtt::store::{DropPolicy, Options, SCHEMA, Store};
use proptest::prelude::*;
use std::{path::Path, time::Duration};
use store_model::{Model, Step, Subject, queue, state, step, until};

#[derive(Clone, Debug)]
enum Action {
    Step(Step),
    Flush,
    Page(u8, usize),
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        40 => step().prop_map(Action::Step),
        2 => Just(Action::Flush),
        3 => (any::<u8>(), 1..5usize).prop_map(|(s, n)| Action::Page(s, n)),
        1 => Just(Action::Reopen),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let limits = prop_oneof![
        2 => Just((1_000, 1 << 30, 10_000, 1 << 30)),
        1 => Just((4, 1 << 30, 10, 1 << 30)),
        1 => Just((100, 3_000, 100, 6_000)),
    ];
    let drop = prop_oneof![Just(DropPolicy::Newest), Just(DropPolicy::Oldest)];
    (limits, drop, prop_oneof![Just(0), Just(2), Just(1_000)]).prop_map(|(limits, drop, linger)| {
        Options {
            session_messages: limits.0,
            session_bytes: limits.1,
            total_messages: limits.2,
            total_bytes: limits.3,
            drop,
            linger: Duration::from_millis(linger),
            ..Options::default()
        }
    })
}

fn open(folder: &Path, options: &Options) -> (Store, mqtt::store::Loaded) {
    let (store, loaded, aside) = Store::open(&folder.join("mqtt.db"), options.clone()).unwrap();
    assert!(aside.is_none());
    (store, loaded)
}

fn check(options: &Options, actions: &[Action]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new(options.clone());
    let (store, loaded) = open(folder.path(), options);
    let mut subject = Subject::new(store, &loaded);
    for action in actions.iter().chain([&Action::Reopen]) {
        match action {
            Action::Step(step) => _ = model.take(step, Some(&mut subject)),
            Action::Flush => runtime.block_on(subject.store.flush()).unwrap(),
            Action::Page(s, limit) => {
                let count = model.state.sessions.len().max(1);
                if let Some((client, session)) =
                    model.state.sessions.iter().nth(usize::from(*s) % count)
                {
                    let id = subject.ids[client];
                    let read = runtime.block_on(queue(&subject.store, id, *limit));
                    assert_eq!(read, session.queue);
                }
            }
            Action::Reopen => {
                subject.store.close().unwrap();
                let (store, loaded) = open(folder.path(), options);
                subject = Subject::new(store, &loaded);
                assert_eq!(runtime.block_on(state(&subject.store, loaded)), model.state);
                model.reopened();
            }
        }
        let queues = model.state.sessions.values().map(|s| s.queue.len());
        assert_eq!(subject.store.metrics().messages, queues.sum::<usize>());
    }
    assert_nothing_left_behind(&runtime, subject, folder.path());
}

/// When all sessions have ended, no row of a queue and no body is left.
fn assert_nothing_left_behind(runtime: &tokio::runtime::Runtime, subject: Subject, folder: &Path) {
    for id in subject.ids.values() {
        subject.store.end(*id);
    }
    runtime.block_on(subject.store.flush()).unwrap();
    let metrics = until(&subject.store, |m| m.purging == 0 && m.pending_bytes == 0);
    assert_eq!(
        (metrics.sessions, metrics.messages, metrics.bytes),
        (0, 0, 0)
    );
    subject.store.close().unwrap();
    let database = Database::open(&folder.join("mqtt.db"), &[SCHEMA]).unwrap();
    for table in ["session", "subscription", "queue", "message", "received"] {
        let query = format!("SELECT count(*) FROM mqtt_{table}");
        let count = database.read_blocking(move |t| {
            Ok::<_, StoreError>(t.query_row(&query, [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(count.unwrap(), 0, "{table}");
    }
    database.close();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_was_done_whenever_it_is_opened_again(
        options in options(),
        actions in prop::collection::vec(action(), 1..160),
    ) {
        check(&options, &actions);
    }
}
