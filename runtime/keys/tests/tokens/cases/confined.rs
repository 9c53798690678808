//! A private key does not leave its token, and no PIN is left lying about.

use crate::place::{Kind, OFFICER_PIN, PIN, Place};
use cryptoki::{
    context::Pkcs11,
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass},
};
use keys::{KeyError, KeyUri, LoadOptions, NewKey, Pin, PinSources};
use log::{LevelFilter, Log, Metadata, Record};
use openssl::{
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcPoint, EcPointRef},
    nid::Nid,
    pkey::{PKey, Public},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

pub fn no_way_out_is_open_to_a_private_key(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    assert!(token.find(&name).wait().unwrap().confined);

    // The library is the same one in this process, and its login too.
    let library = Pkcs11::new(&place.library).unwrap();
    let slots = library.get_slots_with_initialized_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|s| library.get_token_info(*s).unwrap().label() == "greengrass")
        .unwrap();
    let session = library.open_rw_session(slot).unwrap();
    let key = session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
        .unwrap()[0];
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Private,
        AttributeType::Local,
    ];
    let attributes = session.get_attributes(key, &wanted).unwrap();
    for must in [
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::AlwaysSensitive(true),
        Attribute::NeverExtractable(true),
        Attribute::Private(true),
        Attribute::Local(true),
    ] {
        assert!(
            attributes.contains(&must),
            "{must:?} is not in {attributes:?}"
        );
    }
    let weaker = [
        session.update_attributes(key, &[Attribute::Extractable(true)]),
        session.update_attributes(key, &[Attribute::Sensitive(false)]),
        session
            .copy_object(
                key,
                &[Attribute::Extractable(true), Attribute::Token(false)],
            )
            .map(drop),
    ];
    // tpm2-pkcs11 1.9 lets the words be changed, which changes nothing in the TPM.
    assert!(
        place.kind == Kind::Tpm || weaker.iter().all(Result::is_err),
        "{weaker:?}"
    );
    let value = session
        .get_attributes(key, &[AttributeType::Value])
        .unwrap();
    assert!(
        value.is_empty() || value == [Attribute::Value(Vec::new())],
        "CKA_VALUE is given out"
    );
    if place.kind == Kind::SoftHsm {
        let template = [
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32_usize.try_into().unwrap()),
            Attribute::Wrap(true),
        ];
        let wrapping = session
            .generate_key(&Mechanism::AesKeyGen, &template)
            .unwrap();
        assert!(
            session
                .wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key)
                .is_err()
        );
    }
    // Through OpenSSL: the key for TLS has a public half only.
    let loaded = keys::load(&name, &place.options()).unwrap();
    let exported = loaded.private_key_to_pem_pkcs8();
    assert!(
        exported.is_err(),
        "{}",
        String::from_utf8_lossy(&exported.unwrap())
    );
    assert!(loaded.private_key_to_der().is_err());
    assert!(keys::certificate::store_key(&place.folder.join("stolen.pem"), &loaded).is_err());
    assert!(!place.folder.join("stolen.pem").exists());
    // And with the tool that people use.
    let tool = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(&place.library)
        .args(["--token-label", "greengrass", "--login", "--pin", PIN])
        .args(["--read-object", "--type", "privkey", "--label", "device"])
        .output();
    match tool {
        // It says that it cannot, and succeeds.
        Ok(output) => assert!(output.stdout.is_empty(), "{output:?}"),
        Err(missing) => println!("SKIPPED: pkcs11-tool: {missing}"),
    }
}

pub fn no_core_dump_is_made_of_a_process_that_forbids_it(place: &mut Place) {
    let uri = place.new_token("greengrass");
    let name = place
        .open(&uri)
        .generate(NewKey::new("device"))
        .wait()
        .unwrap();
    let dumpable = || rustix::process::dumpable_behavior().unwrap();
    assert_eq!(dumpable(), rustix::process::DumpableBehavior::Dumpable);
    keys::forbid_core_dumps().unwrap();
    // Keys load and sign as before.
    let key = keys::load(&name, &place.options()).unwrap();
    let mut signer =
        openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    assert!(signer.sign_oneshot_to_vec(b"x").is_ok());
    assert_eq!(dumpable(), rustix::process::DumpableBehavior::NotDumpable);
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

/// Every log line, at the finest level.
struct Lines(Mutex<String>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap();
        lines.push_str(&format!("{} {}", record.args(), record.target()));
        let _ = record.key_values().visit(&mut Pairs(&mut lines));
        lines.push('\n');
    }

    fn flush(&self) {}
}

struct Pairs<'a>(&'a mut String);

impl<'kvs> log::kv::VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

static LINES: Lines = Lines(Mutex::new(String::new()));

pub fn neither_key_nor_pin_is_in_any_file_log_or_argument(place: &mut Place) {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let uri = place.new_token("greengrass");
    let token = place.open(&uri);
    let name = token.generate(NewKey::new("device")).wait().unwrap();
    let public = token.find(&name).wait().unwrap().public;
    // Everything that says something: a URI with the PIN in it, a wrong PIN, a lost token, a renewed login.
    let loud: KeyUri = format!("{name}&pin-value={PIN}").parse().unwrap();
    keys::load(&loud, &LoadOptions::default()).unwrap();
    println!("{loud} {loud:?} {token:?} {:?}", place.options());
    token.close().wait().unwrap();
    let wrong = LoadOptions {
        pins: PinSources::only(Pin::new("WRONG-PIN-7777")),
        ..LoadOptions::default()
    };
    let fault = keys::load(&name, &wrong).unwrap_err();
    assert!(matches!(fault, KeyError::WrongPin { .. }));
    println!("{fault} {fault:?}");
    Pkcs11::new(&place.library).unwrap().finalize().unwrap();
    token.objects().wait().unwrap();
    log::error!("a line that is there");

    let lines = LINES.0.lock().unwrap().clone();
    assert!(
        lines.contains("a line that is there") && lines.contains("pin-value shows the PIN"),
        "{lines}"
    );
    let arguments = fs::read("/proc/self/cmdline").unwrap();
    let mut files = vec![
        (PathBuf::from("the log"), lines.into_bytes()),
        (PathBuf::from("the arguments"), arguments),
    ];
    read_all(&place.folder, &mut files);
    assert!(files.len() > 3, "the store's files are among them");
    for (path, content) in &files {
        for secret in [PIN, OFFICER_PIN, "WRONG-PIN-7777"] {
            let found = content
                .windows(secret.len())
                .any(|w| w == secret.as_bytes());
            assert!(!found, "a PIN is in {}", path.display());
        }
        assert!(
            !holds_private_key(content, &public),
            "the private key is in {}",
            path.display()
        );
    }
    // The search does find a key that is there.
    let known = crate::pki::file_key();
    let der = known.private_key_to_der().unwrap();
    let public = PKey::public_key_from_der(&known.public_key_to_der().unwrap()).unwrap();
    assert!(holds_private_key(&der, &public));
}

fn read_all(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_all(&entry.path(), files);
        } else if kind.is_file() {
            files.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
}

/// Takes every 32 bytes for the private number, and sees whether it makes the public point.
fn holds_private_key(content: &[u8], public: &PKey<Public>) -> bool {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let key = public.ec_key().unwrap();
    let wanted: &EcPointRef = key.public_key();
    content.windows(32).any(|window| {
        // Databases are full of zeros.
        if window[..8] == [0; 8] {
            return false;
        }
        let number = BigNum::from_slice(window).unwrap();
        let mut point = EcPoint::new(&group).unwrap();
        point.mul_generator2(&group, &number, &mut context).unwrap();
        point.eq(&group, wanted, &mut context).unwrap()
    })
}
