//! The client's way to the server: TLS with SNI, verification and ALPN, HTTP proxies of every temper.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client_support;

use client_support::{SOON, certificates::Authority, status};
use mqtt::client::{
    BackOff, Cause, Client, Connector, DialError, NoProxy, Options, Proxy, ProxyAuthorization,
    ProxyError, Status, Timeouts, Tls,
};
use openssl::{
    nid::Nid,
    ssl::{AlpnError, NameType, Ssl, SslAcceptor, SslMethod, select_next_proto},
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_openssl::SslStream;

/// What the TLS server saw: server name, protocol chosen, the client certificate's common name.
type Seen = Arc<Mutex<Vec<(Option<String>, Option<String>, Option<String>)>>>;

fn acceptor(authority: &Authority, name: &str, ask: bool) -> SslAcceptor {
    let issued = authority.issue(name);
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    builder.set_certificate(&issued.certificate).unwrap();
    builder.set_private_key(&issued.key).unwrap();
    if ask {
        builder.set_verify(openssl::ssl::SslVerifyMode::PEER);
        builder
            .cert_store_mut()
            .add_cert(authority.certificate.clone())
            .unwrap();
    }
    builder.set_alpn_select_callback(|_, client| {
        select_next_proto(b"\x0ex-amzn-mqtt-ca\x06custom", client).ok_or(AlpnError::NOACK)
    });
    builder.build()
}

async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &SslAcceptor,
    stream: S,
) -> Option<SslStream<S>> {
    let ssl = Ssl::new(acceptor.context()).unwrap();
    let mut stream = SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream).accept().await.ok()?;
    Some(stream)
}

/// A server that accepts every CONNECT over TLS. Returns its port.
async fn broker(acceptor: SslAcceptor) -> (u16, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Some(mut stream) = secure(&acceptor, tcp).await else {
                continue;
            };
            let ssl = stream.ssl();
            let subject = ssl.peer_certificate().and_then(|certificate| {
                let name = certificate
                    .subject_name()
                    .entries_by_nid(Nid::COMMONNAME)
                    .next()?;
                Some(String::from_utf8(name.data().as_slice().to_vec()).unwrap())
            });
            let alpn = ssl
                .selected_alpn_protocol()
                .map(|p| String::from_utf8(p.to_vec()).unwrap());
            let name = ssl.servername(NameType::HOST_NAME).map(str::to_owned);
            notes.lock().unwrap().push((name, alpn, subject));
            tokio::spawn(async move {
                let mut chunk = [0; 1024];
                let _ = stream.read(&mut chunk).await;
                let _ = stream.write_all(&[0x20, 3, 0, 0, 0]).await;
                while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    (port, seen)
}

/// What a proxy does with CONNECT.
#[derive(Clone)]
enum Temper {
    Forwards {
        to: u16,
        wants: Option<&'static str>,
    },
    Answers(&'static [u8]),
    Stalls,
    Closes,
}

/// A proxy; returns its port and the requests it got.
async fn proxy(temper: Temper, tls: Option<SslAcceptor>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (temper, tls, notes) = (temper.clone(), tls.clone(), Arc::clone(&notes));
            tokio::spawn(async move {
                match tls {
                    None => serve(tcp, temper, notes).await,
                    Some(tls) => {
                        if let Some(stream) = secure(&tls, tcp).await {
                            serve(stream, temper, notes).await;
                        }
                    }
                }
            });
        }
    });
    (port, requests)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    temper: Temper,
    notes: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    notes.lock().unwrap().push(head.clone());
    match temper {
        Temper::Closes => {}
        Temper::Stalls => std::future::pending().await,
        Temper::Answers(answer) => {
            let _ = stream.write_all(answer).await;
        }
        Temper::Forwards {
            wants: Some(wants), ..
        } if !head.contains(wants) => {
            let answer =
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
        Temper::Forwards { to, .. } => {
            let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
                .await
                .unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    }
}

fn start(connector: Connector) -> Client {
    let options = Options {
        back_off: BackOff {
            initial: Duration::from_secs(600),
            max: Duration::from_secs(600),
            ..BackOff::default()
        },
        timeouts: Timeouts {
            handshake: Duration::from_millis(500),
            ..Timeouts::default()
        },
        ..Options::new("client")
    };
    let (client, task) = Client::start(options, connector, None);
    tokio::spawn(task);
    client
}

async fn connects(connector: Connector) {
    let client = start(connector);
    let settled = |status: &Status| !matches!(status, Status::Connecting { .. });
    let status = status(&client, settled).await;
    assert!(status.is_connected(), "{status:?}");
    client.disconnect(SOON).await;
}

async fn fails(connector: Connector) -> Arc<Cause> {
    let client = start(connector);
    let settled = |status: &Status| !matches!(status, Status::Connecting { .. });
    match status(&client, settled).await {
        Status::Disconnected { cause, .. } => cause,
        status => panic!("{status:?}"),
    }
}

struct House {
    authority: Authority,
    port: u16,
    seen: Seen,
}

impl House {
    async fn new() -> Self {
        let authority = Authority::new("Authority");
        let (port, seen) = broker(acceptor(&authority, "localhost", true)).await;
        Self {
            authority,
            port,
            seen,
        }
    }

    fn tls(&self) -> Tls {
        let device = self.authority.issue("device");
        let identity = (&[device.certificate.clone()][..], &device.key);
        Tls::from_parts(&self.authority.pem(), Some(identity)).unwrap()
    }

    fn connector(&self) -> Connector {
        Connector {
            host: "localhost".into(),
            port: self.port,
            tls: Some(self.tls()),
            proxy: None,
        }
    }

    fn through(&self, proxy: Proxy) -> Connector {
        Connector {
            proxy: Some(proxy),
            ..self.connector()
        }
    }
}

fn plain(port: u16) -> Proxy {
    Proxy::from_url(&format!("http://127.0.0.1:{port}"), || unreachable!()).unwrap()
}

#[tokio::test]
async fn the_server_is_told_the_name_the_protocol_and_our_certificate() {
    let house = House::new().await;
    let mut connector = house.connector();
    connects(connector.clone()).await;
    connector.tls = connector.tls.map(|tls| tls.with_alpn("custom"));
    connects(connector).await;
    let seen = |alpn: Option<&str>| {
        (
            Some("localhost".into()),
            alpn.map(str::to_owned),
            Some("device".into()),
        )
    };
    assert_eq!(
        *house.seen.lock().unwrap(),
        [seen(None), seen(Some("custom"))]
    );
}

#[tokio::test]
async fn port_443_is_asked_for_mqtt_through_a_proxy_too() {
    let house = House::new().await;
    let forwards = Temper::Forwards {
        to: house.port,
        wants: None,
    };
    let (port, requests) = proxy(forwards, None).await;
    let connector = Connector {
        port: 443,
        ..house.through(plain(port))
    };
    connects(connector).await;
    let seen = house.seen.lock().unwrap();
    assert_eq!(seen[0].1.as_deref(), Some("x-amzn-mqtt-ca"));
    let requests = requests.lock().unwrap();
    assert_eq!(
        requests[..],
        ["CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"]
    );
}

#[tokio::test]
async fn credentials_open_a_proxy_and_their_lack_is_named() {
    let house = House::new().await;
    let wants = Some("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n");
    let forwards = Temper::Forwards {
        to: house.port,
        wants,
    };
    let (port, _) = proxy(forwards, None).await;
    let cause = fails(house.through(plain(port))).await;
    let unauthorized = matches!(
        *cause,
        Cause::Dial(DialError::Proxy {
            source: ProxyError::Unauthorized,
            ..
        })
    );
    assert!(unauthorized, "{cause}");
    let wrong = Proxy {
        authorization: Some(ProxyAuthorization::basic("user", "wrong")),
        ..plain(port)
    };
    let cause = fails(house.through(wrong)).await;
    assert_eq!(
        cause.to_string(),
        format!("proxy 127.0.0.1:{port}: it wants other credentials (407)")
    );
    let url = format!("http://user:pass@127.0.0.1:{port}");
    connects(house.through(Proxy::from_url(&url, || unreachable!()).unwrap())).await;
}

#[tokio::test]
async fn a_proxy_may_speak_tls_itself() {
    let house = House::new().await;
    let of_proxy = Authority::new("Proxy Authority");
    let forwards = Temper::Forwards {
        to: house.port,
        wants: None,
    };
    let (port, _) = proxy(forwards, Some(acceptor(&of_proxy, "127.0.0.1", false))).await;
    let url = format!("https://127.0.0.1:{port}");
    let trusting = Tls::from_parts(&of_proxy.pem(), None).unwrap();
    connects(house.through(Proxy::from_url(&url, || trusting).unwrap())).await;
    let distrusting = Tls::from_parts(&house.authority.pem(), None).unwrap();
    let cause = fails(house.through(Proxy::from_url(&url, || distrusting).unwrap())).await;
    assert!(
        matches!(*cause, Cause::Dial(DialError::Tls { .. })),
        "{cause}"
    );
}

#[tokio::test]
async fn proxies_that_refuse_stall_close_or_babble_are_told_apart() {
    let house = House::new().await;
    let of = async |temper| {
        let (port, _) = proxy(temper, None).await;
        let cause = fails(house.through(plain(port))).await.to_string();
        cause.replace(&port.to_string(), "PORT")
    };
    let refuses = Temper::Answers(b"HTTP/1.1 503 Out of order\r\n\r\n");
    assert_eq!(
        of(refuses).await,
        "proxy 127.0.0.1:PORT: it answered 503 Out of order"
    );
    let started = Instant::now();
    assert_eq!(
        of(Temper::Stalls).await,
        "proxy handshake with 127.0.0.1:PORT took longer than 500ms"
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    let closes = of(Temper::Closes).await;
    assert!(
        closes.starts_with("proxy 127.0.0.1:PORT: the connection broke"),
        "{closes}"
    );
    let babbles = Temper::Answers(b"220 smtp.example ESMTP\r\n\r\n");
    assert_eq!(
        of(babbles).await,
        "proxy 127.0.0.1:PORT: its answer is not HTTP: malformed"
    );
    let endless = Temper::Answers(&[b'x'; 20_000]);
    assert_eq!(
        of(endless).await,
        "proxy 127.0.0.1:PORT: its answer is not HTTP: too long"
    );
}

#[tokio::test]
async fn excepted_hosts_go_without_the_proxy() {
    let house = House::new().await;
    let (port, requests) = proxy(Temper::Closes, None).await;
    let proxy = Proxy {
        except: NoProxy::new("example.org, localhost"),
        ..plain(port)
    };
    connects(house.through(proxy)).await;
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_stalls_in_the_handshake_is_given_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let house = House::new().await;
    let connector = Connector {
        port: listener.local_addr().unwrap().port(),
        ..house.connector()
    };
    let cause = fails(connector).await;
    assert_eq!(
        cause.to_string(),
        "TLS handshake with localhost took longer than 500ms"
    );
}

#[test]
fn the_runtime_can_end_in_the_middle_of_a_handshake() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let house = House::new().await;
        let connector = Connector {
            port: listener.local_addr().unwrap().port(),
            ..house.connector()
        };
        let options = Options {
            timeouts: Timeouts {
                handshake: Duration::from_secs(600),
                ..Timeouts::default()
            },
            ..Options::new("client")
        };
        let (_client, task) = Client::start(options, connector, None);
        tokio::spawn(task);
        let (mut stalled, _) = listener.accept().await.unwrap();
        // ClientHello: the handshake is under way.
        stalled.read_u8().await.unwrap();
    });
    let started = std::time::Instant::now();
    drop(runtime);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn hosts_that_do_not_exist_or_do_not_listen_are_named() {
    let house = House::new().await;
    let connector = Connector {
        host: "no-such-host.invalid".into(),
        ..house.connector()
    };
    let cause = fails(connector).await.to_string();
    assert!(
        cause.starts_with("cannot resolve no-such-host.invalid"),
        "{cause}"
    );
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let connector = Connector {
        host: "127.0.0.1".into(),
        port,
        ..house.connector()
    };
    let cause = fails(connector).await.to_string();
    assert!(
        cause.starts_with(&format!("cannot connect to 127.0.0.1 at 127.0.0.1:{port}")),
        "{cause}"
    );
}
