//! `greengrass provision`.

use super::{
    Place,
    device::Device,
    identity::{self, Named},
    provide, report,
};
use crate::{
    arguments::{self, Form, ProvisionCommand},
    exit::Exit,
    roles, settings, signals,
};
use anyhow::{Context, bail};
use std::{os::unix::fs::MetadataExt, time::Duration};

/// Runs one of its commands.
pub fn command(arguments: &arguments::Provision) -> anyhow::Result<Exit> {
    let (ProvisionCommand::Run { device, .. }
    | ProvisionCommand::Status { device, .. }
    | ProvisionCommand::Check { device, .. }) = &arguments.command;
    let place = Place {
        root: roles::root(device)?,
    };
    let documents = settings::read(&device.config_folder, device.config.as_deref())?;
    match &arguments.command {
        ProvisionCommand::Run {
            timeout, output, ..
        } => {
            if let Some(named) = Named::by(&documents) {
                return report::has_its_own(&named, *output);
            }
            let Some(settings) = identity::settings(&documents)? else {
                bail!("{}", report::NOT_CONFIGURED);
            };
            same_owner(&place)?;
            let (_, logs) = roles::prepare(device, &place.root, "greengrass-provision")?;
            let limit = timeout.map(Duration::from_secs);
            roles::executor()?.block_on(async {
                let shutdown = signals::shutdown()?;
                let work = async {
                    let all = provide(&place, &settings);
                    match limit {
                        None => all.await,
                        Some(limit) => {
                            let done = tokio::time::timeout(limit, all).await;
                            done.map_err(|_| report::why_not(&place, limit))?
                        }
                    }
                };
                tokio::select! {
                    done = work => done.map(drop),
                    () = shutdown.cancelled() => bail!("stopped before the device had its identity; it goes on where it was"),
                }
            })?;
            logs.flush(Duration::from_secs(2));
            report::status(&place, &documents, *output)
        }
        ProvisionCommand::Status { output, .. } => report::status(&place, &documents, *output),
        ProvisionCommand::Check { output, .. } => {
            let findings = match (Named::by(&documents), identity::settings(&documents)?) {
                (None, Some(settings)) if place.read()?.is_none() => {
                    let device = Device::new(place, settings);
                    roles::executor()?.block_on(device.check())
                }
                (named, _) => {
                    let named = named.or(Named::by(place.read()?.as_slice()));
                    report::check_own(&named.context(report::NOT_CONFIGURED)?)
                }
            };
            report::findings(findings, *output)
        }
    }
}

/// What this makes must be readable by the nucleus.
fn same_owner(place: &Place) -> anyhow::Result<()> {
    let owner = std::fs::metadata(&place.root)
        .with_context(|| format!("cannot look at {}", place.root.display()))?
        .uid();
    let own = rustix::process::geteuid().as_raw();
    if owner != own {
        bail!(
            "{} belongs to user {owner}, and this is user {own}: the nucleus could not read the key; run this as the nucleus' user",
            place.root.display()
        );
    }
    Ok(())
}

impl Form {
    /// Whether a script reads the answer.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json)
    }
}
