//! Keys whose signatures a Rust object makes.

use super::{ErrorStack, c_int, c_void, ok, sys, there};
use foreign_types::ForeignType;
use openssl::{
    ec::{EcKey, EcKeyRef},
    pkey::{PKey, Private, Public},
    rsa::{Padding, Rsa, RsaRef},
};
use std::{
    ffi::{c_char, c_long},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    slice,
    sync::{Arc, OnceLock},
};

/// Makes signatures.
pub(in super::super) trait Sign: Send + Sync {
    /// RSA: the signature of a block with this padding. EC: without padding, the DER form of (r, s) of a digest.
    fn sign(&self, data: &[u8], padding: Option<Padding>) -> Option<Vec<u8>>;
}

#[repr(C)]
struct EcMethod {
    opaque: [u8; 0],
}
type EcSign = extern "C" fn(
    c_int,
    *const u8,
    c_int,
    *mut u8,
    *mut u32,
    *const sys::BIGNUM,
    *const sys::BIGNUM,
    *mut sys::EC_KEY,
) -> c_int;
type RsaPrivate = extern "C" fn(c_int, *const u8, *mut u8, *mut sys::RSA, c_int) -> c_int;
type Dup = extern "C" fn(
    *mut sys::CRYPTO_EX_DATA,
    *const sys::CRYPTO_EX_DATA,
    *mut *mut c_void,
    c_int,
    c_long,
    *mut c_void,
) -> c_int;
type Free =
    extern "C" fn(*mut c_void, *mut c_void, *mut sys::CRYPTO_EX_DATA, c_int, c_long, *mut c_void);

unsafe extern "C" {
    fn ERR_set_mark() -> c_int;
    fn ERR_pop_to_mark() -> c_int;

    fn ECDSA_size(key: *const sys::EC_KEY) -> c_int;
    fn EC_KEY_OpenSSL() -> *const EcMethod;
    fn EC_KEY_METHOD_new(from: *const EcMethod) -> *mut EcMethod;
    fn EC_KEY_METHOD_set_sign(
        method: *mut EcMethod,
        sign: EcSign,
        setup: *const c_void,
        sign_sig: *const c_void,
    );
    fn EC_KEY_set_method(key: *mut sys::EC_KEY, method: *const EcMethod) -> c_int;
    fn EC_KEY_set_ex_data(key: *mut sys::EC_KEY, index: c_int, data: *mut c_void) -> c_int;
    fn EC_KEY_get_ex_data(key: *const sys::EC_KEY, index: c_int) -> *mut c_void;

    fn RSA_PKCS1_OpenSSL() -> *const sys::RSA_METHOD;
    fn RSA_meth_dup(from: *const sys::RSA_METHOD) -> *mut sys::RSA_METHOD;
    fn RSA_meth_set1_name(method: *mut sys::RSA_METHOD, name: *const c_char) -> c_int;
    fn RSA_meth_set_priv_enc(method: *mut sys::RSA_METHOD, function: RsaPrivate) -> c_int;
    fn RSA_set_method(key: *mut sys::RSA, method: *const sys::RSA_METHOD) -> c_int;
    fn RSA_set_ex_data(key: *mut sys::RSA, index: c_int, data: *mut c_void) -> c_int;
    fn RSA_get_ex_data(key: *const sys::RSA, index: c_int) -> *mut c_void;
    fn RSA_set_flags(key: *mut sys::RSA, flags: c_int);

    // openssl-sys has it with a callback type for its own versions: here one type fits all.
    fn CRYPTO_get_ex_new_index(
        class: c_int,
        argl: c_long,
        argp: *mut c_void,
        new: *const c_void,
        dup: Dup,
        free: Free,
    ) -> c_int;
}

const CRYPTO_EX_INDEX_EC_KEY: c_int = 8;
const CRYPTO_EX_INDEX_RSA: c_int = 9;
/// The key's private half is elsewhere.
const RSA_FLAG_EXT_PKEY: c_int = 0x20;

/// What a key's extra data points to.
type Signer = Arc<dyn Sign>;

extern "C" fn duplicate(
    _to: *mut sys::CRYPTO_EX_DATA,
    _from: *const sys::CRYPTO_EX_DATA,
    data: *mut *mut c_void,
    _index: c_int,
    _argl: c_long,
    _argp: *mut c_void,
) -> c_int {
    // SAFETY: OpenSSL copies a key: `data` points to the old key's pointer, null or a boxed signer of ours, and
    // takes the new key's from the same place.
    unsafe {
        if let Some(signer) = (*data).cast::<Signer>().as_ref() {
            *data = Box::into_raw(Box::new(signer.clone())).cast();
        }
    }
    1
}

extern "C" fn free(
    _parent: *mut c_void,
    data: *mut c_void,
    _all: *mut sys::CRYPTO_EX_DATA,
    _index: c_int,
    _argl: c_long,
    _argp: *mut c_void,
) {
    if !data.is_null() {
        // SAFETY: the pointer came from Box::into_raw, and OpenSSL frees a key's extra data once.
        drop(unsafe { Box::from_raw(data.cast::<Signer>()) });
    }
}

/// Calls the signer behind a key's extra data. Zero bytes: it failed.
///
/// # Safety
/// `signer` is null or a boxed signer, `data` has `length` bytes, and `into` has room for `room` bytes.
unsafe fn call(
    signer: *mut c_void,
    data: *const u8,
    length: c_int,
    padding: Option<Padding>,
    into: *mut u8,
    room: c_int,
) -> usize {
    let Ok(length) = usize::try_from(length) else {
        return 0;
    };
    // SAFETY: the caller promises it.
    let (signer, data) = unsafe {
        let Some(signer) = signer.cast::<Signer>().as_ref() else {
            return 0;
        };
        (signer, slice::from_raw_parts(data, length))
    };
    // A token's library may itself use OpenSSL, on this thread, and leave errors behind though it succeeded: TLS would
    // take them for its own.
    // SAFETY: these touch the thread's error queue only, and come in a pair.
    unsafe { ERR_set_mark() };
    // A panic must not cross into C.
    let signature = catch_unwind(AssertUnwindSafe(|| signer.sign(data, padding)));
    // SAFETY: as above.
    unsafe { ERR_pop_to_mark() };
    let Some(signature) = signature.ok().flatten() else {
        return 0;
    };
    if usize::try_from(room).is_ok_and(|room| signature.len() <= room) {
        // SAFETY: the caller promises the room, which was just compared.
        unsafe { ptr::copy_nonoverlapping(signature.as_ptr(), into, signature.len()) };
        return signature.len();
    }
    0
}

extern "C" fn ec_sign(
    _type: c_int,
    digest: *const u8,
    length: c_int,
    signature: *mut u8,
    signature_length: *mut u32,
    _kinv: *const sys::BIGNUM,
    _r: *const sys::BIGNUM,
    key: *mut sys::EC_KEY,
) -> c_int {
    let Some(index) = ec_method().map(|m| m.index) else {
        return 0;
    };
    // SAFETY: OpenSSL calls this with a live key of ours, a digest of that length, and room for ECDSA_size bytes.
    unsafe {
        let signer = EC_KEY_get_ex_data(key, index);
        let room = ECDSA_size(key);
        match u32::try_from(call(signer, digest, length, None, signature, room)) {
            Ok(written) if written > 0 => {
                *signature_length = written;
                1
            }
            _ => 0,
        }
    }
}

extern "C" fn rsa_private(
    length: c_int,
    from: *const u8,
    to: *mut u8,
    key: *mut sys::RSA,
    padding: c_int,
) -> c_int {
    let Some(index) = rsa_method().map(|m| m.index) else {
        return -1;
    };
    // SAFETY: OpenSSL calls this with a live key of ours, `length` bytes, and room for RSA_size bytes.
    let written = unsafe {
        let signer = RSA_get_ex_data(key, index);
        let room = sys::RSA_size(key);
        call(
            signer,
            from,
            length,
            Some(Padding::from_raw(padding)),
            to,
            room,
        )
    };
    match c_int::try_from(written) {
        Ok(written) if written > 0 => written,
        _ => -1,
    }
}

/// A method table and the number of our extra data, made once and never freed.
struct Method<T> {
    table: NonNull<T>,
    index: c_int,
}
// SAFETY: the table is written before it is shared and only read afterwards.
unsafe impl<T> Send for Method<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Method<T> {}

fn index(class: c_int) -> Option<c_int> {
    // SAFETY: the callbacks have the right types; null is allowed for the rest.
    let index =
        unsafe { CRYPTO_get_ex_new_index(class, 0, ptr::null_mut(), ptr::null(), duplicate, free) };
    (index >= 0).then_some(index)
}

fn ec_method() -> Option<&'static Method<EcMethod>> {
    static METHOD: OnceLock<Option<Method<EcMethod>>> = OnceLock::new();
    let make = || {
        openssl::init();
        // SAFETY: the default method is static; the copy is ours. Without the two other functions OpenSSL says
        // that ECDSA_do_sign is not supported, which nothing here uses.
        let table = unsafe {
            let table = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
            if !table.is_null() {
                EC_KEY_METHOD_set_sign(table, ec_sign, ptr::null(), ptr::null());
            }
            table
        };
        Some(Method {
            table: NonNull::new(table)?,
            index: index(CRYPTO_EX_INDEX_EC_KEY)?,
        })
    };
    METHOD.get_or_init(make).as_ref()
}

fn rsa_method() -> Option<&'static Method<sys::RSA_METHOD>> {
    static METHOD: OnceLock<Option<Method<sys::RSA_METHOD>>> = OnceLock::new();
    let make = || {
        openssl::init();
        // SAFETY: the default method is static; the copy is ours; the name is a static C string, and is copied.
        let table = unsafe {
            let table = RSA_meth_dup(RSA_PKCS1_OpenSSL());
            if !table.is_null() {
                RSA_meth_set1_name(table, c"greengrass".as_ptr());
                RSA_meth_set_priv_enc(table, rsa_private);
            }
            table
        };
        Some(Method {
            table: NonNull::new(table)?,
            index: index(CRYPTO_EX_INDEX_RSA)?,
        })
    };
    METHOD.get_or_init(make).as_ref()
}

/// An EC key with this public half that signs through `signer`.
pub(in super::super) fn ec_key(
    public: &EcKeyRef<Public>,
    signer: Signer,
) -> Result<PKey<Private>, ErrorStack> {
    let method = ec_method().ok_or_else(ErrorStack::get)?;
    let copy = EcKey::from_public_key(public.group(), public.public_key())?;
    let key = copy.as_ptr();
    // SAFETY: the key is ours and live. Its extra data takes the box over, and gives it back through `free`, unless
    // setting it fails: then we free it here. `Private` says that it can sign, which it can; reading the private
    // number gives null, which the crate's functions that would are never called on this key with.
    let private = unsafe {
        ok(EC_KEY_set_method(key, method.table.as_ptr()))?;
        let boxed = Box::into_raw(Box::new(signer));
        if let Err(fault) = ok(EC_KEY_set_ex_data(key, method.index, boxed.cast())) {
            drop(Box::from_raw(boxed));
            return Err(fault);
        }
        std::mem::forget(copy);
        EcKey::<Private>::from_ptr(there(key)?)
    };
    PKey::from_ec_key(private)
}

/// An RSA key with this public half that signs through `signer`.
pub(in super::super) fn rsa_key(
    public: &RsaRef<Public>,
    signer: Signer,
) -> Result<PKey<Private>, ErrorStack> {
    let method = rsa_method().ok_or_else(ErrorStack::get)?;
    let copy = Rsa::from_public_components(public.n().to_owned()?, public.e().to_owned()?)?;
    let key = copy.as_ptr();
    // SAFETY: as for EC keys.
    let private = unsafe {
        ok(RSA_set_method(key, method.table.as_ptr()))?;
        RSA_set_flags(key, RSA_FLAG_EXT_PKEY);
        let boxed = Box::into_raw(Box::new(signer));
        if let Err(fault) = ok(RSA_set_ex_data(key, method.index, boxed.cast())) {
            drop(Box::from_raw(boxed));
            return Err(fault);
        }
        std::mem::forget(copy);
        Rsa::<Private>::from_ptr(there(key)?)
    };
    PKey::from_rsa(private)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::{
        ec::EcGroup,
        hash::MessageDigest,
        nid::Nid,
        pkey_ctx::PkeyCtx,
        sign::{Signer, Verifier},
    };

    /// Signs with a key in memory, as a back end does.
    struct InMemory(PKey<Private>);

    impl Sign for InMemory {
        fn sign(&self, data: &[u8], padding: Option<Padding>) -> Option<Vec<u8>> {
            let mut context = PkeyCtx::new(&self.0).unwrap();
            context.sign_init().unwrap();
            if let Some(padding) = padding {
                context.set_rsa_padding(padding).unwrap();
            }
            let mut signature = Vec::new();
            context.sign_to_vec(data, &mut signature).unwrap();
            Some(signature)
        }
    }

    struct Broken(fn() -> Option<Vec<u8>>);

    impl Sign for Broken {
        fn sign(&self, _: &[u8], _: Option<Padding>) -> Option<Vec<u8>> {
            (self.0)()
        }
    }

    fn ec() -> EcKey<Private> {
        EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap()
    }

    fn public(key: &EcKey<Private>) -> EcKey<Public> {
        EcKey::from_public_key(key.group(), key.public_key()).unwrap()
    }

    fn verifies(key: &PKey<Private>) -> bool {
        let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
        let Ok(signature) = signer.sign_oneshot_to_vec(b"message") else {
            return false;
        };
        let mut verifier = Verifier::new(MessageDigest::sha256(), key).unwrap();
        verifier.verify_oneshot(&signature, b"message").unwrap()
    }

    #[test]
    fn a_copy_of_a_key_signs_after_the_first_is_gone_and_the_signer_is_freed_with_the_last() {
        let key = ec();
        let signer: Arc<dyn Sign> = Arc::new(InMemory(PKey::from_ec_key(key.clone()).unwrap()));
        let watch = Arc::downgrade(&signer);
        let first = ec_key(&public(&key), signer).unwrap();
        let second: EcKey<Private> = (*first.ec_key().unwrap()).to_owned();
        let second = PKey::from_ec_key(second).unwrap();
        assert!(verifies(&first));
        drop(first);
        assert!(verifies(&second));
        assert!(watch.upgrade().is_some());
        drop(second);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn an_rsa_key_signs_and_frees_its_signer() {
        let key = Rsa::generate(2048).unwrap();
        let public =
            Rsa::from_public_components(key.n().to_owned().unwrap(), key.e().to_owned().unwrap());
        let signer: Arc<dyn Sign> = Arc::new(InMemory(PKey::from_rsa(key).unwrap()));
        let watch = Arc::downgrade(&signer);
        let ours = rsa_key(&public.unwrap(), signer).unwrap();
        assert!(verifies(&ours));
        drop(ours);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_signer_that_fails_panics_or_says_too_much_makes_no_signature() {
        let ways: [fn() -> Option<Vec<u8>>; 4] = [
            || None,
            || panic!("in a callback from C"),
            || Some(vec![1; 4096]),
            || Some(Vec::new()),
        ];
        for way in ways {
            let key = ec_key(&public(&ec()), Arc::new(Broken(way))).unwrap();
            assert!(!verifies(&key));
        }
    }

    #[test]
    fn errors_that_a_token_leaves_behind_are_gone() {
        let noisy = Broken(|| {
            // The crate takes errors out of the queue; this puts them back, as C code leaves them.
            openssl::x509::X509::from_der(b"nonsense")
                .unwrap_err()
                .put();
            Some(vec![0x30, 0x06, 2, 1, 1, 2, 1, 1])
        });
        drop(ErrorStack::get());
        let key = ec_key(&public(&ec()), Arc::new(noisy)).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        assert!(signer.sign_oneshot_to_vec(b"message").is_ok());
        assert!(ErrorStack::get().errors().is_empty());
    }
}
