//! A token's PIN, and where it comes from: a systemd credential, a file, an environment variable; never an argument.

use crate::{KeyError, KeyUri, PinFrom};
use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// A PIN. It is wiped from memory when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Takes a PIN as it is.
    pub fn new(pin: impl Into<String>) -> Self {
        Self(Zeroizing::new(pin.into()))
    }

    /// The PIN itself. For the call that logs in, and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(hidden)")
    }
}

/// Where to look for the PIN when the key's URI does not say it, in this order.
#[derive(Debug, Clone)]
pub struct PinSources {
    /// A PIN already in hand.
    pub pin: Option<Pin>,
    /// A file with the PIN. A line end after it does not count.
    pub file: Option<PathBuf>,
    /// The name of a systemd credential (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.
    pub credential: Option<String>,
    /// The name of an environment variable.
    pub environment: Option<String>,
}

impl PinSources {
    /// The credential looked for by default.
    pub const CREDENTIAL: &'static str = "pkcs11-pin";
    /// The environment variable looked for by default.
    pub const ENVIRONMENT: &'static str = "GREENGRASS_PKCS11_PIN";

    /// Only this PIN.
    pub fn only(pin: Pin) -> Self {
        Self {
            pin: Some(pin),
            file: None,
            credential: None,
            environment: None,
        }
    }

    /// Finds the PIN for a key: the URI's `pin-source` or `pin-value` first. `None` when nobody names one.
    pub fn find(&self, uri: &KeyUri) -> Result<Option<Pin>, KeyError> {
        match uri.pin() {
            Some(PinFrom::File(path)) => return read(path).map(Some),
            Some(PinFrom::Value(pin)) => return Ok(Some(pin.clone())),
            None => {}
        }
        if let Some(pin) = &self.pin {
            return Ok(Some(pin.clone()));
        }
        if let Some(path) = &self.file {
            return read(path).map(Some);
        }
        if let Some(name) = &self.credential
            && let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY")
        {
            let path = Path::new(&folder).join(name);
            if path.exists() {
                return read(&path).map(Some);
            }
        }
        if let Some(name) = &self.environment
            && let Ok(pin) = std::env::var(name)
            && !pin.is_empty()
        {
            return Ok(Some(Pin::new(pin)));
        }
        Ok(None)
    }

    /// The places, for the message that says that no PIN was found.
    pub(crate) fn places(&self) -> String {
        let mut places = vec!["the key's pin-source".to_owned()];
        if let Some(path) = &self.file {
            places.push(path.display().to_string());
        }
        if let Some(name) = &self.credential {
            places.push(format!("the systemd credential {name}"));
        }
        if let Some(name) = &self.environment {
            places.push(format!("the environment variable {name}"));
        }
        places.join(", ")
    }
}

impl Default for PinSources {
    /// The systemd credential `pkcs11-pin`, then the environment variable `GREENGRASS_PKCS11_PIN`.
    fn default() -> Self {
        Self {
            pin: None,
            file: None,
            credential: Some(Self::CREDENTIAL.into()),
            environment: Some(Self::ENVIRONMENT.into()),
        }
    }
}

fn read(path: &Path) -> Result<Pin, KeyError> {
    let fault = |source: io::Error| KeyError::PinFile {
        path: path.into(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(fault)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(fault(io::Error::other(format!(
            "everyone on this machine may use it (mode {:o}): chmod 600 it, and choose a new PIN if others had access",
            mode & 0o777
        ))));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(fault)?);
    let pin = text.strip_suffix('\n').unwrap_or(&text);
    let pin = pin.strip_suffix('\r').unwrap_or(pin);
    if pin.is_empty() || pin.contains(['\n', '\0']) {
        return Err(fault(io::Error::other(
            "it must hold the PIN in one line and nothing else",
        )));
    }
    Ok(Pin::new(pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        store::file::write_atomic(&path, text.as_bytes(), mode).unwrap();
        (folder, path)
    }

    #[test]
    fn a_pin_is_never_printed() {
        assert!(!format!("{:?}", Pin::new("987654")).contains("987654"));
        assert!(!format!("{:?}", PinSources::only(Pin::new("987654"))).contains("987654"));
    }

    #[test]
    fn a_pin_file_is_one_line_with_or_without_its_end() {
        for text in ["1234", "1234\n", "1234\r\n"] {
            let (_folder, path) = file(text, 0o600);
            assert_eq!(read(&path).unwrap().expose(), "1234");
        }
        for text in ["", "\n", "1234\n5678\n"] {
            let (_folder, path) = file(text, 0o600);
            assert!(read(&path).unwrap_err().to_string().contains("one line"));
        }
    }

    #[test]
    fn a_pin_file_that_everyone_may_read_is_refused() {
        let (_folder, path) = file("1234", 0o644);
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("chmod 600"), "{message}");
        assert!(!message.contains("1234"), "{message}");
    }

    #[test]
    fn the_uri_goes_before_every_other_place() {
        let (_folder, path) = file("from-file", 0o600);
        let uri: KeyUri = format!("pkcs11:token=a?pin-source=file:{}", path.display())
            .parse()
            .unwrap();
        let sources = PinSources::only(Pin::new("in-hand"));
        assert_eq!(sources.find(&uri).unwrap().unwrap().expose(), "from-file");
        let uri: KeyUri = "pkcs11:token=a".parse().unwrap();
        assert_eq!(sources.find(&uri).unwrap().unwrap().expose(), "in-hand");
        let none = PinSources {
            pin: None,
            ..sources
        };
        assert_eq!(none.find(&uri).unwrap(), None);
    }
}
