//! Keys as other runtimes' configurations name them, read into key URIs, with a message that shows the new form.
//!
//! Pure functions: they read a parsed document and touch no file and no token.

mod classic;
mod lite;
mod v1;

use crate::{KeyUri, Pin, PinFrom, TokenUri, UriError};
use serde_json::Value;
use std::path::PathBuf;
use thiserror::Error;

pub use classic::{Provider, classic};
pub use lite::lite;
pub use v1::{V1, v1};

/// A private key and its certificate as another configuration has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The private key.
    pub key: KeyUri,
    /// Its certificate: a file, or an object in the token.
    pub certificate: Option<KeyUri>,
    /// For the log: what was found where, and how it is written now. No PIN is in it.
    pub message: String,
}

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{at}: {fault}")]
pub struct ConfigError {
    /// The configuration's key.
    pub at: String,
    /// What is wrong with its value.
    pub fault: String,
}

impl ConfigError {
    fn new(at: impl Into<String>, fault: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            fault: fault.into(),
        }
    }

    fn uri(at: &str, fault: &UriError) -> Self {
        Self::new(at, fault.to_string())
    }
}

/// A text under a key; `None` when it is not there or empty.
fn text<'a>(value: &'a Value, at: &str, name: &str) -> Result<Option<&'a str>, ConfigError> {
    match &value[name] {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(ConfigError::new(format!("{at}.{name}"), "is not a text")),
    }
}

fn needed<'a>(value: &'a Value, at: &str, name: &str) -> Result<&'a str, ConfigError> {
    text(value, at, name)?.ok_or_else(|| ConfigError::new(format!("{at}.{name}"), "is missing"))
}

/// What the library's section says, which a key's own URI goes before.
#[derive(Debug, Clone, Default)]
struct Library {
    path: Option<PathBuf>,
    token: Option<String>,
    slot: Option<u64>,
    pin: Option<Pin>,
}

impl Library {
    fn complete(&self, uri: KeyUri) -> KeyUri {
        let KeyUri::Token(mut uri) = uri else {
            return uri;
        };
        if uri.module_path.is_none() && uri.module_name.is_none() {
            uri.module_path.clone_from(&self.path);
        }
        if uri.token.is_none() && uri.serial.is_none() && uri.slot.is_none() {
            uri.token.clone_from(&self.token);
            uri.slot = self.slot;
        }
        if uri.pin.is_none() {
            uri.pin = self.pin.clone().map(PinFrom::Value);
        }
        KeyUri::Token(uri)
    }
}

/// How a key is written now: the PIN out of the configuration.
fn new_form(key: &KeyUri) -> String {
    let KeyUri::Token(uri) = key else {
        return key.to_string();
    };
    let pin = match &uri.pin {
        Some(PinFrom::Value(_)) => None,
        other => other.clone(),
    };
    TokenUri {
        pin,
        ..TokenUri::clone(uri)
    }
    .to_string()
}

/// Where the PIN goes, when it stood in the configuration.
fn about_pin(key: &KeyUri) -> &'static str {
    match key.pin() {
        Some(PinFrom::Value(_)) => {
            "; put the PIN into a file of mode 600 and add pin-source=file:/path, or give it as the systemd credential pkcs11-pin"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests;
