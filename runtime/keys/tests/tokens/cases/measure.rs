//! Figures, not a test: `cargo test -p keys --test tokens -- --ignored --nocapture measure`.

use crate::{
    pki::{self, Authority},
    place::Place,
};
use keys::{Backend, KeyKind, LoadOptions, NewKey};
use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    sign::Signer,
    ssl::{Ssl, SslContext, SslVersion},
};
use std::{
    net::TcpStream,
    pin::Pin,
    thread,
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(1);

fn rate(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < LONG {
        work();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn sign(key: &PKey<Private>) {
    let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
    signer.sign_oneshot_to_vec(b"message").unwrap();
}

fn signatures(name: &str, key: &PKey<Private>) {
    let one = rate(|| sign(key));
    let began = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let key = key.clone();
            thread::spawn(move || rate(|| sign(&key)))
        })
        .collect();
    let two: f64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    println!(
        "{name}: {one:.0} signatures/s on one thread, {two:.0} on two ({:?})",
        began.elapsed()
    );
}

fn handshakes(name: &str, authority: &Authority, key: &PKey<Private>) {
    let certificate = authority.issue("device", key);
    let (plain, plain_key) = authority.plain("peer");
    let client = pki::context(false, authority, (&plain, &plain_key), SslVersion::TLS1_3);
    let server = pki::context(true, authority, (&certificate, key), SslVersion::TLS1_3);
    let plainly = rate(|| pki::handshake(&client, &server).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let on = rate(|| runtime.block_on(accept(&client, &server, false)));
    let off = rate(|| runtime.block_on(accept(&client, &server, true)));
    println!(
        "{name}: {plainly:.0} mutual TLS 1.3 handshakes/s as server; tokio: {on:.0} on the async thread, {off:.0} off it"
    );
}

async fn accept(client: &SslContext, server: &SslContext, off: bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = client.clone();
    let peer = thread::spawn(move || pki::connect(&client, TcpStream::connect(address).unwrap()));
    let (socket, _) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = tokio_openssl::SslStream::new(Ssl::new(server).unwrap(), socket).unwrap();
    let handshake = Box::pin(async move {
        Pin::new(&mut stream).accept().await.unwrap();
        stream
    });
    let mut stream = if off {
        keys::offload(handshake).await
    } else {
        handshake.await
    };
    let mut byte = [0];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut byte)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &byte)
        .await
        .unwrap();
    peer.join().unwrap().unwrap();
}

pub fn measure_signatures_and_handshakes(place: &mut Place) {
    let authority = Authority::new();
    let file = pki::file_key();
    signatures("P-256 in a file", &file);
    handshakes("P-256 in a file", &authority, &file);
    let uri = place.new_token("greengrass");
    for (label, kind) in [("P-256", KeyKind::EcP256), ("RSA 2048", KeyKind::Rsa2048)] {
        place.relieve(&uri);
        let name = place
            .open(&uri)
            .generate(NewKey::new(label).kind(kind))
            .wait()
            .unwrap();
        let mut ways = vec![Backend::Thread];
        ways.extend(Backend::provider());
        ways.extend(Backend::engine());
        for backend in ways {
            let title = format!("{label} in {}, {backend:?}", place.kind.name());
            let options = LoadOptions {
                backend: Some(backend),
                ..place.options()
            };
            let key = keys::load(&name, &options).unwrap();
            signatures(&title, &key);
            handshakes(&title, &authority, &key);
        }
    }
}
