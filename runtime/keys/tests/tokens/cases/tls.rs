//! TLS with a token's key.

use crate::{
    pki::{self, Authority},
    place::{Kind, Place},
};
use keys::{AlternativeName, Backend, CertificateRequest, KeyKind, KeyUri, LoadOptions, NewKey};
use openssl::{
    pkey::{PKey, Private},
    ssl::{Ssl, SslVersion},
    x509::X509,
};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    pin::Pin,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

/// A key in the token with a certificate of the authority.
fn identity(
    place: &Place,
    authority: &Authority,
    label: &str,
    kind: KeyKind,
) -> (KeyUri, X509, PKey<Private>) {
    let uri = place.new_token(label);
    let name = place
        .open(&uri)
        .generate(NewKey::new(label).kind(kind))
        .wait()
        .unwrap();
    let key = keys::load(&name, &place.options()).unwrap();
    let certificate = authority.issue(label, &key);
    (name, certificate, key)
}

fn both_sides(authority: &Authority, certificate: &X509, key: &PKey<Private>) {
    let (plain, plain_key) = authority.plain("peer");
    for version in VERSIONS {
        for server in [false, true] {
            let token = pki::context(server, authority, (certificate, key), version);
            let peer = pki::context(!server, authority, (&plain, &plain_key), version);
            let (client, server) = if server { (peer, token) } else { (token, peer) };
            pki::handshake(&client, &server).unwrap();
        }
    }
}

pub fn mutual_tls_works_on_both_sides_in_both_versions(place: &mut Place) {
    let authority = Authority::new();
    let (_, certificate, key) = identity(place, &authority, "device", KeyKind::EcP256);
    both_sides(&authority, &certificate, &key);
}

pub fn rsa_keys_do_tls_too(place: &mut Place) {
    let authority = Authority::new();
    let (_, certificate, key) = identity(place, &authority, "device", KeyKind::Rsa2048);
    both_sides(&authority, &certificate, &key);
}

pub fn a_request_signed_in_the_token_is_accepted_by_openssl(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let kinds: &[KeyKind] = match place.kind {
        Kind::SoftHsm => &[KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048],
        Kind::Tpm => &[KeyKind::EcP256, KeyKind::Rsa2048],
    };
    for (number, kind) in kinds.iter().enumerate() {
        let label = format!("device {number}");
        place.relieve(&uri);
        let name = place
            .open(&uri)
            .generate(NewKey::new(label).kind(*kind))
            .wait()
            .unwrap();
        let key = keys::load(&name, &place.options()).unwrap();
        let pem = CertificateRequest::new("MyThing")
            .subject("O", "Example")
            .name(AlternativeName::Dns("core.example".into()))
            .client()
            .extension("1.3.6.1.4.1.99999.1", false, [0x05, 0x00])
            .pem(&key)
            .unwrap();
        let mut openssl = Command::new("openssl")
            .args(["req", "-verify", "-noout", "-text"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        openssl
            .stdin
            .take()
            .unwrap()
            .write_all(pem.as_bytes())
            .unwrap();
        let output = openssl.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let verified = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && verified.contains("verify OK"),
            "{verified}"
        );
        for part in [
            "CN = MyThing",
            "O = Example",
            "DNS:core.example",
            "TLS Web Client",
            "1.3.6.1.4.1.99999.1",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

pub fn openssl_s_server_accepts_the_tokens_client(place: &mut Place) {
    let authority = Authority::new();
    let (_, certificate, key) = identity(place, &authority, "device", KeyKind::EcP256);
    let (server, server_key) = authority.plain("server");
    let file = |name: &str| place.folder.join(name);
    pki::write(&file("ca.pem"), &authority.certificate);
    pki::write(&file("server.pem"), &server);
    keys::certificate::store_key(&file("server.key"), &server_key).unwrap();
    assert_eq!(super::objects::mode(&file("server.key")), 0o600);
    for (version, flag) in [
        (SslVersion::TLS1_2, "-tls1_2"),
        (SslVersion::TLS1_3, "-tls1_3"),
    ] {
        let mut s_server = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-Verify",
                "1",
                "-verify_return_error",
                "-naccept",
                "1",
                "-rev",
                flag,
            ])
            .arg("-CAfile")
            .arg(file("ca.pem"))
            .arg("-cert")
            .arg(file("server.pem"))
            .arg("-key")
            .arg(file("server.key"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(s_server.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|l| l.unwrap().strip_prefix("ACCEPT ").map(str::to_owned))
            .unwrap();
        let context = pki::context(false, &authority, (&certificate, &key), version);
        let socket = TcpStream::connect(address).unwrap();
        let mut stream = Ssl::new(&context).unwrap().connect(socket).unwrap();
        stream.write_all(b"abc\n").unwrap();
        let mut answer = String::new();
        BufReader::new(&mut stream).read_line(&mut answer).unwrap();
        assert_eq!(answer, "cba\n");
        let _ = stream.shutdown();
        drop(stream);
        assert!(s_server.wait().unwrap().success());
    }
}

pub fn several_threads_use_one_key(place: &mut Place) {
    let authority = Authority::new();
    let (_, certificate, key) = identity(place, &authority, "device", KeyKind::EcP256);
    let (plain, plain_key) = authority.plain("peer");
    let client = pki::context(false, &authority, (&certificate, &key), SslVersion::TLS1_3);
    let server = pki::context(true, &authority, (&plain, &plain_key), SslVersion::TLS1_3);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (client, server) = (client.clone(), server.clone());
            thread::spawn(move || (0..5).try_for_each(|_| pki::handshake(&client, &server)))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
}

pub fn every_back_end_signs(place: &mut Place) {
    let authority = Authority::new();
    let (name, certificate, _) = identity(place, &authority, "device", KeyKind::EcP256);
    let (plain, plain_key) = authority.plain("peer");
    let mut ways = vec![Backend::engine().unwrap(), Backend::Thread];
    match Backend::provider() {
        Ok(provider) => ways.push(provider),
        Err(missing) => println!("SKIPPED: the provider: {missing}"),
    }
    for backend in ways {
        let options = LoadOptions {
            backend: Some(backend.clone()),
            ..place.options()
        };
        let key = keys::load(&name, &options).unwrap();
        for version in VERSIONS {
            let client = pki::context(false, &authority, (&certificate, &key), version);
            let server = pki::context(true, &authority, (&plain, &plain_key), version);
            pki::handshake(&client, &server).unwrap_or_else(|e| panic!("{backend:?}: {e}"));
        }
    }
}

/// A current-thread runtime: whatever blocks its thread stops the counter.
pub fn an_async_thread_goes_on_while_the_token_signs(place: &mut Place) {
    let authority = Authority::new();
    let (_, certificate, key) = identity(place, &authority, "device", KeyKind::EcP256);
    let (plain, plain_key) = authority.plain("peer");
    let server = pki::context(true, &authority, (&certificate, &key), SslVersion::TLS1_3);
    let client = pki::context(false, &authority, (&plain, &plain_key), SslVersion::TLS1_3);
    let threads = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let here = thread::current().id();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer =
            thread::spawn(move || pki::connect(&client, TcpStream::connect(address).unwrap()));
        let (socket, _) = listener.accept().await.unwrap();
        let stream = tokio_openssl::SslStream::new(Ssl::new(&server).unwrap(), socket).unwrap();
        let polled = threads.clone();
        let handshake = Box::pin(async move {
            let mut stream = stream;
            std::future::poll_fn(|cx| {
                if thread::current().id() == here {
                    polled.fetch_add(1, Ordering::Relaxed);
                }
                Pin::new(&mut stream).poll_accept(cx)
            })
            .await
            .unwrap();
            stream
        });
        let mut stream = keys::offload(handshake).await;
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &byte)
            .await
            .unwrap();
        tokio::task::spawn_blocking(|| peer.join().unwrap())
            .await
            .unwrap()
            .unwrap();
    });
    assert_eq!(
        threads.load(Ordering::Relaxed),
        0,
        "the handshake ran on the async thread"
    );
}
