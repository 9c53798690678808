//! The rest of the runtime.

use crate::world;
use async_trait::async_trait;
use ipc::{
    Identity, Peer, Principal,
    ports::{
        Cancel, Cloud, CloudFault, CloudMessage, CloudQos, CloudSubscription, ComponentFault,
        Components, DeploymentFault, Deployments, Metric, Metrics, Reported,
    },
};
use model::{
    ComponentName, ComponentStatus, State, StatusCode,
    deployment::{DeploymentId, DeploymentReport, DeploymentStatus, LocalDeploymentRequest},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::{broadcast, mpsc, watch};

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
            "DISGUISED" => "greengrass-cli-1000",
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

/// A broker in the cloud; not configured until a test says so.
#[derive(Default)]
pub struct FakeCloud {
    pub connected: Mutex<Option<watch::Sender<bool>>>,
    pub published: Mutex<Vec<CloudMessage>>,
    pub subscriptions: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<CloudMessage>>>>,
}

impl FakeCloud {
    pub fn configure(&self) {
        *self.connected.lock().unwrap() = Some(watch::channel(false).0);
    }

    fn ready(&self) -> Result<(), CloudFault> {
        let ready = self.connected.lock().unwrap().is_some();
        ready.then_some(()).ok_or(CloudFault::NotConfigured)
    }
}

struct FakeSubscription {
    filter: String,
    messages: mpsc::UnboundedReceiver<CloudMessage>,
    all: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<CloudMessage>>>>,
}

#[async_trait]
impl CloudSubscription for FakeSubscription {
    async fn next(&mut self) -> Option<CloudMessage> {
        self.messages.recv().await
    }
}

impl Drop for FakeSubscription {
    fn drop(&mut self) {
        self.all.lock().unwrap().remove(&self.filter);
    }
}

#[async_trait]
impl Cloud for FakeCloud {
    async fn publish(&self, message: CloudMessage) -> Result<(), CloudFault> {
        self.ready()?;
        if message.topic == "full" {
            return Err(CloudFault::Failed("the spool is full".into()));
        }
        self.published.lock().unwrap().push(message);
        Ok(())
    }

    async fn subscribe(
        &self,
        filter: &str,
        _: CloudQos,
    ) -> Result<Box<dyn CloudSubscription>, CloudFault> {
        self.ready()?;
        let (sender, messages) = mpsc::unbounded_channel();
        let all = self.subscriptions.clone();
        all.lock().unwrap().insert(filter.to_owned(), sender);
        Ok(Box::new(FakeSubscription {
            filter: filter.to_owned(),
            messages,
            all,
        }))
    }

    fn connected(&self) -> Result<watch::Receiver<bool>, CloudFault> {
        let connected = self.connected.lock().unwrap();
        let connected = connected.as_ref().ok_or(CloudFault::NotConfigured)?;
        Ok(connected.subscribe())
    }
}
