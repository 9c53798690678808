//! Starts and stops the engine, its front and what runs beside them.

use super::{access::Access, dispatch, https, port::Devices, presence};
use crate::{iot::registry::Event, pki::Pki, state::State};
use anyhow::{Context as _, Result};
use mqtt::{
    engine::{Engine, Options, Store},
    front::{
        ClientCertificates, Front, Limits, Listener, TlsConfig, TlsHandle, Transport, Verdict,
        handler,
    },
    store,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long clients have to take what waits for them at the end.
const GRACE: Duration = Duration::from_secs(5);

/// The largest message that AWS IoT takes, and what a packet has around it.
const MAX_PACKET: u32 = 128 * 1024 + 4096;

/// How often claims are looked at; what one that has run out asks for is refused at once.
const CLAIMS: Duration = Duration::from_secs(10);

/// MQTT 5's reason code for a certificate that is no longer good.
const NOT_AUTHORIZED: u8 = 0x87;

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// MQTT, HTTPS by ALPN.
    pub mqtt: SocketAddr,
    /// HTTPS, MQTT by ALPN.
    pub https: SocketAddr,
    /// Connections in all.
    pub connections: usize,
    /// Certificates that one claim may ask for; as many as it likes without.
    pub claim_uses: Option<u32>,
}

/// Everything that serves devices.
pub struct Host {
    /// The engine, for who else needs it.
    pub engine: Engine,
    front: Front,
    tls: TlsHandle,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Where MQTT is served.
    pub mqtt: SocketAddr,
    /// Where HTTPS is served.
    pub https: SocketAddr,
}

fn tls(pki: &Pki) -> TlsConfig {
    let pair = pki.server();
    let mut config = TlsConfig::new(
        vec![
            pair.certificate.clone(),
            pki.authority.certificate().clone(),
        ],
        pair.key.clone(),
    );
    config.authorities = vec![pki.authority.certificate().clone()];
    config.client_certificates = ClientCertificates::Required;
    // Whether a certificate is registered and active is looked up when it is used; here it only has to be one whose key the
    // client holds. Those registered without an authority chain to nothing.
    config.verify = Some(Arc::new(|presented| match presented.problem {
        None => Verdict::AsChain,
        Some(mqtt::front::ChainProblem::UnknownAuthority) => Verdict::Accept,
        Some(_) => Verdict::Refuse,
    }));
    config
}

impl Host {
    /// Starts listening.
    pub async fn start(state: &Arc<State>, listen: Listen) -> Result<Self> {
        let folder = state.folder.join("mqtt");
        crate::state::private_folder(&folder)?;
        let file = folder.join("sessions.db");
        let (store, loaded, _) =
            tokio::task::spawn_blocking(move || Store::open(&file, store::Options::default()))
                .await?
                .context("opening the sessions of devices")?;
        let access = Access::new(
            state.registry.clone(),
            state.account.clone(),
            state.link.clone(),
        );
        let options = Options {
            max_packet_size: MAX_PACKET,
            max_sessions: listen.connections.saturating_mul(2),
            ..Options::default()
        };
        let engine = Engine::start(options, Arc::new(access), Some((store, loaded))).await?;
        let outlet: Arc<dyn Devices> = Arc::new(dispatch::Outlet(engine.clone()));
        state.link.set(outlet);
        let _ = state.engine.set(engine.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(
            dispatch::run(
                engine.clone(),
                Arc::clone(state),
                listen.claim_uses,
                stop.clone(),
            )
            .await?,
        );
        tasks.spawn(end_claims(engine.clone(), Arc::clone(state), stop.clone()));
        tasks.spawn(presence::run(
            engine.clone(),
            state.link.clone(),
            stop.clone(),
        ));
        tasks.spawn(cut_off(engine.clone(), Arc::clone(state), stop.clone()));
        let jobs = state.jobs.clone();
        let (registry, ending) = (state.registry.clone(), stop.clone());
        tasks.spawn(async move { jobs.run(registry, ending).await });

        let front = Front::new(Limits {
            connections: listen.connections,
            // Behind one gateway there may be a whole fleet.
            connections_per_address: listen.connections,
            ..Limits::default()
        });
        let tls = TlsHandle::new(&tls(&state.pki))?;
        let served = engine.clone();
        let mqtt_handler = handler(move |stream, peer| served.connection(stream, peer));
        let (plane, ending) = (Arc::clone(state), stop.clone());
        let https_handler = handler(move |stream, peer| {
            https::connection(Arc::clone(&plane), stream, peer, ending.clone())
        });
        let listener = || {
            Listener::new(Transport::Tls(tls.clone()), mqtt_handler.clone())
                .with_http(https_handler.clone())
        };
        let mqtt = front.listen(listen.mqtt, listener())?;
        let https = front.listen(listen.https, listener().silent_means_http())?;
        tasks.close();
        Ok(Self {
            engine,
            front,
            tls,
            tasks,
            stop,
            mqtt,
            https,
        })
    }

    /// Shows a new server certificate to those who connect from now on.
    pub fn renew(&self, pki: &Pki) -> Result<()> {
        Ok(self.tls.replace(&tls(pki))?)
    }

    /// Ends everything in order: nobody new, clients told, requests answered, sessions saved.
    pub async fn stop(&self) {
        self.front.close().await;
        self.stop.cancel();
        self.tasks.wait().await;
        self.engine.stop(GRACE).await;
        self.front.stop(GRACE).await;
    }
}

/// Ends connections of claims that have run out.
async fn end_claims(engine: Engine, state: Arc<State>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(CLAIMS))
        .await
        .is_some()
    {
        let over = |who: &mqtt::Identity| {
            let loaded = who.certificate.as_ref();
            let loaded = loaded.and_then(|own| state.registry.loaded(&own.fingerprint));
            loaded.is_some_and(|principal| principal.claim.is_some() && !principal.active())
        };
        engine.disconnect_where(over, NOT_AUTHORIZED);
    }
}

/// Ends connections whose certificate was revoked, deactivated or deleted, at once.
async fn cut_off(engine: Engine, state: Arc<State>, stop: CancellationToken) {
    use tokio::sync::broadcast::error::RecvError;
    let mut events = state.registry.events();
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        let certificate = match event {
            Ok(Event::CertificateChanged {
                certificate,
                status,
            }) if status.as_deref() != Some("ACTIVE") => certificate,
            // The engine asks for every connection anew whenever a loaded certificate changed, so nothing is missed.
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        // The event may be older than what is known: it was activated again, and whoever is connected came after that.
        let known = state.registry.loaded(&certificate);
        if known.is_some_and(|principal| principal.active()) {
            continue;
        }
        let held = |who: &mqtt::Identity| {
            who.certificate
                .as_ref()
                .is_some_and(|own| own.fingerprint == certificate)
        };
        let ended = engine.disconnect_where(held, NOT_AUTHORIZED);
        state.registry.forget(&certificate);
        if ended > 0 {
            log::info!(certificate = certificate.as_str(); "{ended} connections ended: the certificate is no longer active");
        }
    }
}
