//! Library contexts, and keys from their stores.

use super::{CString, ErrorStack, c_char, c_int, c_text, c_void, ok, prompts, sys, there};
use crate::Pin;
use foreign_types::ForeignType;
use openssl::pkey::{PKey, Private};
use std::{
    io::Write,
    os::fd::AsRawFd,
    ptr::{self, NonNull},
};
use zeroize::Zeroize;

#[repr(C)]
struct Store {
    opaque: [u8; 0],
}
#[repr(C)]
struct Info {
    opaque: [u8; 0],
}

unsafe extern "C" {
    fn OSSL_LIB_CTX_load_config(context: *mut sys::OSSL_LIB_CTX, file: *const c_char) -> c_int;
    fn OSSL_STORE_open_ex(
        uri: *const c_char,
        context: *mut sys::OSSL_LIB_CTX,
        properties: *const c_char,
        method: *mut prompts::Method,
        data: *mut c_void,
        parameters: *const c_void,
        post_process: *const c_void,
        post_process_data: *mut c_void,
    ) -> *mut Store;
    fn OSSL_STORE_expect(store: *mut Store, kind: c_int) -> c_int;
    fn OSSL_STORE_load(store: *mut Store) -> *mut Info;
    fn OSSL_STORE_eof(store: *mut Store) -> c_int;
    fn OSSL_STORE_close(store: *mut Store) -> c_int;
    fn OSSL_STORE_INFO_get1_PKEY(info: *const Info) -> *mut sys::EVP_PKEY;
    fn OSSL_STORE_INFO_free(info: *mut Info);
}

const OSSL_STORE_INFO_PKEY: c_int = 4;

/// A library context with a configuration of its own. It lives for the rest of the process, as keys refer to it.
pub(in super::super) struct Context(NonNull<sys::OSSL_LIB_CTX>);

impl Context {
    /// Makes one from the text of an `openssl.cnf`.
    pub(in super::super) fn configured(text: &str) -> Result<Self, ErrorStack> {
        openssl::init();
        // OpenSSL reads configurations from files only: this one is in memory.
        let file = rustix::fs::memfd_create("openssl.cnf", rustix::fs::MemfdFlags::CLOEXEC);
        let mut file = std::fs::File::from(file.map_err(|_| ErrorStack::get())?);
        file.write_all(text.as_bytes())
            .map_err(|_| ErrorStack::get())?;
        let path = c_text(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // SAFETY: the context is new and ours; the path lives through the call.
        unsafe {
            let context = there(sys::OSSL_LIB_CTX_new())?;
            if let Err(fault) = ok(OSSL_LIB_CTX_load_config(context, path.as_ptr())) {
                sys::OSSL_LIB_CTX_free(context);
                return Err(fault);
            }
            NonNull::new(context).map(Self).ok_or_else(ErrorStack::get)
        }
    }

    /// Loads the private key that a URI names.
    pub(in super::super) fn private_key(
        &self,
        uri: &str,
        pin: Option<&Pin>,
    ) -> Result<PKey<Private>, ErrorStack> {
        let uri = c_text(uri)?;
        let pin = pin.map(|pin| c_text(pin.expose())).transpose()?;
        let data = pin.as_ref().map_or(ptr::null_mut(), |pin| {
            ptr::from_ref::<CString>(pin).cast_mut().cast()
        });
        // SAFETY: the context is live; URI and PIN live until the store is closed below, which ends its use of
        // them; null is allowed for what is not given. Each info is freed once, and the key that is taken out has
        // its own reference.
        let found = unsafe {
            let store = there(OSSL_STORE_open_ex(
                uri.as_ptr(),
                self.0.as_ptr(),
                c"provider=pkcs11".as_ptr(),
                prompts::method()?,
                data,
                ptr::null(),
                ptr::null(),
                ptr::null_mut(),
            ));
            store.map(|store| {
                let mut key: *mut sys::EVP_PKEY = ptr::null_mut();
                OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY);
                while key.is_null() && OSSL_STORE_eof(store) == 0 {
                    let info = OSSL_STORE_load(store);
                    if info.is_null() {
                        break;
                    }
                    key = OSSL_STORE_INFO_get1_PKEY(info);
                    OSSL_STORE_INFO_free(info);
                }
                let fault = ErrorStack::get();
                OSSL_STORE_close(store);
                if key.is_null() {
                    Err(fault)
                } else {
                    Ok(PKey::from_ptr(key))
                }
            })
        };
        if let Some(pin) = pin {
            pin.into_bytes_with_nul().zeroize();
        }
        found?
    }
}
