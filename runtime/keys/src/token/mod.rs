//! Tokens: list, initialise, make keys in them, find, sign, store certificates, delete.
//!
//! Each PKCS#11 library has one thread of its own, with a bounded queue: a TPM takes up to seconds for what it does,
//! and async threads never wait for it. Operations return a [`Pending`]: await it, or `wait()` for it.

mod certificates;
mod faults;
mod generate;
mod initialise;
mod library;
mod module;
mod objects;
mod pending;
mod sign;
mod worker;

use crate::{KeyError, KeyUri, Pin, PinSources, TokenUri};
use openssl::{
    pkey::{PKey, Public},
    x509::X509,
};
use std::{path::Path, sync::Arc, time::Duration};
use worker::Login;

pub use generate::{KeyKind, KeyPurpose, NewKey};
pub use initialise::{Erase, NewToken, TokenInfo, initialise, tokens};
pub use library::{MODULE_ENVIRONMENT, find as find_library};
pub(crate) use module::Module;
pub use objects::TokenObject;
pub use pending::Pending;
pub use sign::Hash;
pub(crate) use sign::Raw;

/// How long an ordinary operation may take. A discrete TPM signs in a tenth of a second.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long making a key may take: some TPMs need more than a minute for RSA 3072.
const GENERATE: Duration = Duration::from_secs(300);

/// One token, with what is needed to log in. It logs in at the first operation, and again when it was away.
#[derive(Debug, Clone)]
pub struct Token {
    module: Module,
    login: Arc<Login>,
}

impl Token {
    /// Loads the library of a `pkcs11:` URI and finds its PIN. The token itself is asked at the first operation.
    ///
    /// `library` is used when the URI names none.
    pub fn open(uri: &KeyUri, pins: &PinSources, library: Option<&Path>) -> Result<Self, KeyError> {
        let attributes = uri.token().ok_or_else(|| KeyError::Kind {
            uri: uri.to_string(),
            expected: "a key in a token (pkcs11:)",
        })?;
        for warning in uri.warnings() {
            log::warn!(key:% = uri; "{warning}");
        }
        let pin = pins.find(uri)?;
        let module = Module::open(&library::find(attributes, library)?)?;
        let login = Login {
            uri: attributes.clone(),
            pin,
            places: pins.places(),
        };
        Ok(Self {
            module,
            login: Arc::new(login),
        })
    }

    /// Which library, for messages.
    pub fn library(&self) -> &Path {
        &self.module.path
    }

    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    pub(crate) fn pin(&self) -> Option<&Pin> {
        self.login.pin.as_ref()
    }

    /// Every key and certificate in the token.
    pub fn objects(&self) -> Pending<Vec<TokenObject>> {
        let login = self.login.clone();
        self.module.ask("listing objects", LIMIT, move |worker| {
            worker.with(&login, "listing objects", objects::all)
        })
    }

    /// Makes a key pair in the token: private, sensitive, never extractable. Returns the URI that names it.
    pub fn generate(&self, key: NewKey) -> Pending<KeyUri> {
        let login = self.login.clone();
        self.module.ask("making a key", GENERATE, move |worker| {
            let id = generate::new_id()?;
            worker.with(&login, "making a key", |work| {
                generate::generate(work, &login.uri, &key, &id)
            })
        })
    }

    /// The private key that `uri` names, exactly one, with its public half.
    pub fn find(&self, uri: &KeyUri) -> Pending<TokenKey> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("finding a key", LIMIT, move |worker| {
            worker.with(&login, "finding a key", |work| {
                let found = objects::private_key(work, &uri)?;
                objects::describe_key(work, &login.uri, &found)
            })
        })
    }

    /// Signs a digest. EC: the DER form of (r, s); RSA: PKCS#1 v1.5.
    pub fn sign(&self, uri: &KeyUri, hash: Hash, digest: Vec<u8>) -> Pending<Vec<u8>> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("signing", LIMIT, move |worker| {
            worker.with(&login, "signing", |work| {
                let key = objects::private_key(work, &uri)?;
                sign::sign(work, &key, hash, &digest)
            })
        })
    }

    /// Signs what OpenSSL hands to a key.
    pub(crate) fn sign_raw(&self, uri: &KeyUri, how: Raw, data: Vec<u8>) -> Pending<Vec<u8>> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("signing", LIMIT, move |worker| {
            worker.with(&login, "signing", |work| {
                let key = objects::private_key(work, &uri)?;
                sign::raw(work, &key, how, &data)
            })
        })
    }

    /// Decrypts what was encrypted to a key made for that (RSA-OAEP).
    pub(crate) fn decrypt(
        &self,
        uri: &KeyUri,
        oaep: crate::seal::Oaep,
        wrapped: Vec<u8>,
    ) -> Pending<zeroize::Zeroizing<Vec<u8>>> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("decrypting", LIMIT, move |worker| {
            worker.with(&login, "decrypting", |work| {
                let key = objects::private_key(work, &uri)?;
                sign::decrypt(work, &key, oaep, &wrapped)
            })
        })
    }

    /// Whether the token can do RSA-OAEP with SHA-256 (tpm2-pkcs11 can, SoftHSM cannot).
    pub(crate) fn oaep(&self, uri: &KeyUri, public: PKey<Public>) -> Pending<crate::seal::Oaep> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("trying to decrypt", LIMIT, move |worker| {
            worker.with(&login, "trying to decrypt", |work| {
                let key = objects::private_key(work, &uri)?;
                sign::oaep(work, &key, &public)
            })
        })
    }

    /// Stores a certificate beside its key, after checking that it is for that key. An older one of the key is replaced.
    pub fn import_certificate(&self, uri: &KeyUri, certificate: X509) -> Pending<()> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module
            .ask("storing a certificate", LIMIT, move |worker| {
                worker.with(&login, "storing a certificate", |work| {
                    certificates::import(work, &login.uri, &uri, &certificate)
                })
            })
    }

    /// The certificate that `uri` names by label or id. Of several, the one that ends last.
    pub fn certificate(&self, uri: &KeyUri) -> Pending<X509> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module
            .ask("reading a certificate", LIMIT, move |worker| {
                worker.with(&login, "reading a certificate", |work| {
                    certificates::read(work, &uri)
                })
            })
    }

    /// Deletes a key: private half, public half, certificate. That nothing is there is success.
    pub fn delete(&self, uri: &KeyUri) -> Pending<usize> {
        let login = self.login.clone();
        let uri = uri.token().cloned().unwrap_or_default();
        self.module.ask("deleting a key", LIMIT, move |worker| {
            worker.with(&login, "deleting a key", |work| objects::delete(work, &uri))
        })
    }

    /// Closes the session. The next operation logs in again.
    pub fn close(&self) -> Pending<()> {
        let login = self.login.clone();
        self.module.ask("logging out", LIMIT, move |worker| {
            worker.log_out(&login.wanted());
            Ok(())
        })
    }
}

/// A private key in a token: what may be known of it.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// The full name: token, serial, label, id. It has no PIN.
    pub uri: KeyUri,
    /// Its public half.
    pub public: PKey<Public>,
    /// CKA_SENSITIVE and not CKA_EXTRACTABLE, as the token tells it.
    pub confined: bool,
}

/// The token's own attributes in a URI.
fn token_uri(info: &cryptoki::slot::TokenInfo) -> TokenUri {
    let given = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    TokenUri {
        token: given(info.label()),
        serial: given(info.serial_number()),
        ..TokenUri::default()
    }
}

/// The token's own attributes, with what the given URI says of the library and the PIN, so that it can be stored.
fn full_uri(work: &worker::Work<'_>, given: &TokenUri) -> Result<TokenUri, faults::Fault> {
    let info = work.library.get_token_info(work.slot)?;
    Ok(TokenUri {
        module_path: given.module_path.clone(),
        module_name: given.module_name.clone(),
        pin: given.pin.clone(),
        ..token_uri(&info)
    })
}

/// A PIN in the form that the login call takes, wiped after use.
fn secret(pin: &Pin) -> cryptoki::types::AuthPin {
    pin.expose().to_owned().into()
}
