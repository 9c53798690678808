//! The authority's key and what it signs.

use super::{Pair, read, write_private};
use anyhow::{Context as _, Result};
use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, PKeyRef, Private, Public},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage,
            SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};
use std::{
    fmt,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

/// Devices in the field hold the authority's certificate: it lives as long as they may.
const AUTHORITY_DAYS: u64 = 30 * 365;

/// Clocks of devices may be behind.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// Who a certificate is for.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Common name.
    pub common_name: String,
    /// DNS names and IP addresses.
    pub names: Vec<String>,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// By a TLS server.
    Server,
    /// By a TLS client: a device.
    Client,
}

/// Signs certificates.
#[derive(Clone)]
pub struct Authority(Pair);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        match (read(&certificate)?, read(&key)?) {
            (Some(pem), Some(key)) => {
                let open = || {
                    Ok::<_, ErrorStack>(Pair {
                        certificate: X509::from_pem(&pem)?,
                        key: PKey::private_key_from_pem(&key)?,
                    })
                };
                let pair = open()
                    .with_context(|| format!("reading the authority in {}", folder.display()))?;
                anyhow::ensure!(
                    pair.certificate.public_key()?.public_eq(&pair.key),
                    "{}: the key is not the certificate's",
                    folder.display()
                );
                Ok(Self(pair))
            }
            // The key is written first: a certificate without it was never used.
            (None, _) => {
                let pair = make().context("making the authority")?;
                write_private(&key, &pair.key.private_key_to_pem_pkcs8()?)?;
                store::file::write_atomic(&certificate, &pair.certificate.to_pem()?, 0o644)?;
                Ok(Self(pair))
            }
            (Some(_), None) => anyhow::bail!(
                "{} is there and {} is not: restore it, or remove both to begin anew, after which every device must be given the new authority",
                certificate.display(),
                key.display()
            ),
        }
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &X509 {
        &self.0.certificate
    }

    /// Signs a certificate for somebody's public key.
    pub fn issue(
        &self,
        key: &PKeyRef<Public>,
        subject: &Subject,
        usage: Usage,
        lifetime: Duration,
    ) -> Result<X509, ErrorStack> {
        let mut builder = begin(&subject.common_name, lifetime)?;
        builder.set_issuer_name(self.0.certificate.subject_name())?;
        builder.set_pubkey(key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        let mut extended = ExtendedKeyUsage::new();
        match usage {
            Usage::Server => extended.server_auth(),
            Usage::Client => extended.client_auth(),
        };
        builder.append_extension(extended.build()?)?;
        if !subject.names.is_empty() {
            let mut alternative = SubjectAlternativeName::new();
            for name in &subject.names {
                match name.parse::<IpAddr>() {
                    Ok(_) => alternative.ip(name),
                    Err(_) => alternative.dns(name),
                };
            }
            let context = builder.x509v3_context(Some(&self.0.certificate), None);
            let extension = alternative.build(&context)?;
            builder.append_extension(extension)?;
        }
        let context = builder.x509v3_context(Some(&self.0.certificate), None);
        let own = SubjectKeyIdentifier::new().build(&context)?;
        let issuers = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        builder.append_extension(own)?;
        builder.append_extension(issuers)?;
        builder.sign(&self.0.key, MessageDigest::sha256())?;
        Ok(builder.build())
    }

    /// Makes a key and a certificate for it.
    pub fn issue_with_key(
        &self,
        subject: &Subject,
        usage: Usage,
        lifetime: Duration,
    ) -> Result<Pair, ErrorStack> {
        let key = new_key()?;
        let public = PKey::public_key_from_der(&key.public_key_to_der()?)?;
        let certificate = self.issue(&public, subject, usage, lifetime)?;
        Ok(Pair { certificate, key })
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn make() -> Result<Pair, ErrorStack> {
    let key = new_key()?;
    let mut builder = begin(
        "greengrass-cloud CA",
        Duration::from_secs(AUTHORITY_DAYS * 24 * 3600),
    )?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "greengrass-cloud CA")?;
    builder.set_issuer_name(&name.build())?;
    builder.set_pubkey(&key)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    builder.append_extension(
        KeyUsage::new()
            .critical()
            .key_cert_sign()
            .crl_sign()
            .build()?,
    )?;
    let context = builder.x509v3_context(None, None);
    let own = SubjectKeyIdentifier::new().build(&context)?;
    builder.append_extension(own)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Pair {
        certificate: builder.build(),
        key,
    })
}

fn begin(common_name: &str, lifetime: Duration) -> Result<X509Builder, ErrorStack> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;
    let serial = Asn1Integer::from_bn(&serial)?;
    builder.set_serial_number(&serial)?;
    let (from, to) = (
        Asn1Time::from_unix(seconds(now.saturating_sub(BACKDATED)))?,
        Asn1Time::from_unix(seconds(now + lifetime))?,
    );
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    builder.set_subject_name(&name.build())?;
    Ok(builder)
}
