//! An engine, loaded by its path.

use super::{ErrorStack, c_char, c_int, c_text, c_void, ok, prompts, sys, there};
use foreign_types::ForeignType;
use openssl::pkey::{PKey, Private};
use std::{
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr::{self, NonNull},
};

unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
    fn ENGINE_by_id(id: *const c_char) -> *mut sys::ENGINE;
    fn ENGINE_free(engine: *mut sys::ENGINE) -> c_int;
    fn ENGINE_init(engine: *mut sys::ENGINE) -> c_int;
    fn ENGINE_ctrl_cmd_string(
        engine: *mut sys::ENGINE,
        name: *const c_char,
        argument: *const c_char,
        optional: c_int,
    ) -> c_int;
    fn ENGINE_load_private_key(
        engine: *mut sys::ENGINE,
        key: *const c_char,
        method: *mut prompts::Method,
        data: *mut c_void,
    ) -> *mut sys::EVP_PKEY;
}

const OPENSSL_INIT_ENGINE_DYNAMIC: u64 = 0x400;

/// An engine, in no list and the default for nothing. It lives for the rest of the process.
pub(in super::super) struct Engine(NonNull<sys::ENGINE>);

// SAFETY: OpenSSL's and libp11's functions on engines lock what they share.
unsafe impl Send for Engine {}

impl Engine {
    /// Loads the shared object.
    pub(in super::super) fn load(file: &Path) -> Result<Self, ErrorStack> {
        openssl::init();
        // What is left in the queue from other calls is not about this.
        drop(ErrorStack::get());
        // SAFETY: the settings may be null. `dynamic` is OpenSSL's own engine; each ENGINE_by_id of it makes an
        // instance with one structural reference, which is ours.
        let engine = unsafe {
            OPENSSL_init_crypto(OPENSSL_INIT_ENGINE_DYNAMIC, ptr::null());
            NonNull::new(there(ENGINE_by_id(c"dynamic".as_ptr()))?)
        };
        let engine = Self(engine.ok_or_else(ErrorStack::get)?);
        let loaded = engine
            .command("SO_PATH", file)
            .and_then(|()| engine.text("ID", "pkcs11"))
            // Not into OpenSSL's list: there can be one of a name, and it would be found by others.
            .and_then(|()| engine.text("LIST_ADD", "0"))
            .and_then(|()| engine.flag("LOAD"));
        if let Err(fault) = loaded {
            // SAFETY: gives back the structural reference from above, once; `engine` is not used after it.
            unsafe { ENGINE_free(engine.0.as_ptr()) };
            return Err(fault);
        }
        Ok(engine)
    }

    /// A command with a path.
    pub(in super::super) fn command(&self, name: &str, path: &Path) -> Result<(), ErrorStack> {
        let argument = c_text(path.as_os_str().as_bytes())?;
        self.control(name, argument.as_ptr())
    }

    fn text(&self, name: &str, value: &str) -> Result<(), ErrorStack> {
        let argument = c_text(value)?;
        self.control(name, argument.as_ptr())
    }

    /// A command without an argument.
    pub(in super::super) fn flag(&self, name: &str) -> Result<(), ErrorStack> {
        self.control(name, ptr::null())
    }

    fn control(&self, name: &str, argument: *const c_char) -> Result<(), ErrorStack> {
        let name = c_text(name)?;
        // SAFETY: the engine is live; the name and the argument live until the call returns, and engines copy them.
        ok(unsafe { ENGINE_ctrl_cmd_string(self.0.as_ptr(), name.as_ptr(), argument, 0) })
    }

    /// Starts it.
    pub(in super::super) fn start(&self) -> Result<(), ErrorStack> {
        // SAFETY: the engine is live. The functional reference is never given back: see the module `engine`.
        ok(unsafe { ENGINE_init(self.0.as_ptr()) })
    }

    /// Loads a key. The key refers to the engine, which lives for the rest of the process.
    pub(in super::super) fn private_key(&self, uri: &str) -> Result<PKey<Private>, ErrorStack> {
        let uri = c_text(uri)?;
        // SAFETY: the engine was started; the URI lives through the call; the prompt method is static, and without
        // data it refuses. The key that comes back is ours to free.
        unsafe {
            let method = prompts::method()?;
            let key =
                ENGINE_load_private_key(self.0.as_ptr(), uri.as_ptr(), method, ptr::null_mut());
            there(key).map(|key| PKey::from_ptr(key))
        }
    }
}
