//! Tells the log and the rest of the runtime how the connection is doing: each cause once, not each try.

use crate::Settings;
use mqtt::client::Status;
use std::time::Duration;
use tokio::sync::watch;

/// Follows the client's status until the client has ended.
pub async fn follow(
    mut status: watch::Receiver<Status>,
    connected: &watch::Sender<bool>,
    settings: &Settings,
) {
    let mut last = String::new();
    loop {
        let now = status.borrow_and_update().clone();
        let is_connected = now.is_connected();
        connected.send_if_modified(|was| std::mem::replace(was, is_connected) != is_connected);
        match now {
            Status::Connected(granted) => {
                last.clear();
                log::info!(
                    endpoint:% = settings.data, session_present = granted.session_present;
                    "connected to the cloud"
                );
            }
            Status::Disconnected {
                cause,
                retry_in,
                duplicate_client_id: false,
            } => lost(&mut last, settings, &cause.to_string(), Some(retry_in)),
            Status::Disconnected { cause, .. } => {
                let text = format!(
                    "another client connects as {:?}, this device's thing name, and the broker keeps one of the two only ({cause}): give each device its own",
                    settings.thing_name
                );
                if last != text {
                    log::error!("{text}");
                    last = text;
                }
            }
            // The state before may have passed unseen.
            Status::Connecting {
                after: Some(cause), ..
            } if last.is_empty() => lost(&mut last, settings, &cause.to_string(), None),
            Status::Connecting { .. } => {}
            Status::Stopped => return,
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn lost(last: &mut String, settings: &Settings, cause: &str, retry_in: Option<Duration>) {
    let endpoint = &settings.data;
    let seconds = retry_in.unwrap_or_default().as_secs_f64();
    if last == cause {
        log::debug!(endpoint:% = endpoint, retry_in = seconds; "still no connection to the cloud: {cause}");
    } else {
        log::warn!(endpoint:% = endpoint, retry_in = seconds; "no connection to the cloud: {cause}");
        cause.clone_into(last);
    }
}
