//! What a component's worker is still to do. Bounded by what it is: a later wish takes the place of an earlier one.

use crate::{launcher::StepKind, record::Record};
use model::{ComponentSpec, SystemLimits};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Filled by the task without waiting, emptied by the worker.
#[derive(Default)]
pub(super) struct Mailbox {
    wants: Mutex<Wants>,
    bell: Notify,
}

/// Taken all at once, carried out in the order of the fields.
#[derive(Default)]
pub(super) struct Wants {
    /// Remember this; `Some(None)`: forget the component.
    pub save: Option<Option<Record>>,
    /// Freeze or thaw.
    pub freeze: Option<bool>,
    /// New limits.
    pub limits: Option<SystemLimits>,
    /// End everything.
    pub kill: bool,
    /// Run a step.
    pub launch: Option<Launch>,
    /// No more wants will come.
    pub end: bool,
}

/// A step to run.
pub(super) struct Launch {
    pub attempt: u64,
    pub step: StepKind,
    pub spec: Arc<ComponentSpec>,
}

impl Mailbox {
    /// Adds wants. A kill drops a launch that has not begun.
    pub fn put(&self, change: impl FnOnce(&mut Wants)) {
        change(&mut self.lock());
        self.bell.notify_one();
    }

    /// Waits until there is something to do.
    pub async fn take(&self) -> Wants {
        loop {
            {
                let mut wants = self.lock();
                if !wants.is_empty() {
                    return std::mem::take(&mut *wants);
                }
            }
            self.bell.notified().await;
        }
    }

    /// Waits until a kill is wanted, and leaves it there. For the one worker that also takes.
    pub async fn kill_wanted(&self) {
        while !self.lock().kill {
            self.bell.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wants {
    fn is_empty(&self) -> bool {
        self.save.is_none()
            && self.freeze.is_none()
            && self.limits.is_none()
            && !self.kill
            && self.launch.is_none()
            && !self.end
    }
}
