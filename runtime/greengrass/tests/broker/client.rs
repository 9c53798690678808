//! As little of an MQTT 3.1.1 client as these tests need, written down byte by byte so that it shares no code with the broker.

use crate::{files::Folder, program::DEADLINE};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslStream};
use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

pub trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

pub struct Client<C> {
    stream: C,
}

pub fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// With the certificate of this name, checking the server against the folder's authority.
pub fn tls(folder: &Folder, port: u16, name: Option<&str>) -> io::Result<SslStream<TcpStream>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_ca_file(folder.path("ca.crt")).unwrap();
    if let Some(name) = name {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        (builder.set_certificate_chain_file(folder.path(&certificate))).unwrap();
        (builder.set_private_key_file(folder.path(&key), SslFiletype::PEM)).unwrap();
    }
    (builder.build().connect("localhost", tcp(port))).map_err(io::Error::other)
}

fn text(text: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
    assert!(body.len() < 128);
    packet.extend_from_slice(body);
    packet
}

impl<C: Connection> Client<C> {
    /// Says CONNECT; the client, or the code of the refusal.
    pub fn connect(
        mut stream: C,
        id: &str,
        login: Option<(&str, &str)>,
    ) -> io::Result<Result<Self, u8>> {
        let mut body = Vec::new();
        text("MQTT", &mut body);
        body.push(4);
        body.push(if login.is_some() { 0xC2 } else { 2 });
        body.extend_from_slice(&60_u16.to_be_bytes());
        text(id, &mut body);
        if let Some((user, password)) = login {
            text(user, &mut body);
            text(password, &mut body);
        }
        stream.write_all(&packet(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer[..2], [0x20, 2]);
        Ok(match answer[3] {
            0 => Ok(Self { stream }),
            refusal => Err(refusal),
        })
    }

    /// Whether it was granted.
    pub fn subscribe(&mut self, filter: &str) -> bool {
        let mut body = vec![0, 1];
        text(filter, &mut body);
        body.push(0);
        self.stream.write_all(&packet(0x82, &body)).unwrap();
        let mut answer = [0; 5];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], [0x90, 3, 0, 1]);
        answer[4] != 0x80
    }

    pub fn publish(&mut self, topic: &str, payload: &str) {
        let mut body = Vec::new();
        text(topic, &mut body);
        body.extend_from_slice(payload.as_bytes());
        self.stream.write_all(&packet(0x30, &body)).unwrap();
    }

    /// Publishes with QoS 1, to be retained, and waits for the acknowledgement.
    pub fn retain(&mut self, topic: &str, payload: &str) {
        let mut body = Vec::new();
        text(topic, &mut body);
        body.extend_from_slice(&[0, 7]);
        body.extend_from_slice(payload.as_bytes());
        self.stream.write_all(&packet(0x33, &body)).unwrap();
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x40, 2, 0, 7]);
    }

    /// The next message's topic and payload.
    pub fn receive(&mut self) -> io::Result<(String, String)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[0] & 0xF6, 0x30, "a PUBLISH of QoS 0");
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body)?;
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let part = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((part(&body[2..2 + length]), part(&body[2 + length..])))
    }

    /// A round trip.
    pub fn ping(&mut self) -> io::Result<()> {
        self.stream.write_all(&[0xC0, 0])?;
        let mut answer = [0; 2];
        self.stream.read_exact(&mut answer)?;
        assert_eq!(answer, [0xD0, 0]);
        Ok(())
    }

    /// Waits until the broker has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }

    pub fn stream(&self) -> &C {
        &self.stream
    }
}
