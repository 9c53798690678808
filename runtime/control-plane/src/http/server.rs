//! A hyper server on one listener: limits, TLS when asked, and an orderly end.

use super::{Api, Body};
use crate::console::Encrypted;
use anyhow::Result;
use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use openssl::ssl::{Ssl, SslAcceptor};
use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_io_timeout::TimeoutStream;
use tokio_openssl::SslStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections of one listener at a time; more wait in the kernel.
const CONNECTIONS: usize = 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next request, and a request's head may take.
const HEAD: Duration = Duration::from_secs(60);
/// How long a body may pause, either way.
const SILENCE: Duration = Duration::from_secs(120);
/// How long requests under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(10);

/// TLS with the certificate as of now.
pub type Tls = Arc<ArcSwap<SslAcceptor>>;

/// Serves a listener until the token is cancelled, then waits for the requests under way.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    api: Arc<Api>,
    shutdown: CancellationToken,
) {
    let (tracker, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    while let Some(accepted) = shutdown
        .run_until_cancelled(accept(&listener, &places))
        .await
    {
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                log::warn!("accepting a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, api, shutdown) = (tls.clone(), Arc::clone(&api), shutdown.clone());
        tracker.spawn(async move {
            let _place = place;
            let encrypted = Encrypted(tls.is_some());
            let handle = move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(encrypted);
                let (api, peer) = (Arc::clone(&api), peer.clone());
                async move { api.handle(request, &peer).await }
            };
            match tls {
                None => connection(stream, handle, shutdown).await,
                Some(tls) => {
                    match tokio::time::timeout(HANDSHAKE, handshake(&tls.load(), stream)).await {
                        Ok(Ok(stream)) => connection(stream, handle, shutdown).await,
                        Ok(Err(error)) => log::debug!("TLS handshake: {error}"),
                        Err(_) => log::debug!("TLS handshake: too slow"),
                    }
                }
            }
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(GRACE, tracker.wait()).await.is_err() {
        log::warn!("{} connections were cut off at the end", tracker.len());
    }
}

type Accepted = (TcpStream, String, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer.to_string(), place))
}

async fn handshake(acceptor: &SslAcceptor, stream: TcpStream) -> Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    std::pin::Pin::new(&mut stream).accept().await?;
    Ok(stream)
}

/// Serves HTTP/1.1 on one connection, whatever carries it, until it ends or the token is cancelled; a request under way is
/// finished. Of use to other listeners too: those that have proven the caller by TLS.
pub async fn connection<S, H, F>(stream: S, handle: H, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(SILENCE));
    stream.set_write_timeout(Some(SILENCE));
    let service = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .max_headers(96);
    let mut served = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        log::debug!("connection: {error}");
    }
}
