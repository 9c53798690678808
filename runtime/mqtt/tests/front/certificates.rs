//! Whom the handshake lets in.

use crate::support::{Pair, Wish, authority, client, issue, reaches, server, tls_echo};
use mqtt::front::{
    ChainProblem, ClientCertificates, Failure, Limits, Presented, TlsConfig, Verdict, Verify,
};
use std::sync::{Arc, Mutex};

fn required(by: &[&Pair]) -> TlsConfig {
    TlsConfig {
        client_certificates: ClientCertificates::Required,
        authorities: by.iter().map(|a| a.certificate.clone()).collect(),
        ..server(by[0])
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate() {
    let ca = authority("ca");
    let device = client("device-1", &ca);
    let mut echo = tls_echo(&required(&[&ca]), Limits::default());
    reaches(echo.address, Some(&device)).await.unwrap();
    let peer = echo.peers.recv().await.unwrap();
    let shown = peer.certificate.unwrap();
    assert_eq!(shown.common_name.as_deref(), Some("device-1"));
    assert_eq!(shown.fingerprint, device.fingerprint());
    assert_eq!(shown.alternative_names(), ["localhost"]);
    assert_eq!(shown.issuer(), "CN=ca");
    let der = device.certificate.to_der().unwrap();
    assert_eq!(shown.x509().to_der().unwrap(), der);
    let serial = device.certificate.serial_number().to_bn().unwrap();
    let serial = serial.to_hex_str().unwrap().to_lowercase();
    assert_eq!(shown.serial().unwrap(), serial);
    assert!(peer.address.unwrap().ip().is_loopback());
}

#[tokio::test]
async fn clients_of_every_authority_are_let_in_and_no_others() {
    let (old, new, foreign) = (authority("old"), authority("new"), authority("foreign"));
    let echo = tls_echo(&required(&[&old, &new]), Limits::default());
    (reaches(echo.address, Some(&client("a", &old))).await).unwrap();
    (reaches(echo.address, Some(&client("b", &new))).await).unwrap();
    (reaches(echo.address, Some(&client("c", &foreign))).await).unwrap_err();
    reaches(echo.address, None).await.unwrap_err();
    assert_eq!(echo.front.metrics().failed(Failure::Certificate), 2);
    assert_eq!(echo.front.metrics().established, 2);
}

#[tokio::test]
async fn authorities_of_one_name_are_told_apart_by_their_keys() {
    // Without key identifiers, the name is all that leads to an issuer.
    let all: Vec<Pair> = (0..3).map(|_| authority("root")).collect();
    let foreign = authority("root");
    let echo = tls_echo(
        &required(&all.iter().collect::<Vec<_>>()),
        Limits::default(),
    );
    for ca in &all {
        reaches(echo.address, Some(&client("d", ca))).await.unwrap();
    }
    (reaches(echo.address, Some(&client("d", &foreign))).await).unwrap_err();
}

#[tokio::test]
async fn certificates_of_version_1_are_let_in() {
    let v1 = |name, authority| Wish {
        name,
        version: 0,
        authority,
        ..Wish::default()
    };
    let ca = issue(&v1("old root", true), None);
    let device = issue(&v1("old device", false), Some(&ca));
    let mut echo = tls_echo(&required(&[&ca]), Limits::default());
    reaches(echo.address, Some(&device)).await.unwrap();
    let shown = echo.peers.recv().await.unwrap().certificate.unwrap();
    assert_eq!(shown.common_name.as_deref(), Some("old device"));
    assert!(shown.alternative_names().is_empty());
}

#[tokio::test]
async fn an_authority_below_a_root_is_enough() {
    let root = authority("root");
    let wish = Wish {
        name: "intermediate",
        authority: true,
        ..Wish::default()
    };
    let intermediate = issue(&wish, Some(&root));
    let echo = tls_echo(&required(&[&intermediate]), Limits::default());
    (reaches(echo.address, Some(&client("d", &intermediate))).await).unwrap();
    // Trust goes downwards only.
    (reaches(echo.address, Some(&client("d", &root))).await).unwrap_err();
}

#[tokio::test]
async fn an_expired_client_is_refused() {
    let ca = authority("ca");
    let wish = Wish {
        name: "late",
        valid: (-10, -1),
        ..Wish::default()
    };
    let late = issue(&wish, Some(&ca));
    let echo = tls_echo(&required(&[&ca]), Limits::default());
    reaches(echo.address, Some(&late)).await.unwrap_err();
    assert_eq!(echo.front.metrics().failed(Failure::Certificate), 1);
}

#[tokio::test]
async fn where_certificates_are_optional_a_client_needs_none_but_a_bad_one_is_refused() {
    let (ca, foreign) = (authority("ca"), authority("foreign"));
    let config = TlsConfig {
        client_certificates: ClientCertificates::Optional,
        ..required(&[&ca])
    };
    let mut echo = tls_echo(&config, Limits::default());
    reaches(echo.address, None).await.unwrap();
    assert!(echo.peers.recv().await.unwrap().certificate.is_none());
    reaches(echo.address, Some(&client("d", &ca)))
        .await
        .unwrap();
    assert!(echo.peers.recv().await.unwrap().certificate.is_some());
    (reaches(echo.address, Some(&client("d", &foreign))).await).unwrap_err();
}

/// A hook that notes what it is asked and answers by `decide`.
fn hook(
    decide: impl Fn(&Presented<'_>) -> Verdict + Send + Sync + 'static,
) -> (Verify, Arc<Mutex<Vec<Option<ChainProblem>>>>) {
    let asked: Arc<Mutex<Vec<Option<ChainProblem>>>> = Arc::default();
    let note = asked.clone();
    let verify: Verify = Arc::new(move |presented: &Presented<'_>| {
        note.lock().unwrap().push(presented.problem);
        decide(presented)
    });
    (verify, asked)
}

#[tokio::test]
async fn the_hook_revokes_a_certificate_that_its_authority_still_vouches_for() {
    let ca = authority("ca");
    let (good, revoked) = (client("good", &ca), client("revoked", &ca));
    let out = revoked.fingerprint();
    let (verify, asked) = hook(move |presented| {
        if presented.fingerprint == out {
            Verdict::Refuse
        } else {
            Verdict::AsChain
        }
    });
    let config = TlsConfig {
        verify: Some(verify),
        ..required(&[&ca])
    };
    let echo = tls_echo(&config, Limits::default());
    reaches(echo.address, Some(&good)).await.unwrap();
    reaches(echo.address, Some(&revoked)).await.unwrap_err();
    assert_eq!(echo.front.metrics().failed(Failure::Certificate), 1);
    assert_eq!(*asked.lock().unwrap(), [None, None]);
}

#[tokio::test]
async fn the_hook_lets_in_registered_certificates_that_no_authority_vouches_for() {
    let (ca, foreign) = (authority("ca"), authority("foreign"));
    let registered = client("registered", &foreign);
    let alone = issue(&Wish::default(), None);
    let stranger = client("stranger", &foreign);
    let known = [registered.fingerprint(), alone.fingerprint()];
    let (verify, asked) = hook(move |presented| {
        if known.iter().any(|known| known == presented.fingerprint) {
            Verdict::Accept
        } else {
            Verdict::AsChain
        }
    });
    let config = TlsConfig {
        verify: Some(verify),
        ..required(&[&ca, &authority("foreign")])
    };
    let mut echo = tls_echo(&config, Limits::default());
    reaches(echo.address, Some(&registered)).await.unwrap();
    reaches(echo.address, Some(&alone)).await.unwrap();
    reaches(echo.address, Some(&client("d", &ca)))
        .await
        .unwrap();
    reaches(echo.address, Some(&stranger)).await.unwrap_err();
    let first = echo.peers.recv().await.unwrap().certificate.unwrap();
    assert_eq!(first.fingerprint, registered.fingerprint());
    let asked = asked.lock().unwrap();
    // The authority that the foreign one's name leads to has not signed it.
    let forged = Some(ChainProblem::Other("certificate signature failure"));
    for problem in [forged, Some(ChainProblem::UnknownAuthority), None] {
        assert!(asked.contains(&problem), "{problem:?} in {asked:?}");
    }
}

#[tokio::test]
async fn a_hook_without_authorities_decides_alone() {
    let me = issue(&Wish::default(), None);
    let known = me.fingerprint();
    let (verify, _) = hook(move |presented| match presented.fingerprint == known {
        true => Verdict::Accept,
        false => Verdict::AsChain,
    });
    let config = TlsConfig {
        client_certificates: ClientCertificates::Required,
        verify: Some(verify),
        ..server(&authority("ca"))
    };
    let echo = tls_echo(&config, Limits::default());
    reaches(echo.address, Some(&me)).await.unwrap();
    (reaches(echo.address, Some(&issue(&Wish::default(), None))).await).unwrap_err();
}
