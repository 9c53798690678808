//! MQTT in WebSocket frames.

use crate::support::{ANY_PORT, authority, connect, echo, eventually, server};
use futures_util::{SinkExt, StreamExt};
use mqtt::front::{Failure, Front, Limits, Listener, TlsHandle, Transport, WebSocket};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

fn start(limits: Limits) -> (Front, SocketAddr) {
    let front = Front::new(limits);
    let listener = Listener::new(Transport::WebSocket, echo().0);
    let address = front.listen(ANY_PORT, listener).unwrap();
    (front, address)
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    sub_protocols: Option<&str>,
) -> Result<(WebSocketStream<S>, Option<String>), Error> {
    let mut request = "ws://localhost/mqtt".into_client_request()?;
    if let Some(names) = sub_protocols {
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, names.parse().unwrap());
    }
    let (stream, response) = client_async(request, stream).await?;
    let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    let chosen = chosen.map(|name| name.to_str().unwrap().to_owned());
    Ok((stream, chosen))
}

async fn mqtt(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    open(tcp, Some("mqtt")).await.unwrap().0
}

/// What comes back, frames joined, until it is so long.
async fn back<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut WebSocketStream<S>,
    length: usize,
) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let message = tokio::time::timeout(crate::support::DEADLINE, stream.next());
        match message.await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => all.extend_from_slice(&bytes),
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn frames_are_a_stream_of_bytes_whatever_their_borders() {
    let (_front, address) = start(Limits::default());
    let mut stream = mqtt(address).await;
    let packets: Vec<u8> = (0..=255).cycle().take(3000).collect();
    // Some bytes a frame, a frame without any, a frame of thousands.
    for frame in [&packets[..1], &packets[1..7], &[], &packets[7..]] {
        stream.send(Message::binary(frame.to_vec())).await.unwrap();
    }
    assert_eq!(back(&mut stream, packets.len()).await, packets);
}

#[tokio::test]
async fn more_than_fits_any_buffer_goes_through_in_both_directions() {
    let (_front, address) = start(Limits::default());
    let (mut send, mut receive) = mqtt(address).await.split();
    let sender = tokio::spawn(async move {
        for n in 0..64_u8 {
            send.send(Message::binary(vec![n; 100_000])).await.unwrap();
        }
        send
    });
    let mut got = 0;
    while got < 6_400_000 {
        let bytes = receive.next().await.unwrap().unwrap().into_data();
        let n = u8::try_from(got / 100_000).unwrap();
        assert_eq!(bytes[0], n);
        got += bytes.len();
    }
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn the_sub_protocol_is_mqtt_and_nothing_else() {
    let (front, address) = start(Limits::default());
    let tcp = || async { TcpStream::connect(address).await.unwrap() };
    let (_, chosen) = open(tcp().await, Some("wamp, mqtt")).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("mqtt"));
    let (_, chosen) = open(tcp().await, Some("mqttv3.1")).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("mqttv3.1"));
    for other in [None, Some("wamp")] {
        match open(tcp().await, other).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), StatusCode::BAD_REQUEST),
            other => panic!("{:?}", other.map(|(_, chosen)| chosen)),
        }
    }
    eventually("both are counted", || {
        front.metrics().failed(Failure::WebSocket) == 2
    })
    .await;
}

#[tokio::test]
async fn what_is_no_websocket_request_is_refused() {
    let (front, address) = start(Limits::default());
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(crate::support::is_closed(&mut tcp).await);
    assert_eq!(front.metrics().failed(Failure::WebSocket), 1);
}

#[tokio::test]
async fn text_frames_end_the_connection() {
    let (_front, address) = start(Limits::default());
    let mut stream = mqtt(address).await;
    stream.send(Message::text("hello")).await.unwrap();
    let message = stream.next().await.unwrap().unwrap();
    assert!(
        matches!(
            &message,
            Message::Close(Some(CloseFrame {
                code: CloseCode::Unsupported,
                ..
            }))
        ),
        "{message:?}"
    );
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_connection() {
    let limits = Limits {
        websocket_message: 1000,
        ..Limits::default()
    };
    let (_front, address) = start(limits);
    let mut stream = mqtt(address).await;
    stream.send(Message::binary(vec![0; 1000])).await.unwrap();
    assert_eq!(back(&mut stream, 1000).await.len(), 1000);
    stream.send(Message::binary(vec![0; 1001])).await.unwrap();
    let message = stream.next().await.unwrap().unwrap();
    assert!(
        matches!(
            &message,
            Message::Close(Some(CloseFrame {
                code: CloseCode::Size,
                ..
            }))
        ),
        "{message:?}"
    );
}

#[tokio::test]
async fn pings_are_answered_and_a_closing_client_is_told_goodbye() {
    let (front, address) = start(Limits::default());
    let mut stream = mqtt(address).await;
    stream.send(Message::Ping("p".into())).await.unwrap();
    let pong = stream.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("p".into()));
    stream.close(None).await.unwrap();
    let goodbye = stream.next().await;
    assert!(
        matches!(goodbye, Some(Ok(Message::Close(_)))),
        "{goodbye:?}"
    );
    drop(stream);
    eventually("its place is free", || front.metrics().open == 0).await;
}

#[tokio::test]
async fn websockets_go_through_tls_whether_or_not_http_is_named() {
    let tls = TlsHandle::new(&server(&authority("ca"))).unwrap();
    let front = Front::new(Limits::default());
    let listener = Listener::new(Transport::SecureWebSocket(tls), echo().0);
    let address = front.listen(ANY_PORT, listener).unwrap();
    for offer in [&b""[..], b"\x08http/1.1"] {
        let secure = connect(address, None, offer).await.unwrap();
        let (mut stream, _) = open(secure, Some("mqtt")).await.unwrap();
        stream.send(Message::binary(&b"hello"[..])).await.unwrap();
        assert_eq!(back(&mut stream, 5).await, b"hello");
    }
}

#[tokio::test]
async fn a_connection_upgraded_by_an_http_server_is_a_stream_as_well() {
    let (client, server) = tokio::io::duplex(4096);
    let mut server = WebSocket::upgraded(server, 1 << 20).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    client.send(Message::binary(&b"hel"[..])).await.unwrap();
    client.send(Message::binary(&b"lo"[..])).await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
    server.write_all(b"hello").await.unwrap();
    assert_eq!(back(&mut client, 5).await, b"hello");
}
