//! A nucleus without an identity gets one, if the configuration says how; it runs meanwhile, and goes on with it.

use super::{CONFIGURED_AT, Options, components::Components};
use crate::provision::{self, Named, Place};
use configuration::{Configuration, Operation};
use logs::Logs;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What is to be done about the identity.
pub struct Wanted {
    place: Place,
    /// What an earlier start, or `greengrass provision run`, has left.
    identity: Option<Value>,
    /// How to get one.
    settings: Option<::provision::Settings>,
}

impl Wanted {
    /// Looks at files only.
    pub fn read(options: &Options) -> anyhow::Result<Self> {
        let place = Place {
            root: options.root.clone(),
        };
        if Named::by(&options.documents).is_some() {
            return Ok(Self {
                place,
                identity: None,
                settings: None,
            });
        }
        let identity = place.read()?;
        let settings = match identity {
            Some(_) => None,
            None => provision::settings(&options.documents)?,
        };
        Ok(Self {
            place,
            identity,
            settings,
        })
    }

    /// What goes into the configuration at start.
    pub fn given(&self, options: &Options, configuration: &Configuration) -> Vec<Operation> {
        options.given(
            configuration,
            self.identity.as_ref(),
            self.settings.is_some(),
        )
    }

    /// Provisions until it is done, and makes the identity known in one commit.
    pub async fn run(
        self,
        configuration: Configuration,
        components: Components,
        logs: Logs,
        stop: CancellationToken,
    ) {
        let Some(settings) = &self.settings else {
            return;
        };
        log::info!("this device has no identity yet: provisioning it by claim");
        let work = provision::provide_in_background(&self.place, settings);
        let Some(document) = stop.run_until_cancelled(work).await else {
            return;
        };
        let known = Operation::Merge {
            path: Vec::new(),
            value: document,
            at: CONFIGURED_AT,
        };
        if let Err(error) = configuration.commit(vec![known]).await {
            log::error!("the new identity is used from the next start on: {error}");
            return;
        }
        if let Some(name) = super::text(&configuration, &["system", "thingName"]) {
            logs.set_context("thing", &name);
            log::info!("this device is {name}");
        }
        components
            .supervisor
            .reconfigure((components.options)())
            .await;
    }
}
