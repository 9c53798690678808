//! Reading URIs. Strict where a guess could name another key, with errors that point at the attribute.

use super::{KeyUri, ObjectClass, PinFrom, TokenUri};
use crate::Pin;
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a text does not name a key. No attribute's value is in the message, because it may be a PIN.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// Nothing there.
    #[error("the name of a key is empty: write a path, or pkcs11:token=…;object=…")]
    Empty,
    /// A scheme that is not ours.
    #[error("{scheme}: is not a kind of key this program knows: {advice}")]
    Scheme {
        /// The scheme, without the colon.
        scheme: String,
        /// What to write instead.
        advice: &'static str,
    },
    /// A `file:` URI on another machine, or without a path.
    #[error("the file: URI {0}")]
    File(&'static str),
    /// One attribute of a `pkcs11:` URI.
    #[error("attribute {name} at character {at} of the pkcs11: URI: {fault}")]
    Attribute {
        /// The attribute's name as written.
        name: String,
        /// Where the attribute begins, counted from 1.
        at: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Nothing that tells a key from others.
    #[error("the pkcs11: URI names neither a token nor an object")]
    NothingNamed,
}

pub(super) fn parse(text: &str) -> Result<KeyUri, UriError> {
    if text.is_empty() {
        return Err(UriError::Empty);
    }
    let Some((scheme, rest)) = scheme(text) else {
        return Ok(KeyUri::File(text.into()));
    };
    let advice = match scheme.to_ascii_lowercase().as_str() {
        "pkcs11" => return token(rest, text.len() - rest.len()).map(KeyUri::from),
        "file" => return file(rest),
        "handle" => {
            "a TPM's persistent handle can be linked into a tpm2-pkcs11 token (tpm2_ptool link) and then named as pkcs11:"
        }
        _ => "write file: or pkcs11:, or ./ before a path with a colon in its first part",
    };
    Err(UriError::Scheme {
        scheme: scheme.into(),
        advice,
    })
}

/// Splits off `scheme:` (RFC 3986). A path with a slash before any colon has none.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let is = letters.next()?.is_ascii_alphabetic()
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is.then_some((scheme, rest))
}

/// `file:/path`, `file:///path`, `file://localhost/path`, and `file:path` as OpenSSL takes it.
fn file(rest: &str) -> Result<KeyUri, UriError> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => match rest.find('/') {
            Some(at) if at == 0 || rest[..at].eq_ignore_ascii_case("localhost") => &rest[at..],
            _ => {
                return Err(UriError::File(
                    "names another machine: write three slashes before the path",
                ));
            }
        },
    };
    if path.is_empty() {
        return Err(UriError::File("has no path"));
    }
    let bytes = decode(path).ok_or(UriError::File("has a % without two hexadecimal digits"))?;
    if bytes.contains(&0) {
        return Err(UriError::File("has a zero byte in its path"));
    }
    Ok(KeyUri::File(path_of(bytes)))
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// One attribute while it is read: all that an error needs.
struct Attribute<'a> {
    name: &'a str,
    at: usize,
    /// Wiped after use, because it may be a PIN.
    value: Zeroizing<Vec<u8>>,
    query: bool,
}

impl Attribute<'_> {
    fn fault(&self, fault: &'static str) -> UriError {
        UriError::Attribute {
            name: self.name.into(),
            at: self.at,
            fault,
        }
    }

    fn text(&self) -> Result<String, UriError> {
        String::from_utf8(self.value.to_vec()).map_err(|_| self.fault("is not UTF-8"))
    }

    fn path(&self) -> Result<PathBuf, UriError> {
        if self.value.is_empty() || self.value.contains(&0) {
            return Err(self.fault("is not a path"));
        }
        Ok(path_of(self.value.to_vec()))
    }

    fn once<T>(&self, field: &mut Option<T>, value: T) -> Result<(), UriError> {
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.fault("is given twice")),
        }
    }
}

fn token(rest: &str, offset: usize) -> Result<TokenUri, UriError> {
    let mut uri = TokenUri::default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut at = offset;
    for (part, separator, query) in [(path, ';', false), (query, '&', true)] {
        for written in part.split(separator) {
            let start = at + 1;
            at += written.len() + 1;
            if written.is_empty() {
                continue;
            }
            attribute(written, start, query, &mut uri)?;
        }
    }
    if uri.token.is_none()
        && uri.object.is_none()
        && uri.id.is_none()
        && uri.serial.is_none()
        && uri.slot.is_none()
    {
        return Err(UriError::NothingNamed);
    }
    Ok(uri)
}

fn attribute(written: &str, at: usize, query: bool, uri: &mut TokenUri) -> Result<(), UriError> {
    let (name, value) = written.split_once('=').unwrap_or((written, ""));
    let mut attribute = Attribute {
        name,
        at,
        value: Zeroizing::default(),
        query,
    };
    if !written.contains('=') {
        // What stands here may be the rest of a PIN with a separator in it: say where, not what.
        attribute.name = "(without a name)";
        return Err(attribute
            .fault("has no = in it; ; & ? # and % in a value are written as %3B %26 %3F %23 %25"));
    }
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    {
        attribute.name = "(without a proper name)";
        return Err(attribute.fault("has characters in its name that cannot be there"));
    }
    if value.contains('#') || value.chars().any(char::is_control) {
        return Err(attribute.fault("has a character that must be percent-encoded"));
    }
    attribute.value = decode(value)
        .map(Zeroizing::new)
        .ok_or_else(|| attribute.fault("has a % without two hexadecimal digits"))?;
    if known(&attribute, uri)? {
        return Ok(());
    }
    let repeated = uri.others.iter().any(|o| o.0 == name && o.2 == query);
    if repeated && !query {
        return Err(attribute.fault("is given twice"));
    }
    uri.others
        .push((name.into(), attribute.value.to_vec(), query));
    Ok(())
}

/// Takes an attribute that means something here.
fn known(a: &Attribute<'_>, uri: &mut TokenUri) -> Result<bool, UriError> {
    let of_path = matches!(
        a.name,
        "token" | "manufacturer" | "serial" | "model" | "object" | "id" | "type" | "slot-id"
    );
    let of_query = matches!(
        a.name,
        "module-path" | "module-name" | "pin-source" | "pin-value"
    );
    if of_path && a.query {
        return Err(a.fault("belongs before the question mark"));
    }
    if of_query && !a.query {
        // Seen in the wild (`pkcs11:token=a;object=b;pin-value=…`), and OpenSSL's provider takes it.
        uri.warnings.push(format!(
            "{} belongs after a question mark: pkcs11:…?{}=…",
            a.name, a.name
        ));
    }
    match a.name {
        "token" => a.once(&mut uri.token, a.text()?)?,
        "manufacturer" => a.once(&mut uri.manufacturer, a.text()?)?,
        "serial" => a.once(&mut uri.serial, a.text()?)?,
        "model" => a.once(&mut uri.model, a.text()?)?,
        "object" => a.once(&mut uri.object, a.text()?)?,
        "id" if a.value.is_empty() => return Err(a.fault("is empty")),
        "id" => a.once(&mut uri.id, a.value.to_vec())?,
        "type" => {
            let class = match a.value.as_slice() {
                b"private" => ObjectClass::Private,
                b"public" => ObjectClass::Public,
                b"cert" => ObjectClass::Certificate,
                b"secret-key" => ObjectClass::Secret,
                b"data" => ObjectClass::Data,
                _ => return Err(a.fault("is not one of private, public, cert, secret-key, data")),
            };
            a.once(&mut uri.class, class)?;
        }
        "slot-id" => {
            let digits = a.value.iter().all(u8::is_ascii_digit);
            let number = a.text()?.parse().ok().filter(|_| digits);
            let number = number.ok_or_else(|| a.fault("is not a decimal number"))?;
            a.once(&mut uri.slot, number)?;
        }
        "module-path" => a.once(&mut uri.module_path, a.path()?)?,
        "module-name" => {
            let name = a.text()?;
            if name.is_empty() || name.contains(['/', '\0']) {
                return Err(a.fault("is not a plain name; a path goes into module-path"));
            }
            a.once(&mut uri.module_name, name)?;
        }
        "pin-source" => {
            let file = pin_source(a)?;
            pin(a, uri, PinFrom::File(file))?;
        }
        "pin-value" => {
            if a.value.is_empty() {
                return Err(a.fault("is empty"));
            }
            uri.warnings.push(
                "pin-value shows the PIN to everyone who can read the configuration: put it into a file of mode 600 \
                 and write pin-source=file:/path, or give it as the systemd credential pkcs11-pin"
                    .into(),
            );
            let value = String::from_utf8(a.value.to_vec());
            let value = value.map_err(|_| a.fault("is not UTF-8"))?;
            pin(a, uri, PinFrom::Value(Pin::new(value)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn pin(a: &Attribute<'_>, uri: &mut TokenUri, from: PinFrom) -> Result<(), UriError> {
    if uri.pin.is_some() {
        return Err(
            a.fault("is one of two that say the PIN; one of pin-source and pin-value is enough")
        );
    }
    uri.pin = Some(from);
    Ok(())
}

/// `file:` URI or an absolute path. RFC 7512 also lets a program be named: never run from a configuration value.
fn pin_source(a: &Attribute<'_>) -> Result<PathBuf, UriError> {
    if a.value.starts_with(b"|") {
        return Err(
            a.fault("names a program to run, which is refused: write pin-source=file:/path")
        );
    }
    let source = a.path()?;
    if source.is_absolute() {
        return Ok(source);
    }
    match a.text()?.parse() {
        Ok(KeyUri::File(path)) if path.is_absolute() => Ok(path),
        _ => Err(a.fault("is not file: with an absolute path")),
    }
}

/// Percent-decoding that does not let a lone `%` pass.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let whole = bytes.iter().enumerate().filter(|(_, b)| **b == b'%');
    for (at, _) in whole {
        let digits = bytes.get(at + 1..at + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
    }
    Some(percent_encoding::percent_decode(bytes).collect())
}

#[cfg(test)]
mod tests;
