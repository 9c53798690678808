//! The supervisor's public face, with a fake launcher and a paused clock.

mod adoption;
mod dependencies;
mod failures;
mod fake;
mod requests;

use crate::{
    Change, DefaultUser, Options, SCHEMA, Supervisor,
    machine::fixture::{name, spec, step, timed},
};
use fake::Fake;
use model::{
    ComponentName, ComponentSpec, ComponentStatus, State, Step,
    component::{Action, DependencyType},
};
use std::{sync::Arc, time::Duration};
use store::Database;
use tokio::{
    sync::{Mutex, broadcast},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// A device: what outlives its runtime, and the runtime.
struct Device {
    fake: Fake,
    database: Database,
    options: Options,
    supervisor: Supervisor,
    release: CancellationToken,
    task: JoinHandle<()>,
    trail: Mutex<broadcast::Receiver<ComponentStatus>>,
}

impl Device {
    fn new() -> Self {
        Self::with(Fake::new(), |_| ())
    }

    fn with(fake: Fake, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("/gg".into());
        change(&mut options);
        let database = Database::in_memory(&[SCHEMA]).unwrap();
        Self::boot(fake, database, options)
    }

    fn boot(fake: Fake, database: Database, options: Options) -> Self {
        let release = CancellationToken::new();
        let (supervisor, task) = Supervisor::open(
            options.clone(),
            database.clone(),
            Arc::new(fake.clone()),
            release.clone(),
        );
        let trail = Mutex::new(supervisor.watch());
        Self {
            fake,
            database,
            options,
            supervisor,
            release,
            task: tokio::spawn(task.run()),
            trail,
        }
    }

    /// A new runtime after the old one let go: the processes live on.
    async fn restart_runtime(self) -> Self {
        self.restart_runtime_after(|_| ()).await
    }

    /// The same, with something happening while there is none.
    async fn restart_runtime_after(self, meanwhile: impl FnOnce(&Fake)) -> Self {
        self.release.cancel();
        within(self.task).await.unwrap();
        meanwhile(&self.fake);
        Self::boot(self.fake, self.database, self.options)
    }

    async fn adopt(&self, specs: &[ComponentSpec]) {
        within(self.supervisor.adopt(specs.to_vec())).await.unwrap();
    }

    async fn apply(&self, set: &[(ComponentSpec, Action)], remove: &[&str]) {
        let change = Change {
            set: set.to_vec(),
            remove: remove.iter().map(|n| name(n)).collect(),
        };
        within(self.supervisor.apply(change)).await.unwrap();
    }

    async fn until(&self, component: &str, state: State) -> ComponentStatus {
        self.until_status(component, |status| status.state == state)
            .await
    }

    /// Waits for a status, and gives it.
    async fn until_status(
        &self,
        component: &str,
        is: impl Fn(&ComponentStatus) -> bool,
    ) -> ComponentStatus {
        let mut changes = self.supervisor.watch();
        let wait = async {
            loop {
                if let Some(status) = self
                    .supervisor
                    .status(&name(component))
                    .filter(|status| is(status))
                {
                    return status;
                }
                tokio::select! {
                    _ = changes.recv() => {}
                    () = self.fake.logged().notified() => {}
                }
            }
        };
        match timeout(LIMIT, wait).await {
            Ok(status) => status,
            Err(_) => panic!(
                "{component} is {:?}; {:#?}",
                self.supervisor.status(&name(component)),
                self.fake.log()
            ),
        }
    }

    /// Waits until a component passes through a state, which may be over already; each is seen once.
    async fn passes(&self, component: &str, state: State) -> ComponentStatus {
        let mut trail = self.trail.lock().await;
        let pass = async {
            loop {
                let status = trail.recv().await.unwrap();
                if status.name.as_str() == component && status.state == state {
                    return status;
                }
            }
        };
        match timeout(LIMIT, pass).await {
            Ok(status) => status,
            Err(_) => panic!("{component} was never {state}; {:#?}", self.fake.log()),
        }
    }

    fn status(&self, component: &str) -> ComponentStatus {
        self.supervisor
            .status(&name(component))
            .expect("it is known")
    }
}

/// Of paused time: longer than anything but a fault takes.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future)
        .await
        .expect("it takes its time, but not for ever")
}

/// A component with steps given as `step: script`.
fn component(of: &str, steps: &[(&str, &str)]) -> ComponentSpec {
    let mut spec = spec(of);
    for (kind, script) in steps {
        let life = &mut spec.lifecycle;
        let (slot, step): (&mut Option<Step>, Step) = match *kind {
            "bootstrap" => (&mut life.bootstrap, timed(script, 120)),
            "install" => (&mut life.install, timed(script, 120)),
            "startup" => (&mut life.startup, timed(script, 120)),
            "run" => (&mut life.run, step(script)),
            "shutdown" => (&mut life.shutdown, timed(script, 15)),
            "recover" => (&mut life.recover, timed(script, 60)),
            "uninstall" => (&mut life.uninstall, timed(script, 120)),
            other => panic!("no such step: {other}"),
        };
        *slot = Some(step);
    }
    spec
}

fn hang(of: &str) -> ComponentSpec {
    component(of, &[("run", "hang")])
}

fn version(mut spec: ComponentSpec, version: &str) -> ComponentSpec {
    spec.version = version.parse().unwrap();
    spec
}

fn needing(mut spec: ComponentSpec, on: &[(&str, DependencyType)]) -> ComponentSpec {
    spec.dependencies = on.iter().map(|(on, kind)| (name(on), *kind)).collect();
    spec
}

fn keep(specs: &[ComponentSpec]) -> Vec<(ComponentSpec, Action)> {
    specs
        .iter()
        .map(|spec| (spec.clone(), Action::Keep))
        .collect()
}
