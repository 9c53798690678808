//! Keys through an OpenSSL provider (pkcs11-provider), in a library context of their own.
//!
//! The provider is configured by a file; a context of its own means that the device's `openssl.cnf` need not name it,
//! and that TLS itself never looks for algorithms in the token.

use super::ffi;
use crate::{KeyError, KeyUri, Pin, TokenUri};
use openssl::pkey::{PKey, Private};
use std::path::{Path, PathBuf};

/// Names a provider's file in another folder than OpenSSL's own, as OpenSSL itself does.
const FOLDER_ENVIRONMENT: &str = "OPENSSL_MODULES";

/// The provider's file, or why there is none.
pub(super) fn file() -> Result<PathBuf, String> {
    let folder = std::env::var_os(FOLDER_ENVIRONMENT).map(PathBuf::from);
    let Some(folder) = folder.or_else(ffi::modules_folder) else {
        return Err("this OpenSSL has no providers".into());
    };
    let file = folder.join("pkcs11.so");
    if file.is_file() {
        return Ok(file);
    }
    Err(format!(
        "there is no provider {}: install pkcs11-provider (Debian 13 and later, Yocto)",
        file.display()
    ))
}

pub(super) fn load(
    file: &Path,
    library: &Path,
    uri: &KeyUri,
    pin: Option<&Pin>,
) -> Result<PKey<Private>, KeyError> {
    let configuration = configuration(file, library).ok_or_else(|| KeyError::Module {
        path: library.into(),
        fault: "its path has characters that OpenSSL's configuration cannot hold".into(),
        install: "move it".into(),
    })?;
    let context = ffi::Context::configured(&configuration)
        .map_err(KeyError::openssl("loading the provider pkcs11"))?;
    let full = uri.token().cloned().unwrap_or_default();
    let name = TokenUri {
        module_path: None,
        module_name: None,
        pin: None,
        slot: None,
        ..full
    };
    context
        .private_key(&name.to_string(), pin)
        .map_err(KeyError::openssl(
            "loading the key through the provider pkcs11",
        ))
}

/// `no-operation-state`: tpm2-pkcs11 does not save operations, which the provider would ask for.
fn configuration(file: &Path, library: &Path) -> Option<String> {
    let plain = |path: &Path| {
        let text = path.to_str()?;
        let fine = |c: char| c.is_alphanumeric() || "/._-+:,@~=".contains(c);
        text.chars().all(fine).then(|| text.to_owned())
    };
    Some(format!(
        "openssl_conf = start\n\
         [start]\nproviders = providers\n\
         [providers]\ndefault = default_provider\npkcs11 = pkcs11_provider\n\
         [default_provider]\nactivate = 1\n\
         [pkcs11_provider]\nmodule = {}\npkcs11-module-path = {}\n\
         pkcs11-module-quirks = no-operation-state no-deinit\nactivate = 1\n",
        plain(file)?,
        plain(library)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_add_lines_to_the_configuration() {
        let good = Path::new("/usr/lib/ossl-modules/pkcs11.so");
        assert!(configuration(good, Path::new("/usr/lib/x.so")).is_some());
        assert!(configuration(good, Path::new("/usr/lib/x.so\nactivate = 0")).is_none());
        assert!(configuration(Path::new("/a $b.so"), good).is_none());
    }
}
