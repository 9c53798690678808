//! Which PKCS#11 library: by path, by name, and what to install when it is missing.

use crate::{KeyError, TokenUri};
use std::path::{Path, PathBuf};

/// The environment variable that names a library for URIs that do not. p11-kit's and libp11's tools use the same.
pub const MODULE_ENVIRONMENT: &str = "PKCS11_MODULE_PATH";

/// Libraries people use: (file name, Debian package, Yocto recipe).
const KNOWN: &[(&str, &str, &str)] = &[
    ("libtpm2_pkcs11.so", "libtpm2-pkcs11-1", "tpm2-pkcs11"),
    ("libsofthsm2.so", "softhsm2", "softhsm"),
    ("opensc-pkcs11.so", "opensc-pkcs11", "opensc"),
    ("libykcs11.so", "ykcs11", "yubico-piv-tool"),
    ("p11-kit-client.so", "p11-kit-modules", "p11-kit"),
];

/// Folders where distributions put them.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/usr/lib/pkcs11",
        "/usr/lib64/pkcs11",
        "/usr/lib/softhsm",
        "/usr/lib",
        "/usr/lib64",
    ]
    .iter()
    .map(PathBuf::from)
    .collect();
    let arch = match std::env::consts::ARCH {
        "arm" => "arm-linux-gnueabihf".to_owned(),
        arch => format!("{arch}-linux-gnu"),
    };
    for below in ["pkcs11", "softhsm", ""] {
        folders.push(Path::new("/usr/lib").join(&arch).join(below));
    }
    folders.push("/usr/local/lib".into());
    folders
}

fn names(name: &str) -> [String; 3] {
    [
        format!("{name}.so"),
        format!("lib{name}.so"),
        name.to_owned(),
    ]
}

/// The library of a key: the URI's, else the given default, else the environment's.
pub fn find(uri: &TokenUri, default: Option<&Path>) -> Result<PathBuf, KeyError> {
    match (&uri.module_path, &uri.module_name) {
        (Some(path), Some(name)) if path.is_dir() => {
            return by_name(name, std::slice::from_ref(path));
        }
        (Some(path), _) => return Ok(path.clone()),
        (None, Some(name)) => return by_name(name, &folders()),
        (None, None) => {}
    }
    if let Some(path) = default {
        return Ok(path.into());
    }
    match std::env::var_os(MODULE_ENVIRONMENT) {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err(KeyError::NoModule { here: here() }),
    }
}

fn by_name(name: &str, folders: &[PathBuf]) -> Result<PathBuf, KeyError> {
    let names = names(name);
    let candidates = folders.iter().flat_map(|f| names.iter().map(|n| f.join(n)));
    for candidate in candidates {
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    let path = PathBuf::from(&names[1]);
    Err(KeyError::Module {
        install: install(&path),
        fault: format!("module-name={name} is in none of the usual folders"),
        path,
    })
}

/// What of the known libraries is installed here.
fn here() -> String {
    let found: Vec<String> = folders()
        .iter()
        .flat_map(|folder| KNOWN.iter().map(|k| folder.join(k.0)))
        .filter(|path| path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    if found.is_empty() {
        "none of the usual ones is installed: for a TPM, libtpm2-pkcs11-1 on Debian, tpm2-pkcs11 on Yocto".into()
    } else {
        format!("installed here: {}", found.join(", "))
    }
}

/// What to install for a library that is not there.
pub(super) fn install(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let known = KNOWN
        .iter()
        .find(|k| *name == *k.0 || name.starts_with(&format!("{}.", k.0)));
    if path.exists() {
        return "it is there: is it for this machine's architecture, and are the libraries it needs installed (ldd)?".into();
    }
    match known {
        Some((_, debian, yocto)) => format!("install {debian} (Debian) or {yocto} (Yocto)"),
        None => "install the package of the token's maker that has it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyUri;

    fn uri(text: &str) -> TokenUri {
        let uri: KeyUri = text.parse().unwrap();
        uri.token().unwrap().clone()
    }

    #[test]
    fn the_uris_module_path_goes_before_the_default() {
        let found = find(
            &uri("pkcs11:token=a?module-path=/x.so"),
            Some(Path::new("/y.so")),
        );
        assert_eq!(found.unwrap(), Path::new("/x.so"));
        let found = find(&uri("pkcs11:token=a"), Some(Path::new("/y.so")));
        assert_eq!(found.unwrap(), Path::new("/y.so"));
    }

    #[test]
    fn a_module_name_is_looked_for_in_a_folder_that_module_path_gives() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libmine.so"), "").unwrap();
        let text = format!(
            "pkcs11:token=a?module-name=mine&module-path={}",
            folder.path().display()
        );
        assert_eq!(
            find(&uri(&text), None).unwrap(),
            folder.path().join("libmine.so")
        );
    }

    #[test]
    fn a_missing_library_says_what_to_install() {
        let message = install(Path::new("/nowhere/libtpm2_pkcs11.so.1"));
        assert!(message.contains("libtpm2-pkcs11-1"), "{message}");
        let fault = find(&uri("pkcs11:token=a?module-name=no-such-library"), None).unwrap_err();
        assert!(fault.to_string().contains("no-such-library"), "{fault}");
    }
}
