//! Keys for TLS: [`load`] turns any key URI into a `PKey` that OpenSSL signs with.
//!
//! A token's key reaches OpenSSL through libp11's engine, or through a provider where engines are gone, or else
//! through the token's own thread ([`backend`] decides). What is handed out is a key of our own around it
//! ([`healing`]): it lives on when the token was pulled and put back, which neither engine nor provider brings.
//!
//! Signing blocks the thread that does the handshake: a fifth of a millisecond with SoftHSM, 4 ms with a software
//! TPM, a tenth of a second with a discrete TPM. [`offload`] moves that off the async threads.

mod backend;
#[cfg(engine)]
mod engine;
mod ffi;
mod healing;
mod offload;
mod provider;

use crate::{KeyError, KeyUri, PinSources, Token};
use openssl::{
    pkey::{PKey, Private},
    ssl::SslContextBuilder,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

pub use backend::Backend;
pub use offload::{Offload, offload};

/// Where to look for what a key's URI does not say.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where the PIN is.
    pub pins: PinSources,
    /// The PKCS#11 library when the URI names none.
    pub library: Option<PathBuf>,
    /// How OpenSSL reaches the token: if it cannot, that is an error. By default [`Backend::choose`] says how, and the
    /// token's own thread does it when that fails.
    pub backend: Option<Backend>,
}

/// Loads a private key from a file or a token. It may take seconds with a token: not for async threads.
///
/// The key may be used from several threads at once. With a token, the token's library is asked for the key and its
/// PIN first, so that errors say what is missing: library, token, object, PIN, engine.
///
/// A token's key has no private number: it signs, and its certificate's key is equal to it, but it cannot be exported,
/// and `EcKey::private_key`, `Rsa::d` and their like must not be called on it.
pub fn load(uri: &KeyUri, options: &LoadOptions) -> Result<PKey<Private>, KeyError> {
    match uri {
        KeyUri::File(path) => load_file(path),
        KeyUri::Token(_) => {
            let token = Token::open(uri, &options.pins, options.library.as_deref())?;
            healing::load(&token, uri, options.backend.as_ref())
        }
    }
}

/// Makes connections of this context let go of the certificates that a peer has shown besides its own, when the handshake has
/// judged them: 4 KB each, which OpenSSL would keep until the connection ends. Afterwards the connection still has its peer's own
/// certificate, and empty chains. Connections of a context that caches sessions keep theirs, as they may share them.
///
/// It takes the place of the context's information callback.
pub fn forget_chains(context: &mut SslContextBuilder) {
    ffi::forget_chains(context);
}

/// Loads a private key from a token that is already open.
pub fn load_from(token: &Token, uri: &KeyUri) -> Result<PKey<Private>, KeyError> {
    healing::load(token, uri, None)
}

fn load_file(path: &Path) -> Result<PKey<Private>, KeyError> {
    let pem = fs::read(path).map_err(|e| KeyError::file(path, e))?;
    let pem = Zeroizing::new(pem);
    let mode = fs::metadata(path)
        .map_err(|e| KeyError::file(path, e))?
        .permissions()
        .mode();
    if mode & 0o004 != 0 {
        log::warn!(key:% = path.display(); "everyone on this machine can read this private key: chmod 600 it");
    }
    // Without a callback OpenSSL would ask on the terminal for the password of an encrypted key.
    PKey::private_key_from_pem_callback(&pem, |_| Ok(0)).map_err(|source| KeyError::Pem {
        path: path.into(),
        expected: "a private key in PEM form without a password",
        source,
    })
}
