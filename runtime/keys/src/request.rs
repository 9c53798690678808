//! Certificate requests, signed where the key is.

use crate::KeyError;
use openssl::{
    asn1::{Asn1Object, Asn1OctetString},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKeyRef, Private},
    stack::Stack,
    x509::{
        X509Extension, X509NameBuilder, X509Req, X509ReqBuilder,
        extension::{ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};
use std::net::IpAddr;

/// What a certificate is asked for.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = openssl::ec::EcKey::generate(openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1)?.as_ref())?;
/// let key = openssl::pkey::PKey::from_ec_key(key)?;
/// let pem = keys::CertificateRequest::new("MyThing").client().pem(&key)?;
/// assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct CertificateRequest {
    subject: Vec<(String, String)>,
    names: Vec<AlternativeName>,
    client: bool,
    server: bool,
    others: Vec<Extension>,
}

/// A subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI.
    Uri(String),
    /// A mail address.
    Email(String),
}

#[derive(Debug, Clone)]
struct Extension {
    identifier: String,
    critical: bool,
    der: Vec<u8>,
}

impl CertificateRequest {
    /// A request whose subject is this common name.
    pub fn new(common_name: impl Into<String>) -> Self {
        Self::default().subject("CN", common_name)
    }

    /// Adds to the subject: `O`, `OU`, `C`, `ST`, `L`, `serialNumber`, … in the order of the calls.
    #[must_use]
    pub fn subject(mut self, field: impl Into<String>, value: impl Into<String>) -> Self {
        self.subject.push((field.into(), value.into()));
        self
    }

    /// Adds a subject alternative name.
    #[must_use]
    pub fn name(mut self, name: AlternativeName) -> Self {
        self.names.push(name);
        self
    }

    /// For TLS clients.
    #[must_use]
    pub fn client(mut self) -> Self {
        self.client = true;
        self
    }

    /// For TLS servers.
    #[must_use]
    pub fn server(mut self) -> Self {
        self.server = true;
        self
    }

    /// Adds any extension: its object identifier, and its value in DER.
    #[must_use]
    pub fn extension(
        mut self,
        identifier: impl Into<String>,
        critical: bool,
        der: impl Into<Vec<u8>>,
    ) -> Self {
        self.others.push(Extension {
            identifier: identifier.into(),
            critical,
            der: der.into(),
        });
        self
    }

    /// Signs the request, in the token if the key is in one, and checks the signature.
    pub fn sign(&self, key: &PKeyRef<Private>) -> Result<X509Req, KeyError> {
        let mut builder = X509ReqBuilder::new().map_err(failed)?;
        builder.set_version(0).map_err(failed)?;
        builder
            .set_subject_name(self.subject_name()?.as_ref())
            .map_err(failed)?;
        builder.set_pubkey(key).map_err(failed)?;
        let extensions = self.extensions(&builder)?;
        if !extensions.is_empty() {
            builder.add_extensions(&extensions).map_err(failed)?;
        }
        builder.sign(key, digest(key)).map_err(failed)?;
        let request = builder.build();
        if !request.verify(key).map_err(failed)? {
            return Err(KeyError::Request {
                what: "the signature".into(),
                fault: "does not match the public half: the token signed with another key",
            });
        }
        Ok(request)
    }

    /// Signs the request and writes it in PEM form, as the cloud takes it.
    pub fn pem(&self, key: &PKeyRef<Private>) -> Result<String, KeyError> {
        let pem = self.sign(key)?.to_pem().map_err(failed)?;
        Ok(String::from_utf8_lossy(&pem).into_owned())
    }

    fn subject_name(&self) -> Result<openssl::x509::X509Name, KeyError> {
        let mut subject = X509NameBuilder::new().map_err(failed)?;
        for (field, value) in &self.subject {
            if value.is_empty() {
                return Err(refused(format!("subject field {field}"), "is empty"));
            }
            subject.append_entry_by_text(field, value).map_err(|_| {
                refused(
                    format!("subject field {field}"),
                    "is not a known name, or the value is too long or has characters it cannot have",
                )
            })?;
        }
        Ok(subject.build())
    }

    fn extensions(&self, builder: &X509ReqBuilder) -> Result<Stack<X509Extension>, KeyError> {
        let mut all = Stack::new().map_err(failed)?;
        if !self.names.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.names {
                name.check()?;
                match name {
                    AlternativeName::Dns(name) => names.dns(name),
                    AlternativeName::Ip(address) => names.ip(&address.to_string()),
                    AlternativeName::Uri(uri) => names.uri(uri),
                    AlternativeName::Email(address) => names.email(address),
                };
            }
            let names = names.build(&builder.x509v3_context(None));
            all.push(
                names
                    .map_err(|_| refused("the alternative names".into(), "OpenSSL refuses one"))?,
            )
            .map_err(failed)?;
        }
        if self.client || self.server {
            let mut usage = ExtendedKeyUsage::new();
            if self.client {
                usage.client_auth();
            }
            if self.server {
                usage.server_auth();
            }
            all.push(usage.build().map_err(failed)?).map_err(failed)?;
            let usage = KeyUsage::new().critical().digital_signature().build();
            all.push(usage.map_err(failed)?).map_err(failed)?;
        }
        for other in &self.others {
            all.push(other.build()?).map_err(failed)?;
        }
        Ok(all)
    }
}

impl AlternativeName {
    /// OpenSSL reads these from a text in which commas and line ends begin the next one.
    fn check(&self) -> Result<(), KeyError> {
        let (kind, text) = match self {
            Self::Dns(text) => ("DNS name", text),
            Self::Uri(text) => ("URI", text),
            Self::Email(text) => ("mail address", text),
            Self::Ip(_) => return Ok(()),
        };
        let odd = |c: char| c == ',' || !c.is_ascii() || c.is_ascii_control() || c == ' ';
        if text.is_empty() || text.contains(odd) {
            return Err(refused(
                format!("the {kind} {text:?}"),
                "is empty or has characters it cannot have (other scripts are written in their ASCII form)",
            ));
        }
        Ok(())
    }
}

impl Extension {
    fn build(&self) -> Result<X509Extension, KeyError> {
        let bad = |_| {
            refused(
                format!("extension {}", self.identifier),
                "is not a dotted identifier",
            )
        };
        let identifier = Asn1Object::from_str(&self.identifier).map_err(bad)?;
        let value = Asn1OctetString::new_from_bytes(&self.der).map_err(failed)?;
        X509Extension::new_from_der(&identifier, self.critical, &value).map_err(failed)
    }
}

fn refused(what: String, fault: &'static str) -> KeyError {
    // What OpenSSL left in its queue must not be taken for a later call's failure.
    drop(openssl::error::ErrorStack::get());
    KeyError::Request { what, fault }
}

fn failed(source: openssl::error::ErrorStack) -> KeyError {
    KeyError::OpenSsl {
        what: "making a certificate request",
        source,
    }
}

/// As strong as the key.
fn digest(key: &PKeyRef<Private>) -> MessageDigest {
    match key.ec_key().ok().and_then(|k| k.group().curve_name()) {
        Some(Nid::SECP384R1) => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::{
        ec::{EcGroup, EcKey},
        pkey::PKey,
    };

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    #[test]
    fn everything_asked_for_is_in_the_request() {
        let request = CertificateRequest::new("thing")
            .subject("O", "Ümlaut & Co")
            .name(AlternativeName::Dns("a.example".into()))
            .name(AlternativeName::Ip("2001:db8::1".parse().unwrap()))
            .name(AlternativeName::Uri("urn:x:1".into()))
            .client()
            .server()
            .extension("1.3.6.1.4.1.99999.1", false, [0x0c, 1, b'x'])
            .sign(&key())
            .unwrap();
        let text = String::from_utf8(request.to_text().unwrap()).unwrap();
        for part in [
            "thing",
            "DNS:a.example",
            "IP Address:2001:DB8:0:0:0:0:0:1",
            "URI:urn:x:1",
            "TLS Web Client Authentication",
            "TLS Web Server Authentication",
            "1.3.6.1.4.1.99999.1",
            "ecdsa-with-SHA384",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let organisation = request
            .subject_name()
            .entries_by_nid(Nid::ORGANIZATIONNAME)
            .next();
        assert_eq!(
            organisation.unwrap().data().to_string().unwrap(),
            "Ümlaut & Co"
        );
    }

    #[test]
    fn a_name_cannot_smuggle_in_another() {
        for name in ["a.example,DNS:b.example", "a\nb", "", "ü.example", "a b"] {
            let request = CertificateRequest::new("x").name(AlternativeName::Dns(name.into()));
            let fault = request.pem(&key()).unwrap_err();
            assert!(matches!(fault, KeyError::Request { .. }), "{name}: {fault}");
        }
    }

    #[test]
    fn a_bad_subject_says_which_field() {
        let long = CertificateRequest::new("x".repeat(65))
            .pem(&key())
            .unwrap_err();
        assert!(long.to_string().contains("CN"), "{long}");
        let unknown = CertificateRequest::new("x").subject("nonsense", "y");
        assert!(
            unknown
                .pem(&key())
                .unwrap_err()
                .to_string()
                .contains("nonsense")
        );
    }
}
