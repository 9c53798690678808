//! The renewal's state on disk: JSON, replaced whole. PINs are not in it.
//!
//! ```text
//! {"version": 1, "state": "proving", "current": {"key": URI, "certificate": path}, "other": {…}}
//! ```

use super::machine::{Identity, State};
use serde_json::{Value, json};
use std::{io, path::Path};

const VERSION: u64 = 1;

pub(super) fn write(path: &Path, state: &State) -> io::Result<()> {
    let (name, current, other) = match state {
        State::Idle { current } => ("idle", current, None),
        State::MakingKey { current, next } => ("making-key", current, Some(next)),
        State::Requesting { current, next } => ("requesting", current, Some(next)),
        State::Proving { current, next } => ("proving", current, Some(next)),
        State::Switching { current, next } => ("switching", current, Some(next)),
        State::Retiring { current, old } => ("retiring", current, Some(old)),
        State::Discarding { current, next } => ("discarding", current, Some(next)),
    };
    let document = json!({
        "version": VERSION,
        "state": name,
        "current": identity(current)?,
        "other": other.map(identity).transpose()?,
    });
    store::file::write_atomic(path, document.to_string().as_bytes(), 0o600)
}

fn identity(identity: &Identity) -> io::Result<Value> {
    let certificate = identity.certificate.to_str();
    let certificate = certificate.ok_or_else(|| fault("a certificate's path is not UTF-8"))?;
    Ok(json!({"key": identity.key.to_string(), "certificate": certificate}))
}

/// `None` when nothing was ever stored.
pub(super) fn read(path: &Path) -> io::Result<Option<State>> {
    let text = match std::fs::read(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let document: Value = serde_json::from_slice(&text)?;
    if document["version"] != VERSION {
        return Err(fault(
            "it is from a newer version of this program, and is left alone",
        ));
    }
    let identity = |name: &str| -> io::Result<Identity> {
        let section = &document[name];
        let key = section["key"].as_str().and_then(|k| k.parse().ok());
        let certificate = section["certificate"].as_str().map(Into::into);
        match (key, certificate) {
            (Some(key), Some(certificate)) => Ok(Identity { key, certificate }),
            _ => Err(fault("it names no key and certificate")),
        }
    };
    let current = identity("current")?;
    let state = document["state"].as_str().unwrap_or_default();
    if state == "idle" {
        return Ok(Some(State::Idle { current }));
    }
    let next = identity("other")?;
    Ok(Some(match state {
        "making-key" => State::MakingKey { current, next },
        "requesting" => State::Requesting { current, next },
        "proving" => State::Proving { current, next },
        "switching" => State::Switching { current, next },
        "retiring" => State::Retiring { current, old: next },
        "discarding" => State::Discarding { current, next },
        _ => return Err(fault("its state is not known")),
    }))
}

fn fault(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renewal.json");
        assert_eq!(read(&path).unwrap(), None);
        let current = Identity {
            key: "pkcs11:token=t;object=a;id=%00%FF".parse().unwrap(),
            certificate: "/c.pem".into(),
        };
        let next = current.next();
        let (c, n) = (|| current.clone(), || next.clone());
        for state in [
            State::Idle { current: c() },
            State::MakingKey {
                current: c(),
                next: n(),
            },
            State::Requesting {
                current: c(),
                next: n(),
            },
            State::Proving {
                current: c(),
                next: n(),
            },
            State::Switching {
                current: c(),
                next: n(),
            },
            State::Retiring {
                current: n(),
                old: c(),
            },
            State::Discarding {
                current: c(),
                next: n(),
            },
        ] {
            write(&path, &state).unwrap();
            assert_eq!(read(&path).unwrap(), Some(state));
        }
    }

    #[test]
    fn a_newer_versions_state_and_nonsense_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renewal.json");
        for text in [
            r#"{"version": 2}"#,
            "{}",
            "",
            r#"{"version":1,"state":"idle","current":{}}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
        }
    }
}
