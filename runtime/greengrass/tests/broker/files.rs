//! A folder with certificates as an operator has it.

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

pub struct Folder {
    folder: TempDir,
    authority: (X509, PKey<Private>),
}

impl Folder {
    /// With `ca.crt`, `server.crt`, `server.key`.
    pub fn new() -> Self {
        let folder = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: certificate("ca", None),
        };
        folder.write("ca.crt", folder.authority.0.to_pem().unwrap());
        folder.issue("server");
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// `<name>.crt` and `<name>.key`, anew if they are there.
    pub fn issue(&self, name: &str) -> X509 {
        let (certificate, key) = certificate(name, Some(&self.authority));
        self.write(&format!("{name}.crt"), certificate.to_pem().unwrap());
        self.write(
            &format!("{name}.key"),
            key.private_key_to_pem_pkcs8().unwrap(),
        );
        certificate
    }
}

fn certificate(name: &str, issuer: Option<&(X509, PKey<Private>)>) -> (X509, PKey<Private>) {
    static SERIAL: AtomicU32 = AtomicU32::new(1);
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(SERIAL.fetch_add(1, Ordering::Relaxed)).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&*subject, |(x509, _)| x509.subject_name()))
        .unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(9).unwrap())
        .unwrap();
    builder.set_pubkey(&key).unwrap();
    let mut constraints = BasicConstraints::new();
    if issuer.is_none() {
        constraints.critical().ca();
    }
    builder
        .append_extension(constraints.build().unwrap())
        .unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    let signer = issuer.map_or(&key, |(_, key)| key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}
