//! The orderly end.

use crate::support::{
    ANY_PORT, authority, connect, echo, echoes, eventually, is_closed, reaches, server, tls_echo,
};
use mqtt::front::{Front, FrontError, Limits, Listener, Transport};
use std::time::Duration;
use tokio::net::TcpStream;

#[tokio::test]
async fn closing_frees_the_port_and_ends_handshakes_but_no_session() {
    let echo = tls_echo(&server(&authority("ca")), Limits::default());
    let mut session = connect(echo.address, None, &[]).await.unwrap();
    echoes(&mut session).await.unwrap();
    let mut silent = TcpStream::connect(echo.address).await.unwrap();
    eventually("it is inside", || echo.front.metrics().open == 2).await;
    echo.front.close().await;
    assert!(is_closed(&mut silent).await);
    reaches(echo.address, None).await.unwrap_err();
    echoes(&mut session).await.unwrap();
    // Somebody else may have the port at once.
    let front = Front::new(Limits::default());
    let listener = Listener::new(Transport::Tcp, super::support::echo().0);
    front.listen(echo.address, listener).unwrap();
}

#[tokio::test]
async fn stopping_waits_for_sessions_and_cuts_those_that_stay() {
    let front = Front::new(Limits::default());
    let listener = Listener::new(Transport::Tcp, echo().0);
    let address = front.listen(ANY_PORT, listener.clone()).unwrap();
    let mut leaves = TcpStream::connect(address).await.unwrap();
    echoes(&mut leaves).await.unwrap();
    let mut stays = TcpStream::connect(address).await.unwrap();
    echoes(&mut stays).await.unwrap();
    drop(leaves);
    eventually("one has left", || front.metrics().open == 1).await;
    assert_eq!(front.stop(Duration::from_millis(10)).await, 1);
    assert!(is_closed(&mut stays).await);
    assert_eq!(front.metrics().open, 0);
    let again = front.listen(ANY_PORT, listener).unwrap_err();
    assert!(matches!(again, FrontError::Stopped(_)), "{again}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let front = Front::new(Limits::default());
    let listener = Listener::new(Transport::Tcp, echo().0);
    let address = front.listen(ANY_PORT, listener.clone()).unwrap();
    let error = front.listen(address, listener).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
