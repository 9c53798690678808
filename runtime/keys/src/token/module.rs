//! One thread for each PKCS#11 library in the process, with a bounded queue.

use super::{
    Pending,
    worker::{Job, Shared, Worker},
};
use crate::KeyError;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Operations that wait for the thread at most. More wait for room.
const QUEUE: usize = 64;

/// A PKCS#11 library and its thread. Cheap to clone: it is the same thread.
#[derive(Clone)]
pub(crate) struct Module {
    pub(super) queue: SyncSender<Job>,
    pub(crate) path: PathBuf,
    pub(crate) shared: Arc<Shared>,
}

/// A library is started once in a process: PKCS#11 knows one application, with one login for each token.
static MODULES: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

impl Module {
    pub(crate) fn open(path: &Path) -> Result<Self, KeyError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&path) {
            return Ok(module.clone());
        }
        let (queue, jobs) = sync_channel::<Job>(QUEUE);
        let shared = Arc::new(Shared::default());
        let (started, start) = sync_channel(1);
        let (at, its) = (path.clone(), shared.clone());
        thread::Builder::new()
            .name("pkcs11".into())
            .spawn(move || {
                let mut worker = match Worker::start(at, its) {
                    Ok(worker) => worker,
                    Err(fault) => return drop(started.send(Err(fault))),
                };
                let _ = started.send(Ok(()));
                for job in jobs {
                    job(&mut worker);
                }
            })
            .map_err(|source| KeyError::file(&path, source))?;
        start.recv().unwrap_or_else(|_| {
            Err(KeyError::Stopped {
                module: path.clone(),
            })
        })?;
        let module = Self {
            queue,
            path: path.clone(),
            shared,
        };
        modules.insert(path, module.clone());
        Ok(module)
    }

    pub(super) fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        work: impl FnOnce(&mut Worker) -> Result<T, KeyError> + Send + 'static,
    ) -> Pending<T> {
        Pending::new(&self.queue, self.path.clone(), what, limit, work)
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.path.display())
    }
}
