//! `greengrass-cloud serve`: opens the state, binds the listeners, runs everything until the token is cancelled.

use crate::{
    admin,
    console::Console,
    device::{Host, Listen},
    http::{Api, server},
    options::Serve,
    state::{Endpoints, Settings, State, users},
};
use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use std::{io::IsTerminal, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How often the server's certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);

/// Runs until the token is cancelled and everything has ended.
pub async fn run(options: Serve, shutdown: CancellationToken) -> Result<()> {
    if !options.no_http && !options.listen_http.ip().is_loopback() && !options.insecure_http {
        bail!(
            "--listen-http {}: other machines reach this address, and what they send would not be encrypted; use --listen-https, or say --insecure-http",
            options.listen_http
        );
    }
    let settings = Settings {
        account: options.account.clone(),
        region: options.region.clone(),
        names: options.names.clone(),
    };
    let state = State::open(&options.data.data, &settings)
        .with_context(|| format!("opening {}", options.data.data.display()))?
        .shared();
    let http = match options.no_http {
        true => None,
        false => Some(bind(options.listen_http).await?),
    };
    let https = bind(options.listen_https).await?;
    let listen = Listen {
        mqtt: options.listen_mqtt,
        https: options.listen_devices,
        connections: options.max_connections,
        claim_uses: options.claim_uses,
    };
    let host = Arc::new(
        Host::start(&state, listen)
            .await
            .context("serving devices")?,
    );
    let endpoints = Endpoints {
        mqtt: Some(host.mqtt),
        devices: Some(host.https),
        host: state.pki.names().first().cloned().unwrap_or_default(),
        http: http.as_ref().map(TcpListener::local_addr).transpose()?,
        https: Some(https.local_addr()?),
    };
    state.endpoints.store(Arc::new(endpoints.clone()));
    let acceptor = Arc::new(ArcSwap::from_pointee(state.pki.acceptor()?));
    let admin = admin::bind(&state.folder)?;
    let console = Console::start(&state, &shutdown);
    let api = Arc::new(Api::new(Arc::clone(&state)).with_console(console));

    let mut tasks = JoinSet::new();
    if let Some(http) = http {
        tasks.spawn(server::serve(
            http,
            None,
            Arc::clone(&api),
            shutdown.clone(),
        ));
    }
    tasks.spawn(server::serve(
        https,
        Some(Arc::clone(&acceptor)),
        api,
        shutdown.clone(),
    ));
    tasks.spawn(admin::serve(admin, Arc::clone(&state), shutdown.clone()));
    tasks.spawn(crate::greengrassv2::run(
        Arc::clone(&state),
        shutdown.clone(),
    ));
    tasks.spawn(renew(
        Arc::clone(&state),
        acceptor,
        Arc::clone(&host),
        shutdown.clone(),
    ));
    announce(&state, &endpoints)?;

    let mut failed = false;
    while let Some(ended) = tasks.join_next().await {
        // One that ends before it is told to takes everything with it: better than half a control plane.
        failed |= ended.is_err() || !shutdown.is_cancelled();
        shutdown.cancel();
    }
    host.stop().await;
    let database = state.database.clone();
    tokio::task::spawn_blocking(move || database.shut_down()).await?;
    anyhow::ensure!(
        !failed,
        "a part of the program ended by itself; the log says why"
    );
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))
}

/// Shows a new certificate to those who connect from now on.
async fn renew(
    state: Arc<State>,
    acceptor: server::Tls,
    host: Arc<Host>,
    shutdown: CancellationToken,
) {
    while shutdown
        .run_until_cancelled(tokio::time::sleep(RENEWAL))
        .await
        .is_some()
    {
        let renewed = state.pki.renew().and_then(|renewed| {
            if renewed {
                host.renew(&state.pki)?;
            }
            Ok((renewed, state.pki.acceptor()?))
        });
        match renewed {
            Ok((true, new)) => acceptor.store(Arc::new(new)),
            Ok((false, _)) => {}
            Err(error) => log::error!("renewing the server's certificate: {error:#}"),
        }
    }
}

/// Tells a person where everything is and how to begin. The secret is shown once, and only on a terminal: what is not a
/// terminal is somebody's log.
fn announce(state: &State, endpoints: &Endpoints) -> Result<()> {
    let account = &state.account;
    println!(
        "greengrass-cloud is up: account {}, region {}",
        account.id, account.region
    );
    if let Some(http) = endpoints.http {
        println!("  REST   http://{http}");
    }
    if let Some(https) = endpoints.https {
        println!(
            "  REST   https://{}:{}   (CA: {})",
            endpoints.host,
            https.port(),
            state.pki.ca_file().display()
        );
    }
    for (what, address) in [("MQTT  ", endpoints.mqtt), ("HTTPS ", endpoints.devices)] {
        if let Some(address) = address {
            println!(
                "  {what} {}:{}   for devices, with their certificates",
                endpoints.host,
                address.port()
            );
        }
    }
    if let Some(url) = endpoints.url() {
        println!("  Pages  {url}/console/");
    }
    if account.new && std::io::stdout().is_terminal() {
        let key = state
            .database
            .read_blocking(|t| users::key_of(t, users::FIRST))?;
        println!("\nPaste into a shell for the AWS CLI (the secret is not shown again):\n");
        print!("{}", exports(state, endpoints, &key));
    } else {
        println!(
            "  Keys   greengrass-cloud credentials --data {}",
            state.folder.display()
        );
    }
    Ok(())
}

/// The lines that make a shell's AWS CLI talk to this control plane.
pub fn exports(state: &State, endpoints: &Endpoints, key: &users::AccessKey) -> String {
    let mut lines = String::new();
    let url = endpoints.url().unwrap_or_default();
    lines.push_str(&format!("export AWS_ENDPOINT_URL={url}"));
    if url.starts_with("https:") {
        lines.push_str(&format!(
            " AWS_CA_BUNDLE='{}'",
            state.pki.ca_file().display()
        ));
    }
    lines.push_str(&format!(
        "\nexport AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}\nexport AWS_DEFAULT_REGION={}\n",
        key.access_key_id,
        key.secret_access_key.reveal(),
        state.account.region
    ));
    lines
}
