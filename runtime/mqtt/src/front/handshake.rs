//! From an accepted TCP connection to an established one: TLS, ALPN, WebSocket, all within one time limit.

use super::{
    alpn::Offer,
    limits::Place,
    metrics::{Counters, Failure},
    stream::Stream,
    tls::TlsHandle,
    websocket::WebSocket,
};
use crate::{Certificate, engine::Peer};
use openssl::ssl::{self, ErrorCode, Ssl, SslRef};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_openssl::SslStream;
use tokio_tungstenite::tungstenite;

/// Why it did not succeed, with the words for the log.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Failure, pub(super) String);

impl Failed {
    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    fn internal(error: impl ToString) -> Self {
        Self(Failure::Internal, error.to_string())
    }
}

/// The threads beside the executor's on which slow keys, or all handshakes, compute.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    permits: Arc<Semaphore>,
    for_all: bool,
}

impl Workers {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            // A token works off one operation after the other anyway.
            permits: Arc::new(Semaphore::new(threads.max(1))),
            for_all: threads > 0,
        }
    }
}

/// An established TLS connection.
pub(super) struct Secured {
    pub(super) stream: SslStream<TcpStream>,
    pub(super) peer: Peer,
    /// The name agreed on; `None` when the client offered none.
    pub(super) protocol: Option<Box<str>>,
}

/// The TLS handshake. Waiting for the client's first byte costs next to nothing, so only then a turn is taken.
pub(super) async fn secure(
    tcp: TcpStream,
    address: SocketAddr,
    (tls, offer): (&TlsHandle, &Offer),
    place: &Place,
    (workers, counters): (&Workers, &Counters),
) -> Result<Secured, Failed> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(0) => return Err(Failed(Failure::Closed, "closed without a byte".into())),
        Ok(_) => {}
        Err(error) => return Err(Failed(Failure::Closed, error.to_string())),
    }
    let _turn = place.turn().await;
    let _counted = counters.handshaking();
    let context = tls.context();
    let mut ssl = Ssl::new(&context.ssl).map_err(Failed::internal)?;
    offer.attach(&mut ssl);
    let mut stream = SslStream::new(ssl, tcp).map_err(Failed::internal)?;
    if context.slow_key || workers.for_all {
        stream = beside(stream, &workers.permits).await?;
    } else if let Err(error) = Pin::new(&mut stream).accept().await {
        return Err(refused(&error, stream.ssl()));
    }
    let certificate = match stream.ssl().peer_certificate() {
        Some(x509) => Some(Arc::new(
            Certificate::from_x509(&x509).map_err(Failed::internal)?,
        )),
        None => None,
    };
    let protocol = (stream.ssl().selected_alpn_protocol())
        .map(|name| String::from_utf8_lossy(name).into_owned().into_boxed_str());
    Ok(Secured {
        peer: Peer {
            address: Some(address),
            certificate,
        },
        stream,
        protocol,
    })
}

/// Each step of the handshake on a thread that may block; in between, the connection waits here for the peer.
async fn beside(
    mut stream: SslStream<TcpStream>,
    permits: &Arc<Semaphore>,
) -> Result<SslStream<TcpStream>, Failed> {
    loop {
        let permit = permits.clone().acquire_owned().await;
        let step = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut nobody = Context::from_waker(Waker::noop());
            let step = Pin::new(&mut stream).poll_accept(&mut nobody);
            (stream, step)
        });
        let step = step.await.map_err(Failed::internal)?;
        stream = step.0;
        match step.1 {
            Poll::Ready(Ok(())) => return Ok(stream),
            Poll::Ready(Err(error)) => return Err(refused(&error, stream.ssl())),
            // What a server sends in a handshake fits the socket's buffer, so it is the peer's bytes that are missing.
            Poll::Pending => (stream.get_ref().readable().await)
                .map_err(|error| Failed(Failure::Closed, error.to_string()))?,
        }
    }
}

/// Tells apart why a handshake failed, as OpenSSL words it.
fn refused(error: &ssl::Error, ssl: &SslRef) -> Failed {
    let stack = error.ssl_error().map(openssl::error::ErrorStack::errors);
    let reason = |error: &openssl::error::Error| error.reason().map(str::to_owned);
    let reason = stack.and_then(|all| all.first()).and_then(reason);
    let verified = ssl.verify_result();
    let certificate_refused =
        verified.as_raw() != 0 && reason.as_deref() == Some("certificate verify failed");
    match (error.code(), reason) {
        (ErrorCode::SSL, Some(_)) if certificate_refused => Failed(
            Failure::Certificate,
            format!("client certificate refused: {}", verified.error_string()),
        ),
        (ErrorCode::SSL, Some(reason)) => {
            let why = match reason.as_str() {
                "peer did not return a certificate" => Failure::Certificate,
                "no application protocol" => Failure::Alpn,
                "unexpected eof while reading" => Failure::Closed,
                _ => Failure::Tls,
            };
            // Such as "tlsv1 alert unknown ca": the client's opinion of our certificate.
            Failed(why, reason)
        }
        _ => match error.io_error() {
            Some(error) if error.kind() != io::ErrorKind::Other => {
                Failed(Failure::Closed, error.to_string())
            }
            _ => Failed(Failure::Closed, "closed during the handshake".into()),
        },
    }
}

/// The WebSocket handshake over an established connection.
pub(super) async fn upgrade(stream: Stream, longest: usize) -> Result<Stream, Failed> {
    match WebSocket::accept(stream, longest).await {
        Ok(websocket) => Ok(Stream::WebSocket(Box::new(websocket))),
        Err(tungstenite::Error::Io(error)) => Err(Failed(Failure::Closed, error.to_string())),
        Err(error) => Err(Failed(Failure::WebSocket, error.to_string())),
    }
}
