//! The server's own certificate: for every name of this machine, made anew when it is near its end, when the names have
//! changed, or when it is not of our authority.

use super::{Authority, Pair, Subject, Usage, read, write_private};
use anyhow::{Context as _, Result};
use openssl::{asn1::Asn1Time, pkey::PKey, x509::X509};
use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

const LIFETIME: Duration = Duration::from_secs(397 * 24 * 3600);
const RENEW_BEFORE_DAYS: u32 = 60;

/// The names of this machine and `more`; those given come first.
pub(super) fn names(more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let own = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        host,
    ];
    for name in more.iter().cloned().chain(own) {
        // Buckets are names below a domain.
        let wildcard = name.contains('.') && name.parse::<IpAddr>().is_err();
        let below = format!("*.{name}");
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
        if wildcard && !names.contains(&below) {
            names.push(below);
        }
    }
    names
}

/// The certificate in the folder, or a new one.
pub(super) fn open(folder: &Path, authority: &Authority, names: &[String]) -> Result<Pair> {
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    if let (Some(pem), Some(key)) = (read(&certificate)?, read(&key)?)
        && let (Ok(certificate), Ok(key)) = (X509::from_pem(&pem), PKey::private_key_from_pem(&key))
    {
        let pair = Pair { certificate, key };
        if good(&pair, authority, names).unwrap_or(false) {
            return Ok(pair);
        }
    }
    let subject = Subject {
        common_name: names.first().cloned().unwrap_or_default(),
        names: names.to_vec(),
    };
    let pair = authority
        .issue_with_key(&subject, Usage::Server, LIFETIME)
        .context("making the server's certificate")?;
    write_private(&key, &pair.key.private_key_to_pem_pkcs8()?)?;
    write_private(&certificate, &pair.certificate.to_pem()?)?;
    log::info!("made a server certificate for {}", names.join(", "));
    Ok(pair)
}

fn good(pair: &Pair, authority: &Authority, names: &[String]) -> Result<bool> {
    let signed = pair
        .certificate
        .verify(&*authority.certificate().public_key()?)?;
    let key = pair.certificate.public_key()?.public_eq(&pair.key);
    let fresh = pair.certificate.not_after() > &*Asn1Time::days_from_now(RENEW_BEFORE_DAYS)?;
    let mut has = BTreeSet::new();
    for name in pair.certificate.subject_alt_names().into_iter().flatten() {
        has.extend(name.dnsname().map(str::to_owned));
        has.extend(name.ipaddress().and_then(address).map(|a| a.to_string()));
    }
    Ok(signed && key && fresh && has == names.iter().cloned().collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use crate::pki::Pki;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn the_certificate_is_kept_until_the_names_change_and_is_of_the_authority() {
        let folder = tempfile::tempdir().unwrap();
        let open = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            Pki::open(folder.path(), &names).unwrap()
        };
        let first = open(&[]);
        let again = open(&[]);
        let named = open(&["cloud.example.com", "192.0.2.1"]);
        let der = |pki: &Pki| pki.server().certificate.to_der().unwrap();
        assert_eq!(der(&first), der(&again));
        assert_ne!(der(&first), der(&named));
        assert!(!named.renew().unwrap());
        let authority = first.authority.certificate();
        assert_eq!(
            authority.to_der().unwrap(),
            named.authority.certificate().to_der().unwrap()
        );
        let server = named.server();
        assert!(
            server
                .certificate
                .verify(&authority.public_key().unwrap())
                .unwrap()
        );
        let names: Vec<String> = server
            .certificate
            .subject_alt_names()
            .unwrap()
            .iter()
            .filter_map(|n| n.dnsname().map(str::to_owned))
            .collect();
        for name in ["localhost", "cloud.example.com", "*.cloud.example.com"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
        for key in ["ca.key", "server.key"] {
            let mode = fs::metadata(folder.path().join(key))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn an_authority_without_its_key_is_not_replaced_silently() {
        let folder = tempfile::tempdir().unwrap();
        Pki::open(folder.path(), &[]).unwrap();
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        let error = Pki::open(folder.path(), &[]).unwrap_err();
        assert!(format!("{error:#}").contains("ca.key"));
    }
}
