//! Certificates that are no longer let in although their authority's signature is good: revocation lists (X.509 CRL), and plain
//! lists of fingerprints for people without an authority that issues one.

use anyhow::{Context, bail};
use openssl::{
    asn1::Asn1Time,
    x509::{CrlStatus, X509, X509Crl, X509Ref},
};
use std::{cmp::Ordering, collections::HashSet, fmt, fs, path::Path};

/// What has been revoked.
#[derive(Default)]
pub struct Revoked {
    lists: Vec<X509Crl>,
    fingerprints: HashSet<String>,
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoked")
            .field("lists", &self.lists.len())
            .field("fingerprints", &self.fingerprints.len())
            .finish()
    }
}

impl Revoked {
    /// Reads one more file. A revocation list must be signed by one of the authorities.
    pub fn read(&mut self, file: &Path, authorities: &[X509]) -> anyhow::Result<()> {
        let name = file.display();
        let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("-----BEGIN") {
            return self
                .list(&bytes, authorities)
                .with_context(|| name.to_string());
        }
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let digits: String = line
                .chars()
                .filter(|c| !matches!(c, ':' | ' ' | '\t' | '\r'))
                .collect();
            if digits.is_empty() {
                continue;
            }
            if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                let line = at + 1;
                bail!(
                    "{name}:{line}: expected the SHA-256 fingerprint of a certificate, 64 hexadecimal digits"
                );
            }
            self.fingerprints.insert(digits.to_ascii_lowercase());
        }
        Ok(())
    }

    fn list(&mut self, pem: &[u8], authorities: &[X509]) -> anyhow::Result<()> {
        let list = X509Crl::from_pem(pem).context("holds no certificate revocation list in PEM")?;
        let signed = authorities.iter().any(|authority| {
            let key = authority.public_key();
            key.is_ok_and(|key| list.verify(&key).unwrap_or(false))
        });
        if !signed {
            bail!("the revocation list is signed by none of the authorities");
        }
        let now = Asn1Time::days_from_now(0).context("cannot read the clock")?;
        let due = list.next_update();
        if due.is_some_and(|due| due.compare(&now).is_ok_and(|order| order == Ordering::Less)) {
            // Better an old list than none.
            log::warn!(due = due.map(ToString::to_string).unwrap_or_default(); "a revocation list is out of date");
        }
        self.lists.push(list);
        Ok(())
    }

    /// Whether this certificate is out.
    pub fn contains(&self, certificate: &X509Ref, fingerprint: &str) -> bool {
        self.fingerprints.contains(fingerprint)
            || (self.lists.iter()).any(|list| revoked_by(list, certificate))
    }

    /// Whether anything is.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.fingerprints.is_empty()
    }
}

fn revoked_by(list: &X509Crl, certificate: &X509Ref) -> bool {
    let of_its_issuer = (list.issuer_name().try_cmp(certificate.issuer_name()))
        .is_ok_and(|order| order == Ordering::Equal);
    of_its_issuer
        && matches!(
            list.get_by_serial(certificate.serial_number()),
            CrlStatus::Revoked(_)
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// An authority, another of the same name, two certificates of the first, and its list that revokes the one called "bad".
    fn file(name: &str) -> PathBuf {
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broker/revocation")).join(name)
    }

    fn certificate(name: &str) -> X509 {
        X509::from_pem(&fs::read(file(name)).unwrap()).unwrap()
    }

    #[test]
    fn a_list_of_the_authority_revokes_its_certificates() {
        let mut revoked = Revoked::default();
        assert!(revoked.is_empty());
        let authorities = [certificate("other.crt"), certificate("ca.crt")];
        revoked.read(&file("list.crl"), &authorities).unwrap();
        assert!(!revoked.is_empty());
        assert!(revoked.contains(&certificate("bad.crt"), ""));
        assert!(!revoked.contains(&certificate("good.crt"), ""));
    }

    #[test]
    fn a_list_that_no_authority_has_signed_is_refused() {
        let mut revoked = Revoked::default();
        let error = revoked.read(&file("list.crl"), &[certificate("other.crt")]);
        let text = format!("{:#}", error.unwrap_err());
        assert!(
            text.contains("list.crl") && text.contains("signed by none"),
            "{text}"
        );
        let text = format!("{:#}", revoked.read(&file("ca.crt"), &[]).unwrap_err());
        assert!(text.contains("no certificate revocation list"), "{text}");
    }

    #[test]
    fn fingerprints_are_read_as_tools_print_them() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.txt");
        let plain = "ab".repeat(32);
        let colons = vec!["CD"; 32].join(":");
        fs::write(&list, format!("# gone\n{plain} # lost\n\n{colons}\n")).unwrap();
        let mut revoked = Revoked::default();
        revoked.read(&list, &[]).unwrap();
        let any = certificate("good.crt");
        assert!(revoked.contains(&any, &plain));
        assert!(revoked.contains(&any, &"cd".repeat(32)));
        assert!(!revoked.contains(&any, &"ef".repeat(32)));
        fs::write(&list, format!("{plain}\n12:34\n")).unwrap();
        let error = revoked.read(&list, &[]).unwrap_err().to_string();
        assert!(error.contains("list.txt:2: expected"), "{error}");
    }
}
