//! Tokens that go away and come back.

use crate::{
    pki::{self, Authority},
    place::{Kind, Place, eventually},
};
use cryptoki::context::Pkcs11;
use keys::{KeyError, NewKey};
use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Private},
    sign::Signer,
    ssl::SslVersion,
};
use std::time::{Duration, Instant};

fn signs(key: &PKey<Private>) -> bool {
    let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
    signer.sign_oneshot_to_vec(b"message").is_ok()
}

pub fn a_key_fails_while_its_token_is_away_and_works_again_afterwards(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let name = place
        .open(&uri)
        .generate(NewKey::new("device"))
        .wait()
        .unwrap();
    let key = keys::load(&name, &place.options()).unwrap();
    let authority = Authority::new();
    let certificate = authority.issue("device", &key);
    let (plain, plain_key) = authority.plain("peer");
    // The same contexts throughout, as a listener has them.
    let server = pki::context(true, &authority, (&certificate, &key), SslVersion::TLS1_3);
    let client = pki::context(false, &authority, (&plain, &plain_key), SslVersion::TLS1_3);
    pki::handshake(&client, &server).unwrap();
    // A TPM counts each power cut as a wrong PIN, and swtpm locks at the third.
    let times = if place.kind == Kind::Tpm { 1 } else { 3 };
    for _ in 0..times {
        place.unplug();
        eventually("the loss is noticed", || {
            let began = Instant::now();
            let failed = pki::handshake(&client, &server).is_err();
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "a handshake waits for a token that is away"
            );
            failed
        });
        place.plug_in();
        eventually("the key works again", || {
            pki::handshake(&client, &server).is_ok()
        });
        assert!(signs(&key));
    }
}

pub fn operations_log_in_again_after_the_token_was_away(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    place.unplug();
    let mut fault = None;
    eventually("the loss is noticed", || {
        fault = token
            .sign(&name, keys::Hash::Sha256, vec![1; 32])
            .wait()
            .err();
        fault.is_some()
    });
    let fault = fault.unwrap();
    assert!(
        fault.is_temporary() && !matches!(fault, KeyError::WrongPin { .. }),
        "{fault}"
    );
    place.plug_in();
    eventually("it signs", || {
        token
            .sign(&name, keys::Hash::Sha256, vec![1; 32])
            .wait()
            .is_ok()
    });
    // And makes keys: it is logged in.
    eventually("it makes keys", || {
        token.generate(NewKey::new("another")).wait().is_ok()
    });
}

pub fn another_users_c_finalize_is_survived(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    let key = keys::load(&name, &place.options()).unwrap();
    assert!(signs(&key));
    for _ in 0..3 {
        Pkcs11::new(&place.library).unwrap().finalize().unwrap();
        assert!(signs(&key));
        Pkcs11::new(&place.library).unwrap().finalize().unwrap();
        eventually("the token answers", || token.objects().wait().is_ok());
    }
}

pub fn a_token_that_comes_later_is_found(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let name = place
        .open(&uri)
        .generate(NewKey::new("device"))
        .wait()
        .unwrap();
    place.open(&uri).close().wait().unwrap();
    place.unplug();
    let mut missing = None;
    eventually("it is missed", || {
        missing = keys::load(&name, &place.options()).err();
        missing.is_some()
    });
    assert!(missing.as_ref().unwrap().is_temporary(), "{missing:?}");
    place.plug_in();
    let mut key = None;
    eventually("it is found", || {
        key = keys::load(&name, &place.options()).ok();
        key.is_some()
    });
    assert!(signs(&key.unwrap()));
}
