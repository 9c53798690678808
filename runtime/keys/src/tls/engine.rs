//! Keys through libp11's engine.
//!
//! The engine is loaded by its path and never made the default: as the default it would also be used by the token's
//! own library (tpm2-pkcs11 links OpenSSL), which then waits for itself. It is given no PIN: PKCS#11 logs in a
//! process, not a session, and [`crate::Token`] did that, so that there is one place that can lock a token. Its
//! prompts for a PIN are answered with an error.
//!
//! OpenSSL binds an engine's file once in a process, and this engine has one PKCS#11 library. Its sessions die with
//! the token or with the library's restart, and it does not open new ones; finishing it would call `C_Finalize` under
//! everyone's feet. So it serves the first library, until that goes away; then the token's thread takes over.

use super::ffi;
use crate::{KeyError, KeyUri, TokenUri};
use openssl::pkey::{PKey, Private};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The engine, and the PKCS#11 library that it has.
static ENGINE: Mutex<Option<(ffi::Engine, PathBuf)>> = Mutex::new(None);

pub(super) fn load(file: &Path, library: &Path, uri: &KeyUri) -> Result<PKey<Private>, KeyError> {
    let mut loaded = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = match &*loaded {
        // It knows the tokens that were there when it started. Its RE_ENUMERATE would show it others, but in libp11 0.4.12
        // (Debian 12) that command reads past the end of its list.
        Some((engine, its)) if its == library => engine,
        Some((_, its)) => {
            return Err(KeyError::Backend {
                why: format!("the engine pkcs11 is in use for {}", its.display()),
            });
        }
        None => {
            let engine = start(file, library)?;
            &loaded.insert((engine, library.into())).0
        }
    };
    engine
        .private_key(&name(uri).to_string())
        .map_err(KeyError::openssl(
            "loading the key through the engine pkcs11",
        ))
}

fn start(file: &Path, library: &Path) -> Result<ffi::Engine, KeyError> {
    let engine = ffi::Engine::load(file).map_err(KeyError::openssl("loading the engine pkcs11"))?;
    engine
        .command("MODULE_PATH", library)
        .and_then(|()| engine.flag("QUIET"))
        .and_then(|()| engine.start())
        .map_err(KeyError::openssl("starting the engine pkcs11"))?;
    Ok(engine)
}

/// The attributes that libp11 0.4 knows; others make it refuse the URI.
fn name(uri: &KeyUri) -> TokenUri {
    let full = uri.token().cloned().unwrap_or_default();
    TokenUri {
        token: full.token,
        serial: full.serial,
        // An identifier is enough where there is one, and labels may be long.
        object: full.object.filter(|_| full.id.is_none()),
        id: full.id,
        class: full.class,
        ..TokenUri::default()
    }
}
