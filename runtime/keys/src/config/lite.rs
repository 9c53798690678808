//! Nucleus lite: `system.privateKeyPath` is whatever OpenSSL's stores can open.

use super::{ConfigError, Mapped, about_pin, needed, new_form, text};
use crate::KeyUri;
use serde_json::Value;

/// Reads `system.privateKeyPath` and `system.certificateFilePath` of nucleus lite.
pub fn lite(system: &Value) -> Result<Mapped, ConfigError> {
    let read = |name: &str, written: &str| -> Result<KeyUri, ConfigError> {
        written
            .parse()
            .map_err(|fault| ConfigError::uri(&format!("system.{name}"), &fault))
    };
    let key = read(
        "privateKeyPath",
        needed(system, "system", "privateKeyPath")?,
    )?;
    let certificate = text(system, "system", "certificateFilePath")?
        .map(|written| read("certificateFilePath", written))
        .transpose()?;
    // Lite finds the library in openssl.cnf; here it is in the URI, or in the environment.
    let library = match key.token() {
        Some(t) if t.module_path.is_none() && t.module_name.is_none() => {
            "; add ?module-path=/path/to/library.so, which nucleus lite has as pkcs11-module-path in openssl.cnf"
        }
        _ => "",
    };
    let message = format!(
        "system.privateKeyPath is now written {}{library}{}",
        new_form(&key),
        about_pin(&key)
    );
    Ok(Mapped {
        key,
        certificate,
        message,
    })
}
