//! mosquitto's own clients, where they are installed.

use crate::{files::Folder, program::Broker};
use std::process::{Command, Output, Stdio};

const OPEN: &str = "\
listeners: [{port: 0}, {port: 0, protocol: mqtts}]
tls: {certificate: server.crt, key: server.key, authorities: ca.crt}
anonymous: loopback
rules: [{everyone: true, publish: '#', subscribe: '#'}]
";

/// `None` after saying so, when the program is not there.
fn installed(program: &str) -> Option<Command> {
    let found = Command::new(program)
        .arg("--help")
        .stdout(Stdio::null())
        .status();
    if found.is_err() {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let mut command = Command::new(program);
    command.args(["-h", "localhost"]);
    Some(command)
}

/// Retained, since a subscriber's output tells only at its end that it has subscribed.
fn publish(port: u16, topic: &str, more: &[String]) -> Option<Output> {
    let mut command = installed("mosquitto_pub")?;
    command.args([
        "-p",
        &port.to_string(),
        "-t",
        topic,
        "-m",
        "hello",
        "-q",
        "1",
        "-r",
    ]);
    Some(command.args(more).output().unwrap())
}

#[test]
fn they_publish_and_subscribe_over_tcp_and_tls_and_are_refused_with_wrong_certificates() {
    let (folder, stranger) = (Folder::new(), Folder::new());
    folder.issue("device");
    stranger.issue("device");
    folder.write("broker.yaml", OPEN);
    let broker = Broker::start(&folder, 2);
    let (plain, secure) = (broker.ports[0], broker.ports[1]);
    let Some(mut subscribe) = installed("mosquitto_sub") else {
        return;
    };
    let file = |folder: &Folder, name: &str| folder.path(name).display().to_string();
    let of = |folder: &Folder, ca: &Folder| {
        let (certificate, key) = (file(folder, "device.crt"), file(folder, "device.key"));
        [
            "--cafile",
            &file(ca, "ca.crt"),
            "--cert",
            &certificate,
            "--key",
            &key,
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let Some(over_tcp) = publish(plain, "t/tcp", &[]) else {
        return;
    };
    assert!(over_tcp.status.success(), "{over_tcp:?}");
    let with = |arguments: &[String]| publish(secure, "t/tls", arguments).unwrap();
    let over_tls = with(&of(&folder, &folder));
    assert!(over_tls.status.success(), "{over_tls:?}");
    subscribe.args([
        "-p",
        &secure.to_string(),
        "-t",
        "t/#",
        "-C",
        "2",
        "-W",
        "30",
        "-v",
    ]);
    let subscribed = subscribe.args(of(&folder, &folder)).output().unwrap();
    let mut got: Vec<_> = std::str::from_utf8(&subscribed.stdout)
        .unwrap()
        .lines()
        .collect();
    got.sort_unstable();
    assert_eq!(got, ["t/tcp hello", "t/tls hello"], "{subscribed:?}");
    // A certificate of somebody else's authority, none at all, and a server that the client does not trust.
    assert!(!with(&of(&stranger, &folder)).status.success());
    let nothing = ["--cafile".to_owned(), file(&folder, "ca.crt")];
    assert!(!with(&nothing).status.success());
    assert!(!with(&of(&folder, &stranger)).status.success());
}
