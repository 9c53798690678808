//! MQTT over WebSocket (MQTT 5, section 6): binary frames only, whose borders mean nothing; sub-protocol `mqtt`.

use futures_util::{Sink, Stream as _};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Bytes, Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// The registered sub-protocol, and the name that clients of MQTT 3.1 used before there was one.
const SUB_PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Kept for each connection as long as it lives, so small.
const READ_BUFFER: usize = 4096;
/// The longest frame written; what is longer becomes several.
const LONGEST_FRAME: usize = 64 * 1024;

/// The bytes inside a WebSocket, as a stream.
pub struct WebSocket<S> {
    inner: WebSocketStream<S>,
    /// What is left of the frame that is being read.
    frame: Bytes,
    /// Something written may still be in the frame buffer.
    unflushed: bool,
    closing: bool,
}

impl<S> fmt::Debug for WebSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Reads the client's HTTP request and answers it; `longest` is the largest message in bytes.
    pub(super) async fn accept(stream: S, longest: usize) -> Result<Self, tungstenite::Error> {
        #[expect(
            clippy::result_large_err,
            reason = "the type is the WebSocket library's"
        )]
        let choose = |request: &Request, mut response: Response| {
            let headers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
            match sub_protocol(headers.iter().filter_map(|value| value.to_str().ok())) {
                Some(name) => {
                    (response.headers_mut())
                        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
                    Ok(response)
                }
                None => {
                    let mut refusal = ErrorResponse::new(Some(
                        "MQTT over WebSocket needs the sub-protocol \"mqtt\"\n".to_owned(),
                    ));
                    *refusal.status_mut() = StatusCode::BAD_REQUEST;
                    Err(refusal)
                }
            }
        };
        let inner = tokio_tungstenite::accept_hdr_async_with_config(
            stream,
            choose,
            Some(configuration(longest)),
        )
        .await?;
        Ok(Self::new(inner))
    }

    /// A connection that an HTTP server has already upgraded, and with it agreed on the sub-protocol; `longest` is the largest
    /// message in bytes.
    pub async fn upgraded(stream: S, longest: usize) -> Self {
        let configuration = Some(configuration(longest));
        Self::new(WebSocketStream::from_raw_socket(stream, Role::Server, configuration).await)
    }

    fn new(inner: WebSocketStream<S>) -> Self {
        Self {
            inner,
            frame: Bytes::new(),
            unflushed: false,
            closing: false,
        }
    }

    /// Goes on with a write that the connection did not take at once.
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(context)).map_err(into_io)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn close(&mut self, context: &mut Context<'_>, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        let mut inner = Pin::new(&mut self.inner);
        // Best effort: the connection ends in any case.
        if let Poll::Ready(Ok(())) = inner.as_mut().poll_ready(context) {
            let _ = inner.as_mut().start_send(Message::Close(Some(frame)));
            let _ = inner.poll_flush(context);
        }
    }
}

fn configuration(longest: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * LONGEST_FRAME)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
}

/// The sub-protocol to answer with, by the request's `Sec-WebSocket-Protocol` headers; `None`: it does not want MQTT.
pub fn sub_protocol<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let offered: Vec<&str> = headers
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    SUB_PROTOCOLS
        .into_iter()
        .find(|name| offered.contains(name))
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(Err(error)) = this.poll_pending(context) {
            return Poll::Ready(Err(error));
        }
        while this.frame.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => this.frame = bytes,
                // Pings are answered by the library, with the next read or write.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    this.close(context, CloseCode::Unsupported);
                    let text = "a text frame, where MQTT uses binary ones";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(tungstenite::Error::Capacity(error))) => {
                    this.close(context, CloseCode::Size);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
        let taken = this.frame.len().min(into.remaining());
        into.put_slice(&this.frame.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_pending(context))?;
        let mut inner = Pin::new(&mut this.inner);
        ready!(inner.as_mut().poll_ready(context)).map_err(into_io)?;
        let taken = &bytes[..bytes.len().min(LONGEST_FRAME)];
        let message = Message::Binary(Bytes::copy_from_slice(taken));
        inner.start_send(message).map_err(into_io)?;
        // Now, since a writer that knows no buffers below it does not flush.
        this.unflushed = true;
        if let Poll::Ready(Err(error)) = this.poll_pending(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.unflushed = true;
        this.poll_pending(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            this.closing = true;
            this.close(context, CloseCode::Normal);
        }
        match Pin::new(&mut this.inner).poll_flush(context) {
            Poll::Pending => return Poll::Pending,
            // It has been closed by the other side, or is broken: nothing to say any more.
            Poll::Ready(_) => {}
        }
        Pin::new(this.inner.get_mut()).poll_shutdown(context)
    }
}
