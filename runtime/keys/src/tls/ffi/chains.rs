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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::forget_chains;
    use openssl::{
        asn1::Asn1Time,
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        pkey::{PKey, Private},
        ssl::{
            Ssl, SslContext, SslContextBuilder, SslMethod, SslSessionCacheMode, SslStream,
            SslVerifyMode, SslVersion,
        },
        x509::{X509, X509Name},
    };
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        thread,
    };

    fn pair() -> (X509, PKey<Private>) {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "peer").unwrap();
        let name = name.build();
        let mut x509 = X509::builder().unwrap();
        x509.set_subject_name(&name).unwrap();
        x509.set_issuer_name(&name).unwrap();
        x509.set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        x509.set_not_after(&Asn1Time::days_from_now(1).unwrap())
            .unwrap();
        x509.set_pubkey(&key).unwrap();
        x509.sign(&key, MessageDigest::sha256()).unwrap();
        (x509.build(), key)
    }

    fn builder(version: SslVersion) -> SslContextBuilder {
        let (certificate, key) = pair();
        let mut builder = SslContext::builder(SslMethod::tls()).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        builder.set_certificate(&certificate).unwrap();
        builder.set_private_key(&key).unwrap();
        builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        builder
    }

    /// The server's side of a connection whose client has shown two certificates and sent a byte.
    fn connected(version: SslVersion, cache: SslSessionCacheMode) -> SslStream<UnixStream> {
        let mut server = builder(version);
        server.set_session_cache_mode(cache);
        server.set_session_id_context(b"chains").unwrap();
        forget_chains(&mut server);
        let mut client = builder(version);
        client.add_extra_chain_cert(pair().0).unwrap();
        let (ours, its) = UnixStream::pair().unwrap();
        let client = thread::spawn(move || {
            let mut stream = SslStream::new(Ssl::new(&client.build()).unwrap(), its).unwrap();
            stream.connect().unwrap();
            stream.write_all(b"x").unwrap();
            stream
        });
        let mut stream = SslStream::new(Ssl::new(&server.build()).unwrap(), ours).unwrap();
        stream.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        client.join().unwrap();
        stream
    }

    #[test]
    fn a_connection_keeps_its_peers_own_certificate_alone() {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let stream = connected(version, SslSessionCacheMode::OFF);
            assert!(stream.ssl().peer_certificate().is_some());
            assert_eq!(stream.ssl().peer_cert_chain().unwrap().len(), 0);
        }
    }

    #[test]
    fn connections_that_may_share_sessions_keep_their_chains() {
        let stream = connected(SslVersion::TLS1_2, SslSessionCacheMode::SERVER);
        assert_eq!(stream.ssl().peer_cert_chain().unwrap().len(), 1);
    }
}
