//! What is wrong with certificates and keys is said before the first client comes.

use crate::support::{Wish, authority, client, issue, server};
use mqtt::front::{
    ClientCertificates, TlsConfig, TlsError, TlsHandle, read_authorities, read_chain, read_key,
};
use openssl::symm::Cipher;
use std::{fs, path::Path};

fn file(folder: &Path, name: &str, content: &[u8]) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn chains_keys_and_authorities_are_read_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (authority("one"), authority("two"));
    let leaf = client("server", &one);
    let pem = |x: &openssl::x509::X509| x.to_pem().unwrap();
    let chain = [pem(&leaf.certificate), pem(&one.certificate)].concat();
    let chain = file(folder.path(), "chain.pem", &chain);
    let key = leaf.key.private_key_to_pem_pkcs8().unwrap();
    let key = file(folder.path(), "key.pem", &key);
    let both = [pem(&one.certificate), pem(&two.certificate)].concat();
    let both = file(folder.path(), "authorities.pem", &both);
    let chain = read_chain(&chain).unwrap();
    assert_eq!(chain.len(), 2);
    let mut config = TlsConfig::new(chain, read_key(&key).unwrap());
    config.authorities = read_authorities(&both).unwrap();
    assert_eq!(config.authorities.len(), 2);
    config.client_certificates = ClientCertificates::Required;
    let handle = TlsHandle::new(&config).unwrap();
    assert_eq!(handle.fingerprint(), leaf.fingerprint());
}

#[test]
fn a_file_with_something_else_in_it_is_named_with_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let ca = authority("ca");
    let certificate = ca.certificate.to_pem().unwrap();
    let certificate = file(folder.path(), "certificate.pem", &certificate);
    let secret = ca
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret")
        .unwrap();
    let secret = file(folder.path(), "secret.pem", &secret);
    let key = ca.key.private_key_to_pem_pkcs8().unwrap();
    let key = file(folder.path(), "key.pem", &key);
    let broken = file(
        folder.path(),
        "broken.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let error = |result: Result<(), TlsError>| result.unwrap_err().to_string();
    let text = error(read_key(&certificate).map(drop));
    assert!(
        text.contains("certificate.pem: holds a certificate"),
        "{text}"
    );
    let text = error(read_key(&secret).map(drop));
    assert!(text.contains("secret.pem: the key is encrypted"), "{text}");
    let text = error(read_chain(&key).map(drop));
    assert!(text.contains("key.pem: holds no certificate"), "{text}");
    let text = error(read_authorities(&broken).map(drop));
    assert!(text.contains("broken.pem: a certificate in it"), "{text}");
    let text = error(read_chain(&folder.path().join("absent.pem")).map(drop));
    assert!(
        text.starts_with("cannot read ") && text.contains("absent.pem"),
        "{text}"
    );
}

#[test]
fn an_expired_server_certificate_is_refused_and_one_of_tomorrow_is_not() {
    let ca = authority("ca");
    let with = |valid| {
        let wish = Wish {
            name: "server",
            valid,
            ..Wish::default()
        };
        let pair = issue(&wish, Some(&ca));
        TlsHandle::new(&TlsConfig::new(vec![pair.certificate], pair.key))
    };
    let text = with((-9, -1)).unwrap_err().to_string();
    assert!(text.contains("'CN=server' has expired on"), "{text}");
    // A device without a clock starts in the past.
    with((1, 9)).unwrap();
}

#[test]
fn asking_for_client_certificates_needs_somebody_who_judges_them() {
    let mut config = server(&authority("ca"));
    config.client_certificates = ClientCertificates::Required;
    let error = TlsHandle::new(&config).unwrap_err();
    assert!(matches!(error, TlsError::NoAuthority), "{error}");
}

#[test]
fn ciphers_that_do_not_exist_are_named() {
    let mut config = server(&authority("ca"));
    config.ciphers = Some("ENIGMA".into());
    let text = TlsHandle::new(&config).unwrap_err().to_string();
    assert!(text.contains("'ENIGMA'"), "{text}");
}

#[test]
fn keys_stay_out_of_debug_output() {
    let config = server(&authority("ca"));
    let key = config.key.private_key_to_pem_pkcs8().unwrap();
    let key = String::from_utf8(key).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{config:?}").contains(line));
}
