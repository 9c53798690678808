//! Names of keys: `file:` URIs, plain paths, and `pkcs11:` URIs (RFC 7512). The PIN in one is never printed.

mod parse;
mod write;

use crate::Pin;
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

pub use parse::UriError;

/// Where a private key (or a certificate) is.
///
/// ```
/// use keys::KeyUri;
///
/// let uri: KeyUri = "pkcs11:token=greengrass;object=device;type=private?pin-value=1234".parse()?;
/// assert_eq!(uri.token().expect("in a token").object.as_deref(), Some("device"));
/// assert_eq!(uri.to_string(), "pkcs11:token=greengrass;object=device;type=private");
///
/// let uri: KeyUri = "/var/lib/greengrass/private.pem.key".parse()?;
/// assert_eq!(uri.to_string(), "file:///var/lib/greengrass/private.pem.key");
/// # Ok::<(), keys::UriError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum KeyUri {
    /// A PEM file.
    File(PathBuf),
    /// An object in a PKCS#11 token.
    Token(Box<TokenUri>),
}

/// The attributes of a `pkcs11:` URI: those that are given must match.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TokenUri {
    /// `token`: the token's label.
    pub token: Option<String>,
    /// `manufacturer` of the token.
    pub manufacturer: Option<String>,
    /// `serial` number of the token.
    pub serial: Option<String>,
    /// `model` of the token.
    pub model: Option<String>,
    /// `object`: the key's label (CKA_LABEL).
    pub object: Option<String>,
    /// `id`: the key's identifier (CKA_ID), any bytes.
    pub id: Option<Vec<u8>>,
    /// `type`: the object's class.
    pub class: Option<ObjectClass>,
    /// `slot-id`. Tokens move between slots: prefer `token` or `serial`.
    pub slot: Option<u64>,
    /// `module-path`: the PKCS#11 library, or the folder that has it.
    pub module_path: Option<PathBuf>,
    /// `module-name`: the library's name without `lib` and `.so`.
    pub module_name: Option<String>,
    /// `pin-source` or `pin-value`.
    pub pin: Option<PinFrom>,
    /// Attributes that are not ours, decoded: (name, value, stands after the question mark).
    pub others: Vec<(String, Vec<u8>, bool)>,
    /// What was accepted though it should be written differently.
    pub warnings: Vec<String>,
}

/// `type` of a `pkcs11:` URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectClass {
    /// `private`
    Private,
    /// `public`
    Public,
    /// `cert`
    Certificate,
    /// `secret-key`
    Secret,
    /// `data`
    Data,
}

/// What a URI says of the PIN.
#[derive(Clone, PartialEq, Eq)]
pub enum PinFrom {
    /// `pin-source`: a file that holds it.
    File(PathBuf),
    /// `pin-value`: the PIN itself, which everyone who reads the configuration then knows.
    Value(Pin),
}

impl KeyUri {
    /// The token's attributes, when the key is in one.
    pub fn token(&self) -> Option<&TokenUri> {
        match self {
            Self::Token(uri) => Some(uri),
            Self::File(_) => None,
        }
    }

    /// The path, when the key is in a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Token(_) => None,
        }
    }

    /// What the URI says of the PIN.
    pub fn pin(&self) -> Option<&PinFrom> {
        self.token().and_then(|t| t.pin.as_ref())
    }

    /// What was accepted but should be changed, for the log. No PIN is in it.
    pub fn warnings(&self) -> &[String] {
        self.token().map_or(&[], |t| &t.warnings)
    }
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        parse::parse(text)
    }
}

impl From<TokenUri> for KeyUri {
    fn from(uri: TokenUri) -> Self {
        Self::Token(Box::new(uri))
    }
}

impl fmt::Debug for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyUri({self})")
    }
}

impl fmt::Debug for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenUri({self})")
    }
}

impl fmt::Debug for PinFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Value(_) => f.write_str("Value(hidden)"),
        }
    }
}

impl ObjectClass {
    /// As the URI has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
            Self::Certificate => "cert",
            Self::Secret => "secret-key",
            Self::Data => "data",
        }
    }
}
