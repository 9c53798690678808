//! The whole way over a socket: discovery by the root folder, token, frames, errors of the model.

use super::super::{Cli, execute, finish, ipc_client::Socket, output::Output, start_tokio};
use ::clap::Parser;
use bytes::{Bytes, BytesMut};
use ipc::frame::{Decoder, Flags, Frame, Headers, Kind, MAX_FRAME, Message, encode};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

fn receive(stream: &mut UnixStream, buffer: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = (Decoder { limit: MAX_FRAME }).decode(buffer).unwrap() {
            return Some(frame);
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).unwrap() {
            0 => return None,
            n => buffer.extend_from_slice(&bytes[..n]),
        }
    }
}

fn send(
    stream: &mut UnixStream,
    kind: Kind,
    number: i32,
    flags: Flags,
    headers: Headers,
    payload: &Value,
) {
    let payload = Bytes::from(payload.to_string());
    let mut out = BytesMut::new();
    encode(
        &Message {
            kind,
            flags,
            stream: number,
            headers,
            payload,
        },
        &mut out,
    );
    stream.write_all(&out).unwrap();
}

/// Serves one connection: checks the token, answers every call with what `answer` says.
fn serve(
    listener: UnixListener,
    answer: impl Fn(&str, Value) -> Result<Value, Value> + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = BytesMut::new();
        let connect = receive(&mut stream, &mut buffer).unwrap();
        let token: Value = serde_json::from_slice(&connect.payload).unwrap();
        let flags = if token["authToken"] == "secret" {
            Flags::ACCEPTED
        } else {
            Flags::NONE
        };
        send(
            &mut stream,
            Kind::ConnectAck,
            0,
            flags,
            Headers::Bare,
            &Value::Null,
        );
        while let Some(frame) = receive(&mut stream, &mut buffer) {
            let Some(operation) = frame.operation else {
                continue;
            };
            let operation = String::from_utf8(operation.to_vec()).unwrap();
            match answer(&operation, serde_json::from_slice(&frame.payload).unwrap()) {
                Ok(value) => {
                    let model = Headers::Model("aws.greengrass#Answer");
                    send(
                        &mut stream,
                        Kind::ApplicationMessage,
                        frame.stream,
                        Flags::TERMINATE,
                        model,
                        &value,
                    );
                }
                Err(error) => {
                    let model = Headers::Model("aws.greengrass#Answer");
                    send(
                        &mut stream,
                        Kind::ApplicationError,
                        frame.stream,
                        Flags::TERMINATE,
                        model,
                        &error,
                    );
                }
            }
        }
    })
}

fn run(root: &Path, line: &[&str]) -> (u8, String, String) {
    let words = ["greengrass-cli", "--ggcRootPath", root.to_str().unwrap()];
    let cli = Cli::try_parse_from(words.iter().chain(line)).unwrap();
    let (mut answer, mut progress) = (Vec::new(), Vec::new());
    let mut output = Output {
        answer: &mut answer,
        progress: &mut progress,
        form: cli.output,
        colour: false,
        live: false,
    };
    let result = execute(
        &cli,
        &Socket {
            root: cli.root.clone(),
        },
        start_tokio,
        &mut output,
    );
    let code = finish(result, &mut output);
    (
        code,
        String::from_utf8(answer).unwrap(),
        String::from_utf8(progress).unwrap(),
    )
}

fn root(token: &str) -> (tempfile::TempDir, UnixListener) {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("ipc.socket");
    fs::create_dir(root.path().join("cli_ipc_info")).unwrap();
    let info = json!({ "cli_auth_token": token, "domain_socket_path": socket });
    fs::write(root.path().join("cli_ipc_info/user-0"), info.to_string()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    (root, listener)
}

#[test]
fn a_command_finds_the_socket_shows_its_token_and_prints_the_answer() {
    let (root, listener) = root("secret");
    let server = serve(listener, |operation, _| {
        assert_eq!(operation, "aws.greengrass#ListComponents");
        Ok(
            json!({ "components": [{ "componentName": "com.a", "version": "1.0.0", "state": "RUNNING" }] }),
        )
    });
    let (code, text, error) = run(root.path(), &["component", "list"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(text, "NAME   VERSION  STATE\ncom.a  1.0.0    RUNNING\n");
    server.join().unwrap();
}

#[test]
fn an_error_of_the_model_becomes_an_exit_code() {
    let (root, listener) = root("secret");
    let server = serve(listener, |_, request| {
        assert_eq!(request, json!({ "deploymentId": "d-9" }));
        Err(
            json!({ "_errorCode": "ResourceNotFoundError", "message": "No such deployment", "_service": "aws.greengrass#GreengrassCoreIPC" }),
        )
    });
    let (code, _, error) = run(root.path(), &["deployment", "cancel", "-i", "d-9"]);
    assert_eq!(
        (code, error.as_str()),
        (1, "error: there is no deployment d-9\n")
    );
    server.join().unwrap();
}

#[test]
fn an_old_token_and_a_dead_runtime_are_told_apart() {
    let (root_folder, listener) = root("old");
    let server = serve(listener, |_, _| Ok(Value::Null));
    let (code, _, error) = run(root_folder.path(), &["component", "list"]);
    assert!(
        code == 1 && error.contains("does not know this token"),
        "{error}"
    );
    server.join().unwrap();
    // The listener is gone, its socket is not.
    let (code, _, error) = run(root_folder.path(), &["component", "list"]);
    assert!(
        code == 1 && error.contains("No runtime is running in"),
        "{error}"
    );
}
