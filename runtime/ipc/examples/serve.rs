//! A server with one component and nothing behind it, to try a client or an SDK on:
//!
//! ```sh
//! cargo run -p ipc --example serve -- /tmp/ipc.socket
//! export AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT=/tmp/ipc.socket SVCUID=0123456789ABCDEF
//! ```

use async_trait::async_trait;
use configuration::{Configuration, Operation};
use ipc::{
    ConfigurationValidators, Identity, Limits, Options, Peer, Ports, Principal, PubSub, Server,
    UpdateListeners,
    ports::{
        Cancel, Cloud, CloudFault, CloudMessage, CloudQos, CloudSubscription, ComponentFault,
        Components, DeploymentFault, Deployments, Metric, Metrics, Reported,
    },
};
use model::{
    ComponentName, ComponentStatus,
    deployment::{DeploymentId, DeploymentReport, LocalDeploymentRequest},
};
use serde_json::{Value, json};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789ABCDEF";
const COMPONENT: &str = "com.example.Component";

/// Nothing behind the socket.
struct Nothing;

#[async_trait]
impl Identity for Nothing {
    async fn authenticate(&self, token: &str, _: Peer) -> Option<Principal> {
        let name = ComponentName::new(COMPONENT).ok()?;
        (token == TOKEN).then_some(Principal::Component(name))
    }

    async fn is_valid(&self, token: &str) -> bool {
        token == TOKEN
    }
}

#[async_trait]
impl Components for Nothing {
    fn status(&self, _: &ComponentName) -> Option<ComponentStatus> {
        None
    }

    fn statuses(&self) -> Vec<ComponentStatus> {
        Vec::new()
    }

    async fn report(&self, name: &ComponentName, state: Reported) -> Result<(), ComponentFault> {
        println!("{name} reports {state:?}");
        Ok(())
    }

    async fn restart(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        Err(ComponentFault::NotFound(name.clone()))
    }

    async fn stop(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        Err(ComponentFault::NotFound(name.clone()))
    }

    async fn pause(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        Err(ComponentFault::NotFound(name.clone()))
    }

    async fn resume(&self, name: &ComponentName) -> Result<(), ComponentFault> {
        Err(ComponentFault::NotFound(name.clone()))
    }
}

#[async_trait]
impl Deployments for Nothing {
    async fn create(&self, _: LocalDeploymentRequest) -> Result<DeploymentId, DeploymentFault> {
        Err(DeploymentFault::Failed("nothing is deployed here".into()))
    }

    async fn plan(&self, _: LocalDeploymentRequest) -> Result<Value, DeploymentFault> {
        Err(DeploymentFault::Failed("nothing is deployed here".into()))
    }

    async fn cancel(&self, id: &DeploymentId) -> Result<Cancel, DeploymentFault> {
        Err(DeploymentFault::NotFound(id.clone()))
    }

    async fn report(&self, _: &DeploymentId) -> Option<DeploymentReport> {
        None
    }

    async fn list(&self) -> Vec<DeploymentReport> {
        Vec::new()
    }

    fn watch(&self) -> broadcast::Receiver<DeploymentReport> {
        broadcast::channel(1).1
    }
}

impl Metrics for Nothing {
    fn record(&self, component: &ComponentName, metric: Metric) {
        println!("{component} measures {metric:?}");
    }
}

#[async_trait]
impl Cloud for Nothing {
    async fn publish(&self, _: CloudMessage) -> Result<(), CloudFault> {
        Err(CloudFault::NotConfigured)
    }

    async fn subscribe(
        &self,
        _: &str,
        _: CloudQos,
    ) -> Result<Box<dyn CloudSubscription>, CloudFault> {
        Err(CloudFault::NotConfigured)
    }

    fn connected(&self) -> Result<watch::Receiver<bool>, CloudFault> {
        Err(CloudFault::NotConfigured)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("which socket?")?.into();
    let database = store::Database::in_memory(&[Configuration::SCHEMA])?;
    let configuration = Configuration::open(database).await?;
    let policies = json!({ "aws.greengrass.ipc.pubsub": {
        "com.example:pubsub:1": { "operations": ["*"], "resources": ["example/*"] },
    } });
    let defaults = Operation::Defaults {
        path: ["services", COMPONENT, "configuration"]
            .map(Into::into)
            .to_vec(),
        value: json!({ "speed": 3, "accessControl": policies }),
    };
    configuration.commit(vec![defaults]).await?;
    let ports = Ports {
        identity: Arc::new(Nothing),
        components: Arc::new(Nothing),
        deployments: Arc::new(Nothing),
        metrics: Arc::new(Nothing),
        cloud: Arc::new(Nothing),
        configuration,
        pubsub: PubSub::default(),
        updates: UpdateListeners::default(),
        validators: ConfigurationValidators::default(),
    };
    // A real runtime asks before it updates a component; this one asks all the time.
    let updates = ports.updates.clone();
    tokio::spawn(async move {
        loop {
            let deployment = DeploymentId("example".into());
            let deferrals = updates.pre_update(&deployment, false, Duration::from_secs(5));
            for deferral in deferrals.await {
                println!("{deferral:?}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let limits = Limits::default();
    let server = Server::bind(&Options { path, limits }, ports)?;
    println!("{} {TOKEN}", server.address().display());
    server.run(CancellationToken::new()).await;
    Ok(())
}
