//! The handle: one tree in memory, the same in SQLite, changed together.

use crate::{
    Change, ConfigurationError, Operation, Subscription, Tree, TreeError,
    row::{Row, rows, steps, tree_of},
    subscription::Subscribers,
    table,
};
use serde_json::Value;
use std::sync::{Arc, PoisonError, RwLock};
use store::{Database, Schema, StoreError, rusqlite::Transaction};

/// The configuration of this device. Cheap to clone.
///
/// A commit is worked out and written on the database's thread, one after the other; readers see the tree before or after it,
/// and after only when it is on the disk.
#[derive(Clone, Debug)]
pub struct Configuration {
    database: Database,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tree: RwLock<Tree>,
    subscribers: Arc<Subscribers>,
}

impl Shared {
    fn tree(&self) -> Tree {
        self.tree
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a transaction hands over once it is durable.
struct Committed<T> {
    old: Tree,
    new: Tree,
    changes: Vec<Change>,
    also: T,
}

impl Configuration {
    /// The tables; give it to [`Database::open`].
    pub const SCHEMA: Schema = table::SCHEMA;

    /// Reads the tree. One handle (and its clones) a database.
    pub async fn open(database: Database) -> Result<Self, ConfigurationError> {
        let tree = database.read(table::load).await?;
        let shared = Shared {
            tree: RwLock::new(tree),
            subscribers: Arc::default(),
        };
        Ok(Self {
            database,
            shared: Arc::new(shared),
        })
    }

    /// The tree now: a consistent value that later commits do not change.
    pub fn tree(&self) -> Tree {
        self.shared.tree()
    }

    /// The value at a path now; keys match in any case.
    pub fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<Value> {
        self.tree().get(path)
    }

    /// Applies all operations or none, durably. Returns what is different.
    pub async fn commit(
        &self,
        operations: Vec<Operation>,
    ) -> Result<Vec<Change>, ConfigurationError> {
        Ok(self.commit_with(operations, |_| Ok(())).await?.0)
    }

    /// Like [`Configuration::commit`], with other work in the same transaction: both are kept or neither.
    pub async fn commit_with<T: Send + 'static>(
        &self,
        operations: Vec<Operation>,
        also: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(Vec<Change>, T), ConfigurationError> {
        self.change(move |old| Ok(old.apply_all(&operations)?.0), also)
            .await
    }

    /// Subscribes to the changes at and below a path, whether anything is there or not.
    pub fn subscribe<S: AsRef<str>>(&self, path: &[S]) -> Subscription {
        self.shared.subscribers.subscribe(path)
    }

    /// The whole tree with its timestamps, for [`Configuration::restore_with`].
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot(&self.tree())
    }

    /// Makes the tree what it was at a snapshot, timestamps too, with other work in the same transaction.
    pub async fn restore_with<T: Send + 'static>(
        &self,
        snapshot: &[u8],
        also: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(Vec<Change>, T), ConfigurationError> {
        let tree = from_snapshot(snapshot)?;
        self.change(move |_| Ok(tree), also).await
    }

    /// Works out a new tree from the current one, stores it, and when it is on the disk lets all see it.
    pub(crate) async fn change<T, E>(
        &self,
        work: impl FnOnce(&Tree) -> Result<Tree, E> + Send + 'static,
        also: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(Vec<Change>, T), E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let reading = self.shared.clone();
        let publishing = self.shared.clone();
        let committed = self.database.write_then(
            move |t| -> Result<Committed<T>, E> {
                let old = reading.tree();
                let new = work(&old)?;
                let steps = steps(&old, &new);
                table::write(t, &steps)?;
                let also = also(t)?;
                let changes = old.changes_to(&new);
                Ok(Committed {
                    old,
                    new,
                    changes,
                    also,
                })
            },
            move |committed: &Committed<T>| {
                *publishing
                    .tree
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = committed.new.clone();
                publishing
                    .subscribers
                    .publish(&committed.changes, &committed.old, &committed.new);
            },
        );
        let committed = committed.await?;
        Ok((committed.changes, committed.also))
    }
}

/// The version of the snapshot's format.
const SNAPSHOT: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
struct Snapshot {
    version: u32,
    rows: Vec<Row>,
}

fn snapshot(tree: &Tree) -> Vec<u8> {
    serde_json::to_vec(&Snapshot {
        version: SNAPSHOT,
        rows: rows(tree),
    })
    .expect("rows are plain texts and numbers")
}

fn from_snapshot(bytes: &[u8]) -> Result<Tree, ConfigurationError> {
    let damaged = |reason: String| ConfigurationError::Damaged {
        path: "snapshot".into(),
        reason,
    };
    let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    if snapshot.version != SNAPSHOT {
        return Err(damaged(format!(
            "format {}, known is {SNAPSHOT}",
            snapshot.version
        )));
    }
    tree_of(snapshot.rows)
}

impl From<TreeError> for crate::UpdateRefused {
    fn from(error: TreeError) -> Self {
        Self::Invalid(error)
    }
}
