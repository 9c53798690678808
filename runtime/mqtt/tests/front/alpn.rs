//! One port for MQTT and HTTP.

use crate::support::{ANY_PORT, authority, connect, echo, echoes, server, tls_echo};
use mqtt::front::{Failure, Front, Limits, Listener, TlsHandle, Transport, handler};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MQTT: &[u8] = b"\x04mqtt";
const AWS_MQTT: &[u8] = b"\x0ex-amzn-mqtt-ca";
const HTTP: &[u8] = b"\x08http/1.1";
const AWS_HTTP: &[u8] = b"\x0ex-amzn-http-ca";

fn shared_port(silent_means_http: bool) -> (Front, SocketAddr) {
    let (serve, _) = echo();
    let http = handler(|mut stream, _peer| async move {
        let _ = stream.write_all(b"http").await;
        let _ = stream.shutdown().await;
    });
    let tls = TlsHandle::new(&server(&authority("ca"))).unwrap();
    let mut listener = Listener::new(Transport::Tls(tls), serve).with_http(http);
    if silent_means_http {
        listener = listener.silent_means_http();
    }
    let front = Front::new(Limits::default());
    let address = front.listen(ANY_PORT, listener).unwrap();
    (front, address)
}

async fn is_http(address: SocketAddr, protocols: &[u8]) -> bool {
    let mut stream = connect(address, None, protocols).await.unwrap();
    let mut greeting = [0; 4];
    stream
        .read_exact(&mut greeting)
        .await
        .is_ok_and(|_| &greeting == b"http")
}

async fn is_mqtt(address: SocketAddr, protocols: &[u8]) -> bool {
    let mut stream = connect(address, None, protocols).await.unwrap();
    echoes(&mut stream).await.is_ok()
}

#[tokio::test]
async fn the_name_agreed_on_decides_who_serves() {
    let (_front, address) = shared_port(false);
    assert!(is_mqtt(address, MQTT).await);
    assert!(is_mqtt(address, AWS_MQTT).await);
    assert!(is_http(address, HTTP).await);
    assert!(is_http(address, AWS_HTTP).await);
    // Offered both, ours is the choice: MQTT first.
    assert!(is_mqtt(address, &[HTTP, AWS_MQTT].concat()).await);
    // Names that are unknown are passed over when there is a known one.
    assert!(is_http(address, &[b"\x02h2", HTTP].concat()).await);
}

#[tokio::test]
async fn a_client_that_offers_nothing_gets_what_the_port_stands_for() {
    let (_front, address) = shared_port(false);
    assert!(is_mqtt(address, &[]).await);
    let (_front, address) = shared_port(true);
    assert!(is_http(address, &[]).await);
}

#[tokio::test]
async fn unknown_names_are_refused_at_the_handshake() {
    let (front, address) = shared_port(false);
    let error = connect(address, None, b"\x02h2").await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("no application protocol"), "{text}");
    assert_eq!(front.metrics().failed(Failure::Alpn), 1);
}

#[tokio::test]
async fn http_is_refused_where_nobody_serves_it() {
    let echo = tls_echo(&server(&authority("ca")), Limits::default());
    assert!(connect(echo.address, None, HTTP).await.is_err());
    assert!(is_mqtt(echo.address, AWS_MQTT).await);
}

#[tokio::test]
async fn a_port_for_http_alone_speaks_no_mqtt() {
    let http = handler(|mut stream, _peer| async move {
        let _ = stream.write_all(b"http").await;
        let _ = stream.shutdown().await;
    });
    let tls = TlsHandle::new(&server(&authority("ca"))).unwrap();
    let front = Front::new(Limits::default());
    let address = front.listen(ANY_PORT, Listener::https(tls, http)).unwrap();
    assert!(is_http(address, HTTP).await);
    assert!(is_http(address, &[]).await);
    assert!(connect(address, None, MQTT).await.is_err());
}
