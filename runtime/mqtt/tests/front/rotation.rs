//! Certificates change while sessions go on.

use crate::support::{Pair, authority, client, connect, echoes, reaches, server, tls_echo};
use mqtt::front::{ClientCertificates, Limits, TlsConfig, TlsError};

fn subject(stream: &tokio_openssl::SslStream<tokio::net::TcpStream>) -> Vec<u8> {
    stream.ssl().peer_certificate().unwrap().to_der().unwrap()
}

fn trusting(config: TlsConfig, authorities: &[&Pair]) -> TlsConfig {
    TlsConfig {
        client_certificates: ClientCertificates::Required,
        authorities: authorities.iter().map(|a| a.certificate.clone()).collect(),
        ..config
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_sessions_and_disturbs_no_old_one() {
    let ca = authority("ca");
    let (before, after) = (server(&ca), server(&ca));
    let echo = tls_echo(&before, Limits::default());
    let mut old = connect(echo.address, None, &[]).await.unwrap();
    echoes(&mut old).await.unwrap();
    echo.tls.replace(&after).unwrap();
    let mut new = connect(echo.address, None, &[]).await.unwrap();
    echoes(&mut new).await.unwrap();
    echoes(&mut old).await.unwrap();
    assert_eq!(subject(&old), before.chain[0].to_der().unwrap());
    assert_eq!(subject(&new), after.chain[0].to_der().unwrap());
}

#[tokio::test]
async fn authorities_are_swapped_for_new_handshakes() {
    let (old, new) = (authority("old"), authority("new"));
    let (of_old, of_new) = (client("a", &old), client("b", &new));
    let echo = tls_echo(&trusting(server(&old), &[&old]), Limits::default());
    let mut session = connect(echo.address, Some(&of_old), &[]).await.unwrap();
    echoes(&mut session).await.unwrap();
    reaches(echo.address, Some(&of_new)).await.unwrap_err();
    (echo.tls.replace(&trusting(server(&old), &[&new]))).unwrap();
    reaches(echo.address, Some(&of_new)).await.unwrap();
    reaches(echo.address, Some(&of_old)).await.unwrap_err();
    echoes(&mut session).await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_does_not_work_changes_nothing() {
    let ca = authority("ca");
    let echo = tls_echo(&server(&ca), Limits::default());
    let before = echo.tls.fingerprint();
    let mut wrong = server(&ca);
    wrong.key = crate::support::key();
    let error = echo.tls.replace(&wrong).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
    assert_eq!(echo.tls.fingerprint(), before);
    reaches(echo.address, None).await.unwrap();
}
