//! A supervisor whose components do as the test says, listeners and validators that answer from a list, and a runtime that
//! only remembers what it was asked.

use async_trait::async_trait;
use deploy::{
    BootstrapError, BootstrapExit, Change, Components, ConfigurationValidators, Deferral, Refusal,
    Runtime, UpdateListeners, UpdateNotice,
};
use model::{
    ComponentName, ComponentSpec, ComponentStatus, State, StatusCode, component::Action,
    deployment::DeploymentId,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::Duration,
};
use tokio::sync::broadcast;

/// What a component of some version does when it is started.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Runs,
    Breaks(&'static str),
    NeverComesUp,
    /// RUNNING first, BROKEN when it is looked at again.
    DiesSoon,
}

#[derive(Default)]
struct State_ {
    there: BTreeMap<ComponentName, (ComponentSpec, ComponentStatus)>,
    log: Vec<String>,
    behaviours: BTreeMap<(String, String), Behaviour>,
    bootstraps: BTreeMap<String, VecDeque<Result<BootstrapExit, BootstrapError>>>,
    sequence: u64,
}

pub struct FakeComponents {
    state: Mutex<State_>,
    events: broadcast::Sender<ComponentStatus>,
    /// Bootstrap steps wait for it.
    pub bootstrap_gate: tokio::sync::Semaphore,
}

impl Default for FakeComponents {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(256).0,
            bootstrap_gate: tokio::sync::Semaphore::new(1000),
        }
    }
}

impl FakeComponents {
    pub fn behave(&self, component: &str, version: &str, behaviour: Behaviour) {
        self.state
            .lock()
            .unwrap()
            .behaviours
            .insert((component.into(), version.into()), behaviour);
    }

    pub fn bootstrap_ends(
        &self,
        component: &str,
        results: impl IntoIterator<Item = Result<BootstrapExit, BootstrapError>>,
    ) {
        self.state
            .lock()
            .unwrap()
            .bootstraps
            .insert(component.into(), results.into_iter().collect());
    }

    /// What happened since the last call: `start a 1.0.0`, `halt a`, `remove a`, `bootstrap a 1.0.0`.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// What runs: `a 1.0.0`.
    pub fn running(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let up = |status: &&(ComponentSpec, ComponentStatus)| status.1.state == State::Running;
        state
            .there
            .values()
            .filter(up)
            .map(|(spec, _)| format!("{} {}", spec.name, spec.version))
            .collect()
    }

    pub fn spec(&self, component: &str) -> Option<ComponentSpec> {
        self.state
            .lock()
            .unwrap()
            .there
            .get(component)
            .map(|(spec, _)| spec.clone())
    }

    /// As the supervisor does at start.
    pub fn adopt(&self, specs: Vec<ComponentSpec>) {
        for spec in specs {
            self.start(&spec);
        }
    }

    fn start(&self, spec: &ComponentSpec) {
        let mut state = self.state.lock().unwrap();
        let key = (spec.name.to_string(), spec.version.to_string());
        let behaviour = state
            .behaviours
            .get(&key)
            .cloned()
            .unwrap_or(Behaviour::Runs);
        state
            .log
            .push(format!("start {} {}", spec.name, spec.version));
        let (at, reason) = match behaviour {
            Behaviour::Runs | Behaviour::DiesSoon => (State::Running, ""),
            Behaviour::Breaks(reason) => (State::Broken, reason),
            Behaviour::NeverComesUp => (State::Starting, ""),
        };
        state.sequence += 1;
        let status = ComponentStatus {
            name: spec.name.clone(),
            version: spec.version.clone(),
            state: at,
            code: StatusCode::None,
            reason: reason.into(),
            pid: None,
            errors: 0,
            paused: false,
            sequence: state.sequence,
        };
        state
            .there
            .insert(spec.name.clone(), (spec.clone(), status.clone()));
        let _ = self.events.send(status);
    }
}

#[async_trait]
impl Components for FakeComponents {
    async fn apply(&self, change: Change) -> Result<(), String> {
        for name in change.remove {
            let mut state = self.state.lock().unwrap();
            if state.there.remove(&name).is_some() {
                state.log.push(format!("remove {name}"));
            }
        }
        for (spec, action) in change.set {
            let keep = {
                let mut state = self.state.lock().unwrap();
                match state.there.get_mut(&spec.name) {
                    Some((present, status))
                        if action == Action::Keep && status.state == State::Running =>
                    {
                        assert_eq!(
                            present.version, spec.version,
                            "{} is kept but is another version",
                            spec.name
                        );
                        *present = spec.clone();
                        true
                    }
                    _ => false,
                }
            };
            if !keep {
                self.start(&spec);
            }
        }
        Ok(())
    }

    async fn bootstrap(&self, spec: &ComponentSpec) -> Result<BootstrapExit, BootstrapError> {
        let result = {
            let mut state = self.state.lock().unwrap();
            state
                .log
                .push(format!("bootstrap {} {}", spec.name, spec.version));
            state
                .bootstraps
                .get_mut(spec.name.as_str())
                .and_then(VecDeque::pop_front)
                .unwrap_or(Ok(BootstrapExit::Done))
        };
        let _gate = self.bootstrap_gate.acquire().await.unwrap();
        result
    }

    async fn halt(&self, components: &[ComponentName]) {
        let mut state = self.state.lock().unwrap();
        for name in components {
            if let Some((_, status)) = state.there.get_mut(name) {
                status.state = State::Installed;
                state.log.push(format!("halt {name}"));
            }
        }
    }

    fn statuses(&self) -> Vec<ComponentStatus> {
        let mut state = self.state.lock().unwrap();
        let behaviours = state.behaviours.clone();
        let statuses = state
            .there
            .values()
            .map(|(_, status)| status.clone())
            .collect();
        for (_, status) in state.there.values_mut() {
            let key = (status.name.to_string(), status.version.to_string());
            if status.state == State::Running
                && matches!(behaviours.get(&key), Some(Behaviour::DiesSoon))
            {
                status.state = State::Broken;
                status.reason = "The run script exited with code 1.".into();
            }
        }
        statuses
    }

    fn watch(&self) -> broadcast::Receiver<ComponentStatus> {
        self.events.subscribe()
    }
}

/// Defers as often as the list says, then agrees.
#[derive(Default)]
pub struct FakeListeners {
    pub deferrals: Mutex<VecDeque<Duration>>,
    pub asked: Mutex<Vec<UpdateNotice>>,
    pub told: Mutex<Vec<DeploymentId>>,
}

#[async_trait]
impl UpdateListeners for FakeListeners {
    async fn pre_update(&self, notice: &UpdateNotice, _timeout: Duration) -> Vec<Deferral> {
        self.asked.lock().unwrap().push(notice.clone());
        let next = self.deferrals.lock().unwrap().pop_front();
        let deferral = |recheck_after| Deferral {
            component: notice.components[0].clone(),
            recheck_after,
            message: "busy".into(),
        };
        next.into_iter().map(deferral).collect()
    }

    async fn post_update(&self, deployment: &DeploymentId) {
        self.told.lock().unwrap().push(deployment.clone());
    }
}

/// Refuses what the test says.
#[derive(Default)]
pub struct FakeValidators {
    pub refuse: Mutex<Option<&'static str>>,
    pub hang: std::sync::atomic::AtomicBool,
    pub seen: Mutex<Vec<(ComponentName, Value)>>,
}

#[async_trait]
impl ConfigurationValidators for FakeValidators {
    async fn validate(
        &self,
        _deployment: &DeploymentId,
        configurations: Vec<(ComponentName, Value)>,
        _timeout: Duration,
    ) -> Result<(), Refusal> {
        self.seen.lock().unwrap().extend(configurations.clone());
        if self.hang.load(std::sync::atomic::Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match *self.refuse.lock().unwrap() {
            Some(message) => Err(Refusal {
                component: configurations[0].0.clone(),
                message: message.into(),
            }),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
pub struct FakeRuntime {
    pub asked: Mutex<Vec<&'static str>>,
    pub boot: Mutex<Option<String>>,
    pub called: tokio::sync::Notify,
}

impl Runtime for FakeRuntime {
    fn request_restart(&self) {
        self.asked.lock().unwrap().push("restart");
        self.called.notify_one();
    }

    fn request_reboot(&self) {
        self.asked.lock().unwrap().push("reboot");
        self.called.notify_one();
    }

    fn boot_id(&self) -> Option<String> {
        self.boot.lock().unwrap().clone()
    }
}
