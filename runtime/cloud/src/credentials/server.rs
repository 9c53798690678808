//! The endpoint itself: HTTP/1.1 on 127.0.0.1, one path, one method.

use super::{Answer, Exchange, PATH};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 32;
/// A request's head has to come within this, and a connection is over after the other.
const HEAD: Duration = Duration::from_secs(10);
const CONNECTION: Duration = Duration::from_secs(60);
const LARGEST_HEAD: usize = 16 * 1024;

/// Serves for ever.
pub async fn serve(listener: TcpListener, exchange: Arc<Exchange>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let exchange = exchange.clone();
                tokio::spawn(async move {
                    // A component that does not end its connection is cut off.
                    let _ = timeout(CONNECTION, connection(stream, exchange)).await;
                    drop(place);
                });
            }
            Err(error) => {
                log::error!("cannot accept a connection for credentials: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, exchange: Arc<Exchange>) {
    let service = service_fn(move |request| {
        let exchange = exchange.clone();
        async move { Ok::<_, Infallible>(response(&respond(&request, &exchange).await)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        log::debug!("a connection for credentials broke: {error}");
    }
}

async fn respond(request: &Request<Incoming>, exchange: &Exchange) -> Answer {
    let path = request.uri().path();
    if path.trim_end_matches('/') != PATH.trim_end_matches('/') {
        return Answer::error(400, "there is nothing under this path");
    }
    if request.method() != Method::GET {
        return Answer::error(405, "only GET is served");
    }
    let token = request.headers().get(header::AUTHORIZATION);
    let token = token.and_then(|token| token.to_str().ok());
    let component = token.and_then(|token| exchange.access.component(token));
    let Some(component) = component else {
        return Answer::error(403, "Authorization carries no component's token");
    };
    if !exchange.access.may_have_credentials(&component) {
        return Answer::error(403, "no policy lets this component have credentials");
    }
    exchange.credentials().await
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let body = Bytes::copy_from_slice(answer.body.as_bytes());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let json = header::HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let private = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, private);
    response
}
