//! What must be true of every kind of token.

use crate::place::{Kind, Place};
use keys::{KeyKind, NewKey};
use openssl::{
    hash::MessageDigest,
    sign::{Signer, Verifier},
};

pub type Case = (&'static str, &'static [Kind], fn(&mut Place));

const BOTH: &[Kind] = &[Kind::SoftHsm, Kind::Tpm];

pub const ALL: &[Case] = &[(
    "a_key_made_in_the_token_signs_through_openssl",
    BOTH,
    a_key_made_in_the_token_signs_through_openssl,
)];

fn a_key_made_in_the_token_signs_through_openssl(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    for (label, kind) in [
        ("p256", KeyKind::EcP256),
        ("p384", KeyKind::EcP384),
        ("rsa2048", KeyKind::Rsa2048),
    ] {
        let name = token
            .generate(NewKey::new(label).kind(kind))
            .wait()
            .unwrap();
        let key = token.find(&name).wait().unwrap();
        assert!(key.confined);
        let private = keys::load(&name, &place.options()).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &private).unwrap();
        let signature = signer.sign_oneshot_to_vec(b"message").unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key.public).unwrap();
        assert!(
            verifier.verify_oneshot(&signature, b"message").unwrap(),
            "{label}"
        );
    }
}
