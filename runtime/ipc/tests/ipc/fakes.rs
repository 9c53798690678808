//! The rest of the runtime.

use crate::world;
use async_trait::async_trait;
use ipc::{
    Identity, Peer, Principal,
    ports::{
        Cancel, ComponentFault, Components, DeploymentFault, Deployments, Metric, Metrics, Reported,
    },
};
use model::{
    ComponentName, ComponentStatus, State, StatusCode,
    deployment::{DeploymentId, DeploymentReport, DeploymentStatus, LocalDeploymentRequest},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::broadcast;

pub struct FakeIdentity;

pub fn component(name: &str) -> ComponentName {
    ComponentName::new(name).unwrap()
}

#[async_trait]
impl Identity for FakeIdentity {
    async fn authenticate(&self, token: &str, peer: Peer) -> Option<Principal> {
        assert_eq!(
            peer.pid,
            Some(std::process::id()),
            "the tests connect from this process"
        );
        let name = match token {
            // The tokens of the captured clients.
            "0123456789ABCDEF" => "com.example.Py",
            "NODEUID" => "com.example.Node",
            "ABCDEFGH01234567" => "com.example.C",
            "T" => "com.example.T",
            world::CLI => return Some(Principal::Cli("1000".into())),
            other => {
                [world::A, world::B, world::POOR, world::STREAMS]
                    .iter()
                    .find(|known| known.0 == other)?
                    .1
            }
        };
        Some(Principal::Component(component(name)))
    }

    async fn is_valid(&self, token: &str) -> bool {
        token == world::A.0
    }
}

/// Components `com.example.A`, running, and `com.example.B`, broken.
#[derive(Default)]
pub struct FakeComponents {
    pub done: Mutex<Vec<String>>,
}

impl FakeComponents {
    fn act(&self, what: &str, name: &ComponentName) -> Result<(), ComponentFault> {
        let known = [
            "com.example.A",
            "com.example.B",
            "com.example.Py",
            "com.example.C",
            "com.example.HelloWorld",
        ];
        if !known.contains(&name.as_str()) {
            return Err(ComponentFault::NotFound(name.clone()));
        }
        if name.as_str() == "com.example.B" {
            return Err(ComponentFault::Refused(format!("{name} is BROKEN")));
        }
        self.done.lock().unwrap().push(format!("{what} {name}"));
        Ok(())
    }

    pub fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

fn status(name: &str, state: State) -> ComponentStatus {
    ComponentStatus {
        name: component(name),
        version: "1.2.3".parse().unwrap(),
        state,
        code: StatusCode::None,
        reason: String::new(),
        pid: None,
        errors: 0,
        paused: false,
        sequence: 0,
    }
}

#[async_trait]
impl Components for FakeComponents {
    fn status(&self, name: &ComponentName) -> Option<ComponentStatus> {
        self.statuses()
            .into_iter()
            .find(|status| status.name == *name)
    }

    fn statuses(&self) -> Vec<ComponentStatus> {
        vec![
            status("com.example.A", State::Running),
            status("com.example.B", State::Broken),
        ]
    }

    async fn report(&self, name: &ComponentName, state: Reported) -> Result<(), ComponentFault> {
        self.act(&format!("{state:?}"), name)
    }

    async fn restart(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.act("restart", name)
    }

    async fn stop(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.act("stop", name)
    }

    async fn pause(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.act("pause", name)
    }

    async fn resume(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        self.act("resume", name)
    }
}

pub struct FakeDeployments {
    pub requests: Mutex<Vec<LocalDeploymentRequest>>,
    reports: Mutex<BTreeMap<String, DeploymentReport>>,
    changes: broadcast::Sender<DeploymentReport>,
}

impl Default for FakeDeployments {
    fn default() -> Self {
        Self {
            requests: Mutex::default(),
            reports: Mutex::default(),
            changes: broadcast::channel(16).0,
        }
    }
}

impl FakeDeployments {
    pub fn change(&self, id: &str, change: impl FnOnce(&mut DeploymentReport)) {
        let mut reports = self.reports.lock().unwrap();
        let report = reports
            .entry(id.to_owned())
            .or_insert_with(|| DeploymentReport {
                id: DeploymentId(id.to_owned()),
                status: DeploymentStatus::Queued,
                created: UNIX_EPOCH + Duration::from_secs(1_709_251_199),
                detailed: None,
                error_stack: Vec::new(),
                error_types: Vec::new(),
                failure_cause: String::new(),
                phase: String::new(),
            });
        change(report);
        // Nobody may listen.
        let _ = self.changes.send(report.clone());
    }
}

#[async_trait]
impl Deployments for FakeDeployments {
    async fn create(
        &self,
        request: LocalDeploymentRequest,
    ) -> Result<DeploymentId, DeploymentFault> {
        if request.recipe_folder.as_deref() == Some("/missing".as_ref()) {
            return Err(DeploymentFault::RecipeFolder(
                "/missing does not exist".into(),
            ));
        }
        self.requests.lock().unwrap().push(request);
        self.change("d1", |_| ());
        Ok(DeploymentId("d1".into()))
    }

    async fn plan(&self, request: LocalDeploymentRequest) -> Result<Value, DeploymentFault> {
        Ok(json!({ "add": request.add }))
    }

    async fn cancel(&self, id: &DeploymentId) -> Result<Cancel, DeploymentFault> {
        match self.report(id).await {
            None => Err(DeploymentFault::NotFound(id.clone())),
            Some(report) if report.status.is_final() => Ok(Cancel::AlreadyEnded),
            Some(_) => Ok(Cancel::Submitted),
        }
    }

    async fn report(&self, id: &DeploymentId) -> Option<DeploymentReport> {
        self.reports.lock().unwrap().get(&id.0).cloned()
    }

    async fn list(&self) -> Vec<DeploymentReport> {
        self.reports.lock().unwrap().values().cloned().collect()
    }

    fn watch(&self) -> broadcast::Receiver<DeploymentReport> {
        self.changes.subscribe()
    }
}

#[derive(Default)]
pub struct FakeMetrics {
    pub recorded: Mutex<Vec<(ComponentName, Metric)>>,
}

impl Metrics for FakeMetrics {
    fn record(&self, component: &ComponentName, metric: Metric) {
        self.recorded
            .lock()
            .unwrap()
            .push((component.clone(), metric));
    }
}
