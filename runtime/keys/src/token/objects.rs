//! Finding and describing objects.

use super::{
    TokenKey,
    faults::{self, Fault},
    worker::Work,
};
use crate::{KeyError, TokenUri, uri};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use openssl::{
    bn::BigNum,
    ec::{EcGroup, EcKey, EcPoint},
    nid::Nid,
    pkey::{PKey, Public},
    rsa::Rsa,
    x509::X509,
};

/// A key or certificate in a token, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenObject {
    /// What it is. `None`: a class that key URIs cannot name.
    pub class: Option<uri::ObjectClass>,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID.
    pub id: Vec<u8>,
    /// CKA_SENSITIVE, for private and secret keys.
    pub sensitive: Option<bool>,
    /// CKA_EXTRACTABLE, for private and secret keys.
    pub extractable: Option<bool>,
    /// CKA_LOCAL: made inside the token.
    pub made_inside: Option<bool>,
}

pub(super) const PRIVATE: ObjectClass = ObjectClass::PRIVATE_KEY;
/// How errors call it.
pub(super) const PRIVATE_KEY: &str = "private key";

fn class_of(class: ObjectClass) -> Option<uri::ObjectClass> {
    [
        (ObjectClass::PRIVATE_KEY, uri::ObjectClass::Private),
        (ObjectClass::PUBLIC_KEY, uri::ObjectClass::Public),
        (ObjectClass::CERTIFICATE, uri::ObjectClass::Certificate),
        (ObjectClass::SECRET_KEY, uri::ObjectClass::Secret),
        (ObjectClass::DATA, uri::ObjectClass::Data),
    ]
    .into_iter()
    .find(|(c, _)| *c == class)
    .map(|(_, ours)| ours)
}

pub(super) fn all(work: &Work<'_>) -> Result<Vec<TokenObject>, Fault> {
    let handles = work.session.find_objects(&[Attribute::Token(true)])?;
    handles.into_iter().map(|h| object(work, h)).collect()
}

fn object(work: &Work<'_>, handle: ObjectHandle) -> Result<TokenObject, Fault> {
    let mut object = TokenObject {
        class: None,
        label: String::new(),
        id: Vec::new(),
        sensitive: None,
        extractable: None,
        made_inside: None,
    };
    let wanted = [
        AttributeType::Class,
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Local,
    ];
    for attribute in work.session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::Class(class) => object.class = class_of(class),
            Attribute::Label(label) => object.label = String::from_utf8_lossy(&label).into_owned(),
            Attribute::Id(id) => object.id = id,
            Attribute::Sensitive(is) => object.sensitive = Some(is),
            Attribute::Extractable(is) => object.extractable = Some(is),
            Attribute::Local(is) => object.made_inside = Some(is),
            _ => {}
        }
    }
    Ok(object)
}

/// The attributes of a URI that choose an object in its token.
pub(super) fn template(uri: &TokenUri, class: ObjectClass) -> Vec<Attribute> {
    let mut template = vec![Attribute::Token(true), Attribute::Class(class)];
    if let Some(label) = &uri.object {
        template.push(Attribute::Label(label.clone().into_bytes()));
    }
    if let Some(id) = &uri.id {
        template.push(Attribute::Id(id.clone()));
    }
    template
}

/// Exactly one private key.
pub(super) fn private_key(work: &Work<'_>, uri: &TokenUri) -> Result<ObjectHandle, Fault> {
    let found = work.session.find_objects(&template(uri, PRIVATE))?;
    match found.as_slice() {
        [one] => {
            work.known.borrow_mut().insert(chosen(uri));
            Ok(*one)
        }
        [] => Err(absent(work, uri, PRIVATE_KEY, PRIVATE)?.into()),
        several => Err(KeyError::ManyObjects {
            what: PRIVATE_KEY,
            wanted: chosen(uri),
            token: work.token.into(),
            count: several.len(),
        }
        .into()),
    }
}

/// The error that names what is there instead.
pub(super) fn absent(
    work: &Work<'_>,
    uri: &TokenUri,
    what: &'static str,
    class: ObjectClass,
) -> Result<KeyError, Fault> {
    let mut found = Vec::new();
    let template = [Attribute::Token(true), Attribute::Class(class)];
    for handle in work.session.find_objects(&template)? {
        found.push(format!("\"{}\"", object(work, handle)?.label));
    }
    Ok(KeyError::NoObject {
        what,
        wanted: chosen(uri),
        token: work.token.into(),
        found: faults::list("is none", &found),
    })
}

pub(super) fn chosen(uri: &TokenUri) -> String {
    TokenUri {
        object: uri.object.clone(),
        id: uri.id.clone(),
        ..TokenUri::default()
    }
    .to_string()
}

/// CKA_ID of an object; empty when it has none.
pub(super) fn id_of(work: &Work<'_>, handle: ObjectHandle) -> Result<Vec<u8>, Fault> {
    Ok(object(work, handle)?.id)
}

/// What is known of a private key: its full name, its public half, whether it can leave.
pub(super) fn describe_key(
    work: &Work<'_>,
    login: &TokenUri,
    handle: &ObjectHandle,
) -> Result<TokenKey, Fault> {
    let key = object(work, *handle)?;
    let uri = TokenUri {
        object: Some(key.label.clone()).filter(|l| !l.is_empty()),
        id: Some(key.id.clone()).filter(|i| !i.is_empty()),
        class: Some(uri::ObjectClass::Private),
        ..super::full_uri(work, login)?
    };
    Ok(TokenKey {
        public: public_of(work, *handle, &key)?,
        confined: key.sensitive == Some(true) && key.extractable == Some(false),
        uri: uri.into(),
    })
}

/// The public half: from the public key object with the same id, the private key itself (RSA), or the certificate.
fn public_of(
    work: &Work<'_>,
    private: ObjectHandle,
    key: &TokenObject,
) -> Result<PKey<Public>, Fault> {
    let beside = |class| {
        let twin = TokenUri {
            id: Some(key.id.clone()).filter(|i| !i.is_empty()),
            object: Some(key.label.clone()).filter(|_| key.id.is_empty()),
            ..TokenUri::default()
        };
        work.session.find_objects(&template(&twin, class))
    };
    let twin = beside(ObjectClass::PUBLIC_KEY)?;
    for handle in twin.into_iter().chain([private]) {
        if let Some(public) = public_from(work, handle)? {
            return Ok(public);
        }
    }
    if let Some(handle) = beside(ObjectClass::CERTIFICATE)?.first() {
        return Ok(X509::from_der(&value(work, *handle)?)?.public_key()?);
    }
    Err(KeyError::NoObject {
        what: "public key",
        wanted: TokenUri {
            id: Some(key.id.clone()),
            ..TokenUri::default()
        }
        .to_string(),
        token: work.token.into(),
        found: "is only the private key".into(),
    }
    .into())
}

fn public_from(work: &Work<'_>, handle: ObjectHandle) -> Result<Option<PKey<Public>>, Fault> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let (mut kind, mut curve, mut point, mut modulus, mut exponent) =
        (None, None, None, None, None);
    for attribute in work.session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::KeyType(is) => kind = Some(is),
            Attribute::EcParams(der) => curve = Some(der),
            Attribute::EcPoint(der) => point = Some(der),
            Attribute::Modulus(n) => modulus = Some(n),
            Attribute::PublicExponent(e) => exponent = Some(e),
            _ => {}
        }
    }
    if kind == Some(KeyType::RSA) {
        let (Some(n), Some(e)) = (modulus, exponent) else {
            return Ok(None);
        };
        let rsa = Rsa::from_public_components(BigNum::from_slice(&n)?, BigNum::from_slice(&e)?)?;
        return Ok(Some(PKey::from_rsa(rsa)?));
    }
    let (Some(curve), Some(point)) = (curve, point) else {
        return Ok(None);
    };
    let nid = super::KeyKind::curves()
        .into_iter()
        .find(|c| c.1 == curve.as_slice());
    let Some((nid, _)) = nid else {
        return Ok(None);
    };
    Ok(Some(ec_public(nid, &point)?))
}

/// CKA_EC_POINT is a DER OCTET STRING around the point; some libraries leave the wrapping out.
fn ec_public(nid: Nid, point: &[u8]) -> Result<PKey<Public>, openssl::error::ErrorStack> {
    let group = EcGroup::from_curve_name(nid)?;
    let mut context = openssl::bn::BigNumContext::new()?;
    let bare = match point {
        [0x04, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        [0x04, 0x81, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        other => other,
    };
    let point = EcPoint::from_bytes(&group, bare, &mut context)?;
    PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)
}

/// CKA_VALUE of a certificate.
pub(super) fn value(work: &Work<'_>, handle: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let attributes = work
        .session
        .get_attributes(handle, &[AttributeType::Value])?;
    let value = attributes.into_iter().find_map(|a| match a {
        Attribute::Value(value) => Some(value),
        _ => None,
    });
    Ok(value.unwrap_or_default())
}

/// Deletes the key a URI names, with its public half and certificate, which are those with the same id.
pub(super) fn delete(work: &Work<'_>, uri: &TokenUri) -> Result<usize, Fault> {
    if uri.object.is_none() && uri.id.is_none() {
        // An empty template would match everything in the token.
        return Err(absent(work, uri, PRIVATE_KEY, PRIVATE)?.into());
    }
    work.known.borrow_mut().clear();
    let mut ids: Vec<Option<Vec<u8>>> = vec![None];
    for handle in work.session.find_objects(&template(uri, PRIVATE))? {
        ids.push(Some(id_of(work, handle)?).filter(|id| !id.is_empty()));
    }
    let mut deleted = 0;
    // The private key last: an interrupted deletion can be repeated.
    for class in [ObjectClass::CERTIFICATE, ObjectClass::PUBLIC_KEY, PRIVATE] {
        let mut handles = Vec::new();
        for id in &ids {
            let template = match id {
                None => template(uri, class),
                Some(id) => vec![
                    Attribute::Token(true),
                    Attribute::Class(class),
                    Attribute::Id(id.clone()),
                ],
            };
            for handle in work.session.find_objects(&template)? {
                if !handles.contains(&handle) {
                    handles.push(handle);
                }
            }
        }
        for handle in handles {
            work.session.destroy_object(handle)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}
