//! CreateLocalDeployment, CancelLocalDeployment, GetLocalDeploymentStatus, ListLocalDeployments.

use super::{ANY, CLI, Operation, date, required};
use crate::{
    fault::{Class, Fault},
    ports::Cancel,
    server::Session,
};
use model::{
    ComponentName,
    deployment::{
        ConfigurationUpdate, DeploymentId, DeploymentReport, DeploymentStatus, DetailedStatus,
        FailurePolicy, LocalDeploymentRequest, RunWithUpdate, UpdatePolicy,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Create {
    group_name: Option<String>,
    root_component_versions_to_add: Option<BTreeMap<ComponentName, String>>,
    root_components_to_remove: Option<Vec<ComponentName>>,
    component_to_configuration: Option<BTreeMap<ComponentName, ConfigurationUpdate>>,
    component_to_run_with_info: Option<BTreeMap<ComponentName, RunWithUpdate>>,
    recipe_directory_path: Option<PathBuf>,
    artifacts_directory_path: Option<PathBuf>,
    failure_handling_policy: Option<FailurePolicy>,
    /// Not in Greengrass's model of local deployments, where components are never asked; the word is that of fleet deployments.
    component_update_policy: Option<UpdatePolicy>,
}

impl Create {
    /// The request in the words of the model, checked as far as it can be without looking at the device.
    pub(super) fn into_request(
        self,
        operation: Operation,
    ) -> Result<LocalDeploymentRequest, Fault> {
        let group = self.group_name.filter(|name| !name.is_empty());
        if group.as_deref().is_some_and(|name| name.contains(':')) {
            return Err(operation.invalid("a thing group's name cannot contain colons"));
        }
        Ok(LocalDeploymentRequest {
            group,
            add: self.root_component_versions_to_add.unwrap_or_default(),
            remove: self.root_components_to_remove.unwrap_or_default(),
            configuration: self.component_to_configuration.unwrap_or_default(),
            run_with: self.component_to_run_with_info.unwrap_or_default(),
            recipe_folder: absolute(
                self.recipe_directory_path,
                Class::InvalidRecipeDirectoryPath,
            )?,
            artifact_folder: absolute(
                self.artifacts_directory_path,
                Class::InvalidArtifactsDirectoryPath,
            )?,
            failure_policy: self.failure_handling_policy,
            update_policy: self.component_update_policy,
        })
    }
}

fn absolute(path: Option<PathBuf>, class: Class) -> Result<Option<PathBuf>, Fault> {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    match path {
        Some(path) if !path.is_absolute() => {
            let message = format!("{} is not an absolute path", path.display());
            Err(Fault::new(class, message))
        }
        path => Ok(path),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    deployment_id: DeploymentId,
}

pub(super) async fn create(
    session: Arc<Session>,
    operation: Operation,
    request: Create,
) -> Result<Created, Fault> {
    allowed(&session, operation, ANY)?;
    let request = request.into_request(operation)?;
    let deployment_id = session.shared.ports.deployments.create(request).await?;
    Ok(Created { deployment_id })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Target {
    pub(super) deployment_id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Cancelled {
    message: String,
}

pub(super) async fn cancel(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<Cancelled, Fault> {
    let id = required(operation, "deploymentId", request.deployment_id)?;
    allowed(&session, operation, ANY)?;
    let id = DeploymentId(id);
    let message = match session.shared.ports.deployments.cancel(&id).await? {
        Cancel::Submitted => format!("Cancel request submitted. Deployment ID: {id}"),
        Cancel::AlreadyEnded => {
            "Cancellation request is not processed because deployment is already finished"
                .to_owned()
        }
    };
    Ok(Cancelled { message })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalDeployment {
    deployment_id: DeploymentId,
    status: &'static str,
    created_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_status_details: Option<StatusDetails>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    detailed_deployment_status: Option<DetailedStatus>,
    deployment_error_stack: Vec<String>,
    deployment_error_types: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    deployment_failure_cause: String,
}

impl From<DeploymentReport> for LocalDeployment {
    fn from(report: DeploymentReport) -> Self {
        let details = report.status.is_final().then_some(StatusDetails {
            detailed_deployment_status: report.detailed,
            deployment_error_stack: report.error_stack,
            deployment_error_types: report.error_types,
            deployment_failure_cause: report.failure_cause,
        });
        Self {
            deployment_id: report.id,
            status: status_text(report.status),
            created_on: date::text(report.created),
            deployment_status_details: details,
        }
    }
}

/// The API's words; it has none for a rejection but its details.
fn status_text(status: DeploymentStatus) -> &'static str {
    match status {
        DeploymentStatus::Queued => "QUEUED",
        DeploymentStatus::InProgress => "IN_PROGRESS",
        DeploymentStatus::Succeeded => "SUCCEEDED",
        DeploymentStatus::Failed | DeploymentStatus::Rejected => "FAILED",
        DeploymentStatus::Canceled => "CANCELED",
    }
}

#[derive(Serialize)]
pub(super) struct One {
    deployment: LocalDeployment,
}

pub(super) async fn status(
    session: Arc<Session>,
    operation: Operation,
    request: Target,
) -> Result<One, Fault> {
    let id = required(operation, "deploymentId", request.deployment_id)?;
    allowed(&session, operation, &id)?;
    let report = find(&session, id).await?;
    Ok(One {
        deployment: report.into(),
    })
}

/// A deployment that must exist.
pub(super) async fn find(session: &Session, id: String) -> Result<DeploymentReport, Fault> {
    let id = DeploymentId(id);
    let report = session.shared.ports.deployments.report(&id).await;
    report.ok_or_else(|| {
        let message = format!("there is no deployment {id}");
        Fault::not_found("LocalDeployment", id.0, message)
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct All {
    local_deployments: Vec<LocalDeployment>,
}

pub(super) async fn list(
    session: Arc<Session>,
    operation: Operation,
    _: Value,
) -> Result<All, Fault> {
    allowed(&session, operation, ANY)?;
    let reports = session.shared.ports.deployments.list().await;
    Ok(All {
        local_deployments: reports.into_iter().map(Into::into).collect(),
    })
}

fn allowed(session: &Session, operation: Operation, resource: &str) -> Result<(), Fault> {
    let authorisation = &session.shared.authorisation;
    authorisation.check(CLI, &session.principal, operation.name(), Some(resource))
}
