//! A token operation on its way: `.await` it in async code, `.wait()` for it elsewhere.

use super::worker::{Job, Worker};
use crate::KeyError;
use std::{
    future::{Future, IntoFuture},
    path::PathBuf,
    pin::{Pin, pin},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// An operation in the token's queue. It is done even if nobody waits for its result.
#[must_use = "await it, or wait() for it"]
pub struct Pending<T> {
    queue: SyncSender<Job>,
    /// The job, when the queue was full.
    unsent: Option<Job>,
    answer: oneshot::Receiver<Result<T, KeyError>>,
    what: &'static str,
    limit: Duration,
    module: PathBuf,
}

impl<T: Send + 'static> Pending<T> {
    pub(super) fn new(
        queue: &SyncSender<Job>,
        module: PathBuf,
        what: &'static str,
        limit: Duration,
        work: impl FnOnce(&mut Worker) -> Result<T, KeyError> + Send + 'static,
    ) -> Self {
        let (send, answer) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Nobody listening is fine: the work itself was wanted.
            let _ = send.send(work(worker));
        });
        let unsent = match queue.try_send(job) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
            Err(TrySendError::Full(job)) => Some(job),
        };
        Self {
            queue: queue.clone(),
            unsent,
            answer,
            what,
            limit,
            module,
        }
    }

    /// Waits on this thread.
    pub fn wait(mut self) -> Result<T, KeyError> {
        if let Some(job) = self.unsent.take() {
            // An error means that the thread ended: the answer says so.
            let _ = self.queue.send(job);
        }
        let deadline = Instant::now() + self.limit;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut answer = pin!(&mut self.answer);
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
                return answer.unwrap_or(Err(KeyError::Stopped {
                    module: self.module,
                }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KeyError::Slow {
                    what: self.what,
                    limit: self.limit,
                });
            }
            thread::park_timeout(left);
        }
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type Output = Result<T, KeyError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let work = async {
                if let Some(job) = self.unsent.take() {
                    let queue = self.queue.clone();
                    // The queue is full: wait for room where waiting is allowed.
                    let _ = tokio::task::spawn_blocking(move || queue.send(job)).await;
                }
                self.answer.await
            };
            match tokio::time::timeout(self.limit, work).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(KeyError::Stopped {
                    module: self.module,
                }),
                Err(_) => Err(KeyError::Slow {
                    what: self.what,
                    limit: self.limit,
                }),
            }
        })
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
