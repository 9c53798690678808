//! Decides how OpenSSL reaches a key in a token: libp11's engine, else a provider, else the token's own thread.

use super::{ffi, provider};
use crate::{KeyError, Token, TokenKey};
use openssl::pkey::{PKey, Private};
use std::path::PathBuf;

/// How OpenSSL reaches keys in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// libp11's engine: this file. Signs on several threads at once.
    Engine(PathBuf),
    /// A provider named `pkcs11`: this file. Signs on several threads at once.
    Provider(PathBuf),
    /// The thread of the token's library: needs nothing installed, signs one by one.
    Thread,
}

impl Backend {
    /// What is installed here. The engine goes first: it is what was tried the longest, and leaves logging in to us.
    pub fn choose() -> Self {
        match (Self::engine(), Self::provider()) {
            (Ok(engine), _) => engine,
            (_, Ok(provider)) => provider,
            (Err(engine), Err(provider)) => {
                log::debug!("keys in tokens sign one by one: {engine}; {provider}");
                Self::Thread
            }
        }
    }

    /// libp11's engine, or why there is none and what to install.
    pub fn engine() -> Result<Self, KeyError> {
        let missing = |why: String| KeyError::Backend { why };
        let folder = ffi::engines_folder().filter(|_| cfg!(engine));
        let folder = folder.ok_or_else(|| missing("this OpenSSL has no engines".into()))?;
        let file = folder.join("pkcs11.so");
        if file.is_file() {
            return Ok(Self::Engine(file));
        }
        Err(missing(format!(
            "there is no engine {}: install libengine-pkcs11-openssl (Debian) or libp11 (Yocto)",
            file.display()
        )))
    }

    /// An OpenSSL provider for tokens, or why there is none and what to install.
    pub fn provider() -> Result<Self, KeyError> {
        let file = provider::file().map_err(|why| KeyError::Backend { why })?;
        Ok(Self::Provider(file))
    }

    /// The back end's own key, if it has one. The token is logged in to.
    pub(super) fn load(
        &self,
        token: &Token,
        key: &TokenKey,
    ) -> Result<Option<PKey<Private>>, KeyError> {
        let library = token.library();
        match self {
            #[cfg(engine)]
            Self::Engine(file) => super::engine::load(file, library, &key.uri).map(Some),
            #[cfg(not(engine))]
            Self::Engine(file) => Err(KeyError::Backend {
                why: format!(
                    "this OpenSSL has no engines, and so no use for {}",
                    file.display()
                ),
            }),
            Self::Provider(file) => provider::load(file, library, &key.uri, token.pin()).map(Some),
            Self::Thread => Ok(None),
        }
    }
}
