//! PINs: wrong, locked, and from where.

use crate::place::{Kind, OFFICER_PIN, PIN, Place};
use keys::{KeyError, KeyUri, LoadOptions, NewKey, Pin, PinSources, Token};
use openssl::{hash::MessageDigest, sign::Signer};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

fn with(place: &Place, pin: &str) -> LoadOptions {
    LoadOptions {
        pins: PinSources::only(Pin::new(pin)),
        ..place.options()
    }
}

pub fn a_wrong_pin_is_tried_once_and_does_not_lock_the_token(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    // Nobody is logged in any more: a login would be checked.
    token.close().wait().unwrap();
    for attempt in 0..40 {
        let fault = keys::load(&name, &with(place, "WRONG-PIN-7777")).unwrap_err();
        assert!(matches!(fault, KeyError::WrongPin { .. }), "{fault}");
        let message = fault.to_string();
        assert!(
            message.contains("greengrass") && !message.contains("7777"),
            "{message}"
        );
        if attempt > 0 {
            assert!(message.contains("refused before"), "{message}");
        }
    }
    // A TPM would be locked after 40 wrong tries.
    keys::load(&name, &place.options()).unwrap();
}

pub fn a_locked_pin_says_how_to_unlock_it(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    token.close().wait().unwrap();
    // Each of these is another wrong PIN, as from a person who guesses.
    let mut locked = false;
    for guess in 0..40 {
        match keys::load(&name, &with(place, &format!("guess {guess}"))).unwrap_err() {
            KeyError::WrongPin { .. } => {}
            KeyError::PinLocked { .. } | KeyError::LastTry { .. } => {
                locked = true;
                break;
            }
            other => panic!("{other}"),
        }
    }
    // SoftHSM never locks.
    assert_eq!(locked, place.kind == Kind::Tpm);
    let right = keys::load(&name, &place.options());
    match place.kind {
        Kind::SoftHsm => assert!(right.is_ok()),
        Kind::Tpm => {
            let message = right.unwrap_err().to_string();
            assert!(
                message.contains("lock") && message.contains("pkcs11-tool"),
                "{message}"
            );
        }
    }
}

/// The helper: loads what KEYS_TEST_URI names, with nothing but the environment.
pub fn load(_: &mut Place) {
    let uri: KeyUri = std::env::var("KEYS_TEST_URI").unwrap().parse().unwrap();
    match keys::load(&uri, &LoadOptions::default()) {
        Ok(key) => {
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            assert!(!signer.sign_oneshot_to_vec(b"x").unwrap().is_empty());
            println!("signed");
            // Out of the TPM's few places for keys, which the next process needs.
            let token = Token::open(&uri, &PinSources::default(), None).unwrap();
            token.close().wait().unwrap();
        }
        Err(fault) => println!("{fault}"),
    }
}

pub fn the_pin_comes_from_a_credential_a_file_or_the_environment(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let name = place
        .open(&uri)
        .generate(NewKey::new("device"))
        .wait()
        .unwrap();
    place.open(&uri).close().wait().unwrap();
    let file = place.folder.join("pkcs11-pin");
    fs::write(&file, format!("{PIN}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let run = |uri: &str, set: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("KEYS_TEST_CASE", format!("{}/load", place.kind.name()));
        command
            .env("KEYS_TEST_TPM_RUNS", "1")
            .env("KEYS_TEST_URI", uri)
            .envs(set.iter().copied());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let faults = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !text.contains(PIN) && !faults.contains(PIN),
            "{text}{faults}"
        );
        text + &faults
    };
    let plain = name.to_string();
    let folder = place.folder.to_str().unwrap();
    assert!(run(&plain, &[("CREDENTIALS_DIRECTORY", folder)]).contains("signed"));
    assert!(run(&plain, &[("GREENGRASS_PKCS11_PIN", PIN)]).contains("signed"));
    let source = format!("{plain}&pin-source=file:{}", file.display());
    assert!(run(&source, &[]).contains("signed"));
    assert!(run(&format!("{plain}&pin-value={PIN}"), &[]).contains("signed"));
    assert!(run(&plain, &[]).contains("wants a PIN"));
    // A credential goes before the environment.
    let both = [
        ("CREDENTIALS_DIRECTORY", folder),
        ("GREENGRASS_PKCS11_PIN", OFFICER_PIN),
    ];
    assert!(run(&plain, &both).contains("signed"));
}
