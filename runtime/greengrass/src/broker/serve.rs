//! The running broker: engine and listeners, reload, counters, and the orderly end.

use super::{
    certificates::{self, Certificates},
    config::{Config, Listener, Protocol},
    limits::Persistence,
    policy::FilePolicy,
};
use crate::signals;
use anyhow::{Context, ensure};
use logs::Logs;
use mqtt::{
    engine::{Engine, Loaded, Store},
    front::{self, Failure, Front, TlsHandle, Transport},
};
use std::{
    fs::DirBuilder, future::pending, os::unix::fs::DirBuilderExt, path::Path, sync::Arc,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval},
};

/// What clients get to take leave.
const GRACE: Duration = Duration::from_secs(5);

/// Everything that would stop the broker from starting, short of listening.
pub fn check(config: &Config) -> anyhow::Result<()> {
    if let Some(tls) = certificates::read(config.tls.as_ref())?.tls {
        TlsHandle::new(&tls)?;
    }
    Ok(())
}

/// Serves until a signal ends it.
pub async fn run(file: &Path, config: &mut Config, logs: &Logs) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let mut questions = signal(SignalKind::user_defined1())?;
    let shutdown = signals::shutdown()?;
    let broker = Broker::start(config).await?;
    let mut ticks = config.metrics_every.map(interval);
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.reset();
    }
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = hangups.recv() => broker.reload(file, logs).await,
            _ = questions.recv() => broker.log_metrics(),
            () = tick(ticks.as_mut()) => broker.log_metrics(),
        }
    }
    broker.stop().await;
    Ok(())
}

async fn tick(ticks: Option<&mut Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => pending().await,
    }
}

struct Broker {
    engine: Engine,
    front: Front,
    tls: Option<TlsHandle>,
    policy: Arc<FilePolicy>,
    /// What only a restart changes, as it was at the start.
    fixed: String,
}

impl Broker {
    async fn start(config: &mut Config) -> anyhow::Result<Self> {
        let certificates = read_aside(config).await?;
        let tls = match &certificates.tls {
            Some(tls) => Some(TlsHandle::new(tls)?),
            None => None,
        };
        let fixed = fixed(config);
        let policy = FilePolicy::new(config, certificates.revoked)?;
        let engine =
            Engine::start(config.engine.clone(), policy.clone(), store(config).await?).await?;
        let front = Front::new(config.front);
        let broker = Self {
            engine,
            front,
            tls,
            policy,
            fixed,
        };
        for listener in &config.listeners {
            broker.listen(listener)?;
        }
        Ok(broker)
    }

    fn listen(&self, listener: &Listener) -> anyhow::Result<()> {
        let tls = || self.tls.clone().context("there are no certificates");
        let transport = match listener.protocol {
            Protocol::Mqtt => Transport::Tcp,
            Protocol::Mqtts => Transport::Tls(tls()?),
            Protocol::Ws => Transport::WebSocket,
            Protocol::Wss => Transport::SecureWebSocket(tls()?),
        };
        let engine = self.engine.clone();
        let serve = front::handler(move |stream, peer| engine.connection(stream, peer));
        let listening = front::Listener::new(transport, serve);
        let address = self.front.listen(listener.address, listening)?;
        let protocol = listener.protocol.as_str();
        log::info!(address:% = address, protocol; "listening");
        Ok(())
    }

    /// The file once more. Everything in it must be good before anything of it is taken.
    async fn reload(&self, file: &Path, logs: &Logs) {
        match self.try_reload(file, logs).await {
            Ok(()) => log::info!("the configuration has been read again"),
            Err(error) => {
                log::error!("the configuration stays as it was: {error:#}");
            }
        }
    }

    async fn try_reload(&self, file: &Path, logs: &Logs) -> anyhow::Result<()> {
        let mut config = Config::read(file)?;
        let certificates = read_aside(&config).await?;
        match (&self.tls, &certificates.tls) {
            (Some(handle), Some(tls)) => handle.replace(tls)?,
            (Some(_), None) => ensure!(false, "'tls' is gone, but listeners need it"),
            (None, _) => {}
        }
        if fixed(&config) != self.fixed {
            log::warn!(
                "listeners, limits, persistence and threads have changed as well: that takes a restart"
            );
        }
        logs.apply(logs::Settings::from_configuration(&config.logging).0);
        self.policy.replace(&mut config, certificates.revoked);
        Ok(())
    }

    fn log_metrics(&self) {
        let front = self.front.metrics();
        let failures: Vec<String> = (Failure::ALL.iter())
            .map(|why| format!("{why}={}", front.failed(*why)))
            .collect();
        log::info!(
            open = front.open, handshaking = front.handshaking, accepted = front.accepted,
            established = front.established, accept_errors = front.accept_errors,
            failures = failures.join(" ");
            "connections"
        );
        log::info!("engine: {:?}", self.engine.metrics());
    }

    async fn stop(&self) {
        self.front.close().await;
        self.engine.stop(GRACE).await;
        let cut = self.front.stop(Duration::from_secs(1)).await;
        log::info!(cut; "stopped");
    }
}

/// The store in the folder of persistence, and what it holds from before.
async fn store(config: &Config) -> anyhow::Result<Option<(Store, Loaded)>> {
    let Some(Persistence { folder, options }) = config.persistence.clone() else {
        return Ok(None);
    };
    let open = move || {
        let what = || format!("cannot keep anything in {}", folder.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(what)?;
        let (store, loaded, _) =
            Store::open(&folder.join("mqtt.db"), options).with_context(what)?;
        anyhow::Ok(Some((store, loaded)))
    };
    tokio::task::spawn_blocking(open).await?
}

async fn read_aside(config: &Config) -> anyhow::Result<Certificates> {
    let files = config.tls.clone();
    tokio::task::spawn_blocking(move || certificates::read(files.as_ref())).await?
}

/// What a reload does not touch, in a form to be compared.
fn fixed(config: &Config) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {}",
        config.listeners, config.front, config.engine, config.persistence, config.threads
    )
}
