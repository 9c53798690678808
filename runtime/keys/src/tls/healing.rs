//! A key that lives on when its token was away.
//!
//! What OpenSSL sees is a key of ours: the public half, and a signing function. It signs with the back end's key as
//! long as that works. Once it fails, or the library was started anew, that key is dead for good (its sessions and
//! handles are): from then on the token's thread signs, which opens sessions and logs in again as needed.

use super::{backend::Backend, ffi};
use crate::{
    KeyError, KeyUri, Token,
    token::{LIMIT, Raw, TokenKey},
};
use openssl::{
    error::ErrorStack,
    pkey::{Id, PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::Padding,
};
use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread,
};

pub(super) fn load(
    token: &Token,
    uri: &KeyUri,
    wanted: Option<&Backend>,
) -> Result<PKey<Private>, KeyError> {
    let key = token.find(uri).wait()?;
    if !key.confined {
        log::warn!(key:% = key.uri; "this private key could be read out of its token: it was not made as sensitive and not extractable");
    }
    let shared = &token.module().shared;
    let (start, inner) = {
        let _open = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let backend = wanted.cloned().unwrap_or_else(Backend::choose);
        (
            shared.starts.load(Ordering::Acquire),
            fetch(backend, token, &key),
        )
    };
    let inner = match inner {
        Err(fault) if wanted.is_none() => {
            // The token has the key, so what is wrong is between it and OpenSSL, and can be done without.
            log::warn!(key:% = key.uri; "the key signs on the token's own thread: {fault}");
            None
        }
        other => other?,
    };
    let healing = Healing {
        token: token.clone(),
        name: key.uri.clone(),
        inner: RwLock::new(inner.map(Arc::new)),
        start,
        broken: AtomicBool::new(false),
    };
    wrap(&key, Arc::new(healing))
}

/// The back end's key, or the error that it does not answer: libp11 0.4.12 waits for ever for a session when its first
/// one cannot be opened. Its thread is then left behind.
fn fetch(
    backend: Backend,
    token: &Token,
    key: &TokenKey,
) -> Result<Option<PKey<Private>>, KeyError> {
    if backend == Backend::Thread {
        return Ok(None);
    }
    let (send, answer) = sync_channel(1);
    let (token, key) = (token.clone(), key.clone());
    thread::Builder::new()
        .name("pkcs11-load".into())
        .spawn(move || {
            // Nobody listens any more: the time is over.
            let _ = send.send(backend.load(&token, &key));
        })
        .map_err(|source| KeyError::file("a thread", source))?;
    answer.recv_timeout(LIMIT).unwrap_or(Err(KeyError::Slow {
        what: "loading the key into OpenSSL",
        limit: LIMIT,
    }))
}

fn wrap(key: &TokenKey, signer: Arc<dyn ffi::Sign>) -> Result<PKey<Private>, KeyError> {
    match key.public.id() {
        Id::RSA => key.public.rsa().and_then(|rsa| ffi::rsa_key(&rsa, signer)),
        _ => key.public.ec_key().and_then(|ec| ffi::ec_key(&ec, signer)),
    }
    .map_err(KeyError::openssl("making a key for TLS"))
}

struct Healing {
    token: Token,
    /// The key's full name.
    name: KeyUri,
    /// The back end's key, until it is dead.
    inner: RwLock<Option<Arc<PKey<Private>>>>,
    /// The start of the library that it is from.
    start: usize,
    /// Whether the last signature failed, so that it is logged once.
    broken: AtomicBool,
}

impl Healing {
    /// A signature with the back end's key; `None` when that is dead.
    fn inner(&self, how: Raw, data: &[u8]) -> Option<Vec<u8>> {
        let inner = self
            .inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        let shared = &self.token.module().shared;
        let signed = {
            let _open = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
            (shared.starts.load(Ordering::Acquire) == self.start)
                .then(|| signature(&inner, how, data))
        };
        match signed {
            Some(Ok(signature)) => return Some(signature),
            Some(Err(fault)) => {
                log::info!(key:% = self.name; "the token's own thread signs from now on: {fault}");
            }
            None => {
                log::info!(key:% = self.name; "the token's own thread signs from now on: its library was started anew");
            }
        }
        // Freeing a key never calls into the library, only OpenSSL.
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = None;
        None
    }
}

impl ffi::Sign for Healing {
    fn sign(&self, data: &[u8], padding: Option<Padding>) -> Option<Vec<u8>> {
        let how = match padding {
            None => Raw::Ecdsa,
            Some(Padding::PKCS1) => Raw::Pkcs1,
            Some(Padding::NONE) => Raw::Unpadded,
            // OpenSSL pads everything else itself.
            Some(_) => return None,
        };
        if let Some(signature) = self.inner(how, data) {
            return Some(signature);
        }
        match self.token.sign_raw(&self.name, how, data.to_vec()).wait() {
            Ok(signature) => {
                if self.broken.swap(false, Ordering::Relaxed) {
                    log::info!(key:% = self.name; "the key can be used again");
                }
                Some(signature)
            }
            Err(fault) => {
                if self.broken.swap(true, Ordering::Relaxed) {
                    log::debug!(key:% = self.name; "the key cannot be used: {fault}");
                } else {
                    log::error!(key:% = self.name; "the key cannot be used: {fault}");
                }
                None
            }
        }
    }
}

fn signature(key: &PKey<Private>, how: Raw, data: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.sign_init()?;
    match how {
        Raw::Ecdsa => {}
        Raw::Pkcs1 => context.set_rsa_padding(Padding::PKCS1)?,
        Raw::Unpadded => context.set_rsa_padding(Padding::NONE)?,
    }
    let mut signature = Vec::new();
    context.sign_to_vec(data, &mut signature)?;
    Ok(signature)
}
