//! Greengrass V1: the `crypto` section of `config.json`, or before it `coreThing.keyPath` and its like.

use super::{ConfigError, Library, Mapped, about_pin, needed, new_form, text};
use crate::{KeyUri, Pin};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What V1's `config.json` says of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct V1 {
    /// `caPath`
    pub root: Option<PathBuf>,
    /// `principals.IoTCertificate`: the core's own.
    pub core: Option<Mapped>,
    /// `principals.MQTTServerCertificate`: what client devices see. Its key alone; the certificate is made.
    pub server: Option<Mapped>,
    /// `principals.SecretsManager`: secrets were encrypted to it (RSA).
    pub secrets: Option<Mapped>,
}

/// Reads V1's `config.json`. `folder` is where relative paths begin: `/greengrass/certs`.
pub fn v1(document: &Value, folder: &Path) -> Result<V1, ConfigError> {
    let crypto = &document["crypto"];
    if !crypto.is_object() {
        return before_crypto(document, folder);
    }
    let library = library(&crypto["PKCS11"])?;
    let principals = &crypto["principals"];
    let principal = |name: &str| principal(principals, name, &library, folder);
    Ok(V1 {
        root: text(crypto, "crypto", "caPath")?
            .map(|p| path(p, folder))
            .transpose()?,
        core: principal("IoTCertificate")?,
        server: principal("MQTTServerCertificate")?,
        secrets: principal("SecretsManager")?,
    })
}

fn library(section: &Value) -> Result<Library, ConfigError> {
    if section.is_null() {
        return Ok(Library::default());
    }
    let at = "crypto.PKCS11";
    // OpenSSLEngine is not needed: the engine is found where OpenSSL keeps them.
    Ok(Library {
        path: Some(needed(section, at, "P11Provider")?.into()),
        token: Some(needed(section, at, "slotLabel")?.into()),
        slot: None,
        pin: text(section, at, "slotUserPin")?.map(Pin::new),
    })
}

fn principal(
    principals: &Value,
    name: &str,
    library: &Library,
    folder: &Path,
) -> Result<Option<Mapped>, ConfigError> {
    let section = &principals[name];
    if section.is_null() {
        return Ok(None);
    }
    let at = format!("crypto.principals.{name}");
    let written = needed(section, &at, "privateKeyPath")?;
    let key = key(written, &format!("{at}.privateKeyPath"), folder)?;
    if key.token().is_some() && library.path.is_none() {
        return Err(ConfigError::new(
            "crypto.PKCS11",
            format!("is missing, and {at}.privateKeyPath names a key in a token"),
        ));
    }
    let key = library.complete(key);
    let certificate = text(section, &at, "certificatePath")?
        .map(|p| path(p, folder))
        .transpose()?;
    let message = format!(
        "{at}.privateKeyPath of Greengrass V1 is now written {}{}",
        new_form(&key),
        about_pin(&key)
    );
    Ok(Some(Mapped {
        key,
        certificate: certificate.map(KeyUri::File),
        message,
    }))
}

/// Without `crypto`: `coreThing.{caPath, certPath, keyPath}`.
fn before_crypto(document: &Value, folder: &Path) -> Result<V1, ConfigError> {
    let section = &document["coreThing"];
    let at = "coreThing";
    let core = match text(section, at, "keyPath")? {
        None => None,
        Some(written) => {
            let key = key(written, "coreThing.keyPath", folder)?;
            let certificate = text(section, at, "certPath")?
                .map(|p| path(p, folder))
                .transpose()?;
            Some(Mapped {
                message: format!(
                    "coreThing.keyPath of Greengrass V1 is now written {}",
                    new_form(&key)
                ),
                key,
                certificate: certificate.map(KeyUri::File),
            })
        }
    };
    Ok(V1 {
        root: text(section, at, "caPath")?
            .map(|p| path(p, folder))
            .transpose()?,
        core,
        ..V1::default()
    })
}

fn key(written: &str, at: &str, folder: &Path) -> Result<KeyUri, ConfigError> {
    match written
        .parse()
        .map_err(|fault| ConfigError::uri(at, &fault))?
    {
        KeyUri::File(path) => Ok(KeyUri::File(folder.join(path))),
        token => Ok(token),
    }
}

fn path(written: &str, folder: &Path) -> Result<PathBuf, ConfigError> {
    match key(written, "certificatePath", folder)? {
        KeyUri::File(path) => Ok(path),
        KeyUri::Token(_) => Err(ConfigError::new(
            "certificatePath",
            "is in a token; Greengrass V1 has certificates in files only",
        )),
    }
}
