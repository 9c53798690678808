//! A certificate authority, and TLS handshakes between two threads.

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{HasPublic, PKey, PKeyRef, Private},
    ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

pub fn file_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub struct Authority {
    pub certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub fn new() -> Self {
        let key = file_key();
        let certificate = certificate("test authority", &key, None, &key, true);
        Self { certificate, key }
    }

    pub fn issue<T: HasPublic>(&self, name: &str, key: &PKeyRef<T>) -> X509 {
        certificate(name, key, Some(&self.certificate), &self.key, false)
    }

    /// An identity with its key in memory.
    pub fn plain(&self, name: &str) -> (X509, PKey<Private>) {
        let key = file_key();
        (self.issue(name, &key), key)
    }
}

fn name(common: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", common).unwrap();
    name.build()
}

fn certificate<T: HasPublic>(
    common: &str,
    key: &PKeyRef<T>,
    issuer: Option<&X509>,
    by: &PKey<Private>,
    authority: bool,
) -> X509 {
    let mut serial = BigNum::new().unwrap();
    serial
        .rand(120, openssl::bn::MsbOption::MAYBE_ZERO, false)
        .unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(name(common).as_ref()).unwrap();
    let own = name(common);
    builder
        .set_issuer_name(issuer.map_or(own.as_ref(), |i| i.subject_name()))
        .unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(30).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    if authority {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
    } else {
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&builder.x509v3_context(None, None));
        builder.append_extension(names.unwrap()).unwrap();
    }
    builder.sign(by, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// A context that shows this identity and wants one of the authority's from the other side.
pub fn context(
    server: bool,
    authority: &Authority,
    (certificate, key): (&X509, &PKey<Private>),
    version: SslVersion,
) -> SslContext {
    let method = if server {
        SslMethod::tls_server()
    } else {
        SslMethod::tls_client()
    };
    let mut builder = SslContextBuilder::new(method).unwrap();
    builder.set_min_proto_version(Some(version)).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    builder.set_certificate(certificate).unwrap();
    builder.set_private_key(key).unwrap();
    builder.check_private_key().unwrap();
    builder
        .cert_store_mut()
        .add_cert(authority.certificate.clone())
        .unwrap();
    builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    builder.set_num_tickets(0).unwrap();
    builder.build()
}

/// One mutual handshake over loopback and a byte each way. `Err`: what the client or the server said.
pub fn handshake(client: &SslContext, server: &SslContext) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    let peer = thread::spawn(move || -> Result<(), String> {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = Ssl::new(&server)
            .unwrap()
            .accept(socket)
            .map_err(|e| format!("server: {e}"))?;
        echo(&mut stream).map_err(|e| format!("server: {e}"))
    });
    let socket = TcpStream::connect(address).unwrap();
    let mine = connect(client, socket);
    let theirs = peer.join().unwrap();
    mine.and(theirs)
}

pub fn connect(client: &SslContext, socket: TcpStream) -> Result<(), String> {
    socket.set_nodelay(true).unwrap();
    let mut stream = Ssl::new(client)
        .unwrap()
        .connect(socket)
        .map_err(|e| format!("client: {e}"))?;
    let exchange = |stream: &mut SslStream<TcpStream>| {
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])
    };
    exchange(&mut stream).map_err(|e: std::io::Error| format!("client: {e}"))
}

fn echo(stream: &mut SslStream<TcpStream>) -> std::io::Result<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    stream.write_all(&byte)
}

pub fn write(path: &Path, certificate: &X509) {
    std::fs::write(path, certificate.to_pem().unwrap()).unwrap();
}
