//! Handshakes off the async threads.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio::task::{JoinHandle, spawn_blocking};

/// Polls `future` on tokio's blocking threads: for TLS handshakes with a key that signs slowly.
///
/// A blocking thread is taken only while the future runs, not while it waits for the network, so a client that says
/// nothing holds none. The cost is a thread's hand-over at each poll, two or three for a handshake.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
/// let name = keys::offload(Box::pin(async { std::thread::current().id() })).await;
/// assert_ne!(name, std::thread::current().id());
/// # });
/// ```
pub fn offload<F>(future: F) -> Offload<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send + 'static,
{
    Offload {
        state: State::Here(future),
        woken: Arc::default(),
    }
}

/// Made by [`offload`].
#[must_use = "futures do nothing unless polled"]
pub struct Offload<F: Future> {
    state: State<F>,
    woken: Arc<Woken>,
}

enum State<F: Future> {
    Here(F),
    There(JoinHandle<(F, Poll<F::Output>)>),
    Gone,
}

/// Passes a wake-up on, and remembers it for the case that it comes while the future is away.
#[derive(Default)]
struct Woken {
    flag: AtomicBool,
    task: std::sync::Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        let task = self
            .task
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F> Future for Offload<F>
where
    F: Future + Send + Unpin + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        *this
            .woken
            .task
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(cx.waker().clone());
        loop {
            match std::mem::replace(&mut this.state, State::Gone) {
                State::Here(mut future) => {
                    this.woken.flag.store(false, Ordering::Release);
                    let waker = Waker::from(this.woken.clone());
                    this.state = State::There(spawn_blocking(move || {
                        let poll = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
                        (future, poll)
                    }));
                }
                State::There(mut handle) => match Pin::new(&mut handle).poll(cx) {
                    Poll::Pending => {
                        this.state = State::There(handle);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((_, Poll::Ready(output)))) => return Poll::Ready(output),
                    Poll::Ready(Ok((future, Poll::Pending))) => {
                        this.state = State::Here(future);
                        // Our own wake-ups only come when the future may go on.
                        if !this.woken.flag.load(Ordering::Acquire) {
                            return Poll::Pending;
                        }
                    }
                    Poll::Ready(Err(gone)) => match gone.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is shutting down: nothing is polled again.
                        Err(_) => return Poll::Pending,
                    },
                },
                State::Gone => panic!("polled after it was ready"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, time::Duration};

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(30), future)
                .await
                .unwrap()
        })
    }

    /// Ready after `left` polls. Each wakes in its own way.
    struct Steps {
        left: usize,
        wake: fn(Waker),
        here: thread::ThreadId,
    }

    impl Future for Steps {
        type Output = usize;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
            assert_ne!(thread::current().id(), self.here);
            if self.left == 0 {
                return Poll::Ready(7);
            }
            self.left -= 1;
            (self.wake)(cx.waker().clone());
            Poll::Pending
        }
    }

    #[test]
    fn no_wake_up_is_lost_whether_it_comes_during_the_poll_or_after_it() {
        let ways: [fn(Waker); 2] = [Waker::wake, |waker| {
            thread::spawn(move || {
                thread::yield_now();
                waker.wake();
            });
        }];
        for wake in ways {
            let here = thread::current().id();
            let steps = Steps {
                left: 500,
                wake,
                here,
            };
            assert_eq!(run(offload(steps)), 7);
        }
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn a_panic_comes_out_where_it_is_awaited() {
        run(offload(Box::pin(async { panic!("inside") })));
    }

    #[test]
    fn it_may_be_given_up_at_any_time() {
        run(async {
            let never = offload(Box::pin(std::future::pending::<()>()));
            assert!(
                tokio::time::timeout(Duration::from_millis(1), never)
                    .await
                    .is_err()
            );
        });
    }
}
