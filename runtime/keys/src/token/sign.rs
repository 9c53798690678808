//! Signing, and decrypting what was sealed to a key.

use super::{faults::Fault, worker::Work};
use crate::seal::Oaep;
use cryptoki::{
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, AttributeType, KeyType, ObjectHandle},
};
use openssl::{
    bn::BigNum,
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    pkey::{PKey, Public},
};
use zeroize::Zeroizing;

/// Hashes that are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    /// OpenSSL's name of it.
    pub fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    /// DER of DigestInfo up to the digest (RFC 8017, section 9.2, note 1).
    fn digest_info(self) -> [u8; 19] {
        let (whole, algorithm, length) = match self {
            Self::Sha256 => (0x31, 1, 0x20),
            Self::Sha384 => (0x41, 2, 0x30),
            Self::Sha512 => (0x51, 3, 0x40),
        };
        [
            0x30, whole, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            algorithm, 0x05, 0x00, 0x04, length,
        ]
    }
}

pub(super) fn sign(
    work: &Work<'_>,
    key: &ObjectHandle,
    hash: Hash,
    digest: &[u8],
) -> Result<Vec<u8>, Fault> {
    let kind = work
        .session
        .get_attributes(*key, &[AttributeType::KeyType])?;
    if kind.contains(&Attribute::KeyType(KeyType::RSA)) {
        let mut info = hash.digest_info().to_vec();
        info.extend_from_slice(digest);
        return Ok(work.session.sign(&Mechanism::RsaPkcs, *key, &info)?);
    }
    ecdsa(work, key, digest)
}

/// What OpenSSL asks a key's method for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raw {
    /// ECDSA of a digest; the answer is the DER form of (r, s).
    Ecdsa,
    /// RSA with PKCS#1 v1.5 padding around the block.
    Pkcs1,
    /// RSA of a block that is padded already (PSS).
    Unpadded,
}

pub(super) fn raw(
    work: &Work<'_>,
    key: &ObjectHandle,
    how: Raw,
    data: &[u8],
) -> Result<Vec<u8>, Fault> {
    let mechanism = match how {
        Raw::Ecdsa => return ecdsa(work, key, data),
        Raw::Pkcs1 => Mechanism::RsaPkcs,
        Raw::Unpadded => Mechanism::RsaX509,
    };
    Ok(work.session.sign(&mechanism, *key, data)?)
}

fn ecdsa(work: &Work<'_>, key: &ObjectHandle, digest: &[u8]) -> Result<Vec<u8>, Fault> {
    let plain = work.session.sign(&Mechanism::Ecdsa, *key, digest)?;
    let (r, s) = plain.split_at(plain.len() / 2);
    let signature =
        EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    Ok(signature.to_der()?)
}

fn parameters(oaep: Oaep) -> PkcsOaepParams<'static> {
    let (hash, mask) = match oaep {
        Oaep::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Oaep::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
    };
    PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty())
}

pub(super) fn decrypt(
    work: &Work<'_>,
    key: &ObjectHandle,
    oaep: Oaep,
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mechanism = Mechanism::RsaPkcsOaep(parameters(oaep));
    Ok(Zeroizing::new(
        work.session.decrypt(&mechanism, *key, wrapped)?,
    ))
}

/// Tries SHA-256, and takes SHA-1 where the token has no other. (OAEP does not rest on the hash being free of collisions.)
pub(super) fn oaep(
    work: &Work<'_>,
    key: &ObjectHandle,
    public: &PKey<Public>,
) -> Result<Oaep, Fault> {
    let probe = [7; 16];
    let wrapped = Oaep::Sha256.encrypt(public, &probe)?;
    match decrypt(work, key, Oaep::Sha256, &wrapped) {
        Ok(plain) if *plain == probe => Ok(Oaep::Sha256),
        Ok(_) => Ok(Oaep::Sha1),
        Err(Fault::Library(Error::Pkcs11(
            RvError::MechanismParamInvalid
            | RvError::MechanismInvalid
            | RvError::ArgumentsBad
            | RvError::EncryptedDataInvalid,
            _,
        ))) => Ok(Oaep::Sha1),
        Err(other) => Err(other),
    }
}
