//! The frame as a REST service sees it: labels, query, headers and bodies in; statuses, payloads and error shapes out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use control_plane::{
    http::{
        Api, ApiError, Caller, Context, Empty, ErrorNames, Operation, Page, Payload, Protocol,
        Service, Timestamp, server,
    },
    state::{Settings, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThingInput {
    thing_name: String,
    #[serde(rename = "x-amzn-principal")]
    principal: Option<String>,
    recursive: Option<bool>,
    attributes: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThingOutput {
    thing_name: String,
    principal: Option<String>,
    recursive: bool,
    attributes: Vec<String>,
    created: Timestamp,
    absent: Option<String>,
}

async fn create(_context: Context, input: ThingInput) -> Result<ThingOutput, ApiError> {
    if input.thing_name == "taken" {
        return Err(ApiError::conflict("Thing taken already exists").with("resourceId", "taken"));
    }
    assert_ne!(input.thing_name, "boom", "a fault of ours");
    Ok(ThingOutput {
        thing_name: input.thing_name,
        principal: input.principal,
        recursive: input.recursive.unwrap_or(false),
        attributes: input.attributes.unwrap_or_default(),
        created: Timestamp::from_millis(1500),
        absent: None,
    })
}

async fn delete(_context: Context, _input: Empty) -> Result<Empty, ApiError> {
    Ok(Empty {})
}

async fn echo(context: Context, _input: Empty) -> Result<Payload, ApiError> {
    let body = Bytes::from([b"got ", context.body().as_ref()].concat());
    Ok(Payload {
        body,
        content_type: Some("application/octet-stream"),
        ..Payload::default()
    })
}

async fn fail(context: Context, _input: Empty) -> Result<Empty, ApiError> {
    context
        .database()
        .read(|t| {
            let _: i64 = t.query_row("SELECT secret FROM no_such_table", [], |row| row.get(0))?;
            Ok::<_, ApiError>(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    items: Vec<i64>,
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let page = Page::of(
        &context,
        input.max_results,
        1..=250,
        25,
        input.next_token.as_deref(),
        "",
    )?;
    let from: i64 = page.after().map_or(0, |a| a.parse().unwrap());
    let all: Vec<i64> = (from + 1..=5)
        .take(usize::try_from(page.fetch()).unwrap())
        .collect();
    let (items, next_token) = page.finish(all, i64::to_string);
    Ok(ListOutput { items, next_token })
}

async fn guarded(context: Context, _input: Empty) -> Result<Empty, ApiError> {
    context.allow("arn:aws:iot:::thing/one")?;
    Ok(Empty {})
}

fn service() -> Service {
    Service {
        name: "example",
        scopes: &["example"],
        prefix: "iot",
        protocol: Protocol::RestJson,
        errors: ErrorNames {
            invalid: "InvalidRequestException",
            bad_token: "InvalidRequestException",
            internal: "InternalFailureException",
            denied: "UnauthorizedException",
        },
        operations: vec![
            Operation::new("CreateThing", "POST /things/{thingName}", create).status(201),
            Operation::new("DeleteThing", "DELETE /things/{thingName}", delete).status(204),
            Operation::payload("Echo", "POST /topics/{topic}", echo).raw_input(),
            Operation::new("Fail", "GET /fail", fail),
            Operation::new("ListThings", "GET /things", list),
            Operation::new("Guarded", "GET /guarded", guarded).checks_access(),
            Operation::new("Unguarded", "GET /unguarded", delete),
        ],
    }
}

struct Door {
    address: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The service behind a listener that takes every caller for `caller`, as one with client certificates would.
async fn door(caller: Caller) -> Door {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path(), &Settings::default())
        .unwrap()
        .shared();
    let api = Arc::new(Api::with(state, vec![service()]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (
        listener.local_addr().unwrap().to_string(),
        CancellationToken::new(),
    );
    let shutdown = stop.clone();
    tokio::spawn(async move {
        while let Some(Ok((stream, _))) = shutdown.run_until_cancelled(listener.accept()).await {
            let (api, caller, shutdown) = (Arc::clone(&api), caller.clone(), shutdown.clone());
            tokio::spawn(async move {
                let handle = |request| api.handle_proven(request, caller.clone(), "test");
                server::connection(stream, handle, shutdown).await;
            });
        }
    });
    Door {
        address,
        stop,
        _folder: folder,
    }
}

fn user() -> Caller {
    Caller::User {
        name: "u".into(),
        id: "AIDA".into(),
        access_key_id: "AKIA".into(),
    }
}

/// Status, headers in lower case, and body.
async fn ask(door: &Door, line: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(&door.address).await.unwrap();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head[9..12].parse().unwrap(),
        head.to_lowercase(),
        body.to_owned(),
    )
}

async fn json_of(door: &Door, line: &str, body: &str) -> (u16, Value) {
    let (status, _, body) = ask(door, line, "", body).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_from_path_query_header_and_body() {
    let door = door(user()).await;
    let line = "POST /things/a%2Fb%20c?recursive=true";
    let (status, head, body) = ask(
        &door,
        line,
        "x-amzn-principal: arn:p\r\n",
        r#"{"attributes": ["x"], "unknown": 1}"#,
    )
    .await;
    assert_eq!(status, 201);
    assert!(head.contains("content-type: application/json") && head.contains("x-amzn-requestid: "));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        json!({"thingName": "a/b c", "principal": "arn:p", "recursive": true, "attributes": ["x"], "created": 1.5})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_payloads_and_raw_bodies() {
    let door = door(user()).await;
    assert_eq!(ask(&door, "DELETE /things/a", "", "").await.2, "");
    assert_eq!(ask(&door, "DELETE /things/a", "", "").await.0, 204);
    let (status, head, body) = ask(&door, "POST /topics/a%2Fb", "", "no json {").await;
    assert_eq!((status, body.as_str()), (200, "got no json {"));
    assert!(head.contains("content-type: application/octet-stream"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_shape_that_the_sdks_read() {
    let door = door(user()).await;
    let (status, head, body) = ask(&door, "POST /things/taken", "", "{}").await;
    assert_eq!(status, 409);
    assert!(
        head.contains("x-amzn-errortype: conflictexception"),
        "{head}"
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body,
        json!({"message": "Thing taken already exists", "resourceId": "taken"})
    );
    let (status, head, body) = ask(&door, "POST /things/a", "", "{").await;
    assert!(
        status == 400 && head.contains("invalidrequestexception"),
        "{head} {body}"
    );
    let (status, _, body) = ask(&door, "POST /things/a", "", r#"{"attributes": [1]}"#).await;
    assert!(status == 400 && body.contains("'attributes[0]'"), "{body}");
    let (status, head, body) = ask(&door, "PATCH /things/a", "", "").await;
    assert!(
        status == 404
            && head.contains("unknownoperationexception")
            && body.contains("PATCH /things/a"),
        "{body}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_ours_are_internal_errors_that_tell_nothing() {
    let door = door(user()).await;
    for line in ["GET /fail", "POST /things/boom"] {
        let (status, head, body) = ask(&door, line, "", "").await;
        assert!(
            status == 500 && head.contains("internalfailureexception"),
            "{head}"
        );
        assert!(
            !body.contains("no_such_table") && !body.contains("fault of ours"),
            "{body}"
        );
    }
    assert_eq!(
        ask(&door, "GET /things", "", "").await.0,
        200,
        "and the program goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_pages_and_limits() {
    let door = door(user()).await;
    let (_, first) = json_of(&door, "GET /things?maxResults=3", "").await;
    assert_eq!(first["items"], json!([1, 2, 3]));
    let token = first["nextToken"].as_str().unwrap();
    let (_, second) = json_of(
        &door,
        &format!("GET /things?maxResults=3&nextToken={token}"),
        "",
    )
    .await;
    assert_eq!(second, json!({"items": [4, 5]}));
    let (status, refused) = json_of(&door, "GET /things?nextToken=AAAA", "").await;
    assert_eq!(
        (
            status,
            refused["message"].as_str().unwrap().contains("token")
        ),
        (400, true)
    );
    let (status, refused) = json_of(&door, "GET /things?maxResults=251", "").await;
    assert!(
        status == 400
            && refused["message"]
                .as_str()
                .unwrap()
                .contains("'maxResults'")
    );
    let (status, refused) = json_of(&door, "GET /things?maxResults=many", "").await;
    assert!(
        status == 400
            && refused["message"]
                .as_str()
                .unwrap()
                .contains("'maxResults'")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_check_access_itself_is_closed_to_those_with_few_rights() {
    let policy = r#"{"Statement": [{"Effect": "Allow", "Action": "iot:Guarded", "Resource": "arn:aws:iot:::thing/one"}]}"#;
    let policies = control_plane::access::Policies::parse(&[policy.to_owned()], None).unwrap();
    let role = Caller::Role {
        name: "r".into(),
        id: "AROA".into(),
        session: "s".into(),
        access_key_id: "ASIA".into(),
        policies,
    };
    let door = door(role).await;
    assert_eq!(ask(&door, "GET /guarded", "", "").await.0, 200);
    for line in ["GET /unguarded", "GET /things", "POST /things/a"] {
        let (status, head, body) = ask(&door, line, "", "").await;
        assert_eq!(status, StatusCode::FORBIDDEN.as_u16());
        assert!(
            head.contains("unauthorizedexception")
                && body.contains("not authorized to perform: iot:"),
            "{body}"
        );
    }
}
