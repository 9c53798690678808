//! Answers to a library that asks for a PIN: the one we have, or none. OpenSSL's own would ask on the terminal.

use super::{c_char, c_int, c_void, there};
use openssl::error::ErrorStack;
use std::{ffi::CString, ptr::NonNull, sync::OnceLock};

#[repr(C)]
pub(super) struct Method {
    opaque: [u8; 0],
}
#[repr(C)]
struct Ui {
    opaque: [u8; 0],
}
#[repr(C)]
struct UiString {
    opaque: [u8; 0],
}
type Reader = extern "C" fn(*mut Ui, *mut UiString) -> c_int;

unsafe extern "C" {
    fn UI_create_method(name: *const c_char) -> *mut Method;
    fn UI_method_set_reader(method: *mut Method, reader: Reader) -> c_int;
    fn UI_get_string_type(string: *mut UiString) -> c_int;
    fn UI_get0_user_data(ui: *mut Ui) -> *mut c_void;
    fn UI_set_result(ui: *mut Ui, string: *mut UiString, result: *const c_char) -> c_int;
}

const UIT_PROMPT: c_int = 1;
const UIT_VERIFY: c_int = 2;

extern "C" fn read(ui: *mut Ui, string: *mut UiString) -> c_int {
    // SAFETY: OpenSSL calls this with its own live objects; the user data is what `private_key` gave: null, or a
    // CString that lives as long as that call.
    unsafe {
        let kind = UI_get_string_type(string);
        if kind != UIT_PROMPT && kind != UIT_VERIFY {
            return 1;
        }
        let pin = UI_get0_user_data(ui).cast::<CString>();
        if pin.is_null() {
            return 0;
        }
        if UI_set_result(ui, string, (*pin).as_ptr()) < 0 {
            0
        } else {
            1
        }
    }
}

struct Shared(NonNull<Method>);
// SAFETY: the method is written once, before it is shared, and OpenSSL only reads it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// The method, made once and never freed.
pub(super) fn method() -> Result<*mut Method, ErrorStack> {
    static METHOD: OnceLock<Option<Shared>> = OnceLock::new();
    let method = METHOD.get_or_init(|| {
        // SAFETY: the name is a static C string, the reader a function with the right type.
        let method = unsafe {
            let method = UI_create_method(c"greengrass".as_ptr());
            if !method.is_null() && UI_method_set_reader(method, read) != 0 {
                return None;
            }
            method
        };
        NonNull::new(method).map(Shared)
    });
    there(
        method
            .as_ref()
            .map_or(std::ptr::null_mut(), |m| m.0.as_ptr()),
    )
}
