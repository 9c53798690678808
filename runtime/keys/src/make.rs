//! Making a key where its URI says.

use crate::{KeyError, KeyKind, KeyUri, LoadOptions, NewKey, Token, certificate};
use openssl::{
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    pkey::{PKey, Private},
    rsa::Rsa,
};

/// Makes a private key for TLS in a file (mode 0600) or a token, and returns its full name. A key that is already
/// there is an error. May take minutes with a TPM: not for async threads.
pub fn generate(uri: &KeyUri, kind: KeyKind, options: &LoadOptions) -> Result<KeyUri, KeyError> {
    match uri {
        KeyUri::File(path) => {
            if path.symlink_metadata().is_ok() {
                let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
                return Err(KeyError::file(path, there));
            }
            let key = in_memory(kind).map_err(KeyError::openssl("making a key"))?;
            certificate::store_key(path, &key)?;
            Ok(uri.clone())
        }
        KeyUri::Token(attributes) => {
            let label = attributes.object.clone().ok_or_else(|| KeyError::Kind {
                uri: uri.to_string(),
                expected: "a key with a label (object=), which a new key needs",
            })?;
            let token = Token::open(uri, &options.pins, options.library.as_deref())?;
            token.generate(NewKey::new(label).kind(kind)).wait()
        }
    }
}

/// Deletes a key, in its file or its token. That it is not there is success. Not for async threads.
pub fn remove(uri: &KeyUri, options: &LoadOptions) -> Result<(), KeyError> {
    match uri {
        KeyUri::File(path) => {
            store::file::remove_durable(path).map_err(|e| KeyError::file(path, e))
        }
        KeyUri::Token(_) => {
            let token = Token::open(uri, &options.pins, options.library.as_deref())?;
            token.delete(uri).wait().map(drop)
        }
    }
}

fn in_memory(kind: KeyKind) -> Result<PKey<Private>, ErrorStack> {
    match (kind.curve(), kind.modulus()) {
        (Some(curve), _) => PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(curve)?)?),
        (None, bits) => {
            let bits = bits.and_then(|b| u32::try_from(b).ok()).unwrap_or(2048);
            PKey::from_rsa(Rsa::generate(bits)?)
        }
    }
}
