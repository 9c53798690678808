//! Several groups on one device.

use crate::setting::{Home, name, request};
use model::deployment::LocalDeploymentRequest;
use serde_json::json;

fn remove(group: Option<&str>, component: &str) -> LocalDeploymentRequest {
    LocalDeploymentRequest {
        group: group.map(str::to_owned),
        remove: vec![name(component)],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_component_stays_while_any_group_wants_it() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    let device = home.start().await;
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    device
        .succeed(LocalDeploymentRequest {
            group: Some("pumps".into()),
            ..request(&home, &[("com.a", "1.0.0")])
        })
        .await;
    device.fakes.components.log();
    let report = device.succeed(remove(None, "com.a")).await;
    assert_eq!(
        report.phase,
        "succeeded; com.a stays: it is asked for by thinggroup/pumps (=1.0.0); remove it from thinggroup/pumps to be rid of it"
    );
    assert_eq!(device.fakes.components.log(), [""; 0]);
    device.succeed(remove(Some("pumps"), "com.a")).await;
    assert_eq!(device.fakes.components.log(), ["remove com.a"]);
    assert!(device.configuration.get(&["services", "com.a"]).is_none());
}

#[tokio::test]
async fn groups_that_cannot_agree_are_told_who_wants_what() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    home.recipe("com.a", "2.0.0", json!({}));
    let device = home.start().await;
    device
        .succeed(LocalDeploymentRequest {
            group: Some("pumps".into()),
            ..request(&home, &[("com.a", "1.0.0")])
        })
        .await;
    let report = device.deploy(request(&home, &[("com.a", "2.0.0")])).await;
    assert!(
        report
            .failure_cause
            .contains("'{LOCAL_DEPLOYMENT==2.0.0, thinggroup/pumps==1.0.0}'"),
        "{}",
        report.failure_cause
    );
    // Leaving the group settles it.
    device.succeed(remove(Some("pumps"), "com.a")).await;
    device.succeed(request(&home, &[("com.a", "2.0.0")])).await;
}

#[tokio::test]
async fn a_dependency_goes_with_the_last_that_needs_it() {
    let home = Home::new();
    let depends = json!({"ComponentDependencies": {"com.lib": {"VersionRequirement": "^1.0.0"}}});
    home.recipe("com.a", "1.0.0", depends.clone());
    home.recipe("com.b", "1.0.0", depends);
    home.recipe("com.lib", "1.0.0", json!({}));
    let device = home.start().await;
    device
        .succeed(request(&home, &[("com.a", "1.0.0"), ("com.b", "1.0.0")]))
        .await;
    device.fakes.components.log();
    let report = device.succeed(remove(None, "com.lib")).await;
    assert!(
        report
            .phase
            .contains("com.lib stays: it is asked for by com.a (^1.0.0), com.b (^1.0.0)"),
        "{}",
        report.phase
    );
    device.succeed(remove(None, "com.a")).await;
    device.succeed(remove(None, "com.b")).await;
    assert_eq!(
        device.fakes.components.log(),
        ["remove com.a", "remove com.b", "remove com.lib"]
    );
}
