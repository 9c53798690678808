//! What the one writer thread promises to its callers.

#![allow(clippy::unwrap_used)]

use std::{
    os::unix::fs::PermissionsExt,
    sync::{Arc, Barrier, mpsc},
    time::Duration,
};
use store::{Database, Schema, StoreError, rusqlite::Transaction};

const NUMBERS: Schema = Schema {
    name: "numbers",
    migrations: &["CREATE TABLE numbers_value (n INTEGER PRIMARY KEY)"],
};

fn insert(database: &Database, n: i64) -> Result<(), StoreError> {
    database.write_blocking(move |t| {
        t.execute("INSERT INTO numbers_value VALUES (?1)", [n])?;
        Ok(())
    })
}

fn count(database: &Database) -> i64 {
    let query = |t: &Transaction<'_>| {
        Ok::<_, StoreError>(
            t.query_row("SELECT count(*) FROM numbers_value", [], |row| row.get(0))?,
        )
    };
    database.read_blocking(query).unwrap()
}

#[test]
fn an_error_rolls_everything_of_its_transaction_back() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    let outcome = database.write_blocking(|t| {
        t.execute("INSERT INTO numbers_value VALUES (1)", [])?;
        t.execute("INSERT INTO numbers_value VALUES (1)", [])?;
        Ok::<_, StoreError>(())
    });
    assert!(
        matches!(outcome, Err(StoreError::Sqlite { .. })),
        "{outcome:?}"
    );
    assert_eq!(count(&database), 0);
}

#[test]
fn a_panic_rolls_back_and_the_thread_goes_on() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    let outcome = database.write_blocking(|t| -> Result<(), StoreError> {
        t.execute("INSERT INTO numbers_value VALUES (1)", [])?;
        panic!("out of {}", "luck")
    });
    assert!(
        matches!(&outcome, Err(StoreError::Panicked { message }) if message == "out of luck"),
        "{outcome:?}"
    );
    assert_eq!(count(&database), 0);
    insert(&database, 2).unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn what_a_read_writes_is_dropped() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    let written = database.read_blocking(|t| {
        Ok::<_, StoreError>(t.execute("INSERT INTO numbers_value VALUES (1)", [])?)
    });
    assert_eq!(written.unwrap(), 1);
    assert_eq!(count(&database), 0);
}

#[test]
fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let holder = database.clone();
    let entered = Arc::new(Barrier::new(2));
    let inside = entered.clone();
    let holding = std::thread::spawn(move || {
        holder.write_blocking(move |_| {
            inside.wait();
            held.recv_timeout(Duration::from_secs(30)).unwrap();
            Ok::<_, StoreError>(())
        })
    });
    entered.wait();
    let writers: Vec<_> = (0..200)
        .map(|n| {
            let database = database.clone();
            std::thread::spawn(move || insert(&database, n))
        })
        .collect();
    release.send(()).unwrap();
    holding.join().unwrap().unwrap();
    for writer in writers {
        writer.join().unwrap().unwrap();
    }
    assert_eq!(count(&database), 200);
}

#[tokio::test]
async fn a_dropped_caller_does_not_undo_and_its_follow_up_runs() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    let (done, told) = tokio::sync::oneshot::channel();
    {
        let write = database.write_then(
            |t| {
                t.execute("INSERT INTO numbers_value VALUES (1)", [])?;
                Ok::<_, StoreError>(())
            },
            move |()| done.send(()).unwrap(),
        );
        let mut write = std::pin::pin!(write);
        // Polled once: the work is with the thread; then the caller goes away.
        let _ = futures_poll_once(write.as_mut()).await;
    }
    told.await.unwrap();
    assert_eq!(count(&database), 1);
}

async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn blocking_calls_work_inside_a_runtime() {
    let database = Database::in_memory(&[NUMBERS]).unwrap();
    insert(&database, 1).unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn the_file_is_private_and_closing_leaves_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let database = Database::open(&path, &[NUMBERS]).unwrap();
    insert(&database, 1).unwrap();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("state.db-wal")), 0o600);
    database.close();
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["state.db"]);
    assert_eq!(count(&Database::open(&path, &[NUMBERS]).unwrap()), 1);
}

#[test]
fn upkeep_runs_outside_of_any_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("state.db"), &[NUMBERS]).unwrap();
    insert(&database, 1).unwrap();
    database
        .maintain_blocking(|connection| Ok::<_, StoreError>(connection.execute_batch("VACUUM")?))
        .unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn a_second_opener_is_told_that_the_file_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = Database::open(&path, &[NUMBERS]).unwrap();
    insert(&first, 1).unwrap();
    let second = Database::open(&path, &[NUMBERS]);
    assert!(
        matches!(&second, Err(StoreError::InUse { path: at }) if *at == path),
        "{second:?}"
    );
    first.close();
    assert_eq!(count(&Database::open(&path, &[NUMBERS]).unwrap()), 1);
}

#[test]
fn foreign_keys_hold_and_every_commit_is_synchronous() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("state.db"), &[NUMBERS]).unwrap();
    let settings = database.read_blocking(|t| {
        let pragma = |name: &str| t.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok::<_, StoreError>((pragma("foreign_keys")?, pragma("synchronous")?))
    });
    assert_eq!(settings.unwrap(), (1, 2));
}

#[test]
fn shutting_down_closes_the_file_for_every_handle_and_keeps_what_was_asked_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let database = Database::open(&path, &[NUMBERS]).unwrap();
    let kept = database.clone();
    insert(&database, 1).unwrap();
    database.shut_down();
    assert!(!folder.path().join("state.db-wal").exists());
    assert!(matches!(insert(&kept, 2), Err(StoreError::Closed)));
    let again = Database::open(&path, &[NUMBERS]).unwrap();
    assert_eq!(count(&again), 1);
    kept.shut_down(); // once more is harmless
}
