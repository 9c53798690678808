//! What strangers cannot do: hold up others, or take more than their share.

use crate::support::{
    ANY_PORT, Echo, authority, connect, echo, echoes, eventually, is_closed, reaches, server,
    tls_echo,
};
use mqtt::front::{Failure, Front, Limits, Listener, Transport};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream};

fn start(limits: Limits) -> Echo {
    tls_echo(&server(&authority("ca")), limits)
}

/// A record header of a ClientHello that never comes.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1];

#[tokio::test]
async fn clients_that_connect_and_say_nothing_delay_nobody() {
    let limits = Limits {
        handshakes: 1,
        ..Limits::default()
    };
    let echo = start(limits);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(echo.address).await.unwrap());
    }
    eventually("all are inside", || echo.front.metrics().open == 50).await;
    reaches(echo.address, None).await.unwrap();
}

#[tokio::test]
async fn a_silent_client_is_cut_when_its_time_is_over() {
    let limits = Limits {
        handshake_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let echo = start(limits);
    let mut silent = TcpStream::connect(echo.address).await.unwrap();
    assert!(is_closed(&mut silent).await);
    let mut halfway = TcpStream::connect(echo.address).await.unwrap();
    halfway.write_all(HALF_A_HELLO).await.unwrap();
    assert!(is_closed(&mut halfway).await);
    assert_eq!(echo.front.metrics().failed(Failure::Timeout), 2);
    eventually("their places are free", || echo.front.metrics().open == 0).await;
}

#[tokio::test]
async fn handshakes_beyond_the_cap_wait_and_go_on_when_stalled_ones_are_cut() {
    let limits = Limits {
        handshakes: 1,
        handshake_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let echo = start(limits);
    let mut stalled = TcpStream::connect(echo.address).await.unwrap();
    stalled.write_all(HALF_A_HELLO).await.unwrap();
    eventually("it holds the only turn", || {
        echo.front.metrics().handshaking == 1
    })
    .await;
    // May itself run out of time while it waits; a client tries again.
    let mut attempts = 0;
    while reaches(echo.address, None).await.is_err() {
        attempts += 1;
        assert!(attempts < 20);
    }
    assert!(echo.front.metrics().failed(Failure::Timeout) >= 1);
}

#[tokio::test]
async fn connections_beyond_the_caps_are_closed_at_once_and_places_come_back() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let echo = start(limits);
    let mut first = connect(echo.address, None, &[]).await.unwrap();
    echoes(&mut first).await.unwrap();
    let mut second = connect(echo.address, None, &[]).await.unwrap();
    echoes(&mut second).await.unwrap();
    let mut third = TcpStream::connect(echo.address).await.unwrap();
    assert!(is_closed(&mut third).await);
    assert_eq!(echo.front.metrics().failed(Failure::TooMany), 1);
    drop(first);
    eventually("a place is free", || echo.front.metrics().open == 1).await;
    reaches(echo.address, None).await.unwrap();
    echoes(&mut second).await.unwrap();
}

#[tokio::test]
async fn caps_hold_over_all_listeners_and_for_each_address() {
    let limits = Limits {
        connections_per_address: 1,
        ..Limits::default()
    };
    let front = Front::new(limits);
    let (serve, _peers) = echo();
    let listener = Listener::new(Transport::Tcp, serve);
    let one = front.listen(ANY_PORT, listener.clone()).unwrap();
    let two = front.listen(ANY_PORT, listener).unwrap();
    let mut first = TcpStream::connect(one).await.unwrap();
    echoes(&mut first).await.unwrap();
    assert!(is_closed(&mut TcpStream::connect(two).await.unwrap()).await);
    assert_eq!(front.metrics().failed(Failure::TooManyFromAddress), 1);
    // 127.0.0.2 is somebody else.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    echoes(&mut other.connect(two).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart() {
    let echo = start(Limits::default());
    let mut plain = TcpStream::connect(echo.address).await.unwrap();
    // CONNECT of MQTT 3.1.1, sent to the wrong port.
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    plain.write_all(connect).await.unwrap();
    assert!(is_closed(&mut plain).await);
    eventually("it is counted", || {
        echo.front.metrics().failed(Failure::Tls) == 1
    })
    .await;
    let gone = TcpStream::connect(echo.address).await.unwrap();
    drop(gone);
    eventually("it is counted", || {
        echo.front.metrics().failed(Failure::Closed) == 1
    })
    .await;
}

#[tokio::test]
async fn handshakes_on_threads_of_their_own_and_with_slow_keys_succeed() {
    let threads = Limits {
        handshake_threads: 2,
        ..Limits::default()
    };
    reaches(start(threads).address, None).await.unwrap();
    let mut slow = server(&authority("ca"));
    slow.slow_key = true;
    let echo = tls_echo(&slow, Limits::default());
    let all = (0..8).map(|_| reaches(echo.address, None));
    for result in futures_util::future::join_all(all).await {
        result.unwrap();
    }
}
