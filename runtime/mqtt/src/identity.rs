//! Who is at the other end of a connection, as far as it has been proven.

use bytestring::ByteString;
use openssl::{
    asn1::Asn1StringRef,
    error::ErrorStack,
    nid::Nid,
    sha::sha256,
    x509::{X509NameRef, X509Ref},
};
use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

/// A client certificate that the TLS handshake has let in: it chains to one of the trusted authorities, or the listener's
/// verify hook has taken it; its owner has proven to hold the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate itself, DER.
    pub der: Vec<u8>,
    /// SHA-256 over the DER, lower-case hexadecimal: what AWS IoT calls the certificate id.
    pub fingerprint: String,
    /// Subject common name, when there is one.
    pub common_name: Option<String>,
    /// DNS names and URIs of the subject alternative name.
    pub alternative_names: Vec<String>,
    /// The issuer's distinguished name, RFC 2253.
    pub issuer: String,
    /// Serial number, lower-case hexadecimal.
    pub serial: String,
}

impl Certificate {
    /// Reads what is of interest from a parsed certificate.
    ///
    /// # Errors
    /// When OpenSSL cannot encode it anew; it has parsed it, so this is for lack of memory.
    pub fn from_x509(x509: &X509Ref) -> Result<Self, ErrorStack> {
        let der = x509.to_der()?;
        let names = x509.subject_alt_names();
        let names = names.iter().flatten();
        let mut alternative_names: Vec<String> = names
            .filter_map(|name| name.dnsname().or_else(|| name.uri()))
            .map(str::to_owned)
            .collect();
        alternative_names.shrink_to_fit();
        let serial = x509.serial_number().to_bn()?.to_hex_str()?;
        Ok(Self {
            fingerprint: fingerprint(&der),
            common_name: (x509.subject_name().entries_by_nid(Nid::COMMONNAME).next())
                .and_then(|entry| text(entry.data())),
            alternative_names,
            issuer: distinguished_name(x509.issuer_name()),
            serial: serial.to_ascii_lowercase(),
            der,
        })
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in sha256(der) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// A name with a NUL in it is none: what reads C strings would see another one.
fn text(data: &Asn1StringRef) -> Option<String> {
    let text = data.to_string().ok()?;
    (!text.contains('\0')).then_some(text)
}

/// RFC 2253: the most specific part first, special characters escaped.
pub(crate) fn distinguished_name(name: &X509NameRef) -> String {
    let entries: Vec<_> = name.entries().collect();
    let mut all = String::new();
    for entry in entries.iter().rev() {
        if !all.is_empty() {
            all.push(',');
        }
        match entry.object().nid().short_name() {
            Ok(short) => all.push_str(short),
            Err(_) => all.push_str(&entry.object().to_string()),
        }
        all.push('=');
        let value = text(entry.data()).unwrap_or_default();
        let last = value.chars().count().saturating_sub(1);
        for (at, c) in value.chars().enumerate() {
            let special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
                || (c == '#' && at == 0)
                || (c == ' ' && (at == 0 || at == last));
            if special {
                all.push('\\');
            }
            all.push(c);
        }
    }
    // Kept for as long as a connection lives.
    all.shrink_to_fit();
    all
}

/// A connection's identity. `client_id`, `username` are known once CONNECT has been read.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The peer's address; `None` for a subscriber or publisher inside this process and for Unix sockets.
    pub address: Option<SocketAddr>,
    /// The verified client certificate.
    pub certificate: Option<Arc<Certificate>>,
    /// The client identifier, as given or as assigned.
    pub client_id: ByteString,
    /// The user name of CONNECT.
    pub username: Option<ByteString>,
}
