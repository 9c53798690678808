//! Password hashes: scrypt in PHC form for our own, and mosquitto's PBKDF2 (`$7$…`), so that its password files can be used.
//!
//! ```text
//! $scrypt$ln=14,r=8,p=5$<salt, base64 without padding>$<32 bytes, base64 without padding>
//! $7$<iterations>$<salt, base64>$<64 bytes of PBKDF2-HMAC-SHA512, base64>
//! ```

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use openssl::{error::ErrorStack, hash::MessageDigest, memcmp, pkcs5, rand::rand_bytes};
use std::fmt;
use zeroize::Zeroizing;

/// 16 MiB of memory, five times over: as strong as one pass over 128 MiB, which a small gateway may not have.
const COST: Scrypt = Scrypt { ln: 14, r: 8, p: 5 };
/// Of memory; a hash that wants more is refused when it is read.
const MOST_MEMORY: u64 = 256 << 20;
const MOST_ITERATIONS: usize = 10_000_000;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Scrypt {
    ln: u8,
    r: u32,
    p: u32,
}

/// A password's hash, ready to be compared.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    function: Function,
    salt: Vec<u8>,
    key: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    Scrypt(Scrypt),
    Pbkdf2 { iterations: usize },
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

impl Hash {
    /// A hash of a new password, with fresh salt.
    pub fn new(password: &[u8]) -> Result<Self, ErrorStack> {
        let mut salt = vec![0; 16];
        rand_bytes(&mut salt)?;
        let mut hash = Self {
            function: Function::Scrypt(COST),
            salt,
            key: vec![0; 32],
        };
        hash.key = hash.derive(password)?.to_vec();
        Ok(hash)
    }

    /// A hash that no password has, as costly to compare as any: for names that do not exist.
    pub fn nobody() -> Self {
        Self {
            function: Function::Scrypt(COST),
            salt: vec![0; 16],
            key: Vec::new(),
        }
    }

    /// Reads either form; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a password hash: make one with 'greengrass broker hash-password', or take one of mosquitto_passwd ($7$…)";
        let mut parts = text.split('$');
        if parts.next() != Some("") {
            return Err(FORM);
        }
        let kind = parts.next();
        let (Some(cost), Some(salt), Some(key), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FORM);
        };
        let function = match kind {
            Some("scrypt") => Function::Scrypt(Scrypt::parse(cost)?),
            Some("7") => match cost.parse() {
                Ok(iterations @ 1..=MOST_ITERATIONS) => Function::Pbkdf2 { iterations },
                _ => return Err("a password hash with a sane number of iterations"),
            },
            _ => return Err(FORM),
        };
        let (Ok(salt), Ok(key)) = (BASE64.decode(salt), BASE64.decode(key)) else {
            return Err("a password hash whose salt and key are base64");
        };
        if salt.is_empty() || key.len() < 16 {
            return Err("a password hash with salt and a key of 16 bytes or more");
        }
        Ok(Self {
            function,
            salt,
            key,
        })
    }

    /// Whether this is the password. Takes its time and memory; not for the executor's threads.
    pub fn matches(&self, password: &[u8]) -> bool {
        let Ok(derived) = self.derive(password) else {
            return false;
        };
        derived.len() == self.key.len() && memcmp::eq(&derived, &self.key)
    }

    fn derive(&self, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
        let mut key = Zeroizing::new(vec![0; self.key.len().max(16)]);
        match self.function {
            Function::Scrypt(Scrypt { ln, r, p }) => pkcs5::scrypt(
                password,
                &self.salt,
                1 << ln,
                r.into(),
                p.into(),
                MOST_MEMORY + (1 << 20),
                &mut key,
            )?,
            Function::Pbkdf2 { iterations } => {
                let digest = MessageDigest::sha512();
                pkcs5::pbkdf2_hmac(password, &self.salt, iterations, digest, &mut key)?;
            }
        }
        Ok(key)
    }
}

impl Scrypt {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "an scrypt hash with ln=…,r=…,p=…";
        let mut parts = text.split(',');
        let mut next = |name: &str| {
            let part = parts.next()?.strip_prefix(name)?.strip_prefix('=')?;
            part.parse::<u32>().ok()
        };
        let (Some(ln), Some(r), Some(p)) = (next("ln"), next("r"), next("p")) else {
            return Err(FORM);
        };
        if !(1..=24).contains(&ln) || !(1..=64).contains(&r) || !(1..=64).contains(&p) {
            return Err("an scrypt hash with ln up to 24, r and p up to 64");
        }
        if (u64::from(r) * 128) << ln > MOST_MEMORY {
            return Err("an scrypt hash that takes 256 MiB at most");
        }
        let ln = u8::try_from(ln).map_err(|_| FORM)?;
        Ok(Self { ln, r, p })
    }
}

/// As it is written into the configuration.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function {
            Function::Scrypt(Scrypt { ln, r, p }) => write!(f, "$scrypt$ln={ln},r={r},p={p}")?,
            Function::Pbkdf2 { iterations } => write!(f, "$7${iterations}")?,
        }
        write!(
            f,
            "${}${}",
            BASE64.encode(&self.salt),
            BASE64.encode(&self.key)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hash_is_of_its_password_and_no_other_and_survives_being_written() {
        let hash = Hash::new(b"secret").unwrap();
        let read = Hash::parse(&hash.to_string()).unwrap();
        assert!(read.matches(b"secret"));
        assert!(!read.matches(b"Secret"));
        assert!(!read.matches(b""));
        assert_ne!(Hash::new(b"secret").unwrap(), hash);
    }

    #[test]
    fn hashes_of_mosquitto_passwd_are_understood() {
        // mosquitto_passwd -b of version 2.0.11, password "secret".
        let hash = "$7$101$Aq+foGvpdOqqIWe/$NrRnjW/6UoaYiO4Mw1lpG41Dwva0JmEHNX127UsskroBjsLTy3dVtvijLRLWJck7G0HPhUJP17bacB5p0qjPJg==";
        let hash = Hash::parse(hash).unwrap();
        assert!(hash.matches(b"secret"));
        assert!(!hash.matches(b"secret "));
    }

    #[test]
    fn nobody_has_no_password() {
        assert!(!Hash::nobody().matches(b""));
        assert!(!Hash::nobody().matches(b"secret"));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        for text in [
            "secret",
            "",
            "$scrypt$ln=14,r=8,p=5$c2FsdA",
            "$scrypt$ln=14,r=8$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$scrypt$ln=24,r=8,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$scrypt$ln=14,r=8,p=5$c2FsdHNhbHQ$AAAA",
            "$scrypt$ln=14,r=8,p=5$c2FsdHNhbHQ$!!!",
            "$7$0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$6$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(Hash::parse(text).is_err(), "{text}");
        }
    }
}
