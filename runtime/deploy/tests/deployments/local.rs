//! What a developer does all day.

use crate::setting::{Home, RequestExt, files, name, request};
use deploy::{ChangeKind, CreateError, Retention};
use model::deployment::{ConfigurationUpdate, DetailedStatus, LocalDeploymentRequest};
use serde_json::json;
use std::{fs, io::Write, os::unix::fs::PermissionsExt};

fn with_artifact(more: serde_json::Value) -> serde_json::Value {
    let mut artifact = json!({"URI": "s3://bucket/some/path/tool.py"});
    artifact
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"Manifests": [{"Lifecycle": {"Run": "python3 {artifacts:path}/tool.py"}, "Artifacts": [artifact]}]})
}

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test]
async fn a_component_comes_with_its_dependency_configuration_and_files() {
    let home = Home::new();
    home.recipe("com.b", "1.0.0", json!({}));
    home.recipe("com.b", "1.1.0", json!({}));
    home.recipe(
        "com.a",
        "1.0.0",
        json!({
            "ComponentConfiguration": {"DefaultConfiguration": {"speed": 3, "unit": "l"}},
            "ComponentDependencies": {
                "com.b": {"VersionRequirement": "^1.0.0"},
                "aws.greengrass.Nucleus": {"VersionRequirement": ">=2.0.0 <2.19.0", "DependencyType": "SOFT"}
            },
            "Manifests": [{
                "Lifecycle": {"Run": "serve {configuration:/speed} {configuration:/unit} {iot:thingName} {artifacts:decompressedPath}/pack"},
                "Artifacts": [{"URI": "greengrass:abc/pack.zip", "Unarchive": "ZIP", "Permission": {"Read": "ALL", "Execute": "OWNER"}}]
            }]
        }),
    );
    home.artifact(
        "com.a",
        "1.0.0",
        "pack.zip",
        zip(&[("bin/tool", "x"), ("readme", "y")]),
    );
    let device = home.start().await;
    let mut wanted = request(&home, &[("com.a", "1.0.0")]).merge("com.a", json!({"speed": 5}));
    wanted.run_with.entry(name("com.a")).or_default().posix_user = Some(Some("ggc_user".into()));
    device.succeed(wanted).await;

    assert_eq!(
        device.fakes.components.log(),
        ["start com.b 1.1.0", "start com.a 1.0.0"]
    );
    let spec = device.fakes.components.spec("com.a").unwrap();
    let unarchived = home
        .root()
        .join("packages/artifacts-unarchived/com.a/1.0.0");
    let script = format!("serve 5 l pump-7 {}/pack", unarchived.display());
    assert_eq!(spec.lifecycle.run.as_ref().unwrap().script, script);
    assert_eq!(spec.run_with.posix_user.as_deref(), Some("ggc_user"));
    assert_eq!(
        spec.dependencies
            .keys()
            .map(model::ComponentName::as_str)
            .collect::<Vec<_>>(),
        ["com.b"]
    );
    assert_eq!(spec.artifact_folders.len(), 2);
    assert_eq!(
        fs::read_to_string(unarchived.join("pack/bin/tool")).unwrap(),
        "x"
    );
    let mode = |path: &str| {
        fs::metadata(unarchived.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("pack/bin/tool"), mode("pack")), (0o554, 0o755));
    assert_eq!(device.value("com.a", "unit"), Some(json!("l")));
    assert!(
        home.root()
            .join("packages/recipes/com.a-1.0.0.json")
            .is_file()
    );
    assert_eq!(
        fs::read_dir(home.root().join("deployments"))
            .unwrap()
            .count(),
        0
    );
    let roots = [
        "services",
        "DeploymentService",
        "runtime",
        "GroupToRootComponents",
        "LOCAL_DEPLOYMENT",
        "com.a",
        "version",
    ];
    assert_eq!(device.configuration.get(&roots), Some(json!("1.0.0")));
}

#[tokio::test]
async fn deploying_the_same_again_changes_nothing_and_other_files_of_the_same_version_are_taken() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", with_artifact(json!({})));
    home.artifact("com.a", "1.0.0", "tool.py", "one");
    home.artifact("com.a", "1.0.0", "extra.txt", "e");
    let device = home.start().await;
    let components = device.fakes.components.clone();
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    components.log();
    device.succeed(request(&home, &[("com.a", "1.0.0")])).await;
    assert_eq!(components.log(), [""; 0]);

    home.artifact("com.a", "1.0.0", "tool.py", "two");
    fs::remove_file(home.artifacts().join("com.a/1.0.0/extra.txt")).unwrap();
    device.succeed(request(&home, &[])).await;
    assert_eq!(components.log(), ["halt com.a", "start com.a 1.0.0"]);
    let folder = home.root().join("packages/artifacts/com.a/1.0.0");
    assert_eq!(fs::read_to_string(folder.join("tool.py")).unwrap(), "two");
    assert!(!folder.join("extra.txt").exists());

    home.recipe("com.a", "1.0.0", {
        let mut recipe = with_artifact(json!({}));
        recipe["Manifests"][0]["Lifecycle"]["Run"] = json!("other");
        recipe
    });
    device
        .succeed(LocalDeploymentRequest {
            artifact_folder: None,
            ..request(&home, &[("com.a", "1.0.0")])
        })
        .await;
    assert_eq!(
        components
            .spec("com.a")
            .unwrap()
            .lifecycle
            .run
            .unwrap()
            .script,
        "other"
    );
    assert_eq!(fs::read_to_string(folder.join("tool.py")).unwrap(), "two");
}

#[tokio::test]
async fn what_cannot_be_deployed_is_said_with_its_place_and_nothing_changes() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", with_artifact(json!({})));
    let device = home.start().await;
    let failing = |report: model::deployment::DeploymentReport, code: &str, part: &str| {
        assert_eq!(
            report.detailed,
            Some(DetailedStatus::FailedNoStateChange),
            "{report:?}"
        );
        assert_eq!(
            report.error_stack.last().map(String::as_str),
            Some(code),
            "{report:?}"
        );
        assert!(
            report.failure_cause.contains(part),
            "{}",
            report.failure_cause
        );
    };
    let report = device.deploy(request(&home, &[("com.a", "1.0.0")])).await;
    failing(
        report,
        "ARTIFACT_DOWNLOAD_ERROR",
        "s3://bucket/some/path/tool.py",
    );

    home.recipe(
        "com.a",
        "1.0.0",
        with_artifact(json!({"Digest": "AAAA", "Algorithm": "SHA-256"})),
    );
    home.artifact("com.a", "1.0.0", "tool.py", "one");
    let report = device.deploy(request(&home, &[("com.a", "1.0.0")])).await;
    failing(report, "ARTIFACT_CHECKSUM_MISMATCH", "the recipe says AAAA");

    let report = device.deploy(request(&home, &[("com.a", "1.0.1")])).await;
    failing(
        report,
        "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
        "'{LOCAL_DEPLOYMENT==1.0.1}'; versions here: 1.0.0",
    );

    let report = device
        .deploy(request(&home, &[("aws.greengrass.Nucleus", "2.0.0")]))
        .await;
    failing(
        report,
        "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
        "versions here: 2.18.0",
    );

    home.recipe(
        "com.d",
        "1.0.0",
        json!({"Manifests": [{"Platform": {"os": "windows"}, "Lifecycle": {"Run": "x"}}]}),
    );
    let report = device.deploy(request(&home, &[("com.d", "1.0.0")])).await;
    failing(report, "RECIPE_MISSING_MANIFEST", "com.d");

    home.recipe(
        "com.x",
        "1.0.0",
        json!({"Manifests": [{"Lifecycle": {"Run": "{com.y:work:path}"}}]}),
    );
    let report = device.deploy(request(&home, &[("com.x", "1.0.0")])).await;
    failing(report, "CONFIG_INTERPOLATE_ERROR", "com.y");

    let report = device
        .deploy(request(&home, &[]).merge("com.nobody", json!({"a": 1})))
        .await;
    failing(report, "DEPLOYMENT_DOCUMENT_NOT_VALID", "com.nobody");

    fs::write(
        home.recipes().join("bad.yaml"),
        "RecipeFormatVersion: 2020-01-25\nComponentName: [\n",
    )
    .unwrap();
    let report = device.deploy(request(&home, &[("com.a", "1.0.0")])).await;
    failing(report, "RECIPE_PARSE_ERROR", "bad.yaml:");
    assert_eq!(files(&home.root()), []);
    assert_eq!(device.fakes.components.log(), [""; 0]);
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_changes_nothing() {
    let home = Home::new();
    for version in ["1.0.0", "2.0.0"] {
        home.recipe("com.up", version, json!({}));
        home.recipe("com.same", version, json!({}));
    }
    home.recipe("com.gone", "1.0.0", json!({}));
    home.recipe(
        "com.new",
        "1.0.0",
        json!({"Manifests": [{"Lifecycle": {"Bootstrap": "b", "Run": "r"}}]}),
    );
    let device = home.start().await;
    device
        .succeed(request(
            &home,
            &[
                ("com.up", "1.0.0"),
                ("com.same", "2.0.0"),
                ("com.gone", "1.0.0"),
            ],
        ))
        .await;
    let before = files(&home.root());
    let mut wanted = request(&home, &[("com.up", "2.0.0"), ("com.new", "1.0.0")])
        .merge("com.same", json!({"k": {"x": 1}}));
    wanted.remove.push(name("com.gone"));
    let plan = device.deployments.plan(wanted).await.unwrap();
    let kinds: Vec<_> = plan
        .components
        .iter()
        .map(|c| (c.component.as_str(), c.change))
        .collect();
    assert_eq!(
        kinds,
        [
            ("com.gone", ChangeKind::Remove),
            ("com.new", ChangeKind::Add),
            ("com.same", ChangeKind::Configuration),
            ("com.up", ChangeKind::Upgrade)
        ]
    );
    assert_eq!(plan.bootstrap, [name("com.new")]);
    let up = serde_json::to_value(&plan.components[3]).unwrap();
    assert_eq!(
        up,
        json!({"component": "com.up", "change": "UPGRADE", "oldVersion": "1.0.0", "newVersion": "2.0.0", "why": ["asked for by LOCAL_DEPLOYMENT (=2.0.0)"]})
    );
    assert_eq!(plan.components[2].why, ["configuration: /k/x"]);
    assert_eq!(files(&home.root()), before);
    assert_eq!(device.deployments.list().len(), 1);
}

#[tokio::test]
async fn configuration_is_reset_and_merged_and_nobody_restarts_for_it() {
    let home = Home::new();
    home.recipe(
        "com.a",
        "1.0.0",
        json!({"ComponentConfiguration": {"DefaultConfiguration": {"x": 1, "y": 2}}}),
    );
    let device = home.start().await;
    device
        .succeed(
            request(&home, &[("com.a", "1.0.0")])
                .merge("com.a", json!({"x": 10, "y": 20, "z": 30})),
        )
        .await;
    device.fakes.components.log();
    let mut update = request(&home, &[]);
    update.configuration.insert(
        name("com.a"),
        ConfigurationUpdate {
            reset: vec!["/x".into(), "/z".into()],
            merge: Some(json!({"y": 21})),
        },
    );
    device.succeed(update).await;
    let all = device
        .configuration
        .get(&["services", "com.a", "configuration"]);
    assert_eq!(all, Some(json!({"x": 1, "y": 21})));
    assert_eq!(device.fakes.components.log(), [""; 0]);
}

#[tokio::test]
async fn versions_that_are_not_needed_go_and_the_set_before_stays() {
    let home = Home::new();
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        home.recipe("com.a", version, with_artifact(json!({})));
        home.artifact("com.a", version, "tool.py", version);
    }
    let mut options = home.options();
    options.retention = Retention {
        previous_sets: 1,
        max_bytes: 1 << 20,
    };
    let device = home.start_with(options, Default::default()).await;
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        device.succeed(request(&home, &[("com.a", version)])).await;
    }
    let left: Vec<_> = files(&home.root())
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        left,
        [
            "packages/artifacts/com.a/2.0.0/tool.py",
            "packages/artifacts/com.a/3.0.0/tool.py",
            "packages/recipes/com.a-2.0.0.json",
            "packages/recipes/com.a-3.0.0.json"
        ]
    );
    // Going back needs nothing from outside.
    let back = LocalDeploymentRequest {
        add: [(name("com.a"), "2.0.0".into())].into(),
        ..Default::default()
    };
    device.succeed(back).await;
    assert_eq!(device.fakes.components.running(), ["com.a 2.0.0"]);
}

#[tokio::test]
async fn the_queue_is_kept_over_a_restart_and_bounded() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    let mut options = home.options();
    options.queue_limit = 2;
    let device = home.start_with(options, Default::default()).await;
    // The first blocks the queue.
    device
        .fakes
        .components
        .behave("com.a", "1.0.0", crate::fakes::Behaviour::NeverComesUp);
    let mut events = device.deployments.watch();
    let first = device
        .deployments
        .create(request(&home, &[("com.a", "1.0.0")]))
        .await
        .unwrap();
    device
        .until(&mut events, &first, |r| {
            r.phase.contains("com.a (STARTING)")
        })
        .await;
    let second = device
        .deployments
        .create(request(&home, &[("com.a", "1.0.0")]))
        .await
        .unwrap();
    let third = device
        .deployments
        .create(request(&home, &[]))
        .await
        .unwrap();
    let fourth = device.deployments.create(request(&home, &[])).await;
    assert!(matches!(fourth, Err(CreateError::QueueFull { waiting: 2 })));
    device.stop().await;

    let device = home.start().await;
    let mut events = device.deployments.watch();
    for id in [&first, &second, &third] {
        let report = device.end_of(&mut events, id).await;
        assert_eq!(
            report.detailed,
            Some(DetailedStatus::Successful),
            "{report:?}"
        );
    }
    let listed: Vec<_> = device
        .deployments
        .list()
        .into_iter()
        .map(|r| r.id)
        .collect();
    assert_eq!(listed, [third, second, first]);
}

#[tokio::test]
async fn what_an_image_brings_along_is_deployed_on_the_first_start_only() {
    let home = Home::new();
    home.recipe("com.a", "1.0.0", json!({}));
    let mut options = home.options();
    options.initial = Some(request(&home, &[("com.a", "1.0.0")]));
    let device = home.start_with(options.clone(), Default::default()).await;
    let id = device.deployments.list()[0].id.clone();
    let mut events = device.deployments.watch();
    device.end_of(&mut events, &id).await;
    assert_eq!(device.fakes.components.running(), ["com.a 1.0.0"]);
    let mut remove = LocalDeploymentRequest::default();
    remove.remove.push(name("com.a"));
    device.succeed(remove).await;
    device.stop().await;
    let device = home.start_with(options, Default::default()).await;
    assert_eq!(device.deployments.list().len(), 2);
    assert!(device.deployments.active().is_empty());
}
