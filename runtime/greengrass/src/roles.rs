//! The roles' set-up: options from arguments and files, a runtime of its own for each, logging.

use crate::{
    arguments::{self, Device},
    exit::Exit,
    nucleus, settings, signals,
};
use anyhow::{Context, bail};
use logs::{Logs, Target};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use supervisor::launcher::{Backend, Client, Launcher, Line, Local, Options, Socket};

/// The user that Greengrass installers make for components.
const COMPONENT_USER: &str = "ggc_user:ggc_group";
/// What components get to end by themselves once the runtime has stopped them all; only leftovers need it.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// `greengrass run`: launcher and nucleus in one process, restarted inside it when a deployment asks for that.
pub fn run(arguments: &arguments::Run) -> anyhow::Result<Exit> {
    let root = root(&arguments.device)?;
    let (set_up, logs) = prepare(&arguments.device, &root, "greengrass")?;
    let privileged = rustix::process::geteuid().is_root();
    let mut set_up = nucleus::Options {
        privileged,
        keep_components: false,
        ..set_up
    };
    if privileged && set_up.component_user.is_none() {
        set_up.component_user = component_user()?;
    }
    executor()?.block_on(async {
        let shutdown = signals::shutdown()?;
        let runtime_folder = root.join("run");
        let output = logs.component_output();
        let sink = Arc::new(move |line: &Line<'_>| pass_on(&output, line));
        let launcher = Local::open(Options {
            backend: backend(&arguments.launcher)?,
            allow_reboot: arguments.allow_reboot,
            ..Options::new(root, runtime_folder, sink)
        })
        .await?;
        let launcher = Arc::new(launcher);
        let exit = loop {
            match nucleus::run(&set_up, launcher.clone(), &logs, shutdown.clone()).await? {
                Exit::Restart => log::info!("starting anew"),
                Exit::Reboot if arguments.allow_reboot => {
                    launcher.reboot().await?;
                    break Exit::Stopped;
                }
                exit => break exit,
            }
        };
        launcher.close(CLOSE_GRACE).await;
        logs.flush(Duration::from_secs(2));
        Ok(exit)
    })
}

/// `greengrass nucleus`: asks a launcher in another process. Components outlive it.
pub fn nucleus(arguments: arguments::Nucleus) -> anyhow::Result<Exit> {
    let root = root(&arguments.device)?;
    let (set_up, logs) = prepare(&arguments.device, &root, "greengrass")?;
    let mut set_up = nucleus::Options {
        privileged: true,
        keep_components: true,
        ..set_up
    };
    if set_up.component_user.is_none() {
        set_up.component_user = component_user()?;
    }
    executor()?.block_on(async {
        let shutdown = signals::shutdown()?;
        let launcher = Client::connect(arguments.launcher_socket).await?;
        let launcher: Arc<dyn Launcher> = Arc::new(launcher);
        let exit = nucleus::run(&set_up, launcher.clone(), &logs, shutdown).await?;
        if exit == Exit::Reboot {
            launcher.reboot().await?;
        }
        logs.flush(Duration::from_secs(2));
        Ok(exit)
    })
}

/// `greengrass launcher`: serves the nucleus of one user.
pub fn launcher(arguments: arguments::Launcher) -> anyhow::Result<Exit> {
    let peer = user_id(&arguments.nucleus_user)?;
    let folder = arguments.root.join("logs");
    if !folder.exists() {
        // Whoever comes first makes it, and the nucleus, which is not root, writes there as well.
        fs::create_dir_all(&folder)
            .and_then(|()| std::os::unix::fs::lchown(&folder, Some(peer), None))
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let logs = logs::init(logs::Options {
        folder,
        program: "greengrass-launcher",
        ..logs::Options::default()
    })?;
    executor()?.block_on(async {
        let shutdown = signals::shutdown()?;
        let runtime_folder = arguments
            .socket
            .parent()
            .unwrap_or(Path::new("/run/greengrass"))
            .to_owned();
        let output = logs.component_output();
        let sink = Arc::new(move |line: &Line<'_>| pass_on(&output, line));
        let options = Options {
            backend: backend(&arguments.launcher)?,
            allow_reboot: arguments.allow_reboot,
            ..Options::new(arguments.root, runtime_folder, sink)
        };
        supervisor::launcher::run(
            options,
            Socket {
                path: arguments.socket,
                peer,
            },
            shutdown,
        )
        .await?;
        logs.flush(Duration::from_secs(2));
        Ok(Exit::Stopped)
    })
}

/// One thread: everything here waits far more than it works, and a second one costs memory.
pub fn executor() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime's executor")
}

fn pass_on(output: &logs::ComponentOutput, line: &Line<'_>) {
    use supervisor::launcher::Stream;
    let stream = match line.stream {
        Stream::Stdout => logs::Stream::Stdout,
        Stream::Stderr | Stream::Note => logs::Stream::Stderr,
    };
    output.line(line.component, line.step.as_str(), stream, line.bytes);
}

fn backend(word: &str) -> anyhow::Result<Backend> {
    Ok(match word {
        "auto" => Backend::Auto,
        "systemd" => Backend::Systemd,
        "processes" => Backend::Processes,
        other => bail!("'{other}' is no launcher back end"),
    })
}

/// Reads the configuration files and starts logging.
pub fn prepare(
    device: &Device,
    root: &Path,
    program: &'static str,
) -> anyhow::Result<(nucleus::Options, Logs)> {
    fs::create_dir_all(root.join("logs"))
        .with_context(|| format!("cannot make {}", root.join("logs").display()))?;
    // Absolute, since components have other working folders.
    let root = root
        .canonicalize()
        .with_context(|| format!("cannot use {}", root.display()))?;
    let mut documents = settings::read(&device.config_folder, device.config.as_deref())?;
    if let Some(level) = &device.log_level {
        let logging = json!({ "logging": { "level": level } });
        documents.insert(
            0,
            json!({ "services": { nucleus::NUCLEUS[1]: { "configuration": logging } } }),
        );
    }
    let initial = documents.iter().rev().find_map(|d| {
        d.pointer("/services/aws.greengrass.Nucleus/configuration/logging")
            .cloned()
    });
    let (settings, _) = logs::Settings::from_configuration(&initial.unwrap_or(Value::Null));
    let logs = logs::init(logs::Options {
        target: Target::Auto,
        folder: root.join("logs"),
        program,
        settings,
    })?;
    let options = nucleus::Options {
        root,
        documents,
        thing_name: device.thing_name.clone().unwrap_or_else(host_name),
        component_user: device.component_user.clone(),
        privileged: false,
        keep_components: false,
    };
    Ok((options, logs))
}

/// The folder of all state, made if it is not there.
pub fn root(device: &Device) -> anyhow::Result<PathBuf> {
    let root = match &device.root {
        Some(root) => root.clone(),
        None if rustix::process::geteuid().is_root() => "/var/lib/greengrass".into(),
        None => cli::own_root().context("there is no HOME; say --root")?,
    };
    fs::create_dir_all(&root)
        .with_context(|| format!("cannot make the root folder {}", root.display()))?;
    root.canonicalize()
        .with_context(|| format!("cannot use the root folder {}", root.display()))
}

/// `ggc_user:ggc_group`, where an installer has made them.
fn component_user() -> anyhow::Result<Option<String>> {
    let (user, _) = COMPONENT_USER.split_once(':').expect("user:group");
    if user_id(user).is_ok() {
        return Ok(Some(COMPONENT_USER.to_owned()));
    }
    log::warn!(
        "there is no user {user}: components that name no user will not start. \
         Make it (useradd --system --user-group {user}) or say --component-user"
    );
    Ok(None)
}

fn user_id(user: &str) -> anyhow::Result<u32> {
    if let Ok(id) = user.parse() {
        return Ok(id);
    }
    let table = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let id = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1))?
    });
    match id.and_then(|id| id.parse().ok()) {
        Some(id) => Ok(id),
        None => bail!("there is no user {user}"),
    }
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
