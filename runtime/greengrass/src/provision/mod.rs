//! Fleet provisioning by claim: `greengrass provision run|status|check`, and what the nucleus does by itself when it has no
//! identity and the configuration says how to get one.
//!
//! ```text
//! claim (MQTT) ┐
//! device (keys)┴─ ports ──> provision (steps, state file) ──> identity (config/identity.json) ──> configuration tree
//! ```

mod claim;
mod command;
mod device;
mod endorsement;
mod identity;
mod report;

pub use command::command;
pub use identity::{Named, Place, settings};

use anyhow::Context;
use device::Device;
use provision::{Provisioning, Settings};
use serde_json::Value;
use std::time::Duration;

/// How often is looked whether another process has finished, or a full disk has room again.
const AGAIN: Duration = Duration::from_secs(5);

/// Works until the device has its identity, for days if need be, and returns it as a configuration document. Stop it by
/// dropping the future: the next one goes on where it was.
pub async fn provide(place: &Place, settings: &Settings) -> anyhow::Result<Value> {
    let mut told = false;
    let _lock = loop {
        match place.lock()? {
            Some(lock) => break lock,
            None if !told => log::info!("another process provisions this device: waiting for it"),
            None => {}
        }
        told = true;
        tokio::time::sleep(AGAIN).await;
    };
    place.forget_the_end()?;
    let device = Device::new(place.clone(), settings.clone());
    Provisioning::open(&place.state(), settings, device)?
        .run()
        .await?;
    let document = place.read()?;
    document.with_context(|| format!("{} is gone", place.identity().display()))
}

/// The same for a nucleus, which goes on meanwhile: what is not a matter of patience is logged, and tried again.
pub async fn provide_in_background(place: &Place, settings: &Settings) -> Value {
    let mut last = None;
    loop {
        match provide(place, settings).await {
            Ok(document) => return document,
            Err(error) => {
                let error = format!("{error:#}");
                if last.as_ref() != Some(&error) {
                    log::error!("this device cannot be provisioned: {error}");
                }
                last = Some(error);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
