//! `greengrass-cloud export`: what is here is made anew in an account of AWS, or in another control plane, by the AWS APIs.
//!
//! ```text
//! client     signed requests, tried again when they may be
//! service    the calls as method and path
//! journey    what is moved, kind by kind, in the order in which things depend on each other
//! artifacts  objects that recipes refer to
//! translate  ARNs and buckets of the old place become those of the new one
//! report     what was moved, what was there, what was not moved and why
//! ```
//! Every step looks first whether it is done: an export that was interrupted is simply run again. Nothing that exists in the
//! new place is changed.

mod artifacts;
mod client;
mod journey;
mod report;
mod service;
mod translate;

use crate::{
    admin::{self, Answer, Command},
    http::{Secret, sigv4::signer::Keys},
    options::Export,
};
use anyhow::{Context as _, Result, bail, ensure};
use client::Client;
use journey::Journey;
use report::Report;
use std::{env, path::Path};
use translate::Translation;

/// Moves; fails when something could not be moved.
pub async fn run(options: Export) -> Result<()> {
    let here = source(&options.data.data, &options.user).await?;
    let there = destination(&options)?;
    let from = here
        .identity()
        .await
        .context("asking the control plane who it is")?;
    let to = there
        .identity()
        .await
        .context("asking the new place who it is")?;
    ensure!(
        (&from.account, here.region()) != (&to.account, there.region()),
        "the new place is the old one: account {}, region {}",
        to.account,
        there.region()
    );
    eprintln!(
        "from account {} in {} to account {} in {}{}",
        from.account,
        here.region(),
        to.account,
        there.region(),
        if options.dry_run {
            ", of which nothing is changed"
        } else {
            ""
        }
    );
    let translation = Translation {
        from_account: from.account,
        from_region: here.region().to_owned(),
        to_account: to.account,
        to_region: there.region().to_owned(),
        partition: to.partition,
        bucket: options.bucket.clone(),
    };
    let mut journey = Journey {
        here,
        there,
        translation,
        dry_run: options.dry_run,
        certificates: options.certificates,
        report: Report::default(),
    };
    let ended = journey.run().await;
    journey.report.print(options.dry_run);
    if let Some(path) = &options.report {
        let text = serde_json::to_string_pretty(&journey.report.document())?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    ended?;
    let failed = journey.report.failures();
    ensure!(
        failed == 0,
        "{failed} could not be moved; when what hindered them is mended, run the same command again"
    );
    Ok(())
}

/// The running program, with the keys of a user.
async fn source(folder: &Path, user: &str) -> Result<Client> {
    let command = Command::Credentials {
        user: user.to_owned(),
    };
    let Answer::Value(answer) = admin::call(folder, command).await? else {
        bail!("an answer of another kind than asked for");
    };
    ensure!(
        answer["running"] == true,
        "greengrass-cloud is not running on {}: start it, the export reads by its API",
        folder.display()
    );
    let lines = answer["lines"].as_str().unwrap_or_default();
    let value = |name: &str| {
        let mut words = lines.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| value.trim_matches('\'').to_owned())
    };
    let need = |name: &str| value(name).with_context(|| format!("the program told no {name}"));
    let keys = Keys {
        access_key_id: need("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Secret::new(need("AWS_SECRET_ACCESS_KEY")?),
        session_token: None,
    };
    Client::new(
        Some(&need("AWS_ENDPOINT_URL")?),
        &need("AWS_DEFAULT_REGION")?,
        keys,
        value("AWS_CA_BUNDLE").as_deref().map(Path::new),
    )
}

/// As the AWS CLI finds it: the environment, or what the command line says.
fn destination(options: &Export) -> Result<Client> {
    let need = |name: &str| {
        env::var(name).with_context(|| {
            format!("{name} is not set: the environment has the credentials of the new place, as `aws configure export-credentials --format env` prints them")
        })
    };
    let keys = Keys {
        access_key_id: need("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Secret::new(need("AWS_SECRET_ACCESS_KEY")?),
        session_token: env::var("AWS_SESSION_TOKEN").ok().map(Secret::new),
    };
    let region = match &options.region {
        Some(region) => region.clone(),
        None => env::var("AWS_REGION")
            .or_else(|_| env::var("AWS_DEFAULT_REGION"))
            .context("say --region, or set AWS_REGION")?,
    };
    let endpoint = options
        .endpoint_url
        .clone()
        .or_else(|| env::var("AWS_ENDPOINT_URL").ok());
    let bundle = env::var_os("AWS_CA_BUNDLE");
    Client::new(
        endpoint.as_deref(),
        &region,
        keys,
        bundle.as_deref().map(Path::new),
    )
}
