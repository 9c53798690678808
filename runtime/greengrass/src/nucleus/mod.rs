//! The nucleus role: opens the state, wires supervisor, deployments and IPC to each other, and takes all down in order.
//!
//! ```text
//! IPC ── ports ──> components ──> supervisor ──> launcher
//!  │               deployments ─> deploy ──┘ (apply, bootstrap)
//!  ├ handles (listeners, validators) <────┘ (ask before an update)
//!  └ cloud ──────> link ── MQTT ──> AWS IoT or greengrass-cloud
//! components ── HTTP ──> credentials ── HTTPS ──┘
//! ```

mod access;
mod cloud;
mod components;
mod deployments;
mod identity;
mod listeners;
mod metrics;
mod options;
mod provisioning;
mod runtime;

pub use options::Options;

use crate::exit::Exit;
use anyhow::Context;
use configuration::{Configuration, Operation};
use deploy::Deployments;
use identity::Callers;
use logs::Logs;
use runtime::Requests;
use serde_json::Value;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::Database;
use supervisor::{Supervisor, launcher::Launcher};
use tokio_util::sync::CancellationToken;

/// Timestamp of values from read-only configuration files: newer than a recipe's defaults, older than anything said later.
const CONFIGURED_AT: u64 = 2;
/// The nucleus' own configuration.
pub const NUCLEUS: [&str; 3] = ["services", "aws.greengrass.Nucleus", "configuration"];

/// Runs until `shutdown`, or until a deployment asks for a restart. Components are stopped at the end if `options` say so,
/// else they go on for the next nucleus to adopt.
pub async fn run(
    options: &Options,
    launcher: Arc<dyn Launcher>,
    logs: &Logs,
    shutdown: CancellationToken,
) -> anyhow::Result<Exit> {
    folders(&options.root)?;
    let provisioning = provisioning::Wanted::read(options)?;
    let (database, configuration) = open_state(options, &provisioning).await?;
    apply_logging(logs, &configuration);
    let thing_name = text(&configuration, &["system", "thingName"]);
    if let Some(name) = &thing_name {
        logs.set_context("thing", name);
    }

    let socket = ipc_socket(options, &configuration);
    let pubsub = ipc::PubSub::default();
    let updates = ipc::UpdateListeners::default();
    let validators = ipc::ConfigurationValidators::default();

    let (link, linking) = ::cloud::Link::new(
        configuration.clone(),
        ::cloud::Options {
            spool: options.root.join("spool/messages.db"),
        },
    );
    let credentials = ::cloud::Credentials::open(configuration.clone(), &link).await;

    let release = CancellationToken::new();
    // Components are told the path that fits a socket's address, however deep the root folder lies.
    let told = ipc::socket::address(&socket)?;
    let set_up = {
        let (options, configuration) = (options.clone(), configuration.clone());
        let credentials = credentials.clone();
        Arc::new(move || options.supervisor(&configuration, told.clone(), credentials.uri()))
    };
    let (supervisor, supervise) = Supervisor::open(
        set_up(),
        database.clone(),
        launcher.clone(),
        release.clone(),
    );
    let components = components::Components {
        supervisor: supervisor.clone(),
        options: set_up,
    };
    let requests = Requests::default();
    let ports = deploy::Ports {
        components: Arc::new(components.clone()),
        listeners: Arc::new(listeners::Listeners(updates.clone())),
        validators: Arc::new(listeners::Validators(validators.clone())),
        runtime: Arc::new(requests.clone()),
    };
    let (deployments, deploying) = Deployments::open(
        options.deployments(thing_name),
        database.clone(),
        configuration.clone(),
        ports,
    )
    .await
    .context("cannot open the deployments")?;

    let callers = Callers::new(supervisor.clone(), launcher)?;
    let (metrics, metrics_writer) = metrics::open(options.root.join("telemetry"));
    let server = ipc::Server::bind(
        &ipc::Options {
            path: socket,
            limits: ipc::Limits::default(),
        },
        ipc::Ports {
            identity: Arc::new(callers.clone()),
            components: Arc::new(components.clone()),
            deployments: Arc::new(deployments::Local(deployments.clone())),
            metrics: Arc::new(metrics),
            cloud: Arc::new(cloud::Broker(link)),
            configuration: configuration.clone(),
            pubsub,
            updates,
            validators,
        },
    )?;
    let address = server.address().to_owned();

    let access = cloud::Components {
        supervisor: supervisor.clone(),
        rights: server.rights(),
    };
    let (stop_ipc, stop_deploying) = (CancellationToken::new(), CancellationToken::new());
    let stop_cloud = CancellationToken::new();
    let supervising = tokio::spawn(supervise.run());
    let serving = tokio::spawn(server.run(stop_ipc.clone()));
    let linking = tokio::spawn(linking.run(stop_cloud.clone()));
    let exchanging = tokio::spawn(credentials.run(Arc::new(access), stop_cloud.clone()));
    // Before readiness is told, where it can be: the command line is the first to connect.
    let publishing = match callers.publish(&options.root, &address) {
        Ok(()) => None,
        Err(error) => {
            log::error!("the command line cannot connect yet: {error:#}");
            let (callers, root) = (callers.clone(), options.root.clone());
            let again = publish_again(callers, root, address.clone(), stop_ipc.clone());
            Some(tokio::spawn(again))
        }
    };
    let logging = tokio::spawn(follow_logging(
        logs.clone(),
        configuration.clone(),
        stop_ipc.clone(),
    ));
    let provisioning = tokio::spawn(provisioning.run(
        configuration.clone(),
        components.clone(),
        logs.clone(),
        stop_deploying.clone(),
    ));
    log::info!("IPC is ready at {}", address.display());
    let ready = writeln!(
        io::stdout(),
        "greengrass {} is ready\n  state   {}\n  socket  {}",
        env!("CARGO_PKG_VERSION"),
        options.root.display(),
        address.display()
    );
    if let Err(error) = ready {
        log::debug!("standard output takes nothing: {error}");
    }
    tell_lost_state(&options.root, &deployments);

    let adopted = supervisor.adopt(deployments.active()).await;
    if let Err(error) = adopted {
        log::error!("not all components could be taken over: {error}");
    }
    let deploying = tokio::spawn(deploying.run(stop_deploying.clone()));

    let exit = tokio::select! {
        () = shutdown.cancelled() => Exit::Stopped,
        exit = requests.asked() => exit,
    };
    stop_deploying.cancel();
    wait("the deployment task", deploying).await;
    wait("provisioning", provisioning).await;
    if options.keep_components {
        release.cancel();
    } else {
        supervisor.shutdown().await;
    }
    wait("the supervisor", supervising).await;
    // IPC last: components may speak until the last of them has stopped.
    stop_ipc.cancel();
    wait("IPC", serving).await;
    // What components said last is still to be sent, or kept.
    stop_cloud.cancel();
    wait("the cloud link", linking).await;
    wait("the credentials endpoint", exchanging).await;
    wait("the log settings", logging).await;
    if let Some(publishing) = publishing {
        wait("the command line's token", publishing).await;
    }
    callers.withdraw(&options.root);
    drop((deployments, supervisor, configuration));
    tokio::task::spawn_blocking(move || {
        metrics_writer.close();
        database.shut_down();
    })
    .await?;
    Ok(exit)
}

/// How often the command line's token is tried to be written.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// A full disk keeps people out, not components: they run, and the token follows when there is space.
async fn publish_again(callers: Callers, root: PathBuf, address: PathBuf, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PUBLISH_EVERY) => {}
        }
        if callers.publish(&root, &address).is_ok() {
            return log::info!("the command line can connect again");
        }
    }
}

/// A store that knows of no deployment beside recipes that one has put there has been lost or emptied.
fn tell_lost_state(root: &Path, deployments: &Deployments) {
    let recipes = root.join("packages/recipes");
    let stored = fs::read_dir(&recipes).is_ok_and(|mut entries| entries.next().is_some());
    if stored && deployments.active().is_empty() && deployments.list().is_empty() {
        log::error!(
            "{} knows of no deployment, but {} holds recipes: the state was lost; deploy again",
            root.join("state.db").display(),
            recipes.display()
        );
    }
}

async fn wait<T>(what: &str, task: tokio::task::JoinHandle<T>) {
    match tokio::time::timeout(Duration::from_secs(30), task).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => log::error!("{what} ended badly: {error}"),
        Err(_) => log::error!("{what} did not end in time"),
    }
}

/// The folders everybody expects. The root can be entered by components, which have their own folders below it.
fn folders(root: &Path) -> anyhow::Result<()> {
    let make = |path: &Path, mode: u32| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))
    };
    make(root, 0o755)?;
    for folder in [
        "packages",
        "work",
        "logs",
        "deployments",
        "config",
        "cli_ipc_info",
        "telemetry",
    ] {
        make(&root.join(folder), 0o755)?;
    }
    Ok(())
}

async fn open_state(
    options: &Options,
    provisioning: &provisioning::Wanted,
) -> anyhow::Result<(Database, Configuration)> {
    let path = options.root.join("state.db");
    let schemas = [
        Configuration::SCHEMA,
        supervisor::SCHEMA,
        Deployments::SCHEMA,
    ];
    let (database, aside) = Database::open_or_set_aside(&path, &schemas)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if let Some(aside) = aside {
        log::error!(
            "{} was damaged ({}) and is kept as {}; beginning anew",
            path.display(),
            aside.reason,
            aside.path.display()
        );
    }
    let configuration = Configuration::open(database.clone())
        .await
        .context("cannot read the configuration")?;
    configuration
        .commit(provisioning.given(options, &configuration))
        .await
        .context("cannot apply the configuration files")?;
    Ok((database, configuration))
}

/// `system.ipcSocketPath`, or `ipc.socket` in the root folder.
fn ipc_socket(options: &Options, configuration: &Configuration) -> PathBuf {
    text(configuration, &["system", "ipcSocketPath"])
        .map_or_else(|| options.root.join("ipc.socket"), Into::into)
}

fn text(configuration: &Configuration, path: &[&str]) -> Option<String> {
    match configuration.get(path)? {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn merged(path: &[&str], value: Value) -> Operation {
    Operation::Merge {
        path: path.iter().map(|s| (*s).to_owned()).collect(),
        value,
        at: CONFIGURED_AT,
    }
}

fn logging(configuration: &Configuration) -> Value {
    let path = [NUCLEUS[0], NUCLEUS[1], NUCLEUS[2], "logging"];
    configuration.get(&path).unwrap_or(Value::Null)
}

fn apply_logging(logs: &Logs, configuration: &Configuration) {
    let (settings, warnings) = logs::Settings::from_configuration(&logging(configuration));
    logs.apply(settings);
    for warning in warnings {
        log::warn!("logging: {warning}");
    }
}

/// A deployment may change level, format and sizes while everything runs.
async fn follow_logging(logs: Logs, configuration: Configuration, stop: CancellationToken) {
    let mut changes = configuration.subscribe(&[NUCLEUS[0], NUCLEUS[1], NUCLEUS[2], "logging"]);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => match change {
                Some(_) => apply_logging(&logs, &configuration),
                None => return,
            },
        }
    }
}
