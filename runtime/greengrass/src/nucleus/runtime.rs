//! What a deployment may ask of the process: to be started anew, or the device with it.

use crate::exit::Exit;
use std::sync::Arc;
use tokio::sync::watch;

/// The first request counts.
#[derive(Clone, Debug)]
pub struct Requests(Arc<watch::Sender<Option<Exit>>>);

impl Default for Requests {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl Requests {
    /// Waits until one is made.
    pub async fn asked(&self) -> Exit {
        let mut requests = self.0.subscribe();
        match requests.wait_for(Option::is_some).await {
            Ok(asked) => asked.unwrap_or(Exit::Stopped),
            // Never: we hold the sender.
            Err(_) => std::future::pending().await,
        }
    }

    fn ask(&self, exit: Exit) {
        self.0.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(exit);
            first
        });
    }
}

impl deploy::Runtime for Requests {
    fn request_restart(&self) {
        log::info!("a bootstrap step asks for the runtime to be restarted");
        self.ask(Exit::Restart);
    }

    fn request_reboot(&self) {
        log::info!("a bootstrap step asks for the device to be rebooted");
        self.ask(Exit::Reboot);
    }
}
