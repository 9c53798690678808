//! Watches one unit until its main process has ended, ends what that left behind, and tells it.

use super::{
    super::{Event, Exited, LaunchError, StepKind, UnitId, port::lock},
    Inner, LEFTOVER_GRACE, journal,
    state::Seen,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch as channel, time::timeout};
use zbus::{
    OwnedObjectPath,
    export::ordered_stream::OrderedStreamExt,
    fdo::{PropertiesChanged, PropertiesChangedStream},
};

/// Signals may be lost with a bus that restarts: look by ourselves this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// What was sent before a look arrives with it, or a moment later.
const STRAGGLER: Duration = Duration::from_millis(50);

pub(super) struct Watcher {
    inner: Arc<Inner>,
    id: UnitId,
    name: String,
    path: OwnedObjectPath,
    pid: u32,
    done: channel::Sender<bool>,
    changes: PropertiesChangedStream,
    seen: Seen,
}

impl Watcher {
    /// From when this returns no change is missed.
    pub(super) async fn new(
        inner: Arc<Inner>,
        id: UnitId,
        name: String,
        path: OwnedObjectPath,
        pid: u32,
        done: channel::Sender<bool>,
    ) -> Result<Self, LaunchError> {
        let changes = async {
            inner
                .properties_proxy(&path)
                .await?
                .receive_properties_changed()
                .await
        };
        let changes = changes
            .await
            .map_err(|e| LaunchError::system(format!("watching {name}"), e))?;
        Ok(Self {
            inner,
            id,
            name,
            path,
            pid,
            done,
            changes,
            seen: Seen::default(),
        })
    }

    pub(super) async fn run(mut self) {
        self.until(Seen::main_ended).await;
        let outcome = self.seen.outcome();
        if !(self.id.step == StepKind::Startup && outcome.is_success())
            && let Err(e) = self.inner.end_processes(&self.name, LEFTOVER_GRACE).await
        {
            log::error!("{e}");
        }
        // Whether memory was the reason is known only then.
        self.until(Seen::settled).await;
        let outcome = self.seen.outcome();
        let stderr_tail = if outcome.is_success() {
            Vec::new()
        } else {
            journal::tail(&self.name, self.seen.started()).await
        };
        if let Some(record) = lock(&self.inner.units).get_mut(&self.id) {
            record.ended = Some((outcome, stderr_tail.clone()));
        }
        // Nobody may be listening.
        let exited = Exited {
            id: self.id.clone(),
            pid: self.pid,
            outcome,
            stderr_tail,
        };
        let _ = self.inner.events.send(Event::Exited(exited));
        self.done.send_replace(true);
    }

    /// Looks at every change until the unit is as wanted, or gone.
    async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) {
        loop {
            match self.inner.look(&self.path).await {
                Ok(Some(now)) => self.seen = now,
                Ok(None) => return self.last_words().await,
                Err(e) => log::error!("{e}"),
            }
            if wanted(&self.seen) {
                return;
            }
            match timeout(LOOK_AGAIN, self.changes.next()).await {
                Ok(Some(signal)) => self.heard(&signal),
                Ok(None) => {
                    log::error!(
                        "the connection to systemd is lost: {} is watched no more",
                        self.id
                    );
                    std::future::pending::<()>().await;
                }
                Err(_) => {}
            }
        }
    }

    /// The unit is gone, stopped by somebody else: how it ended is only in the signals that were sent before.
    async fn last_words(&mut self) {
        while let Ok(Some(signal)) = timeout(STRAGGLER, self.changes.next()).await {
            self.heard(&signal);
        }
    }

    fn heard(&mut self, signal: &PropertiesChanged) {
        if let Ok(change) = signal.args() {
            self.seen.update(
                change
                    .changed_properties
                    .iter()
                    .map(|(name, value)| (*name, value)),
            );
        }
    }
}
