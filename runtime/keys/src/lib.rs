//! Key URIs, PKCS#11 tokens, keys for TLS, certificate requests, renewal, and sealing of secrets.
//!
//! A private key is named by a [`KeyUri`]: `file:` or `pkcs11:`. [`load`] gives the key to OpenSSL; [`Token`] makes
//! keys and stores certificates. No PIN and no private key is ever in a message, an argument list or a Debug output.
//!
//! ```no_run
//! use keys::{KeyUri, LoadOptions};
//!
//! # fn main() -> Result<(), keys::KeyError> {
//! let uri: KeyUri = "pkcs11:token=greengrass;object=device".parse()?;
//! let key = keys::load(&uri, &LoadOptions::default())?;
//! # let _ = key;
//! # Ok(())
//! # }
//! ```

pub mod certificate;
pub mod config;
mod error;
mod make;
mod memory;
mod pin;
pub mod renewal;
mod request;
mod seal;
mod tls;
mod token;
mod uri;

pub use error::KeyError;
pub use make::{generate, remove};
pub use memory::forbid_core_dumps;
pub use pin::{Pin, PinSources};
pub use request::{AlternativeName, CertificateRequest};
pub use seal::Sealer;
pub use tls::{Backend, LoadOptions, Offload, forget_chains, load, load_from, offload};
pub use token::{
    Erase, Hash, KeyKind, KeyPurpose, MODULE_ENVIRONMENT, NewKey, NewToken, Pending, Token,
    TokenInfo, TokenKey, TokenObject, find_library, initialise, tokens,
};
pub use uri::{KeyUri, ObjectClass, PinFrom, TokenUri, UriError};
