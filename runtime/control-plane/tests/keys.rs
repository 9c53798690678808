//! What the rest of the program builds on: links to objects, and keys for devices on behalf of the credentials provider.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use control_plane::{
    http::{Api, ApiError, Caller, Timestamp, server},
    s3,
    state::{
        Settings, State,
        keys::{self, Credentials, Request, Standing, Trusted},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

struct Running {
    _folder: tempfile::TempDir,
    state: Arc<State>,
    base: String,
    stop: CancellationToken,
}

async fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path(), &Settings::default())
        .unwrap()
        .shared();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let api = Arc::new(Api::new(Arc::clone(&state)));
    tokio::spawn(server::serve(listener, None, api, stop.clone()));
    Running {
        _folder: folder,
        state,
        base,
        stop,
    }
}

/// The status line and the body of a GET.
async fn get(url: &str) -> (String, String) {
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

async fn object(state: &State, key: &str) {
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from_static(
        b"contents",
    ))]);
    let stored = state.objects.write(body, 100, |_| ()).await.unwrap();
    let key = key.to_owned();
    state
        .database
        .write(move |t| {
            t.execute("INSERT INTO s3_bucket (name, created) VALUES ('artifacts', 0)", [])?;
            t.execute(
                "INSERT INTO s3_object (bucket, key, file, size, etag, modified, attributes) VALUES ('artifacts', ?1, ?2, ?3, ?4, 0, '{}')",
                (key, stored.name, 8, stored.md5),
            )?;
            Ok::<_, ApiError>(())
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_reads_its_one_object_for_its_time() {
    let running = start().await;
    object(&running.state, "a b/c+d%é").await;
    let link = s3::link(
        &running.state,
        &running.base,
        "artifacts",
        "a b/c+d%é",
        Duration::from_secs(60),
    );
    assert_eq!(
        get(&link).await,
        ("HTTP/1.1 200 OK".into(), "contents".into())
    );
    let (status, body) = get(&link.replace("a%20b", "other")).await;
    assert!(
        status.contains("403") && body.contains("SignatureDoesNotMatch"),
        "{status} {body}"
    );
    let longer = link.replace("X-Amz-Expires=60", "X-Amz-Expires=600");
    assert!(get(&longer).await.0.contains("403"));
    running.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_links_may_read_objects_and_nothing_else() {
    let caller = Caller::Link {
        access_key_id: "AKIA".into(),
    };
    assert!(caller.may("s3:GetObject", "arn:aws:s3:::artifacts/a"));
    for action in [
        "s3:PutObject",
        "s3:ListBucket",
        "secretsmanager:GetSecretValue",
        "iam:CreateRole",
    ] {
        assert!(!caller.may(action, "*"), "{action}");
    }
}

const TRUST: &str = r#"{"Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]}"#;
const READ: &str = r#"{"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::artifacts/*"}]}"#;

fn request(trusted: Trusted) -> Request {
    Request {
        role: "devices".into(),
        session: "core-1".into(),
        lifetime: Duration::from_secs(3600),
        policy: None,
        trusted,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_provider_issues_keys_for_a_role_that_trusts_it() {
    let running = start().await;
    let database = &running.state.database;
    database
        .write(|t| {
            t.execute(
                "INSERT INTO iam_role (name, id, path, trust, max_session_seconds, tags, created) VALUES ('devices', 'AROA1', '/', ?1, 3600, '[]', 0)",
                [TRUST],
            )?;
            t.execute("INSERT INTO iam_inline (role, name, document) VALUES ('devices', 'read', ?1)", [READ])?;
            Ok::<_, ApiError>(())
        })
        .await
        .unwrap();
    let provider = Trusted::Service("credentials.iot.amazonaws.com");
    let issued = Credentials::issue(&running.state, request(provider))
        .await
        .unwrap();
    let key = keys::find(database, &issued.access_key_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(key.secret.reveal(), issued.secret_access_key.reveal());
    assert!(key.caller.may("s3:GetObject", "arn:aws:s3:::artifacts/a"));
    assert!(!key.caller.may("s3:PutObject", "arn:aws:s3:::artifacts/a"));
    let token = issued.session_token.reveal();
    let now = Timestamp::now();
    assert_eq!(key.standing(Some(token), now), Standing::Good);
    assert_eq!(key.standing(Some("other"), now), Standing::WrongToken);
    assert_eq!(key.standing(None, now), Standing::WrongToken);
    assert_eq!(
        key.standing(Some(token), issued.expiration),
        Standing::Expired
    );

    for stranger in [
        Trusted::Service("lambda.amazonaws.com"),
        Trusted::Caller("arn:aws:iam::1:user/x".into()),
    ] {
        let refused = Credentials::issue(&running.state, request(stranger)).await;
        assert!(matches!(refused, Err(ApiError::Denied(_))));
    }
    let long = Request {
        lifetime: Duration::from_secs(7200),
        ..request(Trusted::Service("credentials.iot.amazonaws.com"))
    };
    assert!(Credentials::issue(&running.state, long).await.is_err());
    running.stop.cancel();
}
