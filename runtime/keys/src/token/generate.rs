//! Making key pairs that cannot leave their token.

use super::{faults::Fault, objects, worker::Work};
use crate::{KeyError, KeyUri, TokenUri, uri::ObjectClass as Class};
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    types::Ulong,
};
use openssl::nid::Nid;

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// Elliptic curve P-256 (prime256v1): what every TPM can, and the fastest.
    #[default]
    EcP256,
    /// Elliptic curve P-384.
    EcP384,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
}

impl KeyKind {
    /// CKA_EC_PARAMS of the curves: the DER form of their object identifiers.
    pub(super) fn curves() -> [(Nid, &'static [u8]); 2] {
        [
            (
                Nid::X9_62_PRIME256V1,
                &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            ),
            (Nid::SECP384R1, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]),
        ]
    }

    /// The curve, for elliptic ones.
    pub fn curve(self) -> Option<Nid> {
        match self {
            Self::EcP256 => Some(Nid::X9_62_PRIME256V1),
            Self::EcP384 => Some(Nid::SECP384R1),
            Self::Rsa2048 | Self::Rsa3072 => None,
        }
    }

    /// Bits of the modulus, for RSA.
    pub fn modulus(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::EcP256 | Self::EcP384 => None,
        }
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyPurpose {
    /// TLS and certificate requests.
    #[default]
    Sign,
    /// Sealing of secrets (RSA only).
    Decrypt,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// CKA_LABEL: `object=` of its URI. No other private key of the token has it.
    pub label: String,
    /// Curve or size.
    pub kind: KeyKind,
    /// What it is for.
    pub purpose: KeyPurpose,
}

impl NewKey {
    /// A P-256 key for TLS.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            kind: KeyKind::default(),
            purpose: KeyPurpose::default(),
        }
    }

    /// The same of another kind.
    #[must_use]
    pub fn kind(mut self, kind: KeyKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same for another purpose.
    #[must_use]
    pub fn purpose(mut self, purpose: KeyPurpose) -> Self {
        self.purpose = purpose;
        self
    }
}

/// A new CKA_ID. The halves of a pair and its certificate share it.
pub(super) fn new_id() -> Result<Vec<u8>, KeyError> {
    let mut id = vec![0; 16];
    openssl::rand::rand_bytes(&mut id).map_err(KeyError::openssl("making an identifier"))?;
    Ok(id)
}

pub(super) fn generate(
    work: &Work<'_>,
    login: &TokenUri,
    key: &NewKey,
    id: &[u8],
) -> Result<KeyUri, Fault> {
    let name = TokenUri {
        object: Some(key.label.clone()),
        id: Some(id.to_vec()),
        class: Some(Class::Private),
        ..super::full_uri(work, login)?
    };
    let label = Attribute::Label(key.label.clone().into_bytes());
    let private = [
        Attribute::Token(true),
        Attribute::Class(objects::PRIVATE),
        label.clone(),
    ];
    if let Some(there) = work.session.find_objects(&private)?.first() {
        if objects::id_of(work, *there)? == id {
            // Made just before the token went away: this is the second attempt.
            return Ok(name.into());
        }
        return Err(KeyError::Exists {
            token: work.token.into(),
            label: key.label.clone(),
        }
        .into());
    }
    let decrypt = key.purpose == KeyPurpose::Decrypt;
    let mut private = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(!decrypt),
        label.clone(),
        Attribute::Id(id.to_vec()),
    ];
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        label,
        Attribute::Id(id.to_vec()),
    ];
    let mechanism = match key.kind.modulus() {
        Some(bits) => {
            if decrypt {
                private.push(Attribute::Decrypt(true));
            }
            // A key that signs is not told not to decrypt: a TPM has no raw signature, and tpm2-pkcs11 makes one, which
            // PSS needs, by decrypting. What the public half may do is left to the token: tpm2-pkcs11 refuses what differs from its own mind.
            public.extend([
                Attribute::ModulusBits(Ulong::try_from(bits)?),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]);
            Mechanism::RsaPkcsKeyPairGen
        }
        None => {
            let curve = KeyKind::curves()
                .into_iter()
                .find(|c| Some(c.0) == key.kind.curve());
            let curve = curve.expect("a kind has a modulus or a curve").1;
            public.push(Attribute::EcParams(curve.to_vec()));
            Mechanism::EccKeyPairGen
        }
    };
    let (public, private) = work
        .session
        .generate_key_pair(&mechanism, &public, &private)?;
    if let Some(fault) = leak(work, private)? {
        work.session.destroy_object(public)?;
        work.session.destroy_object(private)?;
        return Err(KeyError::Leaky {
            token: work.token.into(),
            fault,
        }
        .into());
    }
    work.known.borrow_mut().insert(objects::chosen(&name));
    Ok(name.into())
}

/// What the token says of the key it made, which counts, not what was asked for.
fn leak(work: &Work<'_>, private: ObjectHandle) -> Result<Option<&'static str>, Fault> {
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Class,
    ];
    let (mut sensitive, mut extractable) = (false, true);
    for attribute in work.session.get_attributes(private, &wanted)? {
        match attribute {
            Attribute::Sensitive(is) => sensitive = is,
            Attribute::Extractable(is) => extractable = is,
            Attribute::Class(class) => debug_assert_eq!(class, ObjectClass::PRIVATE_KEY),
            _ => {}
        }
    }
    Ok(match (sensitive, extractable) {
        (true, false) => None,
        (false, _) => Some("not sensitive"),
        (true, true) => Some("extractable"),
    })
}
