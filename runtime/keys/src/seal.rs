//! Sealing secrets at rest to a key that never leaves its token.
//!
//! Each secret has a data key of its own (AES-256-GCM), which is encrypted to an RSA key by RSA-OAEP. Sealing needs the
//! public half only; unsealing asks the token. Both SoftHSM and tpm2-pkcs11 can do that. Where no token is, the RSA
//! key is a file.
//!
//! ```text
//! "GGS1" | hash: 1 = SHA-256, 2 = SHA-1 | key: first 8 bytes of SHA-256 of its public half (SubjectPublicKeyInfo)
//!        | length of the wrapped data key: u16, big endian | wrapped data key
//!        | nonce: 12 bytes | encrypted secret | tag: 16 bytes
//! ```
//! Everything before the nonce, and the context that the caller gives, are authenticated with the secret.

use crate::{KeyError, KeyKind, KeyPurpose, KeyUri, LoadOptions, NewKey, Token};
use openssl::{
    encrypt::{Decrypter, Encrypter},
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{Id, PKey, PKeyRef, Private, Public},
    rsa::Padding,
    symm::Cipher,
};
use std::fmt;
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"GGS1";
const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// The hash in RSA-OAEP. SoftHSM 2.6 knows SHA-1 only; OAEP does not rest on the hash being free of collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oaep {
    /// SHA-256, and MGF1 with it.
    Sha256,
    /// SHA-1, and MGF1 with it.
    Sha1,
}

impl Oaep {
    fn hash(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha1 => MessageDigest::sha1(),
        }
    }

    pub(crate) fn encrypt(
        self,
        public: &PKeyRef<Public>,
        plain: &[u8],
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut encrypter = Encrypter::new(public)?;
        encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        encrypter.set_rsa_oaep_md(self.hash())?;
        encrypter.set_rsa_mgf1_md(self.hash())?;
        let mut wrapped = vec![0; encrypter.encrypt_len(plain)?];
        let length = encrypter.encrypt(plain, &mut wrapped)?;
        wrapped.truncate(length);
        Ok(wrapped)
    }

    fn decrypt(
        self,
        private: &PKeyRef<Private>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
        let mut decrypter = Decrypter::new(private)?;
        decrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        decrypter.set_rsa_oaep_md(self.hash())?;
        decrypter.set_rsa_mgf1_md(self.hash())?;
        let mut plain = Zeroizing::new(vec![0; decrypter.decrypt_len(wrapped)?]);
        let length = decrypter.decrypt(wrapped, &mut plain)?;
        plain.truncate(length);
        Ok(plain)
    }
}

/// Seals and unseals. Cheap to use from several threads; unsealing waits for the token.
pub struct Sealer {
    public: PKey<Public>,
    identity: [u8; 8],
    oaep: Oaep,
    key: Place,
}

enum Place {
    Token { token: Token, uri: KeyUri },
    File(PKey<Private>),
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.key {
            Place::Token { uri, .. } => uri.to_string(),
            Place::File(_) => "a file".into(),
        };
        write!(f, "Sealer({place})")
    }
}

impl Sealer {
    /// Opens the RSA key that `uri` names. May take seconds: not for async threads.
    pub fn open(uri: &KeyUri, options: &LoadOptions) -> Result<Self, KeyError> {
        if let KeyUri::File(_) = uri {
            let private = crate::load(uri, options)?;
            let der = private.public_key_to_der().map_err(failed)?;
            let public = PKey::public_key_from_der(&der).map_err(failed)?;
            return Self::new(public, Oaep::Sha256, Place::File(private), uri);
        }
        let token = Token::open(uri, &options.pins, options.library.as_deref())?;
        let key = token.find(uri).wait()?;
        let oaep = match key.public.id() {
            Id::RSA => token.oaep(&key.uri, key.public.clone()).wait()?,
            _ => Oaep::Sha256,
        };
        let place = Place::Token {
            token,
            uri: key.uri.clone(),
        };
        Self::new(key.public, oaep, place, uri)
    }

    /// Opens the key, and makes it (RSA 2048, for nothing but this) when it is not there.
    pub fn open_or_make(uri: &KeyUri, options: &LoadOptions) -> Result<Self, KeyError> {
        match Self::open(uri, options) {
            Err(KeyError::NoObject { .. }) => {
                let token = Token::open(uri, &options.pins, options.library.as_deref())?;
                let label = uri.token().and_then(|t| t.object.clone());
                let label = label.ok_or_else(|| KeyError::Kind {
                    uri: uri.to_string(),
                    expected: "a key with a label (object=), which a new key needs",
                })?;
                let key = NewKey::new(label)
                    .kind(KeyKind::Rsa2048)
                    .purpose(KeyPurpose::Decrypt);
                let made = token.generate(key).wait()?;
                Self::open(&made, options)
            }
            Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                crate::generate(uri, KeyKind::Rsa2048, options)?;
                Self::open(uri, options)
            }
            other => other,
        }
    }

    fn new(public: PKey<Public>, oaep: Oaep, key: Place, uri: &KeyUri) -> Result<Self, KeyError> {
        if public.id() != Id::RSA {
            return Err(KeyError::Kind {
                uri: uri.to_string(),
                expected: "an RSA key, which sealing needs",
            });
        }
        let der = public.public_key_to_der().map_err(failed)?;
        let hash = openssl::sha::sha256(&der);
        let mut identity = [0; 8];
        identity.copy_from_slice(&hash[..8]);
        Ok(Self {
            public,
            identity,
            oaep,
            key,
        })
    }

    /// Seals a secret. `context` says what it is (its name, say): it must be the same for unsealing, so that sealed
    /// secrets cannot be exchanged for each other.
    pub fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut key = Zeroizing::new([0; KEY]);
        openssl::rand::rand_bytes(key.as_mut()).map_err(failed)?;
        let mut nonce = [0; NONCE];
        openssl::rand::rand_bytes(&mut nonce).map_err(failed)?;
        let wrapped = self
            .oaep
            .encrypt(&self.public, key.as_ref())
            .map_err(failed)?;
        let length =
            u16::try_from(wrapped.len()).map_err(|_| KeyError::Sealed("has too large a key"))?;

        let mut sealed = MAGIC.to_vec();
        sealed.push(match self.oaep {
            Oaep::Sha256 => 1,
            Oaep::Sha1 => 2,
        });
        sealed.extend(self.identity);
        sealed.extend(length.to_be_bytes());
        sealed.extend(wrapped);
        let mut tag = [0; TAG];
        let cipher = Cipher::aes_256_gcm();
        let authenticated = authenticated(&sealed, context);
        let encrypted = openssl::symm::encrypt_aead(
            cipher,
            key.as_ref(),
            Some(&nonce),
            &authenticated,
            secret,
            &mut tag,
        )
        .map_err(failed)?;
        sealed.extend(nonce);
        sealed.extend(encrypted);
        sealed.extend(tag);
        Ok(sealed)
    }

    /// Opens what was sealed. With a token it waits for it: not for async threads.
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let parts = Parts::of(sealed)?;
        if parts.identity != self.identity {
            return Err(KeyError::Sealed("was sealed to another key than this one"));
        }
        let key = match &self.key {
            Place::Token { token, uri } => token
                .decrypt(uri, parts.oaep, parts.wrapped.to_vec())
                .wait()?,
            Place::File(private) => parts
                .oaep
                .decrypt(private, parts.wrapped)
                .map_err(|_| KeyError::Sealed("is damaged: its data key does not open"))?,
        };
        if key.len() != KEY {
            return Err(KeyError::Sealed(
                "is damaged: its data key has the wrong length",
            ));
        }
        let cipher = Cipher::aes_256_gcm();
        let authenticated = authenticated(parts.head, context);
        openssl::symm::decrypt_aead(
            cipher,
            &key,
            Some(parts.nonce),
            &authenticated,
            parts.encrypted,
            parts.tag,
        )
        .map(Zeroizing::new)
        .map_err(|_| KeyError::Sealed("is damaged, or is another secret than the one asked for"))
    }
}

/// The length of the head keeps head and context apart.
fn authenticated(head: &[u8], context: &[u8]) -> Vec<u8> {
    let mut all = head.to_vec();
    all.extend_from_slice(context);
    all
}

struct Parts<'a> {
    head: &'a [u8],
    oaep: Oaep,
    identity: &'a [u8],
    wrapped: &'a [u8],
    nonce: &'a [u8],
    encrypted: &'a [u8],
    tag: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(sealed: &'a [u8]) -> Result<Self, KeyError> {
        let short = || KeyError::Sealed("is cut off");
        let (magic, rest) = sealed.split_at_checked(MAGIC.len()).ok_or_else(short)?;
        if magic != MAGIC {
            return Err(KeyError::Sealed("is not in a form this program knows"));
        }
        let (hash, rest) = rest.split_first().ok_or_else(short)?;
        let oaep = match hash {
            1 => Oaep::Sha256,
            2 => Oaep::Sha1,
            _ => return Err(KeyError::Sealed("is not in a form this program knows")),
        };
        let (identity, rest) = rest.split_at_checked(8).ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
        let (wrapped, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or_else(short)?;
        let head = &sealed[..sealed.len() - rest.len()];
        let (nonce, rest) = rest.split_at_checked(NONCE).ok_or_else(short)?;
        let (encrypted, tag) = rest
            .len()
            .checked_sub(TAG)
            .and_then(|at| rest.split_at_checked(at))
            .ok_or_else(short)?;
        Ok(Self {
            head,
            oaep,
            identity,
            wrapped,
            nonce,
            encrypted,
            tag,
        })
    }
}

fn failed(source: ErrorStack) -> KeyError {
    KeyError::OpenSsl {
        what: "sealing a secret",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let folder = tempfile::tempdir().unwrap();
        let uri = KeyUri::File(folder.path().join("seal.pem"));
        let sealer = Sealer::open_or_make(&uri, &LoadOptions::default()).unwrap();
        (folder, sealer)
    }

    #[test]
    fn a_secret_comes_back_with_its_context_and_not_with_another() {
        let (_folder, sealer) = sealer();
        let sealed = sealer.seal(b"password", b"very secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(
            *sealer.unseal(b"password", &sealed).unwrap(),
            b"very secret"
        );
        assert!(sealer.unseal(b"other", &sealed).is_err());
        assert_ne!(sealed, sealer.seal(b"password", b"very secret").unwrap());
    }

    #[test]
    fn another_key_says_so() {
        let (_a, one) = sealer();
        let (_b, other) = sealer();
        let fault = other
            .unseal(b"", &one.seal(b"", b"x").unwrap())
            .unwrap_err();
        assert!(fault.to_string().contains("another key"), "{fault}");
    }

    #[test]
    fn the_key_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, _sealer) = sealer();
        let mode = std::fs::metadata(folder.path().join("seal.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn no_changed_byte_and_no_cut_passes() {
        let (_folder, sealer) = sealer();
        let sealed = sealer.seal(b"c", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.unseal(b"c", &changed).is_err(), "byte {at}");
            assert!(sealer.unseal(b"c", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            if magic && bytes.len() > 5 {
                bytes[..5].copy_from_slice(b"GGS1\x01");
            }
            let _ = Parts::of(&bytes);
        }
    }
}
