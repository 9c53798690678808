//! One worker a component: carries out the machine's effects one after the other, so that a component that hangs holds
//! up itself alone. What it waits for has a limit.

use super::mailbox::{Launch, Mailbox};
use crate::{
    DefaultUser, Options,
    environment::environment,
    launcher::{LaunchError, Launcher, StepKind, Unit, UnitId},
    machine::{Event, Fault},
    record::Records,
    skip,
    token::Token,
};
use model::{ComponentName, ComponentSpec, Step};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// For a launcher to answer what takes it no time.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// For handing over large artifact folders.
const OWN_LIMIT: Duration = Duration::from_secs(300);
/// What a launcher may need beyond the grace to see the last process end.
const KILL_MARGIN: Duration = Duration::from_secs(10);

/// What a worker tells the task.
#[derive(Debug)]
pub(super) enum Answer {
    /// An event for the machine.
    Event(Event),
    /// A freeze (`true`) or thaw is done, or not.
    Froze(bool, Result<(), String>),
    /// The component is forgotten.
    Forgotten,
}

pub(super) struct Worker {
    pub name: ComponentName,
    pub token: Token,
    pub options: Arc<Options>,
    pub launcher: Arc<dyn Launcher>,
    pub records: Records,
    pub mailbox: Arc<Mailbox>,
    pub answers: mpsc::Sender<(ComponentName, Answer)>,
    /// Steps of which something may live.
    pub units: BTreeSet<StepKind>,
}

impl Worker {
    /// Until the mailbox ends; what was wanted before is done first, but nothing is launched any more.
    pub async fn run(mut self) {
        loop {
            let wants = self.mailbox.take().await;
            let mut saved = true;
            if let Some(record) = wants.save {
                let forget = record.is_none();
                if let Err(error) = self.records.save(&self.name, record).await {
                    log::error!(component = self.name.as_str(); "cannot remember its state: {error}");
                    saved = false;
                }
                if forget {
                    self.answer(Answer::Forgotten).await;
                }
            }
            if let Some(freeze) = wants.freeze {
                let result = self.freeze(freeze).await;
                self.answer(Answer::Froze(freeze, result)).await;
            }
            if let Some(limits) = wants.limits {
                match timeout(ANSWER_LIMIT, self.launcher.limits(&self.name, &limits)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        log::warn!(component = self.name.as_str(); "its limits are not set: {error}");
                    }
                    Err(_) => {
                        log::warn!(component = self.name.as_str(); "its limits are not set: no answer");
                    }
                }
            }
            if wants.kill {
                let nothing_lives = self.kill().await;
                self.answer(Answer::Event(Event::Down(nothing_lives))).await;
            }
            if wants.end {
                return;
            }
            if let Some(launch) = wants.launch {
                let event = if !saved && launch.step == StepKind::Install {
                    // Were it cut short, an older record could pass it for installed.
                    let fault = Fault::Io("its state cannot be saved".to_owned());
                    Some(Event::NotSpawned {
                        attempt: launch.attempt,
                        fault,
                    })
                } else {
                    self.launch(&launch).await
                };
                if let Some(event) = event {
                    self.answer(Answer::Event(event)).await;
                }
            }
        }
    }

    async fn answer(&self, answer: Answer) {
        // The task has ended: nobody needs it.
        let _ = self.answers.send((self.name.clone(), answer)).await;
    }

    async fn freeze(&self, freeze: bool) -> Result<(), String> {
        let work = async {
            if freeze {
                self.launcher.freeze(&self.name).await
            } else {
                self.launcher.thaw(&self.name).await
            }
        };
        match timeout(ANSWER_LIMIT, work).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the launcher does not answer".to_owned()),
        }
    }

    /// Whether nothing lives any more.
    async fn kill(&mut self) -> bool {
        let grace = self.options.grace;
        let mut stops = JoinSet::new();
        for step in self.units.iter().copied() {
            let (launcher, id) = (
                Arc::clone(&self.launcher),
                UnitId::new(self.name.clone(), step),
            );
            stops.spawn(async move {
                match timeout(grace + KILL_MARGIN, launcher.stop(&id, grace)).await {
                    Ok(Ok(())) => Ok(step),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("{id} is still there after SIGKILL")),
                }
            });
        }
        let mut nothing_lives = true;
        while let Some(stop) = stops.join_next().await {
            match stop {
                Ok(Ok(step)) => drop(self.units.remove(&step)),
                Ok(Err(reason)) => {
                    log::error!(component = self.name.as_str(); "its processes do not end: {reason}");
                    nothing_lives = false;
                }
                Err(panic) => {
                    log::error!(component = self.name.as_str(); "stopping it panicked: {panic}");
                    nothing_lives = false;
                }
            }
        }
        nothing_lives
    }

    /// `None`: a kill came first.
    async fn launch(&mut self, launch: &Launch) -> Option<Event> {
        let attempt = launch.attempt;
        let plan = Plan {
            options: &self.options,
            launcher: &*self.launcher,
            spec: &launch.spec,
            kind: launch.step,
            token: &self.token,
            tag: tag(&launch.spec, attempt),
        };
        let unit = tokio::select! {
            unit = plan.prepare() => unit,
            () = self.mailbox.kill_wanted() => return None,
        };
        match unit {
            Ok(None) => Some(Event::Skipped { attempt }),
            Ok(Some(unit)) => {
                self.units.insert(launch.step);
                Some(
                    match start(&*self.launcher, unit, self.options.grace).await {
                        Ok(pid) => Event::Spawned { attempt, pid },
                        Err(fault) => Event::NotSpawned { attempt, fault },
                    },
                )
            }
            Err(fault) => Some(Event::NotSpawned { attempt, fault }),
        }
    }
}

/// How a restarted runtime recognises a unit: the version, for people, and which launch it was.
pub(super) fn tag(spec: &ComponentSpec, attempt: u64) -> String {
    format!("{}/{attempt}", spec.version)
}

/// Starts a unit. One of the same name that nobody knows of is ended first.
pub(super) async fn start(
    launcher: &dyn Launcher,
    unit: Unit,
    grace: Duration,
) -> Result<u32, Fault> {
    let id = unit.id.clone();
    let work = async {
        match launcher.start(unit.clone()).await {
            Err(LaunchError::Exists(id)) => {
                log::warn!(component = id.component.as_str(); "a stale {} process is ended", id.step);
                launcher.stop(&id, grace).await?;
                launcher.start(unit).await
            }
            other => other,
        }
    };
    match timeout(ANSWER_LIMIT + grace + KILL_MARGIN, work).await {
        Ok(Ok(started)) => {
            for warning in started.warnings {
                log::warn!(component = id.component.as_str(), step = id.step.as_str(); "{warning}");
            }
            Ok(started.pid)
        }
        Ok(Err(error)) => Err(fault(&error)),
        Err(_) => Err(Fault::Io("the launcher does not answer".to_owned())),
    }
}

fn fault(error: &LaunchError) -> Fault {
    match error {
        LaunchError::Refused(_) | LaunchError::User { .. } => Fault::Config(error.to_string()),
        _ => Fault::Io(error.to_string()),
    }
}

/// One step on its way to a process.
pub(super) struct Plan<'a> {
    pub options: &'a Options,
    pub launcher: &'a dyn Launcher,
    pub spec: &'a ComponentSpec,
    pub kind: StepKind,
    pub token: &'a Token,
    pub tag: String,
}

impl Plan<'_> {
    /// The unit to start; `None` when the step is to be skipped, or is not there.
    pub async fn prepare(&self) -> Result<Option<Unit>, Fault> {
        let lifecycle = &self.spec.lifecycle;
        let step = match self.kind {
            StepKind::Bootstrap => &lifecycle.bootstrap,
            StepKind::Install => &lifecycle.install,
            StepKind::Startup => &lifecycle.startup,
            StepKind::Run => &lifecycle.run,
            StepKind::Shutdown => &lifecycle.shutdown,
            StepKind::Recover => &lifecycle.recover,
            StepKind::Uninstall => &lifecycle.uninstall,
        };
        let Some(step) = step else { return Ok(None) };
        let user = self.user(step)?;
        let folder = self
            .launcher
            .prepare_work_folder(&self.spec.name, user.as_deref());
        let work_folder = within(ANSWER_LIMIT, folder).await?;
        let environment = environment(self.options, self.spec, self.kind, step, self.token);
        if let Some(skip_if) = step.skip_if.clone() {
            let (environment, folder) = (environment.clone(), work_folder.clone());
            let look =
                tokio::task::spawn_blocking(move || skip::holds(&skip_if, &environment, &folder));
            match timeout(ANSWER_LIMIT, look).await {
                Ok(Ok(true)) => return Ok(None),
                Ok(Ok(false)) => {}
                Ok(Err(panic)) => return Err(Fault::Io(panic.to_string())),
                Err(_) => {
                    return Err(Fault::Io(
                        "the file system does not answer its Skipif".to_owned(),
                    ));
                }
            }
        }
        if let Some(user) = user.as_deref().filter(|_| self.first_to_run()) {
            let folders = &self.spec.artifact_folders;
            within(
                OWN_LIMIT,
                self.launcher.own_artifacts(&self.spec.name, folders, user),
            )
            .await?;
        }
        Ok(Some(Unit {
            id: UnitId::new(self.spec.name.clone(), self.kind),
            tag: self.tag.clone(),
            script: step.script.clone(),
            shell: self.options.shell.clone(),
            user,
            privileged: step.requires_privilege,
            environment,
            work_folder,
            limits: self.spec.run_with.limits.clone(),
        }))
    }

    /// Artifacts change hands before the first step that may read them.
    fn first_to_run(&self) -> bool {
        match self.kind {
            StepKind::Bootstrap | StepKind::Install => true,
            StepKind::Startup | StepKind::Run => self.spec.lifecycle.install.is_none(),
            _ => false,
        }
    }

    fn user(&self, step: &Step) -> Result<Option<String>, Fault> {
        let user = self.spec.run_with.posix_user.clone();
        if user.is_none()
            && !step.requires_privilege
            && self.options.default_user == DefaultUser::Missing
        {
            return Err(Fault::MissingDefaultUser);
        }
        Ok(user)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, LaunchError>>,
) -> Result<T, Fault> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error| fault(&error)),
        Err(_) => Err(Fault::Io("the launcher does not answer".to_owned())),
    }
}
