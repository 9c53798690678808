//! A device on a temporary folder, and requests made of recipes and artifacts in another.

use crate::fakes::{FakeComponents, FakeListeners, FakeRuntime, FakeValidators};
use configuration::Configuration;
use deploy::{Deployments, Options, Ports};
use model::{
    ComponentName, Platform,
    deployment::{
        ConfigurationUpdate, DeploymentId, DeploymentReport, FailurePolicy, LocalDeploymentRequest,
    },
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use store::Database;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

/// What survives a restart: the folder, and with it the database.
pub struct Home {
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Home {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self {
            folder: temporary.path().to_owned(),
            _temporary: Some(temporary),
        }
    }

    /// One that another process made.
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            _temporary: None,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub fn recipes(&self) -> PathBuf {
        self.folder.join("recipes")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    pub fn options(&self) -> Options {
        let mut options = Options::new(self.root(), Platform::from_uname("Linux", "x86_64"));
        options.steady = Duration::from_millis(5);
        options.watch_limit = Some(Duration::from_secs(2));
        options.thing_name = Some("pump-7".into());
        options.provided = [(name("aws.greengrass.Nucleus"), "2.18.0".parse().unwrap())].into();
        options
    }

    /// Writes a recipe; `more` is merged over a plain one.
    pub fn recipe(&self, component: &str, version: &str, more: Value) {
        let mut recipe = json!({
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": component,
            "ComponentVersion": version,
            "Manifests": [{"Lifecycle": {"Run": "serve"}}],
        });
        recipe
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fs::create_dir_all(self.recipes()).unwrap();
        fs::write(
            self.recipes().join(format!("{component}_{version}.json")),
            recipe.to_string(),
        )
        .unwrap();
    }

    pub fn artifact(&self, component: &str, version: &str, file: &str, content: impl AsRef<[u8]>) {
        let path = self.artifacts().join(component).join(version).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub async fn start(&self) -> Device {
        self.start_with(self.options(), Fakes::default()).await
    }

    pub async fn start_with(&self, options: Options, fakes: Fakes) -> Device {
        fs::create_dir_all(self.root()).unwrap();
        let schemas = [Configuration::SCHEMA, Deployments::SCHEMA];
        let database = Database::open(&self.root().join("state.db"), &schemas).unwrap();
        let configuration = Configuration::open(database.clone()).await.unwrap();
        let ports = Ports {
            components: fakes.components.clone(),
            listeners: fakes.listeners.clone(),
            validators: fakes.validators.clone(),
            runtime: fakes.runtime.clone(),
        };
        let (deployments, task) =
            Deployments::open(options, database, configuration.clone(), ports)
                .await
                .unwrap();
        fakes.components.adopt(deployments.active());
        fakes.components.log();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(task.run(shutdown.clone()));
        Device {
            deployments,
            configuration,
            fakes,
            shutdown,
            task,
        }
    }
}

#[derive(Clone, Default)]
pub struct Fakes {
    pub components: Arc<FakeComponents>,
    pub listeners: Arc<FakeListeners>,
    pub validators: Arc<FakeValidators>,
    pub runtime: Arc<FakeRuntime>,
}

/// A running device.
pub struct Device {
    pub deployments: Deployments,
    pub configuration: Configuration,
    pub fakes: Fakes,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Device {
    /// Deploys and waits for the end.
    pub async fn deploy(&self, request: LocalDeploymentRequest) -> DeploymentReport {
        let mut events = self.deployments.watch();
        let id = self.deployments.create(request).await.unwrap();
        self.end_of(&mut events, &id).await
    }

    pub async fn end_of(
        &self,
        events: &mut tokio::sync::broadcast::Receiver<DeploymentReport>,
        id: &DeploymentId,
    ) -> DeploymentReport {
        self.until(events, id, |report| report.status.is_final())
            .await
    }

    /// Waits until a report of a deployment is as wanted.
    pub async fn until(
        &self,
        events: &mut tokio::sync::broadcast::Receiver<DeploymentReport>,
        id: &DeploymentId,
        wanted: impl Fn(&DeploymentReport) -> bool,
    ) -> DeploymentReport {
        loop {
            let report = self.deployments.report(id).unwrap();
            if wanted(&report) {
                return report;
            }
            assert!(!report.status.is_final(), "it ended: {report:?}");
            let _ = events.recv().await;
        }
    }

    pub async fn succeed(&self, request: LocalDeploymentRequest) -> DeploymentReport {
        let report = self.deploy(request).await;
        assert_eq!(report.failure_cause, "");
        assert_eq!(
            report.detailed,
            Some(model::deployment::DetailedStatus::Successful)
        );
        report
    }

    pub fn value(&self, component: &str, key: &str) -> Option<Value> {
        self.configuration
            .get(&["services", component, "configuration", key])
    }

    /// Stops in order; what is left is what a restart finds.
    pub async fn stop(self) -> Fakes {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.fakes
    }
}

/// A request that adds components, from the folders of a home.
pub fn request(home: &Home, add: &[(&str, &str)]) -> LocalDeploymentRequest {
    LocalDeploymentRequest {
        add: add
            .iter()
            .map(|(n, v)| (name(n), (*v).to_owned()))
            .collect(),
        recipe_folder: Some(home.recipes()).filter(|p| p.is_dir()),
        artifact_folder: Some(home.artifacts()).filter(|p| p.is_dir()),
        ..LocalDeploymentRequest::default()
    }
}

pub trait RequestExt {
    fn merge(self, component: &str, value: Value) -> Self;
    fn rolling_back(self) -> Self;
}

impl RequestExt for LocalDeploymentRequest {
    fn merge(mut self, component: &str, value: Value) -> Self {
        self.configuration.insert(
            name(component),
            ConfigurationUpdate {
                reset: vec![],
                merge: Some(value),
            },
        );
        self
    }

    fn rolling_back(mut self) -> Self {
        self.failure_policy = Some(FailurePolicy::Rollback);
        self
    }
}

/// Every file below a folder with its content, without the database.
pub fn files(root: &Path) -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if !entry.file_name().to_string_lossy().starts_with("state.db") {
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.push((
                    path.strip_prefix(root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                    content,
                ));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}
