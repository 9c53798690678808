//! What the file says is what clients meet, also after it has changed.

use crate::{
    client::{Client, tcp, tls},
    files::Folder,
    program::{Broker, DEADLINE, greengrass},
};
use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

/// Of the password "secret", as cheap as a hash may be: these tests are about something else.
const SECRET: &str = "$7$1$c2FsdHNhbHQ=$lf9lleCRJ/VvS26dnZZJn+8llX+QBYzSPPYWsvBsszhTLOC1jtR02ovh4DDedWVTCKCMtyNLGthkxhu71GzU8w==";

const PASSWORDS: &str = "\
listeners: [{port: 0}]
users: [{name: alice, password: 'SECRET'}]
rules: [{user: alice, publish: 'a/%u', subscribe: 'a/#'}]
";

const CERTIFICATES: &str = "\
listeners: [{port: 0, protocol: mqtts}]
tls: {certificate: server.crt, key: server.key, authorities: ca.crt}
rules: [{commonName: '*', connect: '%cn', publish: '%cn/#', subscribe: '%cn/#'}]
";

fn passwords() -> Folder {
    let folder = Folder::new();
    folder.write("broker.yaml", PASSWORDS.replace("SECRET", SECRET));
    folder
}

fn certificates(more: &str) -> Folder {
    let folder = Folder::new();
    folder.write("broker.yaml", format!("{CERTIFICATES}{more}"));
    folder
}

#[test]
fn the_sample_is_a_good_configuration() {
    let folder = Folder::new();
    folder.write("broker.yaml", include_str!("../../src/broker/sample.yaml"));
    let check = |folder: &Folder| {
        let mut check = greengrass();
        check
            .args(["broker", "--check", "--config"])
            .arg(folder.path("broker.yaml"));
        check.output().unwrap()
    };
    let output = check(&folder);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    // What the files hold is looked at as well.
    std::fs::copy(folder.path("ca.crt"), folder.path("server.key")).unwrap();
    let output = check(&folder);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("server.key: holds a certificate"), "{said}");
}

#[test]
fn a_hash_from_standard_input_lets_its_password_in() {
    let mut hash = greengrass();
    hash.args(["broker", "hash-password"]);
    let hash = hash.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = hash.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"geheim\n").unwrap();
    let hash = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let folder = Folder::new();
    folder.write("broker.yaml", PASSWORDS.replace("SECRET", hash.trim()));
    let broker = Broker::start(&folder, 1);
    let connect = |password| Client::connect(tcp(broker.ports[0]), "c", Some(("alice", password)));
    assert!(connect("geheim").unwrap().is_ok());
    assert_eq!(connect("secret").unwrap().err(), Some(4), "bad credentials");
}

#[test]
fn users_do_what_their_rules_allow_and_strangers_nothing() {
    let broker = Broker::start(&passwords(), 1);
    let connect = |login| Client::connect(tcp(broker.ports[0]), "c", login).unwrap();
    assert_eq!(connect(None).err(), Some(5), "not authorised");
    assert_eq!(connect(Some(("alice", "wrong"))).err(), Some(4));
    let mut alice = connect(Some(("alice", "secret"))).unwrap();
    assert!(alice.subscribe("a/+"));
    assert!(!alice.subscribe("#"));
    alice.publish("a/alice", "hello");
    let got = alice.receive().unwrap();
    assert_eq!(got, ("a/alice".to_owned(), "hello".to_owned()));
    alice.publish("a/bob", "not mine");
    assert!(
        alice.is_closed(),
        "as AWS IoT answers a PUBLISH that is denied"
    );
}

#[test]
fn certificates_give_clients_their_names() {
    let folder = certificates("");
    folder.issue("device-1");
    let broker = Broker::start(&folder, 1);
    let port = broker.ports[0];
    let connect = |id| Client::connect(tls(&folder, port, Some("device-1")).unwrap(), id, None);
    assert_eq!(
        connect("device-2").unwrap().err(),
        Some(2),
        "somebody else's client id"
    );
    let mut device = connect("device-1").unwrap().unwrap();
    assert!(device.subscribe("device-1/#"));
    assert!(!device.subscribe("device-2/#"));
    device.publish("device-1/x", "1");
    assert_eq!(device.receive().unwrap().0, "device-1/x");
    // In TLS 1.3 a client learns only from its first read that its certificate was missed.
    let without =
        tls(&folder, port, None).and_then(|stream| Client::connect(stream, "device-1", None));
    assert!(without.is_err());
    broker.says("peer did not return a certificate");
}

#[test]
fn a_hangup_brings_a_new_certificate_and_leaves_sessions_alone() {
    let folder = certificates("");
    folder.issue("device-1");
    let broker = Broker::start(&folder, 1);
    let open = || tls(&folder, broker.ports[0], Some("device-1")).unwrap();
    let shown = |stream: &openssl::ssl::SslStream<std::net::TcpStream>| {
        stream.ssl().peer_certificate().unwrap().to_der().unwrap()
    };
    let mut session = Client::connect(open(), "device-1", None).unwrap().unwrap();
    let before = shown(session.stream());
    let after = folder.issue("server").to_der().unwrap();
    broker.signal("HUP");
    broker.says("has been read again");
    session.ping().unwrap();
    assert_eq!(shown(&open()), after);
    assert_ne!(before, after);
}

#[test]
fn a_mistake_in_the_file_changes_nothing_and_is_told() {
    let folder = certificates("");
    folder.issue("device-1");
    let broker = Broker::start(&folder, 1);
    let open = || tls(&folder, broker.ports[0], Some("device-1")).unwrap();
    let mut session = Client::connect(open(), "device-1", None).unwrap().unwrap();
    let server = std::fs::read(folder.path("server.crt")).unwrap();
    for (break_it, complaint) in [
        ("broker.yaml", "broker.yaml:1:1"),
        ("ca.crt", "ca.crt: holds no certificate"),
        ("server.crt", "does not belong to the server certificate"),
    ] {
        let file = folder.path(break_it);
        let good = std::fs::read(&file).unwrap();
        let bad = match break_it {
            "server.crt" => std::fs::read(folder.path("device-1.crt")).unwrap(),
            _ => b"listeners\n".to_vec(),
        };
        std::fs::write(&file, bad).unwrap();
        broker.signal("HUP");
        let said = broker.says("the configuration stays as it was");
        let said = if said.contains(complaint) {
            said
        } else {
            broker.says(complaint)
        };
        assert!(said.contains(complaint), "{said}");
        std::fs::write(&file, good).unwrap();
        session.ping().unwrap();
        Client::connect(open(), "device-1", None).unwrap().unwrap();
        session = Client::connect(open(), "device-1", None).unwrap().unwrap();
    }
    assert_eq!(std::fs::read(folder.path("server.crt")).unwrap(), server);
}

#[test]
fn revoked_certificates_are_refused_and_their_sessions_end_at_the_next_hangup() {
    let folder = certificates("");
    let (bad, _good) = (folder.issue("bad"), folder.issue("good"));
    let broker = Broker::start(&folder, 1);
    let open = |name| tls(&folder, broker.ports[0], Some(name));
    let session = |name| Client::connect(open(name)?, name, None);
    let mut condemned = session("bad").unwrap().unwrap();
    let mut other = session("good").unwrap().unwrap();
    let fingerprint = openssl::sha::sha256(&bad.to_der().unwrap());
    let fingerprint: Vec<String> = fingerprint.iter().map(|b| format!("{b:02X}")).collect();
    // As `openssl x509 -fingerprint -sha256` prints it.
    folder.write(
        "revoked.txt",
        format!("# stolen\n{}\n", fingerprint.join(":")),
    );
    let with = CERTIFICATES.replace("ca.crt}", "ca.crt, revoked: revoked.txt}");
    folder.write("broker.yaml", with);
    broker.signal("HUP");
    broker.says("has been read again");
    assert!(condemned.is_closed());
    other.ping().unwrap();
    assert!(session("bad").is_err());
    session("good").unwrap().unwrap();
}

#[test]
fn users_and_rules_change_at_a_hangup() {
    let folder = passwords();
    let broker = Broker::start(&folder, 1);
    let connect = |login| Client::connect(tcp(broker.ports[0]), "c", login).unwrap();
    let mut alice = connect(Some(("alice", "secret"))).unwrap();
    assert!(alice.subscribe("a/+"));
    let rules = PASSWORDS
        .replace("SECRET", SECRET)
        .replace("'a/#'", "'b/#'");
    folder.write("broker.yaml", &rules);
    broker.signal("HUP");
    broker.says("has been read again");
    assert!(alice.subscribe("b/+"));
    assert!(!alice.subscribe("a/+"));
    folder.write("broker.yaml", rules.replace("alice", "carol"));
    broker.signal("HUP");
    broker.says("has been read again");
    assert!(alice.is_closed(), "this user is no more");
    assert!(connect(Some(("carol", "secret"))).is_ok());
}

#[test]
fn running_out_of_file_descriptors_passes() {
    let folder = Folder::new();
    folder.write(
        "broker.yaml",
        "listeners: [{port: 0}]\nanonymous: loopback\nrules: [{everyone: true, publish: '#'}]\n",
    );
    let broker = Broker::start_with_files(&folder, 1, 40);
    let crowd: Vec<_> = (0..60).map(|_| tcp(broker.ports[0])).collect();
    broker.says("cannot accept a connection");
    drop(crowd);
    let start = Instant::now();
    loop {
        if Client::connect(tcp(broker.ports[0]), "c", None).is_ok_and(|c| c.is_ok()) {
            break;
        }
        assert!(start.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn counters_are_logged_when_asked_for_and_the_end_is_in_order() {
    let folder = passwords();
    let mut broker = Broker::start(&folder, 1);
    let login = Some(("alice", "secret"));
    let mut alice = Client::connect(tcp(broker.ports[0]), "c", login)
        .unwrap()
        .unwrap();
    broker.signal("USR1");
    let line = broker.says("connections");
    assert!(
        line.contains("open=1") && line.contains("established=1"),
        "{line}"
    );
    assert_eq!(broker.stop(), 0);
    assert!(alice.is_closed());
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    folder.write(
        "broker.yaml",
        "listeners: [{port: 0}]\nanonymous: loopback\npersistence: {folder: data}\n\
         rules: [{everyone: true, publish: '#', subscribe: '#'}]\n",
    );
    let broker = Broker::start(&folder, 1);
    let connect = |broker: &Broker| Client::connect(tcp(broker.ports[0]), "c", None);
    let mut client = connect(&broker).unwrap().unwrap();
    client.retain("kept/x", "still here");
    // Killed, not stopped.
    drop(broker);
    let broker = Broker::start(&folder, 1);
    let mut client = connect(&broker).unwrap().unwrap();
    assert!(client.subscribe("kept/#"));
    let got = client.receive().unwrap();
    assert_eq!(got, ("kept/x".to_owned(), "still here".to_owned()));
}
