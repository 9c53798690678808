//! Commands against a runtime played by the test: what is asked of it, what is shown, and the exit code.

mod files;
mod logs;
mod socket;

use super::*;
use crate::runtime::{CallError, ConnectError, Events, Runtime, private};
use ::async_trait::async_trait;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
};

type Answer = Result<Value, CallError>;

/// Plays the runtime: answers in the order the operations are called.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    connections: VecDeque<ConnectError>,
    answers: VecDeque<(&'static str, Answer)>,
    events: VecDeque<VecDeque<Answer>>,
    asked: Vec<(String, Value)>,
}

impl Fake {
    fn answer(self, operation: &'static str, answer: Value) -> Self {
        self.0
            .lock()
            .unwrap()
            .answers
            .push_back((operation, Ok(answer)));
        self
    }

    fn refuse(self, operation: &'static str, code: &str, message: &str) -> Self {
        let error = CallError::Refused {
            code: code.into(),
            message: message.into(),
        };
        self.0
            .lock()
            .unwrap()
            .answers
            .push_back((operation, Err(error)));
        self
    }

    fn lose(self, operation: &'static str) -> Self {
        self.0
            .lock()
            .unwrap()
            .answers
            .push_back((operation, Err(CallError::Lost("gone".into()))));
        self
    }

    fn events(self, events: impl IntoIterator<Item = Answer>) -> Self {
        self.0
            .lock()
            .unwrap()
            .events
            .push_back(events.into_iter().collect());
        self
    }

    fn down(self, error: ConnectError) -> Self {
        self.0.lock().unwrap().connections.push_back(error);
        self
    }

    fn asked(&self, index: usize) -> (String, Value) {
        self.0.lock().unwrap().asked[index].clone()
    }

    /// Exit code, standard output, standard error.
    fn run(&self, line: &[&str]) -> (u8, String, String) {
        let words = std::iter::once("greengrass-cli")
            .chain(line.iter().copied())
            .map(OsString::from);
        let cli = Cli::try_parse_from(arguments::modernise(words)).unwrap();
        let (mut answer, mut progress) = (Vec::new(), Vec::new());
        let code = {
            let mut output = Output {
                answer: &mut answer,
                progress: &mut progress,
                form: cli.output,
                colour: false,
                live: false,
            };
            // The clock jumps over every wait.
            let paused = || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .start_paused(true)
                    .build()
            };
            let result = execute(&cli, self, paused, &mut output);
            finish(result, &mut output)
        };
        (
            code,
            String::from_utf8(answer).unwrap(),
            String::from_utf8(progress).unwrap(),
        )
    }
}

#[async_trait]
impl Connect for Fake {
    async fn connect(&self) -> Result<Box<dyn Runtime>, ConnectError> {
        match self.0.lock().unwrap().connections.pop_front() {
            Some(error) => Err(error),
            None => Ok(Box::new(self.clone())),
        }
    }
}

#[async_trait]
impl Runtime for Fake {
    async fn call(&self, operation: &str, request: Value) -> Answer {
        let mut script = self.0.lock().unwrap();
        script.asked.push((operation.to_owned(), request));
        let (expected, answer) = script
            .answers
            .pop_front()
            .unwrap_or_else(|| panic!("unexpected {operation}"));
        assert!(
            operation.ends_with(expected),
            "{operation} instead of {expected}"
        );
        answer
    }

    async fn subscribe(
        &self,
        operation: &str,
        request: Value,
    ) -> Result<Box<dyn Events>, CallError> {
        let mut script = self.0.lock().unwrap();
        script.asked.push((operation.to_owned(), request));
        match script.events.pop_front() {
            Some(events) => Ok(Box::new(Scripted(events))),
            None => Err(CallError::Refused {
                code: String::new(),
                message: "Unsupported Operation".into(),
            }),
        }
    }
}

struct Scripted(VecDeque<Answer>);

#[async_trait]
impl Events for Scripted {
    async fn next(&mut self) -> Option<Answer> {
        self.0.pop_front()
    }
}

fn report(status: &str) -> Value {
    json!({ "deployment": { "deploymentId": "d-1", "status": status, "createdOn": "2026-01-02T03:04:05Z" } })
}

fn event(status: model::deployment::DeploymentStatus, phase: &str) -> Answer {
    let report = model::deployment::DeploymentReport {
        id: model::deployment::DeploymentId("d-1".into()),
        status,
        created: std::time::UNIX_EPOCH,
        detailed: None,
        error_stack: vec![],
        error_types: vec![],
        failure_cause: String::new(),
        phase: phase.into(),
    };
    Ok(serde_json::to_value(report).unwrap())
}

#[test]
fn components_are_listed_in_columns_or_as_json() {
    let answer = json!({ "components": [
        { "componentName": "com.b", "version": "1.0.0", "state": "RUNNING", "configuration": {} },
        { "componentName": "com.a", "version": "2.10.0", "state": "BROKEN", "statusReason": "exit code 3\nno sensor" },
    ] });
    let (code, text, _) = Fake::default()
        .answer("ListComponents", answer.clone())
        .run(&["component", "list"]);
    assert_eq!(code, 0);
    assert_eq!(
        text,
        "NAME   VERSION  STATE    REASON\ncom.a  2.10.0   BROKEN   exit code 3\ncom.b  1.0.0    RUNNING\n"
    );
    let (_, text, _) =
        Fake::default()
            .answer("ListComponents", answer)
            .run(&["component", "list", "-o", "json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed[0]["componentName"], "com.a");
}

#[test]
fn details_keep_the_classic_layout_and_a_missing_component_is_a_failure() {
    let details = json!({ "componentDetails": { "componentName": "com.a", "version": "1.0.0", "state": "RUNNING", "configuration": { "k": 1 } } });
    let (code, text, _) = Fake::default()
        .answer("GetComponentDetails", details)
        .run(&["component", "details", "-n", "com.a"]);
    assert_eq!(code, 0);
    assert_eq!(
        text,
        "Component Name: com.a\n    Version: 1.0.0\n    State: RUNNING\n    Configuration: {\"k\":1}\n"
    );
    let fake = Fake::default().refuse("GetComponentDetails", "ResourceNotFoundError", "not found");
    let (code, _, error) = fake.run(&["component", "details", "-n", "com.a"]);
    assert_eq!(
        (code, error.as_str()),
        (1, "error: there is no component com.a\n")
    );
}

#[test]
fn one_component_that_cannot_be_restarted_fails_the_command_but_not_the_others() {
    let fake = Fake::default()
        .refuse("RestartComponent", "ComponentNotFoundError", "")
        .answer("RestartComponent", json!({ "restartStatus": "SUCCEEDED" }));
    let (code, text, error) = fake.run(&["component", "restart", "-n", "com.a,com.b"]);
    assert_eq!((code, error.as_str()), (1, ""));
    assert_eq!(
        text,
        "com.a: not restarted: there is no component com.a\ncom.b: restarted\n"
    );
}

#[test]
fn a_deployment_is_requested_with_absolute_folders_and_everything_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let update = path.join("update.json");
    fs::write(
        &update,
        r#"{"com.a": {"merge": {"k": [1]}, "RESET": ["/x"]}}"#,
    )
    .unwrap();
    let fake = Fake::default().answer("CreateLocalDeployment", json!({ "deploymentId": "d-1" }));
    let dotted = path.join(".");
    let (code, text, _) = fake.run(&[
        "deployment",
        "create",
        "-r",
        dotted.to_str().unwrap(),
        "-a",
        path.to_str().unwrap(),
        "-m",
        "com.a=1.0.0",
        "--remove",
        "com.b,com.c",
        "-g",
        "group",
        "--runWith",
        "com.a:posixUser=u:g",
        "--systemLimits",
        r#"{"com.a": {"cpus": 0.5, "memory": 1024}, "com.d": {"memory": 5}}"#,
        "-c",
        update.to_str().unwrap(),
        "-fp",
        "DO_NOTHING",
    ]);
    assert_eq!(
        (code, text.as_str()),
        (0, "Local deployment submitted! Deployment Id: d-1\n")
    );
    let expected = json!({
        "groupName": "group",
        "recipeDirectoryPath": path, "artifactsDirectoryPath": path,
        "rootComponentVersionsToAdd": { "com.a": "1.0.0" },
        "rootComponentsToRemove": ["com.b", "com.c"],
        "componentToConfiguration": { "com.a": { "MERGE": { "k": [1] }, "RESET": ["/x"] } },
        "componentToRunWithInfo": {
            "com.a": { "posixUser": "u:g", "systemResourceLimits": { "cpus": 0.5, "memory": 1024 } },
            "com.d": { "systemResourceLimits": { "memory": 5 } },
        },
        "failureHandlingPolicy": "DO_NOTHING",
    });
    assert_eq!(
        fake.asked(0),
        ("aws.greengrass#CreateLocalDeployment".to_owned(), expected)
    );
}

#[test]
fn a_wrong_request_is_refused_before_the_runtime_hears_of_it() {
    for (line, hint) in [
        (&["deployment", "create"][..], "nothing to deploy"),
        (
            &["deployment", "create", "-r", "/no/such/folder"],
            "--recipeDir /no/such/folder",
        ),
        (&["deployment", "create", "-r", "/dev/null"], "not a folder"),
        (
            &["deployment", "create", "-m", "a=1.0.0", "-m", "a=2.0.0"],
            "two versions of a",
        ),
        (
            &["deployment", "create", "-m", "a=1.0.0", "--remove", "a"],
            "both",
        ),
        (&["deployment", "create", "-c", "{"], "not JSON"),
        (&["deployment", "create", "-c", "no.json"], "no.json"),
        (
            &["deployment", "create", "-c", r#"{"MERGE": {"a": 1}}"#],
            "expected",
        ),
        (
            &[
                "deployment",
                "create",
                "-c",
                r#"{"a": {"MERGE": {}, "REST": []}}"#,
            ],
            "expected",
        ),
        (
            &[
                "deployment",
                "create",
                "--systemLimits",
                r#"{"a": {"cpu": 1}}"#,
            ],
            "cpu",
        ),
        (
            &[
                "deployment",
                "create",
                "--systemLimits",
                r#"{"a/b": {"cpus": 1}}"#,
            ],
            "a/b",
        ),
    ] {
        let (code, _, error) = Fake::default().run(line);
        assert_eq!(code, 2, "{line:?}: {error}");
        assert!(error.contains(hint), "{line:?}: {error}");
    }
    let fake = Fake::default().refuse(
        "CreateLocalDeployment",
        "InvalidRecipeDirectoryPathError",
        "bad folder",
    );
    assert_eq!(fake.run(&["deploy", "--add-component", "a=1.0.0"]).0, 2);
    let fake = Fake::default().refuse("CreateLocalDeployment", "UnauthorizedError", "no");
    assert_eq!(fake.run(&["deploy", "--add-component", "a=1.0.0"]).0, 1);
}

#[test]
fn following_shows_each_phase_once_and_the_end_decides_the_exit_code() {
    use model::deployment::DeploymentStatus::{Failed, InProgress, Queued};
    let failed = json!({ "deployment": { "deploymentId": "d-1", "status": "FAILED", "deploymentStatusDetails": {
        "detailedDeploymentStatus": "FAILED_ROLLBACK_COMPLETE", "deploymentErrorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_BROKEN"],
        "deploymentErrorTypes": ["USER_COMPONENT_ERROR"], "deploymentFailureCause": "com.a exited with 3\nno sensor" } } });
    let fake = Fake::default()
        .answer("CreateLocalDeployment", json!({ "deploymentId": "d-1" }))
        .events([
            event(Queued, ""),
            event(InProgress, "copying artifacts"),
            event(InProgress, "copying artifacts"),
            Ok(json!({ "something": "else" })),
            event(InProgress, "waiting for com.a"),
            event(Failed, ""),
        ])
        .answer("GetLocalDeploymentStatus", report("QUEUED"))
        .answer("GetLocalDeploymentStatus", failed);
    let (code, text, progress) = fake.run(&["deployment", "create", "-m", "com.a=1.0.0", "--wait"]);
    assert_eq!(code, 1);
    assert_eq!(progress, "queued\ncopying artifacts\nwaiting for com.a\n");
    assert_eq!(
        text,
        "Deployment d-1\nd-1: FAILED\n    Detailed Status: FAILED_ROLLBACK_COMPLETE\n    Deployment Error Stack: DEPLOYMENT_FAILURE, COMPONENT_BROKEN\n    \
         Deployment Error Types: USER_COMPONENT_ERROR\n    Failure Cause: com.a exited with 3\n        no sensor\n"
    );
    assert_eq!(fake.asked(1).0, private::SUBSCRIBE_TO_DEPLOYMENT);
}

#[test]
fn a_runtime_without_events_is_asked_again_and_again() {
    let fake = Fake::default()
        .answer("GetLocalDeploymentStatus", report("IN_PROGRESS"))
        .answer("GetLocalDeploymentStatus", report("SUCCEEDED"));
    let (code, text, progress) = fake.run(&[
        "deployment",
        "status",
        "-i",
        "d-1",
        "--follow",
        "-o",
        "json",
    ]);
    assert_eq!((code, progress.as_str()), (0, "in progress\n"));
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["status"],
        "SUCCEEDED"
    );
}

#[test]
fn following_goes_on_after_the_runtime_has_restarted_itself() {
    let fake = Fake::default()
        .answer("CreateLocalDeployment", json!({ "deploymentId": "d-1" }))
        .events([
            event(
                model::deployment::DeploymentStatus::InProgress,
                "bootstrapping",
            ),
            Err(CallError::Lost("closed".into())),
        ])
        .answer("GetLocalDeploymentStatus", report("IN_PROGRESS"))
        .events([])
        .lose("GetLocalDeploymentStatus")
        .events([])
        .answer("GetLocalDeploymentStatus", report("SUCCEEDED"));
    let (code, text, progress) = fake.run(&["deploy", "--add-component", "a=1.0.0", "--follow"]);
    assert_eq!((code, progress.as_str()), (0, "bootstrapping\n"));
    assert!(
        text.ends_with("d-1: SUCCEEDED\n    Created On: 2026-01-02T03:04:05Z\n"),
        "{text}"
    );
}

#[test]
fn a_deadline_ends_the_following_not_the_deployment() {
    let fake = (0..50).fold(Fake::default(), |fake, _| {
        fake.answer("GetLocalDeploymentStatus", report("IN_PROGRESS"))
    });
    let (code, _, error) = fake.run(&[
        "deployment",
        "status",
        "-i",
        "d-1",
        "--wait",
        "--timeout",
        "20",
    ]);
    assert_eq!(code, 1);
    assert!(
        error.contains("has not ended within 20 s; it goes on"),
        "{error}"
    );
}

#[test]
fn status_and_list_report_and_do_not_judge() {
    let (code, text, _) = Fake::default()
        .answer("GetLocalDeploymentStatus", report("FAILED"))
        .run(&["deployment", "status", "-i", "d-1"]);
    assert_eq!((code, text.lines().next()), (0, Some("d-1: FAILED")));
    let fake = Fake::default().refuse("GetLocalDeploymentStatus", "ResourceNotFoundError", "");
    let (code, _, error) = fake.run(&["deployment", "status", "-i", "d-2"]);
    assert_eq!(
        (code, error.as_str()),
        (1, "error: there is no deployment d-2\n")
    );
    let list = json!({ "localDeployments": [report("SUCCEEDED")["deployment"]] });
    let (_, text, _) = Fake::default()
        .answer("ListLocalDeployments", list)
        .run(&["deployment", "list"]);
    assert_eq!(
        text,
        "ID   STATUS     CREATED               CAUSE\nd-1  SUCCEEDED  2026-01-02T03:04:05Z\n"
    );
    let (_, text, _) = Fake::default()
        .answer("CancelLocalDeployment", json!({ "message": "Cancelling" }))
        .run(&["deployment", "cancel", "-i", "d-1"]);
    assert_eq!(text, "Cancelling\n");
}

#[test]
fn a_dry_run_shows_the_plan_and_creates_nothing() {
    let plan = json!({ "plan": {
        "components": [
            { "component": "com.a", "change": "UPGRADE", "oldVersion": "1.0.0", "newVersion": "1.1.0", "why": ["asked for by LOCAL_DEPLOYMENT"] },
            { "component": "com.b", "change": "UNCHANGED", "oldVersion": "1.0.0", "newVersion": "1.0.0", "why": [] },
            { "component": "com.c", "change": "REMOVE", "oldVersion": "2.0.0", "newVersion": null, "why": ["nothing asks for it any more"] },
        ],
        "bootstrap": ["com.a"],
        "notes": ["com.b stays: com.a needs it"],
    } });
    let fake = Fake::default().answer("PlanLocalDeployment", plan);
    let (code, text, _) = fake.run(&["deployment", "remove", "com.c", "--dry-run", "-g", "G"]);
    assert_eq!(code, 0);
    assert_eq!(
        text,
        "CHANGE   COMPONENT  VERSION         WHY\nupgrade  com.a      1.0.0 -> 1.1.0  asked for by LOCAL_DEPLOYMENT\n\
         remove   com.c      2.0.0           nothing asks for it any more\nBootstrap steps run, in this order: com.a\nUnchanged: com.b\n\
         Note: com.b stays: com.a needs it\n"
    );
    assert_eq!(
        fake.asked(0),
        (
            private::PLAN.to_owned(),
            json!({ "groupName": "G", "rootComponentsToRemove": ["com.c"] })
        )
    );
}

#[test]
fn without_a_runtime_the_message_says_what_to_do() {
    let down = ConnectError::Down("No runtime is running in /r. Start it.".into());
    let (code, _, error) = Fake::default().down(down).run(&["component", "list"]);
    assert_eq!(
        (code, error.as_str()),
        (1, "error: No runtime is running in /r. Start it.\n")
    );
    let wrong = ConnectError::Usage("/r is no folder".into());
    assert_eq!(Fake::default().down(wrong).run(&["component", "list"]).0, 2);
}
