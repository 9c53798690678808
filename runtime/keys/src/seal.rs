//! Sealing secrets at rest with a key that never leaves its token.

use openssl::{
    encrypt::Encrypter,
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKeyRef, Public},
    rsa::Padding,
};

/// The hash in RSA-OAEP. SoftHSM 2.6 knows SHA-1 only, for which OAEP's security does not rest on collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oaep {
    /// SHA-256, and MGF1 with it.
    Sha256,
    /// SHA-1, and MGF1 with it.
    Sha1,
}

impl Oaep {
    pub(crate) fn encrypt(
        self,
        public: &PKeyRef<Public>,
        plain: &[u8],
    ) -> Result<Vec<u8>, ErrorStack> {
        let hash = match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha1 => MessageDigest::sha1(),
        };
        let mut encrypter = Encrypter::new(public)?;
        encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        encrypter.set_rsa_oaep_md(hash)?;
        encrypter.set_rsa_mgf1_md(hash)?;
        let mut wrapped = vec![0; encrypter.encrypt_len(plain)?];
        let length = encrypter.encrypt(plain, &mut wrapped)?;
        wrapped.truncate(length);
        Ok(wrapped)
    }
}
