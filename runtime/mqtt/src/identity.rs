//! Who is at the other end of a connection, as far as it has been proven.

use bytestring::ByteString;
use openssl::{
    asn1::Asn1StringRef,
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    sha::sha256,
    x509::{X509, X509NameRef, X509Ref},
};
use std::{fmt, fmt::Write as _, net::SocketAddr, sync::Arc};

/// A client certificate that the TLS handshake has let in: it chains to one of the trusted authorities, or the listener's
/// verify hook has taken it; its owner has proven to hold the key.
///
/// There is one for each connection, so what is seldom asked is read from OpenSSL's object, which the connection has anyway.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    x509: X509,
    /// SHA-256 over the DER, lower-case hexadecimal: what AWS IoT calls the certificate id.
    pub fingerprint: String,
    /// Subject common name, when there is one.
    pub common_name: Option<String>,
}

impl Certificate {
    /// Reads what is of interest from a parsed certificate.
    ///
    /// # Errors
    /// When OpenSSL cannot encode it anew; it has parsed it, so this is for lack of memory.
    pub fn from_x509(x509: &X509Ref) -> Result<Self, ErrorStack> {
        Ok(Self {
            fingerprint: hex(&x509.digest(MessageDigest::sha256())?),
            common_name: (x509.subject_name().entries_by_nid(Nid::COMMONNAME).next())
                .and_then(|entry| text(entry.data())),
            x509: x509.to_owned(),
        })
    }

    /// The certificate itself.
    pub fn x509(&self) -> &X509Ref {
        &self.x509
    }

    /// DNS names and URIs of the subject alternative name.
    pub fn alternative_names(&self) -> Vec<String> {
        let names = self.x509.subject_alt_names();
        let names = names.iter().flatten();
        names
            .filter_map(|name| name.dnsname().or_else(|| name.uri()))
            .map(str::to_owned)
            .collect()
    }

    /// The issuer's distinguished name, RFC 2253.
    pub fn issuer(&self) -> String {
        distinguished_name(self.x509.issuer_name())
    }

    /// Serial number, lower-case hexadecimal.
    ///
    /// # Errors
    /// When OpenSSL lacks the memory for it.
    pub fn serial(&self) -> Result<String, ErrorStack> {
        let serial = self.x509.serial_number().to_bn()?.to_hex_str()?;
        Ok(serial.to_ascii_lowercase())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .field("common_name", &self.common_name)
            .finish_non_exhaustive()
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(&sha256(der))
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
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
