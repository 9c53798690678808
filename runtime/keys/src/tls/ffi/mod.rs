//! OpenSSL's engines, stores, library contexts, key methods and peers' chains: what the crate `openssl` does not bind.
//!
//! The only module with unsafe code. It hands out types that cannot be misused from safe code.
#![allow(unsafe_code, reason = "C functions; each block says why it is sound")]

mod chains;
mod contexts;
#[cfg(engine)]
mod engines;
mod methods;
mod prompts;

#[cfg(engine)]
pub(super) use self::engines::Engine;
pub(super) use self::{
    chains::forget_chains,
    contexts::Context,
    methods::{Sign, ec_key, rsa_key},
};
use openssl::error::ErrorStack;
use openssl_sys as sys;
use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_void},
    path::PathBuf,
};

/// Where OpenSSL was built to look for engines.
pub(super) fn engines_folder() -> Option<PathBuf> {
    const OPENSSL_ENGINES_DIR: c_int = 5;
    folder(OPENSSL_ENGINES_DIR)
}

/// Where OpenSSL was built to look for providers.
pub(super) fn modules_folder() -> Option<PathBuf> {
    const OPENSSL_MODULES_DIR: c_int = 8;
    folder(OPENSSL_MODULES_DIR)
}

/// The text is `ENGINESDIR: "/usr/lib/…"`, or that it is not available.
fn folder(kind: c_int) -> Option<PathBuf> {
    // SAFETY: the function takes any number and returns a static string.
    let text = unsafe { CStr::from_ptr(sys::OpenSSL_version(kind)) };
    let text = text.to_str().ok()?;
    Some(text.split_once('"')?.1.strip_suffix('"')?.into())
}

/// The text for C. A zero byte in it becomes an OpenSSL error of its own: none of our texts has one.
fn c_text(text: impl Into<Vec<u8>>) -> Result<CString, ErrorStack> {
    CString::new(text).map_err(|_| ErrorStack::get())
}

fn ok(result: c_int) -> Result<(), ErrorStack> {
    if result > 0 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

fn there<T>(pointer: *mut T) -> Result<*mut T, ErrorStack> {
    if pointer.is_null() {
        Err(ErrorStack::get())
    } else {
        Ok(pointer)
    }
}
