//! One connection to the broker, over TCP or TLS: bytes out of a buffer and into a shared one, never blocking.

use anyhow::Context;
use clap::Args;
use mio::net::TcpStream;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode,
    SslSessionCacheMode, SslStream, SslVerifyMode,
};
use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::PathBuf,
};

/// Where the broker is, and how to speak to it.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// The broker's address.
    #[arg(long)]
    address: SocketAddr,
    /// Authorities that the broker's certificate is checked against. Without it, no TLS.
    #[arg(long, requires_all = ["certificate", "key"])]
    ca: Option<PathBuf>,
    /// The client certificate, PEM.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// The client's private key, PEM.
    #[arg(long)]
    key: Option<PathBuf>,
}

/// The same, ready to be used many times.
pub struct Target {
    address: SocketAddr,
    tls: Option<SslContext>,
}

impl Where {
    /// Reads the files.
    pub fn target(&self) -> anyhow::Result<Target> {
        let tls = match (&self.ca, &self.certificate, &self.key) {
            (Some(ca), Some(certificate), Some(key)) => {
                let mut builder = SslContextBuilder::new(SslMethod::tls_client())?;
                builder
                    .set_ca_file(ca)
                    .with_context(|| format!("authorities {}", ca.display()))?;
                builder
                    .set_certificate_chain_file(certificate)
                    .with_context(|| format!("certificate {}", certificate.display()))?;
                builder
                    .set_private_key_file(key, SslFiletype::PEM)
                    .with_context(|| format!("key {}", key.display()))?;
                builder.set_verify(SslVerifyMode::PEER);
                builder.set_session_cache_mode(SslSessionCacheMode::OFF);
                builder.set_mode(
                    SslMode::ENABLE_PARTIAL_WRITE
                        | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                        | SslMode::RELEASE_BUFFERS,
                );
                Some(builder.build())
            }
            _ => None,
        };
        Ok(Target {
            address: self.address,
            tls,
        })
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>),
}

/// One connection.
pub struct Link {
    stream: Stream,
    /// What is to be sent; `sent` bytes of it have gone.
    out: Vec<u8>,
    sent: usize,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
}

/// What a read came to.
#[derive(PartialEq, Eq, Debug)]
pub enum Came {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The end.
    End,
}

impl Link {
    /// Begins to connect.
    pub fn open(to: &Target) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(to.address)?;
        tcp.set_nodelay(true)?;
        let stream = match &to.tls {
            None => Stream::Plain(tcp),
            Some(context) => {
                let mut ssl = Ssl::new(context)?;
                ssl.param_mut().set_ip(to.address.ip())?;
                ssl.set_connect_state();
                Stream::Tls(SslStream::new(ssl, tcp)?)
            }
        };
        Ok(Self {
            stream,
            out: Vec::new(),
            sent: 0,
            partial: Vec::new(),
        })
    }

    /// The socket, to be watched.
    pub fn socket(&mut self) -> &mut TcpStream {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_mut(),
        }
    }

    /// Where to append what is to be sent.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What has not gone yet.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Sends what can be sent now.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            let rest = &self.out[self.sent..];
            let written = match &mut self.stream {
                Stream::Plain(tcp) => tcp.write(rest),
                Stream::Tls(tls) => tls.ssl_write(rest).or_else(later),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // Not connected yet: the poll says when.
                Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.sent = 0;
        // An idle connection holds no memory worth speaking of.
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Puts the beginning of a frame, kept from the last read, at the head of `into`; returns its length.
    pub fn resume(&mut self, into: &mut [u8]) -> usize {
        let kept = self.partial.len();
        into[..kept].copy_from_slice(&self.partial);
        self.partial.clear();
        kept
    }

    /// Keeps the beginning of a frame.
    pub fn keep(&mut self, beginning: &[u8]) {
        self.partial.extend_from_slice(beginning);
    }

    /// Reads what is there.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Came> {
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(into),
            Stream::Tls(tls) => match tls.ssl_read(into) {
                Err(e) if e.code() == ErrorCode::ZERO_RETURN => Ok(0),
                other => other.or_else(later),
            },
        };
        match read {
            Ok(0) => Ok(Came::End),
            Ok(count) => Ok(Came::Bytes(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Came::Nothing),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(Came::Nothing),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Came::Nothing),
            Err(e) => Err(e),
        }
    }
}

fn later(error: openssl::ssl::Error) -> io::Result<usize> {
    match error.code() {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Err(io::ErrorKind::WouldBlock.into()),
        // The peer is gone without a word: TLS calls that an error, TCP the end.
        ErrorCode::SYSCALL if error.io_error().is_none() => Ok(0),
        _ => Err(error.into_io_error().unwrap_or_else(io::Error::other)),
    }
}
