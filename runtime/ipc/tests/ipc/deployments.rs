//! Local deployments and their progress.

use crate::{
    fakes::component,
    world::{CLI, SOON, World, call, refused},
};
use model::deployment::{DeploymentReport, DeploymentStatus, DetailedStatus, FailurePolicy};
use serde_json::{Value, json};
use std::path::Path;
use tokio::time::timeout;

#[tokio::test]
async fn a_request_arrives_in_the_words_of_the_model() {
    let world = World::new().await;
    let person = world.client(CLI).await;
    let request = json!({
        "groupName": "g", "rootComponentVersionsToAdd": { "c": "1.0.0" }, "rootComponentsToRemove": ["d"],
        "componentToConfiguration": { "c": { "MERGE": { "k": 1 }, "RESET": ["/a"] }, "e": { "RESET": [""] } },
        "componentToRunWithInfo": { "c": { "posixUser": "u:g", "systemResourceLimits": { "memory": 1024, "cpus": 0.5 } } },
        "recipeDirectoryPath": "/r", "artifactsDirectoryPath": "/a", "failureHandlingPolicy": "ROLLBACK",
    });
    let answer = call(&person, "CreateLocalDeployment", request)
        .await
        .unwrap();
    assert_eq!(answer, json!({ "deploymentId": "d1" }));
    let taken = world.deployments.requests.lock().unwrap()[0].clone();
    assert_eq!(taken.group.as_deref(), Some("g"));
    assert_eq!(taken.add[&component("c")], "1.0.0");
    assert_eq!(taken.remove, [component("d")]);
    assert_eq!(
        taken.configuration[&component("c")].merge,
        Some(json!({ "k": 1 }))
    );
    assert_eq!(taken.configuration[&component("e")].reset, [""]);
    assert_eq!(
        taken.run_with[&component("c")].posix_user,
        Some(Some("u:g".into()))
    );
    assert_eq!(taken.recipe_folder.as_deref(), Some(Path::new("/r")));
    assert_eq!(taken.failure_policy, Some(FailurePolicy::Rollback));
    for (bad, class) in [
        (
            json!({ "recipeDirectoryPath": "r" }),
            "InvalidRecipeDirectoryPathError",
        ),
        (
            json!({ "recipeDirectoryPath": "/missing" }),
            "InvalidRecipeDirectoryPathError",
        ),
        (
            json!({ "artifactsDirectoryPath": "a" }),
            "InvalidArtifactsDirectoryPathError",
        ),
        (json!({ "groupName": "a:b" }), "InvalidArgumentsError"),
        (
            json!({ "rootComponentVersionsToAdd": { "a/b": "1.0.0" } }),
            "InvalidArgumentsError",
        ),
        (
            json!({ "failureHandlingPolicy": "HOPE" }),
            "InvalidArgumentsError",
        ),
    ] {
        assert_eq!(refused(&person, "CreateLocalDeployment", bad).await, class);
    }
    let plan = call(
        &person,
        "aws.greengrass.private#PlanLocalDeployment",
        json!({ "rootComponentVersionsToAdd": { "c": "2.0.0" } }),
    )
    .await;
    assert_eq!(
        plan.unwrap(),
        json!({ "plan": { "add": { "c": "2.0.0" } } })
    );
}

#[tokio::test]
async fn a_deployment_is_reported_and_cancelled() {
    let world = World::new().await;
    world.deployments.change("d1", |_| ());
    let person = world.client(CLI).await;
    let id = json!({ "deploymentId": "d1" });
    let status = call(&person, "GetLocalDeploymentStatus", id.clone())
        .await
        .unwrap();
    assert_eq!(
        status,
        json!({ "deployment": { "deploymentId": "d1", "status": "QUEUED", "createdOn": "29-02-2024 23:59:59 UTC" } })
    );
    let answer = call(&person, "CancelLocalDeployment", id.clone())
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({ "message": "Cancel request submitted. Deployment ID: d1" })
    );
    world.deployments.change("d1", |report| {
        report.status = DeploymentStatus::Failed;
        report.detailed = Some(DetailedStatus::FailedRollbackComplete);
        report.error_stack = vec!["DEPLOYMENT_FAILURE".into(), "COMPONENT_BROKEN".into()];
        report.error_types = vec!["USER_COMPONENT_ERROR".into()];
        report.failure_cause = "it broke".into();
    });
    let list = call(&person, "ListLocalDeployments", json!({}))
        .await
        .unwrap();
    assert_eq!(list["localDeployments"][0]["status"], "FAILED");
    assert_eq!(
        list["localDeployments"][0]["deploymentStatusDetails"],
        json!({
            "detailedDeploymentStatus": "FAILED_ROLLBACK_COMPLETE",
            "deploymentErrorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_BROKEN"],
            "deploymentErrorTypes": ["USER_COMPONENT_ERROR"], "deploymentFailureCause": "it broke",
        })
    );
    let answer = call(&person, "CancelLocalDeployment", id).await.unwrap();
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("already finished")
    );
    for operation in ["GetLocalDeploymentStatus", "CancelLocalDeployment"] {
        assert_eq!(
            refused(&person, operation, json!({ "deploymentId": "no" })).await,
            "ResourceNotFoundError"
        );
    }
}

#[tokio::test]
async fn progress_is_followed_to_the_end_of_the_deployment() {
    let world = World::new().await;
    world.deployments.change("d1", |_| ());
    let person = world.client(CLI).await;
    let name = "aws.greengrass.private#SubscribeToDeployment";
    let (_, mut events) = person
        .subscribe::<Value>(name, &json!({ "deploymentId": "d1" }))
        .await
        .unwrap();
    let mut next = async || {
        let event = timeout(SOON, events.next()).await.unwrap()?;
        Some(event.unwrap().parse::<DeploymentReport>().unwrap())
    };
    assert_eq!(next().await.unwrap().status, DeploymentStatus::Queued);
    world.deployments.change("d2", |_| ());
    world.deployments.change("d1", |report| {
        report.status = DeploymentStatus::InProgress;
        report.phase = "downloading".into();
    });
    assert_eq!(next().await.unwrap().phase, "downloading");
    world
        .deployments
        .change("d1", |report| report.status = DeploymentStatus::Succeeded);
    assert_eq!(next().await.unwrap().status, DeploymentStatus::Succeeded);
    assert!(next().await.is_none());
    assert_eq!(
        refused(&person, name, json!({ "deploymentId": "no" })).await,
        "ResourceNotFoundError"
    );
}
