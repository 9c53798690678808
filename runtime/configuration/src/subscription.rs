//! Subscriptions: who waits for which path, and what waits for them.

use crate::{Change, ChangeKind, Tree, node::fold};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::Notify;

/// Changes that may wait for one subscriber; one more, and they become a single change of the path it subscribed to.
const PENDING: usize = 64;

/// The changes at and below one path, from now on. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    all: Weak<Subscribers>,
}

impl Subscription {
    /// The next change; waits for one. `None` when the configuration is gone.
    ///
    /// A change that is told twice before it is read comes once. When too many wait, one change of the subscribed path
    /// stands for all. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Change> {
        loop {
            let news = self.queue.news.notified();
            {
                let mut waiting = self.queue.waiting();
                if let Some(change) = waiting.changes.pop_front() {
                    return Some(change);
                }
                if waiting.closed {
                    return None;
                }
            }
            news.await;
        }
    }

    /// The next change if one waits already.
    pub fn try_recv(&mut self) -> Option<Change> {
        self.queue.waiting().changes.pop_front()
    }

    /// What was subscribed to, as given.
    pub fn path(&self) -> &[String] {
        &self.queue.path
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.list().retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        }
    }
}

#[derive(Debug)]
struct Queue {
    path: Vec<String>,
    folded: Vec<String>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: VecDeque<Change>,
    closed: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) {
        {
            let mut waiting = self.waiting();
            let changes = &mut waiting.changes;
            if let Some(same) = changes
                .iter_mut()
                .find(|waiting| waiting.path == change.path)
            {
                same.kind = change.kind;
            } else if changes.len() < PENDING {
                changes.push_back(change);
            } else {
                changes.clear();
                changes.push_back(Change {
                    path: self.path.clone(),
                    kind: ChangeKind::Set,
                });
            }
        }
        self.news.notify_one();
    }
}

/// All subscriptions of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Vec<Arc<Queue>>>);

impl Subscribers {
    pub fn subscribe<S: AsRef<str>>(self: &Arc<Self>, path: &[S]) -> Subscription {
        let queue = Arc::new(Queue {
            path: path.iter().map(|key| key.as_ref().to_owned()).collect(),
            folded: path
                .iter()
                .map(|key| fold(key.as_ref()).into_owned())
                .collect(),
            waiting: Mutex::default(),
            news: Notify::new(),
        });
        self.list().push(queue.clone());
        Subscription {
            queue,
            all: Arc::downgrade(self),
        }
    }

    /// Tells each subscriber what concerns it of the way from `old` to `new`.
    pub fn publish(&self, changes: &[Change], old: &Tree, new: &Tree) {
        let list = self.list().clone();
        for queue in &list {
            for change in changes {
                if starts_with(&change.path, &queue.folded) {
                    queue.push(change.clone());
                } else if reaches(&queue.folded, &change.path)
                    && old.contains(&queue.folded)
                    && !new.contains(&queue.folded)
                {
                    queue.push(Change {
                        path: queue.path.clone(),
                        kind: ChangeKind::Removed,
                    });
                }
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        for queue in self.list().drain(..) {
            queue.waiting().closed = true;
            queue.news.notify_one();
        }
    }
}

/// Whether the path lies at or below the folded one.
fn starts_with(path: &[String], folded: &[String]) -> bool {
    path.len() >= folded.len()
        && path
            .iter()
            .zip(folded)
            .all(|(key, folded)| fold(key) == folded.as_str())
}

/// Whether the folded path lies below the other.
fn reaches(folded: &[String], path: &[String]) -> bool {
    path.len() < folded.len()
        && path
            .iter()
            .zip(folded)
            .all(|(key, folded)| fold(key) == folded.as_str())
}
