//! Writing URIs: canonical, without the PIN.

use super::{KeyUri, PinFrom, TokenUri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::{fmt, os::unix::ffi::OsStrExt};

/// RFC 3986's unreserved characters stay, and those that RFC 7512 lets stand and people write.
const ATTRIBUTE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');
const PATH: &AsciiSet = &ATTRIBUTE
    .remove(b'/')
    .remove(b'+')
    .remove(b'=')
    .remove(b'@');

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => {
                // Two slashes only before an absolute path: what follows them is a host otherwise.
                let slashes = if path.is_absolute() { "//" } else { "" };
                let path = percent_encode(path.as_os_str().as_bytes(), PATH);
                write!(f, "file:{slashes}{path}")
            }
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |v: &Option<String>| v.as_ref().map(|v| v.as_bytes().to_vec());
        let mut path: Vec<(&str, Vec<u8>)> = Vec::new();
        let fields = [
            ("token", text(&self.token)),
            ("manufacturer", text(&self.manufacturer)),
            ("serial", text(&self.serial)),
            ("model", text(&self.model)),
            ("object", text(&self.object)),
        ];
        path.extend(fields.into_iter().filter_map(|(k, v)| Some((k, v?))));
        f.write_str("pkcs11:")?;
        let mut separator = "";
        for (name, value) in path {
            let value = percent_encode(&value, ATTRIBUTE);
            write!(f, "{separator}{name}={value}")?;
            separator = ";";
        }
        if let Some(id) = &self.id {
            write!(f, "{separator}id=")?;
            // As RFC 7512 recommends for identifiers: every byte encoded.
            id.iter().try_for_each(|b| write!(f, "%{b:02X}"))?;
            separator = ";";
        }
        if let Some(class) = self.class {
            write!(f, "{separator}type={}", class.as_str())?;
            separator = ";";
        }
        if let Some(slot) = self.slot {
            write!(f, "{separator}slot-id={slot}")?;
            separator = ";";
        }
        for (name, value, _) in self.others.iter().filter(|o| !o.2) {
            write!(f, "{separator}{name}={}", percent_encode(value, ATTRIBUTE))?;
            separator = ";";
        }
        separator = "?";
        if let Some(module) = &self.module_path {
            let module = percent_encode(module.as_os_str().as_bytes(), PATH);
            write!(f, "{separator}module-path={module}")?;
            separator = "&";
        }
        if let Some(module) = &self.module_name {
            let module = percent_encode(module.as_bytes(), ATTRIBUTE);
            write!(f, "{separator}module-name={module}")?;
            separator = "&";
        }
        if let Some(PinFrom::File(file)) = &self.pin {
            let file = percent_encode(file.as_os_str().as_bytes(), PATH);
            write!(f, "{separator}pin-source=file:{file}")?;
            separator = "&";
        }
        for (name, value, _) in self.others.iter().filter(|o| o.2) {
            write!(f, "{separator}{name}={}", percent_encode(value, ATTRIBUTE))?;
            separator = "&";
        }
        Ok(())
    }
}
