//! Certificates beside their keys in a token.

use super::{faults::Fault, objects, worker::Work};
use crate::{KeyError, TokenUri, certificate};
use cryptoki::object::{Attribute, CertificateType, ObjectClass};
use openssl::x509::{X509, X509Ref};
use std::cmp::Ordering;

pub(super) fn import(
    work: &Work<'_>,
    login: &TokenUri,
    uri: &TokenUri,
    certificate: &X509Ref,
) -> Result<(), Fault> {
    let handle = objects::private_key(work, uri)?;
    let key = objects::describe_key(work, login, &handle)?;
    certificate::check(certificate, &key.public, &key.uri)?;
    let name = key.uri.token().cloned().unwrap_or_default();
    let older = older(work, &name)?;
    let der = certificate.to_der()?;
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Subject(certificate.subject_name().to_der()?),
        Attribute::Issuer(certificate.issuer_name().to_der()?),
        Attribute::SerialNumber(serial(certificate)?),
        Attribute::Value(der.clone()),
        Attribute::Label(name.object.unwrap_or_default().into_bytes()),
    ];
    if let Some(id) = name.id {
        template.push(Attribute::Id(id));
    }
    // The new one is in the token before the old one leaves it. One that a first attempt stored is not stored twice.
    let mut there = false;
    let mut obsolete = Vec::new();
    for handle in older {
        if !there && objects::value(work, handle)? == der {
            there = true;
        } else {
            obsolete.push(handle);
        }
    }
    if !there {
        work.session.create_object(&template)?;
    }
    for handle in obsolete {
        work.session.destroy_object(handle)?;
    }
    Ok(())
}

fn older(work: &Work<'_>, name: &TokenUri) -> Result<Vec<cryptoki::object::ObjectHandle>, Fault> {
    if name.id.is_none() && name.object.is_none() {
        return Ok(Vec::new());
    }
    let mine = TokenUri {
        id: name.id.clone(),
        // An id is enough, and survives a change of label.
        object: name.object.clone().filter(|_| name.id.is_none()),
        ..TokenUri::default()
    };
    Ok(work
        .session
        .find_objects(&objects::template(&mine, ObjectClass::CERTIFICATE))?)
}

/// CKA_SERIAL_NUMBER is the DER INTEGER.
fn serial(certificate: &X509Ref) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    let mut number = certificate.serial_number().to_bn()?.to_vec();
    if number.first().is_none_or(|b| b & 0x80 != 0) {
        number.insert(0, 0);
    }
    // At most 20 bytes (RFC 5280, 4.1.2.2); longer than 127 no OpenSSL makes.
    let length = u8::try_from(number.len()).unwrap_or(u8::MAX);
    let mut der = vec![0x02, length];
    der.extend(number);
    Ok(der)
}

pub(super) fn read(work: &Work<'_>, uri: &TokenUri) -> Result<X509, Fault> {
    let mut best: Option<X509> = None;
    for handle in work
        .session
        .find_objects(&objects::template(uri, ObjectClass::CERTIFICATE))?
    {
        let one = X509::from_der(&objects::value(work, handle)?)?;
        let later = match &best {
            Some(best) => one.not_after().compare(best.not_after())? == Ordering::Greater,
            None => true,
        };
        if later {
            best = Some(one);
        }
    }
    match best {
        Some(certificate) => Ok(certificate),
        None => {
            let missing: KeyError =
                objects::absent(work, uri, "certificate", ObjectClass::CERTIFICATE)?;
            Err(missing.into())
        }
    }
}
