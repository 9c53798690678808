//! `greengrass broker`: the MQTT engine alone, by a configuration file. `sample.yaml` beside this file has every key.
//!
//! SIGHUP reads the file again and takes certificates, users and rules from it; a file with a mistake changes nothing. SIGTERM ends
//! in order, SIGUSR1 logs the counters.
//!
//! For those who come from `mosquitto.conf`:
//!
//! | mosquitto | here |
//! |---|---|
//! | `listener 8883 0.0.0.0` | `listeners: [{port: 8883, address: 0.0.0.0, protocol: mqtts}]`; without an address on this machine only |
//! | `cafile`, `capath` | `tls.authorities`, a list of files; an intermediate alone is enough |
//! | `certfile`, `keyfile` | `tls.certificate`, `tls.key` (also a `pkcs11:` URI); for all listeners |
//! | `crlfile` | `tls.revoked`, also lists of fingerprints |
//! | `require_certificate` | `tls.clientCertificates`; required as soon as there are authorities |
//! | `use_identity_as_username` | `%cn` and `commonName` in rules |
//! | `allow_anonymous` | `anonymous: never`, `loopback` or `always` |
//! | `password_file` | `passwordFile`: the same file works (hashes `$7$`) |
//! | `acl_file`: `topic`, `pattern`, `user` | `rules`; they only allow, SUBSCRIBE is checked too, and none means nothing |
//! | `persistence_location` | `persistence.folder`; acknowledged means on disk |
//! | `max_connections`, `max_queued_messages`, … | `limits` |

mod certificates;
mod config;
mod hash_password;
mod limits;
mod password;
mod policy;
mod reader;
mod revoked;
mod rules;
mod serve;

use crate::{arguments, exit::Exit};
use anyhow::Context;
use config::Config;
use logs::{Logs, Target};
use std::{path::Path, time::Duration};
use tokio::runtime::{Builder, Runtime};

/// The role, or one of its small commands.
pub fn run(arguments: &arguments::Broker) -> anyhow::Result<Exit> {
    if let Some(arguments::BrokerCommand::HashPassword) = arguments.command {
        hash_password::run()?;
        return Ok(Exit::Stopped);
    }
    let file = arguments.config.as_deref().context("--config is missing")?;
    let mut config = Config::read(file)?;
    if arguments.check {
        serve::check(&config)?;
        println!("{}: good", file.display());
        return Ok(Exit::Stopped);
    }
    let logs = logging(&config)?;
    let result = executor(config.threads)?.block_on(serve::run(file, &mut config, &logs));
    logs.flush(Duration::from_secs(2));
    result.map(|()| Exit::Stopped)
}

fn executor(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    let runtime = builder.enable_all().thread_name("broker").build();
    runtime.context("cannot start the broker's executor")
}

/// To the journal when systemd started this, else to standard error.
fn logging(config: &Config) -> anyhow::Result<Logs> {
    let target = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => Target::Journal,
        None => Target::Console,
    };
    let (settings, _) = logs::Settings::from_configuration(&config.logging);
    let options = logs::Options {
        target,
        folder: Path::new("/").to_owned(),
        program: "greengrass-broker",
        settings,
    };
    Ok(logs::init(options)?)
}
