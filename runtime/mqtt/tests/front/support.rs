//! An authority that issues certificates, a front whose handler echoes, and clients.

use mqtt::{
    engine::Peer,
    front::{Front, Handler, Limits, Listener, Stream, TlsConfig, TlsHandle, Transport, handler},
};
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{Ssl, SslContextBuilder, SslMethod, SslVerifyMode},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_openssl::SslStream;

/// Longer than anything takes on a busy machine; reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Pair {
    pub fn fingerprint(&self) -> String {
        mqtt::identity::fingerprint(&self.certificate.to_der().unwrap())
    }
}

/// What a certificate shall be.
pub struct Wish<'a> {
    pub name: &'a str,
    /// As on the wire: 2 is version 3, 0 version 1 (which has no extensions).
    pub version: i32,
    pub authority: bool,
    /// Days from now.
    pub valid: (i64, i64),
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            name: "someone",
            version: 2,
            authority: false,
            valid: (-1, 30),
        }
    }
}

/// Issued by `issuer`, or by itself.
pub fn issue(wish: &Wish<'_>, issuer: Option<&Pair>) -> Pair {
    let key = key();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, wish.name)
        .unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(wish.version).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::ONE, false).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    let day = |days: i64| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        Asn1Time::from_unix(now + days * 86_400).unwrap()
    };
    builder.set_not_before(&day(wish.valid.0)).unwrap();
    builder.set_not_after(&day(wish.valid.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    if wish.version == 2 {
        let mut constraints = BasicConstraints::new();
        if wish.authority {
            constraints.critical().ca();
        }
        builder
            .append_extension(constraints.build().unwrap())
            .unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Pair {
        certificate: builder.build(),
        key,
    }
}

pub fn authority(name: &str) -> Pair {
    let wish = Wish {
        name,
        authority: true,
        ..Wish::default()
    };
    issue(&wish, None)
}

pub fn client(name: &str, authority: &Pair) -> Pair {
    let wish = Wish {
        name,
        ..Wish::default()
    };
    issue(&wish, Some(authority))
}

/// A server certificate with its configuration.
pub fn server(authority: &Pair) -> TlsConfig {
    let pair = client("server", authority);
    TlsConfig::new(vec![pair.certificate], pair.key)
}

/// Tells who came, then sends back what it is sent.
pub fn echo() -> (Handler, mpsc::UnboundedReceiver<Peer>) {
    let (tell, told) = mpsc::unbounded_channel();
    let serve = handler(move |stream: Stream, peer: Peer| {
        let _ = tell.send(peer);
        async move {
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
    });
    (serve, told)
}

/// A front with one TLS listener that echoes.
pub struct Echo {
    pub front: Front,
    pub tls: TlsHandle,
    pub address: SocketAddr,
    pub peers: mpsc::UnboundedReceiver<Peer>,
}

pub fn tls_echo(config: &TlsConfig, limits: Limits) -> Echo {
    let (serve, peers) = echo();
    let tls = TlsHandle::new(config).unwrap();
    let front = Front::new(limits);
    let listener = Listener::new(Transport::Tls(tls.clone()), serve);
    let address = front.listen(ANY_PORT, listener).unwrap();
    Echo {
        front,
        tls,
        address,
        peers,
    }
}

/// A TLS client that trusts everybody; what it should trust is not what is tested here.
pub async fn connect(
    address: SocketAddr,
    identity: Option<&Pair>,
    protocols: &[u8],
) -> io::Result<SslStream<TcpStream>> {
    let mut builder = SslContextBuilder::new(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    if let Some(pair) = identity {
        builder.set_certificate(&pair.certificate).unwrap();
        builder.set_private_key(&pair.key).unwrap();
    }
    if !protocols.is_empty() {
        builder.set_alpn_protos(protocols).unwrap();
    }
    let tcp = TcpStream::connect(address).await?;
    let mut stream = SslStream::new(Ssl::new(&builder.build()).unwrap(), tcp).unwrap();
    (Pin::new(&mut stream).connect().await).map_err(io::Error::other)?;
    Ok(stream)
}

/// Whether what is sent comes back; an error says that the server refused, which TLS 1.3 tells only with the first read.
pub async fn echoes<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: &mut S,
) -> io::Result<()> {
    let talk = async {
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut back = [0; 5];
        stream.read_exact(&mut back).await?;
        assert_eq!(&back, b"hello");
        Ok(())
    };
    tokio::time::timeout(DEADLINE, talk).await.unwrap()
}

/// Connects and talks: the whole way that a client takes.
pub async fn reaches(address: SocketAddr, identity: Option<&Pair>) -> io::Result<()> {
    echoes(&mut connect(address, identity, &[]).await?).await
}

/// Waits for something to become true, however slow the machine is.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the server has closed the connection.
pub async fn is_closed(tcp: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(DEADLINE, tcp.read(&mut byte)).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}
