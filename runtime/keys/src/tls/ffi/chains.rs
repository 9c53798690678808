//! Certificate chains of peers, which OpenSSL keeps for as long as a connection lives.

use super::{c_int, c_long, c_void, sys};
use openssl::ssl::SslContextBuilder;
use std::ptr;

unsafe extern "C" {
    fn SSL_CTX_set_info_callback(
        context: *mut sys::SSL_CTX,
        callback: Option<unsafe extern "C" fn(*const sys::SSL, c_int, c_int)>,
    );
}

const SSL_CB_HANDSHAKE_DONE: c_int = 0x20;
const SSL_CTRL_GET_SESS_CACHE_MODE: c_int = 45;
const SSL_SESS_CACHE_OFF: c_long = 0;

/// Lets go of the chain that a peer has shown, once its handshake is done and the chain has been judged. See
/// [`forget_chains`](crate::forget_chains).
pub(in super::super) fn forget_chains(context: &mut SslContextBuilder) {
    // SAFETY: the context is live and not in use yet; the callback is a function without state.
    unsafe { SSL_CTX_set_info_callback(context.as_ptr(), Some(told)) }
}

/// Called by OpenSSL as a handshake goes on.
unsafe extern "C" fn told(ssl: *const sys::SSL, event: c_int, _: c_int) {
    if event & SSL_CB_HANDSHAKE_DONE == 0 {
        return;
    }
    // SAFETY: OpenSSL gives a live connection, within a call on it that needs it exclusively: nobody else has a reference
    // into it. Without a cache its session, which owns the shown chain, is its own as well. What is taken out of the stacks
    // is freed once; the stacks stay, empty, and their owners free them.
    unsafe {
        let context = sys::SSL_get_SSL_CTX(ssl);
        let cache = sys::SSL_CTX_ctrl(context, SSL_CTRL_GET_SESS_CACHE_MODE, 0, ptr::null_mut());
        if cache != SSL_SESS_CACHE_OFF || sys::SSL_session_reused(ssl) != 0 {
            return;
        }
        for chain in [
            sys::SSL_get_peer_cert_chain(ssl),
            sys::SSL_get0_verified_chain(ssl),
        ] {
            clear(chain);
        }
    }
}

/// # Safety
/// The stack is null or live, nobody else uses it, and it owns a reference to each of its certificates.
unsafe fn clear(chain: *mut sys::stack_st_X509) {
    if chain.is_null() {
        return;
    }
    loop {
        // SAFETY: see above; a popped pointer is the stack's own reference, or null when there is none left.
        unsafe {
            let certificate: *mut c_void = sys::OPENSSL_sk_pop(chain.cast());
            if certificate.is_null() {
                return;
            }
            sys::X509_free(certificate.cast());
        }
    }
}
